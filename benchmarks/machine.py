"""The machine and the versions that a number belongs to."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

VERSIONS_THAT_MATTER = ("torch", "ray", "torchft")


def describe_machine() -> dict[str, str | int | float]:
    """Processor, cores, memory in GiB, system and versions; no host name and no path."""
    return {
        "cpu": _cpu_model(),
        "num_cores": os.cpu_count() or 1,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in VERSIONS_THAT_MATTER},
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
