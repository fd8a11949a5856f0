"""One writer per folder, by a file that says who and shows that he lives.

Whoever takes over from a dead owner may err: two writers of one store write the same bytes under the same
names, and its index shuts the older one out. The lock saves work; it is not what keeps the store whole.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.domain.disk import storage_errors

_HERE = socket.gethostname()


class FolderLock:
    """The right to write `path`'s folder; `acquire` it, and `release` it or use it as a context.

    A heartbeat changes the file's time four times per `stale_after_s`. An owner is dead when his process is
    gone (on this machine), or when the file stayed as it is for that long by our own clock.
    """

    def __init__(
        self, path: Path, *, stale_after_s: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._stale_after_s = stale_after_s
        self._clock = clock
        self._token = uuid.uuid4().hex
        self._seen: tuple[str, int] | None = None
        self._seen_at = 0.0
        self._over = threading.Event()
        self._heart: threading.Thread | None = None

    @property
    def is_held(self) -> bool:
        """Whether it is still ours: another may have taken us for dead."""
        return self._heart is not None and self._owner().get("token") == self._token

    @property
    def owner(self) -> str:
        """`HOST:PID` of who holds it, empty if nobody does."""
        owner = self._owner()
        return f"{owner['host']}:{owner['pid']}" if owner else ""

    def acquire(self) -> bool:
        """Takes it if it is free or its owner is dead; False if somebody else has it. Raises StorageError."""
        with storage_errors("write", self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if not self._create():
                if not self._is_stale():
                    return False
                self._remove_stale()
                if not self._create():
                    return False
        self._over.clear()
        self._heart = threading.Thread(target=self._beat, name="feed-lock", daemon=True)
        self._heart.start()
        return True

    def release(self) -> None:
        """Gives it back; does nothing where it is not ours."""
        heart, held = self._heart, self.is_held
        if heart is None:
            return
        self._over.set()
        heart.join()
        self._heart = None
        if held:
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def _create(self) -> bool:
        # A link appears with all its content or not at all.
        aside = self._path.with_name(f"{self._path.name}.{self._token}")
        aside.write_text(json.dumps({"host": _HERE, "pid": os.getpid(), "token": self._token}))
        try:
            os.link(aside, self._path)
        except FileExistsError:
            return False
        finally:
            aside.unlink(missing_ok=True)
        return True

    def _owner(self) -> dict[str, object]:
        try:
            found = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _is_stale(self) -> bool:
        owner = self._owner()
        if owner.get("host") == _HERE and not _lives(owner.get("pid")):
            return True
        try:
            seen = (str(owner.get("token")), self._path.stat().st_mtime_ns)
        except FileNotFoundError:
            return True
        if seen != self._seen:
            self._seen, self._seen_at = seen, self._clock()
        return self._clock() - self._seen_at >= self._stale_after_s

    def _remove_stale(self) -> None:
        judged = self._owner().get("token")
        aside = self._path.with_name(f"{self._path.name}.{self._token}.stale")
        with contextlib.suppress(FileNotFoundError):
            self._path.rename(aside)
            if json.loads(aside.read_text() or "{}").get("token") != judged:
                # Another was quicker, and this is its new lock: it gets it back.
                with contextlib.suppress(FileExistsError):
                    os.link(aside, self._path)
            aside.unlink()

    def _beat(self) -> None:
        while not self._over.wait(self._stale_after_s / 4):
            with contextlib.suppress(OSError):
                if self._owner().get("token") == self._token:
                    os.utime(self._path)


def _lives(pid: object) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
