"""`tumbler up` and `down`: a head and the service on this machine, and nothing left of them afterwards."""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.types import PositiveInt

from api.cli.arguments import Force, Output
from api.cli.bars import waiting
from api.cli.errors import CannotStart, StillNeeded
from api.cli.machine import Machine, ThisMachine
from api.cli.output import Format, put, tell
from api.cli.places import ServiceRecord
from api.cli.verbs import confirmed
from api.settings import Settings

_READY_S = 60.0
OF_THE_HOME = ("auto", "local")
"""Addresses that mean the head which `up` starts."""
_LOOK_EVERY_S = 0.1
Home = Annotated[Path | None, Parameter(name=["--home"], help="Folder of the record, logs and packages.")]


@dataclass(frozen=True)
class Standing:
    """What is up."""

    url: str
    """Of the service, and of its dashboard."""
    docs: str
    """Of REST."""
    ray_dashboard: str
    home: str
    pid: int
    already: bool = False


def up(
    *,
    ray_address: str | None = None,
    num_cpus: PositiveInt | None = None,
    storage: Annotated[Path | None, Parameter(name=["--storage"])] = None,
    host: str | None = None,
    port: int | None = None,
    home: Home = None,
    foreground: Annotated[bool, Parameter(negative="")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Start a Ray head and the service on this machine; what is up already is left alone.

    Parameters
    ----------
    ray_address
        URL of the dashboard of a Ray cluster to train on, such as http://10.0.0.5:8265; unless given, a head
        is started here.
    num_cpus
        How many CPUs the head is told to have; more than there are is allowed.
    storage
        Where run directories are made unless a spec says otherwise.
    host
        A loopback address.
    port
        8700 unless told otherwise.
    foreground
        Serve in this process, until Ctrl-C.
    """
    settings = Settings.load(ray_address=ray_address, storage=storage, host=host, port=port, home=home)
    machine = ThisMachine(settings)
    with nullcontext() if foreground else waiting("coming up"):
        standing = bring_up(machine, settings, num_cpus=num_cpus, foreground=foreground, say=tell)
    lines = {
        "dashboard": standing.url,
        "REST": standing.docs,
        "Ray's dashboard": standing.ray_dashboard,
        "home": standing.home,
        "process": standing.pid,
    }
    put(asdict(standing), lines, output)
    if standing.already:
        tell("it was up already")
    tell("next: tumbler init; tumbler submit -f run.yaml; tumbler top; end it with tumbler down")


def down(
    *,
    purge: Annotated[bool, Parameter(negative="")] = False,
    force: Force = False,
    home: Home = None,
) -> None:
    """Stop the service and the head that `up` started. Refuses while runs are active, unless you insist.

    Active runs go on from their newest checkpoint at the next `up`.

    Parameters
    ----------
    purge
        Remove the home too, with the record of all runs, and the runs that lie in it.
    """
    settings = Settings.load(home=home)
    machine = ThisMachine(settings)

    def agree(question: str) -> bool:
        return force or (sys.stdin.isatty() and confirmed(question, force=False))

    for done in take_down(machine, settings, purge=purge, agree=agree):
        tell(done)


def bring_up(
    machine: Machine,
    settings: Settings,
    *,
    num_cpus: int | None = None,
    foreground: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Standing:
    """Starts what is missing, and nothing else. Raises StillNeeded where the port is taken, CannotStart."""
    record = machine.service()
    address = record.ray_address if record and record.ray_address else settings.ray_address
    if record is None and settings.port and not machine.port_is_free(settings.host, settings.port):
        raise StillNeeded(
            f"port {settings.port} of {settings.host} is in use by another program",
            hint="choose another with --port",
        )
    head, new_head = None, False
    if address in OF_THE_HOME:
        head = machine.head()
        new_head = head is None
    if new_head:
        say("starting a Ray head")
        head = machine.start_head(num_cpus)
    ray_dashboard = head.dashboard_url if head else address
    if record is not None:
        return _standing(settings, record, ray_dashboard, already=not new_head)
    environment = {**(head.env if head else {}), **_environment(settings)}
    if foreground:
        say("starting the service; Ctrl-C ends it, and `tumbler down` the head")
        machine.become_service(environment)
    say("starting the service")
    pid = None
    try:
        pid = machine.start_service(environment)
        record = _wait_until_ready(machine, pid)
    except BaseException:
        if pid is not None:
            machine.stop_process(pid)
        if new_head:
            machine.stop_head()
        raise
    return _standing(settings, record, ray_dashboard, already=False)


def take_down(
    machine: Machine, settings: Settings, *, purge: bool, agree: Callable[[str], bool]
) -> list[str]:
    """Stops all and says what was done. Raises StillNeeded where somebody does not agree."""
    service = machine.service()
    has_head = machine.head() is not None
    active = machine.active_runs(service) if service or has_head else []
    if active and not agree(f"{_named(active)}; stop all the same?"):
        raise StillNeeded(
            _named(active),
            hint="cancel or pause first, or add --force: runs go on from their newest checkpoint at the next "
            "`tumbler up`",
        )
    if purge and not agree(f"remove {settings.home} with the record of all runs?"):
        raise StillNeeded(f"{settings.home} would be removed", hint="add --force if you mean it")
    done = []
    if service is not None:
        if not machine.stop_service(service):
            raise CannotStart(f"the service (process {service.pid}) does not end")
        done.append("stopped the service")
    if has_head or machine.head_is_gone():
        machine.stop_head()
        done.append("stopped the head")
    if purge:
        machine.remove_home()
        done.append(f"removed {settings.home}")
    return done or ["nothing was up"]


def _wait_until_ready(machine: Machine, pid: int) -> ServiceRecord:
    until_s = machine.monotonic() + _READY_S
    while machine.monotonic() < until_s:
        record = machine.service()
        if record is not None and machine.answers(record.url):
            return record
        if not machine.lives(pid):
            raise CannotStart(f"the service ended at once; its last words:\n{machine.last_words()}")
        machine.sleep(_LOOK_EVERY_S)
    words = machine.last_words()
    raise CannotStart(f"the service was not ready after {_READY_S:.0f} s; its last words:\n{words}")


def _standing(settings: Settings, record: ServiceRecord, ray_dashboard: str, *, already: bool) -> Standing:
    return Standing(record.url, f"{record.url}/docs", ray_dashboard, str(settings.home), record.pid, already)


def _environment(settings: Settings) -> dict[str, str]:
    """The settings as the service's own process will find them, wherever they came from."""
    # The service reads who is to be told from the settings file itself: a secret is in no environment.
    own = Settings.model_fields.keys() - {"url", "webhooks"}
    given = {name: str(getattr(settings, name)) for name in Settings.model_fields if name in own}
    return {f"TUMBLER_{name.upper()}": value for name, value in given.items()}


def _named(runs: list[str]) -> str:
    shown = ", ".join(runs[:5]) + (f" and {len(runs) - 5} more" if len(runs) > 5 else "")
    return f"{len(runs)} runs are still active ({shown})" if len(runs) > 1 else f"run {shown} is still active"
