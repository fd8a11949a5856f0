"""The service as a process: `python -m api.server`."""

import argparse
import errno
import gc
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog
import uvicorn

from api.settings import Settings
from api.wiring import Service, build
from orchestrator.domain.disk import replace_text
from orchestrator.domain.errors import TumblerError
from orchestrator.domain.events import timestamp

_BACKLOG = 2048
_DRAIN_S = 2
"""For answers under way when the service is told to end."""
_IDLE_S = 75
"""For how long a connection on which nothing is asked stays open."""
_SWITCH_S = 0.0005
_GC_THRESHOLDS = (20_000, 50, 1000)
_log = structlog.get_logger()


class Server(uvicorn.Server):
    """Says in the home where it listens, and ends streams when it is told to end."""

    def __init__(self, config: uvicorn.Config, service: Service, listener: socket.socket) -> None:
        super().__init__(config)
        self._service = service
        self._listener = listener

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            # What is there now stays: to look through it again and again would stop all requests meanwhile,
            # 30 to 70 ms each time. What is made for a request is free of cycles and needs no looking for.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*_GC_THRESHOLDS)
            url = url_of(self._listener)
            write_service_file(self._service.settings, url)
            _log.info("the service listens", url=url, home=str(self._service.settings.home), pid=os.getpid())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        _log.info("the service ends")
        self._service.bulletin.close()
        remove_service_file(self._service.settings.service_file)
        await super().shutdown(sockets)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM or Ctrl-C; returns the exit code."""
    try:
        settings = Settings.load(**vars(_parser().parse_args(arguments)))
        listener = listen(settings)
        set_up_log(settings.log_level)
        service = build(settings)
    except TumblerError as error:
        print(f"{error.message}; {error.hint}" if error.hint else error.message, file=sys.stderr)
        return error.exit_code
    config = uvicorn.Config(
        service.app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=_DRAIN_S,
    )
    # Threads that read or write the record must not keep the loop waiting for the usual 5 ms.
    sys.setswitchinterval(_SWITCH_S)
    # uvicorn raises the signal again once all is put away; by then it has been obeyed.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: None)
    Server(config, service, listener).run(sockets=[listener])
    return 0


def listen(settings: Settings) -> socket.socket:
    """Takes the port before anything else is touched. Raises PortTaken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "something listens there already" if taken else error.strerror or str(error)
        raise PortTaken(
            f"cannot listen on {settings.host}:{settings.port}: {why}",
            hint="`tumbler up --port` or TUMBLER_PORT chooses another" if taken else "",
        ) from error


class PortTaken(TumblerError):
    """The service cannot have the port it was told to listen on."""


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def write_service_file(settings: Settings, url: str) -> None:
    """For commands that look for the service of this home."""
    content = {"pid": os.getpid(), "url": url, "started": timestamp(), "ray_address": settings.ray_address}
    replace_text(settings.service_file, json.dumps(content, indent=2) + "\n")


def remove_service_file(path: Path) -> None:
    """Unless a later service has put its own there."""
    try:
        if json.loads(path.read_text())["pid"] == os.getpid():
            path.unlink()
    except (OSError, ValueError, KeyError):
        pass


def set_up_log(level: str) -> None:
    """One line per event on stderr: for people on a terminal, as JSON otherwise."""
    people = sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    shown: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if people
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *shared, *shown],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # What libraries log goes the same way, from warnings on.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *shown],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m api.server", description=__doc__)
    parser.add_argument("--home", help="folder of the record, packages and logs")
    parser.add_argument("--host")
    parser.add_argument("--port")
    parser.add_argument("--storage", help="where run directories are made")
    parser.add_argument("--db", help="URL of the record")
    parser.add_argument("--ray-address", help="auto, local or the URL of a Ray dashboard")
    parser.add_argument("--log-level")
    return parser


if __name__ == "__main__":
    sys.exit(main())
