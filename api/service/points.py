"""Metric points for charts, of as many runs as are looked at: a long run costs files and little memory."""

import fcntl
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import Any, Final, TypeVar

import structlog

from api.history import read_points
from api.service.point_curves import curves
from api.service.point_index import SAVED, CacheError, PointIndex, errors_of_the_cache
from api.service.point_samples import PointSamples
from api.service.point_table import NotNumbers
from api.service.points_asked import Asked, columns
from orchestrator.domain.errors import StorageError
from orchestrator.domain.run_directory import RunDirectory

_MOST_OPEN: Final = 1000
_MOST_BYTES: Final = 64 << 20
"""Of memory, of all runs together."""
_NUM_THREADS: Final = 4
_MOST_DRAWN: Final = 100
_MOST_CURVES: Final = 4
Curves = dict[str, list[Any]]
_T = TypeVar("_T")
_log = structlog.get_logger()


@dataclass
class _Open:
    """One run that was looked at."""

    index: PointIndex | None = None
    odd: bool = False
    """Its points are no numbers: they are read anew each time."""
    lock: Lock = field(default_factory=Lock)
    num_users: int = 0
    num_bytes: int = 0
    drawn: dict[Asked, Curves] = field(default_factory=dict)
    """Small curves, of the table as it was after `drawn_at` records."""
    drawn_at: tuple[int, int] = (0, 0)


class PointCache:
    """All methods block, and may be called from several threads."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` is where the points of long runs are kept, if no other process keeps them there. It may be
        deleted while the service is down."""
        self._folder = folder if folder is None or _claimed(folder) else None
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._num_bytes = 0
        self._lock = Lock()
        self._closed = Event()
        self._samples = PointSamples()
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="points-ahead")
        self.threads = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="points")
        """To call it from: the first look at a long journal takes seconds."""

    def curves(self, run_id: str, run: RunDirectory, asked: Asked) -> Curves:
        """Columns as `points_asked.columns` gives them. Raises StorageError where the journal is broken."""
        with self._using(run_id, run) as opened:
            found = self._used(opened, run_id, run, lambda index: _drawn(opened, index, asked))
            return columns(read_points(run), asked) if found is None else found

    def sample(self, run_id: str, run: RunDirectory, asked: Asked) -> Curves | None:
        """At once, of a long run that was not read yet; None where `curves` is as quick, or the only way."""
        return None if self._is_read(run_id) else self._samples.curves(run_id, run, asked)

    def read_ahead(self, run_id: str, run: RunDirectory) -> None:
        """As `follow`, one run after the other, while whoever asks goes on."""
        with suppress(RuntimeError):  # the service ends
            self._ahead.submit(self.follow, run_id, run)

    def follow(self, run_id: str, run: RunDirectory) -> None:
        """Read what is new, so that the next curve is there at once. What is wrong shows then."""
        with self._using(run_id, run) as opened, suppress(StorageError):
            self._used(opened, run_id, run, lambda index: None)

    def kept(self) -> list[str]:
        """Ids of the runs of which there is something on the disk."""
        return [] if self._folder is None else [path.name for path in self._folder.iterdir() if path.is_dir()]

    def forget(self, run_id: str) -> None:
        """The run is gone."""
        with self._lock:
            opened = self._open.pop(run_id, None)
            self._num_bytes -= 0 if opened is None else opened.num_bytes
        if self._folder is not None:
            shutil.rmtree(self._folder / run_id, ignore_errors=True)

    def close(self) -> None:
        """Saves what was read, for the next start."""
        self._closed.set()
        for threads in (self.threads, self._ahead):
            threads.shutdown(cancel_futures=True)
        for opened in list(self._open.values()):
            with opened.lock:
                _save(opened)

    def _is_read(self, run_id: str) -> bool:
        """And nobody is busy with reading it."""
        with self._lock:
            opened = self._open.get(run_id)
            if opened is not None and opened.num_users:
                return False
            read = opened is not None and (opened.odd or opened.index is not None)
        return read or (self._folder is not None and (self._folder / run_id / SAVED).exists())

    def _used(
        self, opened: _Open, run_id: str, run: RunDirectory, use: Callable[[PointIndex], _T]
    ) -> _T | None:
        """What `use` makes of the index, which is up to date; None for a run that has none."""
        if opened.odd:
            return None
        place = None if self._folder is None else self._folder / run_id
        for is_last in (False, True):
            try:
                opened.index = opened.index or PointIndex(run, place, self._closed)
                opened.index.update()
                with errors_of_the_cache(place):
                    return use(opened.index)
            except NotNumbers:
                opened.index, opened.odd = None, True
                break
            except CacheError as error:
                if is_last:
                    raise StorageError(f"cannot keep the points of {run.name}: {error}") from error
                _log.warning("the points kept of a run are no use, they are read anew", run_id=run_id)
                opened.index = None
                if place is not None:
                    shutil.rmtree(place, ignore_errors=True)
        return None

    @contextmanager
    def _using(self, run_id: str, run: RunDirectory) -> Iterator[_Open]:
        with self._lock:
            opened = self._open.setdefault(run_id, _Open())
            self._open.move_to_end(run_id)
            opened.num_users += 1
        try:
            with opened.lock:
                yield opened
        finally:
            with self._lock:
                opened.num_users -= 1
                if self._open.get(run_id) is opened:
                    num_bytes = 0 if opened.index is None else opened.index.num_bytes
                    self._num_bytes += num_bytes - opened.num_bytes
                    opened.num_bytes = num_bytes
                    self._make_room()

    def _make_room(self) -> None:
        """Those asked for longest ago go first; of one that is in use no second one may be opened."""
        for run_id, opened in list(self._open.items()) if self._is_full() else ():
            if self._is_full() and opened.num_users == 0:
                del self._open[run_id]
                self._num_bytes -= opened.num_bytes
                _save(opened)

    def _is_full(self) -> bool:
        return len(self._open) > _MOST_OPEN or self._num_bytes > _MOST_BYTES


def _drawn(opened: _Open, index: PointIndex, asked: Asked) -> Curves:
    if opened.drawn_at != index.version:
        opened.drawn, opened.drawn_at = {}, index.version
    found = opened.drawn.get(asked)
    if found is None:
        found = curves(index.table, asked)
        if asked.max_points <= _MOST_DRAWN and len(opened.drawn) < _MOST_CURVES:
            opened.drawn[asked] = found
    return found


def _save(opened: _Open) -> None:
    with suppress(OSError, StorageError):
        if opened.index is not None:
            opened.index.save()


def _claimed(folder: Path) -> bool:
    """For as long as this process lives."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    return True
