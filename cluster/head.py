"""A Ray head on this machine, as daemons that outlive whoever started it.

The GCS keeps its tables in an embedded RocksDB, so that it can die and come back while actors train on
(`cluster.keeper`). Nothing in there is worth keeping once the whole head is gone: runs are on record
elsewhere and go on as new attempts. So a new head starts with an empty store, and finds no actor or placement
group of the one before.

Ray listens on the address of the machine, whatever it is told, and runs code for whoever reaches it. So a
head has a token of its own, which its processes and the service find through their environment. Token mode
was tried end to end with Ray 2.60: head, Ray Jobs, drivers with actors, a GCS that dies and comes back.

Started without what nothing here uses: no autoscaler, no log monitor (workers write into the run directory),
and Ray's client server, which no flag leaves out, is ended at once.
"""

import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, Self

from cluster.daemons import MARK, Daemon, Household
from cluster.errors import HeadFailed
from cluster.ports import free_ports
from orchestrator.checkpoints.streaming import streaming_copies
from orchestrator.domain.disk import storage_errors

_START_WITHIN_S: Final = 120.0
_END_WITHIN_S: Final = 1.5
_PORTS: Final = (
    "port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "metrics-export-port",
    "ray-client-server-port",
)
_GCS_MAY_BE_AWAY_S: Final = 600
_HEALTH_CHECK_EVERY_MS: Final = 1000
"""A node that missed five of them is dead; Ray's own three seconds make that a quarter of a minute."""
_KEPT: Final = ("gcs_server", "dashboard")
_STORE: Final = "RAY_gcs_storage_path"

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
    daemons: tuple[Daemon, ...] = ()
    """Those that the head stands and falls with: GCS, dashboard and raylet, as they were started."""

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
            daemons = [Daemon(**{**one, "command": tuple(one["command"])}) for one in content.pop("daemons")]
            return cls(**content, daemons=tuple(daemons))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def pids(self) -> Mapping[str, int]:
        """Of the daemons as they were started, by program."""
        return {daemon.program: daemon.pid for daemon in self.daemons}

    def household(self) -> Household:
        """To look for all its processes."""
        return Household(MARK, self.id, {daemon.session for daemon in self.daemons})

    def alive(self) -> bool:
        return any(daemon.is_alive() for daemon in self.daemons if daemon.program == "raylet")

    def stop(self, *, but_snapshots: bool = False) -> None:
        """End every process of the head and what it left in the temporary folder. Safe to call twice.

        Its drivers are killed, not told to stop: their runs go on under the next head. With `but_snapshots`
        the writer processes stay, those of earlier heads too: runs go on from what they hold.
        """
        for household in (self.household(), _household_of(Path(self.home))):
            household.end(patience_s=_END_WITHIN_S, but_snapshots=but_snapshots)
        shutil.rmtree(self.temp_dir, ignore_errors=True)
        shutil.rmtree(_gcs_store(Path(self.home)), ignore_errors=True)
        _record(Path(self.home)).unlink(missing_ok=True)


def start_head(
    home: Path,
    *,
    num_cpus: int | None = None,
    num_gpus: int | None = None,
    host: str = "127.0.0.1",
    auth: Auth = "token",
) -> Head:
    """Start a head, in four to seven seconds. What is left of an earlier one of this home is removed first.

    `host` is where the dashboard listens, which takes jobs. Raises HeadFailed where Ray does not start, and
    where the home has a head that lives; StorageError.
    """
    with _alone(home):
        _clear(home)
        head_id = secrets.token_hex(8)
        household = Household(MARK, head_id)
        access = _access(home, auth)
        temp_dir = tempfile.mkdtemp(prefix="tumbler-", dir="/tmp")  # a socket's path must be short
        ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
        try:
            _start(_environment(home, head_id, access), temp_dir, host, ports, num_cpus, num_gpus)
            found = household.look()
            head = Head(
                id=head_id,
                address=_gcs_address(found),
                dashboard_url=f"http://{host}:{ports['dashboard-port']}",
                temp_dir=temp_dir,
                home=str(home),
                env=access,
                daemons=tuple(daemon for daemon in found if daemon.program in (*_KEPT, "raylet")),
            )
            _write_record(home, head)
        except BaseException:
            household.end(patience_s=_END_WITHIN_S)
            shutil.rmtree(temp_dir, ignore_errors=True)
            raise
    for daemon in found:
        if daemon.program == "ray.util.client.server" and daemon.is_alive():
            os.kill(daemon.pid, signal.SIGKILL)
    return head


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Two heads that start at once would overwrite each other's record, and one would be lost."""
    with storage_errors("create", home):
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / "head.lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HeadFailed(f"another Ray head of {home} is being started right now") from None
        yield


def _clear(home: Path) -> None:
    """Only where no process of Ray lives may the store of the GCS be emptied."""
    before = Head.recorded(home)
    if before is None:
        _household_of(home).end(patience_s=_END_WITHIN_S, but_snapshots=True)
    elif before.alive():
        raise HeadFailed(f"{home} has a Ray head that is running at {before.address}")
    else:
        before.stop(but_snapshots=True)
    with storage_errors("create", home):
        shutil.rmtree(_gcs_store(home), ignore_errors=True)
        _gcs_store(home).mkdir()


def _environment(home: Path, head_id: str, access: Mapping[str, str]) -> dict[str, str]:
    """Nothing that says RAY_ is inherited: another Ray may be set up there."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        **access,
        MARK: head_id,
        # Drivers are started as `python`: the one that runs Tumbler here.
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_gcs_storage": "rocksdb",
        _STORE: str(_gcs_store(home)),
        # How long raylet and workers go on without a GCS.
        "RAY_health_check_period_ms": str(_HEALTH_CHECK_EVERY_MS),
        "RAY_gcs_rpc_server_reconnect_timeout_s": str(_GCS_MAY_BE_AWAY_S),
        **streaming_copies(os.environ),
    }


def _start(
    environment: Mapping[str, str],
    temp_dir: str,
    host: str,
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
        "--no-monitor",
        "--include-dashboard=true",
        f"--dashboard-host={host}",
        f"--node-name={socket.gethostname()}",
        f"--temp-dir={temp_dir}",
        # Any free ones: two Rays that count up from the same port take each other's.
        "--min-worker-port=0",
        "--max-worker-port=0",
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


def _gcs_address(daemons: Iterable[Daemon]) -> str:
    for daemon in daemons:
        found = re.search(r"--gcs-address=(\S+)", " ".join(daemon.command))
        if daemon.program == "raylet" and found:
            return found[1]
    raise HeadFailed("Ray started, and its raylet was gone at once")


def _write_record(home: Path, head: Head) -> None:
    """For the owner alone: the environments in it may hold anything."""
    path = _record(home)
    aside = path.with_suffix(".new")
    with storage_errors("write", path):
        aside.unlink(missing_ok=True)
        with open(aside, "x", opener=_private) as file:
            json.dump(asdict(head), file, indent=2)
        aside.replace(path)


def _record(home: Path) -> Path:
    return home / "head.json"


def _household_of(home: Path) -> Household:
    """Of all heads that a home ever had."""
    return Household(_STORE, str(_gcs_store(home)))


def _gcs_store(home: Path) -> Path:
    return home / "gcs"
