"""What many unit tests stand on."""

from pathlib import Path

import pytest

from tests.unit.snapshot_workers import holding as holding


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command finds nothing of whoever runs the tests: no runs, no settings, no service."""
    monkeypatch.chdir(tmp_path)
    for name in ("TUMBLER_STORAGE", "TUMBLER_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TUMBLER_HOME", str(tmp_path / "home"))
