"""What `tumbler doctor` looks at, each as a finding."""

import importlib
import importlib.util
import os
import platform
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from api.cli.doctor import Finding, Verdict
from api.cli.machine import Machine, ThisMachine
from api.cli.output import size
from api.settings import Settings
from api.webhooks.standing import read_standing, standing_path
from cluster.leftovers import find_leftovers
from orchestrator.domain.errors import StorageError
from orchestrator.domain.run_directory import RunDirectory

OUR_PACKAGES = ("api", "cluster", "orchestrator", "trainers")
_MIB = 1 << 20
_GIB = 1 << 30
_RAY_FULL = 0.95
"""Share of the disk from which on Ray refuses to write."""


def examine_machine(storage: Path) -> Iterator[Finding]:
    """Everything, in the order in which it should be mended."""
    yield python_version(platform.python_version_tuple()[:2])
    for name in ("torch", "ray"):
        yield installed(name)
    yield from (imported_from(name) for name in OUR_PACKAGES)
    yield cpus(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    yield memory(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    yield shared_memory(Path("/dev/shm"))
    yield home(Path.home())
    yield ray_address(os.environ.get("RAY_ADDRESS", ""))
    yield scratch(Path(tempfile.gettempdir()))
    yield free_disk(storage)
    yield leftovers(storage)
    yield from service_and_head()


def python_version(found: tuple[str, ...]) -> Finding:
    number = tuple(int(part) for part in found)
    if (3, 11) <= number < (3, 13):
        return Finding("python", Verdict.OK, platform.python_version())
    return Finding("python", Verdict.PROBLEM, ".".join(found), "use Python 3.11 or 3.12")


def installed(name: str) -> Finding:
    """Whether a package is there, in a version we ask for, and can be imported."""
    wanted = _requirement(name)
    try:
        found = version(name)
        importlib.import_module(name)
    except PackageNotFoundError:
        return Finding(name, Verdict.PROBLEM, "not installed", f"pip install '{wanted}'")
    except Exception as error:
        return Finding(
            name,
            Verdict.PROBLEM,
            f"does not import: {type(error).__name__}: {error}",
            f"install it anew: '{wanted}'",
        )
    if not _matches(wanted, found):
        return Finding(name, Verdict.PROBLEM, found, f"pip install '{wanted}'")
    return Finding(name, Verdict.OK, found)


def imported_from(name: str) -> Finding:
    """Our packages have common names: all must come from the place this one does."""
    ours = Path(__file__).resolve().parents[2]
    spec = importlib.util.find_spec(name)
    found = Path(spec.origin).resolve().parent if spec and spec.origin else None
    if found == ours / name:
        return Finding(f"package {name}", Verdict.OK, str(found))
    fix = f"another package '{name}' comes first: leave its folder, or take it off PYTHONPATH"
    return Finding(f"package {name}", Verdict.PROBLEM, str(found or "not found"), fix)


def cpus(count: int) -> Finding:
    if count >= 2:
        return Finding("CPUs", Verdict.OK, str(count))
    return Finding(
        "CPUs", Verdict.WARNING, str(count), "two workers will share one; `--num-cpus 2` lets them start"
    )


def memory(num_bytes: int) -> Finding:
    if num_bytes >= 3 * _GIB:
        return Finding("memory", Verdict.OK, size(num_bytes))
    return Finding(
        "memory", Verdict.WARNING, size(num_bytes), "a worker needs about 0.5 GiB, Ray itself about 1 GiB"
    )


def shared_memory(path: Path) -> Finding:
    """Where Ray keeps its objects."""
    if not path.is_dir():
        return Finding(
            "shared memory", Verdict.WARNING, f"no {path}", "Ray will use the disk instead, which is slower"
        )
    free = shutil.disk_usage(path).free
    if free >= 256 * _MIB:
        return Finding("shared memory", Verdict.OK, f"{size(free)} free in {path}")
    return Finding(
        "shared memory",
        Verdict.WARNING,
        f"{size(free)} free in {path}",
        "start the container with --shm-size=1g",
    )


def home(path: Path) -> Finding:
    if path.is_dir() and os.access(path, os.W_OK):
        return Finding("home", Verdict.OK, f"{path} is writable")
    return Finding(
        "home", Verdict.WARNING, f"{path} is not writable", "set HOME to a folder you may write to"
    )


def ray_address(address: str) -> Finding:
    """Whether the Ray that RAY_ADDRESS names answers."""
    if address in ("", "local"):
        return Finding("RAY_ADDRESS", Verdict.OK, "not set: a run starts a local Ray of its own")
    fix = "start that Ray, or unset RAY_ADDRESS to use a local one"
    if address == "auto":
        return Finding("RAY_ADDRESS", Verdict.OK, "auto: a run uses the Ray of this machine")
    host, _, port = address.rpartition("://")[2].partition(":")
    if not (host and port.isdigit()):
        return Finding("RAY_ADDRESS", Verdict.PROBLEM, address, "expected HOST:PORT; " + fix)
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError as error:
        return Finding("RAY_ADDRESS", Verdict.PROBLEM, f"{address} does not answer: {error}", fix)
    return Finding("RAY_ADDRESS", Verdict.OK, f"{address} answers")


def scratch(path: Path) -> Finding:
    """Where Ray puts the files of its sessions."""
    usage = shutil.disk_usage(path)
    if usage.used / usage.total < _RAY_FULL and usage.free >= _GIB:
        return Finding("scratch disk", Verdict.OK, f"{size(usage.free)} free in {path}")
    fix = f"free some space in {path}: Ray keeps its sessions there, and stops at {_RAY_FULL:.0%} full"
    return Finding("scratch disk", Verdict.PROBLEM, f"{size(usage.free)} free in {path}", fix)


def free_disk(storage: Path) -> Finding:
    """Room for runs, and the right to write them."""
    folder = storage.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    found = f"{size(free)} free for {storage}"
    if not os.access(folder, os.W_OK):
        return Finding(
            "storage", Verdict.PROBLEM, f"{folder} is not writable", "choose another with --storage"
        )
    if free < _GIB:
        return Finding(
            "storage", Verdict.WARNING, found, "free some space, or set checkpoint.storage to another disk"
        )
    return Finding("storage", Verdict.OK, found)


def leftovers(storage: Path) -> Finding:
    """Processes of runs that have ended."""
    pids: list[str] = []
    for path in sorted(storage.glob("[!.]*/run.json")):
        run = RunDirectory(path.parent)
        try:
            if run.read_status().status.terminal:
                pids += [str(pid) for pid in find_leftovers(run).processes]
        except StorageError:
            continue
    if not pids:
        return Finding("leftovers", Verdict.OK, f"no process of an ended run in {storage}")
    return Finding(
        "leftovers",
        Verdict.WARNING,
        f"Ray workers of ended runs: {', '.join(pids)}",
        f"kill {' '.join(pids)}",
    )


def service_and_head() -> Iterator[Finding]:
    """What `tumbler up` started, and the service that commands talk to."""
    settings = Settings.load()
    machine = ThisMachine(settings)
    yield service(machine, settings.url)
    yield head(machine)
    yield from (webhook(settings.home, wish.name) for wish in settings.webhooks)


def service(machine: Machine, url: str | None) -> Finding:
    """Whether the service that was named, or that of the home, answers."""
    record = machine.service()
    if url is not None:
        if machine.answers(url):
            return Finding("service", Verdict.OK, f"{url} answers")
        return Finding("service", Verdict.PROBLEM, f"{url} does not answer", "start it, or unset TUMBLER_URL")
    if record is None:
        return Finding("service", Verdict.OK, "none runs here; `tumbler up` starts one")
    if machine.answers(record.url):
        return Finding("service", Verdict.OK, f"{record.url} answers (process {record.pid})")
    found = f"process {record.pid} lives and {record.url} does not answer"
    return Finding("service", Verdict.PROBLEM, found, "see its log in the home; `tumbler down` stops it")


def head(machine: Machine) -> Finding:
    """Whether the Ray head of the home lives."""
    found = machine.head()
    if found is not None:
        return Finding("head", Verdict.OK, f"Ray's dashboard is {found.dashboard_url}")
    if machine.head_is_gone():
        return Finding("head", Verdict.PROBLEM, "it died", "`tumbler up` starts another")
    return Finding("head", Verdict.OK, "none runs here; `tumbler up` starts one")


def webhook(home_folder: Path, name: str) -> Finding:
    """Whether a receiver takes what it is told, by what the service wrote down last."""
    try:
        known = read_standing(standing_path(home_folder, name))
    except StorageError as error:
        return Finding(f"webhook {name}", Verdict.PROBLEM, error.message, "restore or remove that file")
    if known is None:
        return Finding(f"webhook {name}", Verdict.OK, "told nothing yet: no service has run with it")
    if known.failing is None:
        return Finding(f"webhook {name}", Verdict.OK, "takes what it is told")
    found = f"takes nothing since {known.failing.since}: {known.failing.why}"
    return Finding(f"webhook {name}", Verdict.WARNING, found, "mend the receiver; nothing it missed is lost")


def _requirement(name: str) -> str:
    """What our own package asks for, such as `ray[data,default,train]==2.60.*`."""
    try:
        wanted = [line for line in requires("tumbler") or () if "extra ==" not in line]
    except PackageNotFoundError:
        return name
    return next((line for line in wanted if re.fullmatch(rf"{re.escape(name)}(?![\w-]).*", line)), name)


def _matches(wanted: str, found: str) -> bool:
    """By the first two numbers, which is all that our own pins fix."""
    pinned = wanted.partition("=")[2].lstrip("=~ ").split(",")[0]
    return not pinned or found.split(".")[:2] == pinned.split(".")[:2]
