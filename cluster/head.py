"""A Ray head on this machine, as daemons that outlive whoever started it.

The GCS keeps its tables in an embedded RocksDB, so that it can die and come back while actors train on
(`cluster.keeper`). Nothing in there is worth keeping once the whole head is gone: runs are on record
elsewhere and go on as new attempts. So a new head starts with an empty store, and finds no actor or placement
group of the one before.

Ray listens on the address of the machine, whatever it is told, and runs code for whoever reaches it. So a
head has a token of its own, which its processes and the service find through their environment.
"""

import json
import os
import random
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, Self

from cluster.daemons import MARK, Daemon, daemons_of, end_all
from cluster.errors import HeadFailed
from orchestrator.domain.disk import replace_text, storage_errors

_START_WITHIN_S: Final = 120.0
_END_WITHIN_S: Final = 3.0
_FIRST_PORT, _LAST_PORT = 20100, 29999
"""Outside the range from which Ray takes its workers' ports, and below that of outgoing connections."""
_PORTS: Final = (
    "port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "metrics-export-port",
    "ray-client-server-port",
)
_GCS_MAY_BE_AWAY_S: Final = 600

Auth = Literal["token", "disabled"]


@dataclass(frozen=True)
class Head:
    """A head that `start_head` started."""

    id: str
    address: str
    """Of the GCS, `IP:PORT`; what RAY_ADDRESS takes."""
    dashboard_url: str
    """Where Ray Jobs are submitted."""
    temp_dir: str
    home: str
    env: Mapping[str, str]
    """What a process needs in its environment to be let in."""
    kept: tuple[Daemon, ...] = ()
    """The daemons that can be started again when they die: the GCS and the dashboard."""

    @classmethod
    def load(cls, home: Path) -> Self | None:
        """The living head of a home; None where there is none. It lives as long as its raylet does."""
        head = cls.recorded(home)
        return head if head is not None and head.alive() else None

    @classmethod
    def recorded(cls, home: Path) -> Self | None:
        """The head that was started last and never stopped, living or not."""
        try:
            content = json.loads(_record(home).read_text())
            kept = tuple(Daemon(one["pid"], tuple(one["command"]), one["env"]) for one in content.pop("kept"))
            return cls(**content, kept=kept)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def alive(self) -> bool:
        return any(Path(daemon.command[0]).name == "raylet" for daemon in daemons_of(self.id))

    def stop(self) -> None:
        """End every process of the head and what it left in the temporary folder. Safe to call twice."""
        end_all(self.id, patience_s=_END_WITHIN_S)
        shutil.rmtree(self.temp_dir, ignore_errors=True)
        shutil.rmtree(_gcs_store(Path(self.home)), ignore_errors=True)
        _record(Path(self.home)).unlink(missing_ok=True)


def start_head(
    home: Path, *, num_cpus: int | None = None, num_gpus: int | None = None, auth: Auth = "token"
) -> Head:
    """Start a head; takes about six seconds. What is left of an earlier one of this home is removed first.

    Raises HeadFailed where Ray does not start, and where the home has a head that lives.
    """
    before = Head.recorded(home)
    if before is not None:
        if before.alive():
            raise HeadFailed(f"{home} has a Ray head that is running at {before.address}")
        before.stop()
    with storage_errors("create", home):
        shutil.rmtree(_gcs_store(home), ignore_errors=True)
        _gcs_store(home).mkdir(parents=True)
    head_id = secrets.token_hex(8)
    access = _access(home, auth)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        **access,
        MARK: head_id,
        # Drivers are started as `python`: the one that runs Tumbler here.
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_gcs_storage": "rocksdb",
        "RAY_gcs_storage_path": str(_gcs_store(home)),
        # How long raylet and workers go on without a GCS.
        "RAY_gcs_rpc_server_reconnect_timeout_s": str(_GCS_MAY_BE_AWAY_S),
    }
    temp_dir = tempfile.mkdtemp(prefix="tumbler-ray-", dir="/tmp")  # a socket's path must be short
    ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
    try:
        _start(environment, temp_dir, ports, num_cpus, num_gpus)
        head = Head(
            id=head_id,
            address=_gcs_address(head_id),
            dashboard_url=f"http://127.0.0.1:{ports['dashboard-port']}",
            temp_dir=temp_dir,
            home=str(home),
            env=access,
            kept=tuple(daemon for daemon in daemons_of(head_id) if _is_kept(daemon)),
        )
        replace_text(_record(home), json.dumps(asdict(head), indent=2))
        _record(home).chmod(0o600)
    except BaseException:
        end_all(head_id, patience_s=_END_WITHIN_S)
        shutil.rmtree(temp_dir, ignore_errors=True)
        raise
    return head


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on now."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randint(_FIRST_PORT, _LAST_PORT)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


def _start(
    environment: Mapping[str, str],
    temp_dir: str,
    ports: Mapping[str, int],
    num_cpus: int | None,
    num_gpus: int | None,
) -> None:
    command = [
        str(Path(sys.executable).with_name("ray")),
        "start",
        "--head",
        "--disable-usage-stats",
        "--include-log-monitor=false",
        "--dashboard-host=127.0.0.1",
        f"--temp-dir={temp_dir}",
        *(f"--{name}={port}" for name, port in ports.items()),
        *([f"--num-cpus={num_cpus}"] if num_cpus is not None else []),
        *([f"--num-gpus={num_gpus}"] if num_gpus is not None else []),
    ]
    log = Path(temp_dir) / "start.log"
    try:
        # Into a file: a pipe would stay open in the daemons, and never end.
        with log.open("wb") as output:
            code = subprocess.run(
                command,
                env=dict(environment),
                cwd=temp_dir,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=_START_WITHIN_S,
                check=False,
                start_new_session=True,
            ).returncode
    except FileNotFoundError:
        raise HeadFailed(
            f"there is no {command[0]}", hint="pip install 'ray[train,data,default]==2.60.*'"
        ) from None
    except subprocess.TimeoutExpired:
        raise HeadFailed(f"Ray did not start within {_START_WITHIN_S:.0f} s") from None
    if code != 0:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise HeadFailed(f"Ray did not start: {lines[-1] if lines else f'exit code {code}'}")


def _access(home: Path, auth: Auth) -> dict[str, str]:
    if auth == "disabled":
        return {"RAY_AUTH_MODE": "disabled"}
    token = home / "ray_token"
    if not token.exists():
        with storage_errors("write", token), open(token, "x", opener=_private) as file:
            file.write(secrets.token_hex(32))
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _gcs_address(head_id: str) -> str:
    for daemon in daemons_of(head_id):
        if Path(daemon.command[0]).name == "raylet":
            found = re.search(r"--gcs-address=(\S+)", " ".join(daemon.command))
            if found:
                return found[1]
    raise HeadFailed("Ray started, and its raylet was gone at once")


def _is_kept(daemon: Daemon) -> bool:
    return Path(daemon.command[0]).name == "gcs_server" or any(
        argument.endswith("/dashboard/dashboard.py") for argument in daemon.command
    )


def _record(home: Path) -> Path:
    return home / "head.json"


def _gcs_store(home: Path) -> Path:
    return home / "gcs"
