"""Large copies go past the caches where a Ray was started by Tumbler, unless the user has settings."""

import os
import subprocess
from pathlib import Path

import pytest

from orchestrator.checkpoints.streaming import streaming_copies

LOADER = Path("/lib64/ld-linux-x86-64.so.2")


@pytest.mark.skipif(not LOADER.exists(), reason="the C library is not glibc on x86-64")
def test_the_c_library_takes_the_setting() -> None:
    environment = {"PATH": os.defpath, **streaming_copies({})}
    said = subprocess.run(
        [str(LOADER), "--list-tunables"], env=environment, capture_output=True, text=True, check=True
    )
    (line,) = (line for line in said.stdout.splitlines() if "x86_non_temporal_threshold" in line)
    assert line.split()[1] == hex(2 << 20)


def test_who_has_settings_keeps_them() -> None:
    assert streaming_copies({"GLIBC_TUNABLES": "glibc.malloc.check=3"}) == {}
