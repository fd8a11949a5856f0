"""Who holds the lock of a folder, and when it is taken from him."""

import os
from pathlib import Path

from trainers.feed.folder_lock import FolderLock


def test_a_lock_is_taken_over_when_its_owner_shows_no_life(tmp_path: Path) -> None:
    now = [0.0]
    first = FolderLock(tmp_path / ".lock", stale_after_s=1e9)
    second = FolderLock(tmp_path / ".lock", stale_after_s=60, clock=lambda: now[0])
    assert first.acquire()
    assert not second.acquire()
    now[0] = 59.0
    assert not second.acquire()
    now[0] = 61.0
    assert second.acquire()
    assert second.is_held
    assert not first.is_held
    first.release()
    assert second.is_held
    second.release()
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_process_that_is_gone_is_free_at_once(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path / ".lock"), FolderLock(tmp_path / ".lock")
    assert first.acquire()
    path = tmp_path / ".lock"
    path.write_text(path.read_text().replace(f'"pid": {os.getpid()}', '"pid": 4194305'))
    assert second.acquire()
    second.release()
    first.release()
