"""Rows by index out of a store, while it is being filled and afterwards."""

import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from orchestrator.domain.errors import DataError
from trainers.feed.row_views import RowView, view_of
from trainers.feed.segments import SegmentStore

_MOST_OPEN: Final = 256
"""Segments that stay mapped; a map of a file costs no memory of its own."""
_NAP_S: Final = 0.02
_PATIENCE_S: Final = 600.0

_Found = TypeVar("_Found")


class FeedRows:
    """Rows `first` to `last` - 1 of a store, as a map-style dataset; pickles as its path.

    A segment is checked by its checksum when this process opens it first. One that is not there yet, or was
    found damaged, is waited for: `on_wait(number)` is called again and again until it is there (by default
    it sleeps a moment).
    """

    def __init__(
        self,
        folder: Path,
        first: int,
        last: int,
        *,
        patience_s: float = _PATIENCE_S,
        on_wait: Callable[[int], None] | None = None,
    ) -> None:
        if not 0 <= first <= last:
            raise ValueError(f"expected 0 <= first <= last, got {first} and {last}")
        self._origin = (folder, first, last, patience_s)
        self._store = SegmentStore(folder)
        self._first = first
        self._num_rows = last - first
        self._patience_s = patience_s
        self._on_wait = on_wait or _nap
        self._rows_per_segment = 0
        self._open: OrderedDict[int, RowView] = OrderedDict()
        self._checked: set[int] = set()
        self._loading = threading.Lock()
        self._wishes: queue.SimpleQueue[list[int]] | None = None

    def __len__(self) -> int:
        return self._num_rows

    def __getitem__(self, index: int) -> Any:
        """The row: a PackedRow, or a dict of its columns.

        Raises DataError where its segment is not there and nobody brings it in time, IndexError outside.
        """
        if not 0 <= index < self._num_rows:
            raise IndexError(f"row {index} is outside the {self._num_rows} rows")
        if not self._rows_per_segment:
            self._learn_layout()
        number, offset = divmod(self._first + index, self._rows_per_segment)
        view = self._open.get(number)
        return (view or self._load(number)).row(offset)

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Many rows at once, in that order; what torch's data loaders ask for."""
        return [self[index] for index in indices]

    def __reduce__(self) -> tuple[Any, ...]:
        folder, first, last, patience_s = self._origin
        return _unpickled, (folder, first, last, patience_s)

    def prefetch(self, indices: Iterable[int]) -> None:
        """Has a thread open and check the segments of these rows that are there; returns at once.

        A newer wish goes before older ones that it has not begun.
        """
        wanted = [index for index in indices if 0 <= index < self._num_rows]
        if self._rows_per_segment:
            numbers = {(self._first + index) // self._rows_per_segment for index in wanted}
            if numbers <= self._open.keys():
                return
        if self._wishes is None:
            self._wishes = queue.SimpleQueue()
            threading.Thread(
                target=self._fulfil, args=(self._wishes,), name="feed-prefetch", daemon=True
            ).start()
        self._wishes.put(wanted)

    def _learn_layout(self) -> int:
        if not self._rows_per_segment:
            self._await(lambda: self._store.head, 0)
            assert self._store.head is not None
            self._rows_per_segment = self._store.head.rows_per_segment
        return self._rows_per_segment

    def _load(self, number: int) -> RowView:
        return self._await(lambda: self._opened(number), number)

    def _opened(self, number: int) -> RowView | None:
        """The segment if it is there. Nobody waits with the lock: another segment may be there already."""
        with self._loading:
            view = self._open.get(number)
            entries = self._store.entries()
            if view is not None or number >= len(entries) or not self._store.path(number).exists():
                return view
            table = self._store.read(entries[number], check=number not in self._checked)
            self._checked.add(number)
            self._open[number] = view = view_of(table)
            while len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
            return view

    def _await(self, look: Callable[[], _Found | None], number: int) -> _Found:
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                found = look()
            except DataError:
                found = None  # a damaged segment, which is set aside and missing from now on
            if found is not None:
                return found
            self._give_up(number)
            if time.monotonic() >= deadline:
                raise DataError(
                    f"{self._store.path(number)} {self._lack(number)} within {self._patience_s:g} s",
                    hint="Is the feed of the run alive, and does it have a CPU (data.cpus)?",
                )
            self._on_wait(number)

    def _lack(self, number: int) -> str:
        was_there = number < len(self._store.entries())
        return "is missing or damaged and was not made again" if was_there else "was not made"

    def _give_up(self, number: int) -> None:
        failure = self._store.failure
        if failure is not None:
            raise DataError(failure)
        manifest = self._store.manifest
        if manifest is not None and number >= manifest.num_segments:
            raise DataError(
                f"{self._store.folder} ended with row {manifest.num_rows - 1}, and a row of segment {number}"
                " is asked for"
            )

    def _fulfil(self, wishes: "queue.SimpleQueue[list[int]]") -> None:
        while True:
            wanted = wishes.get()
            while not wishes.empty():
                wanted = wishes.get()
            try:
                rows = self._learn_layout()
                for number in dict.fromkeys((self._first + index) // rows for index in wanted):
                    self._opened(number)
            except Exception:
                # Whoever asks for the row is told; a wish is nobody's mistake.
                continue


def split(num_rows: int, validation_fraction: float) -> tuple[int, int]:
    """(training rows, validation rows): the last `validation_fraction` is for validation, rounded down but
    at least one; 0 holds out none. Raises DataError where nothing is left to train on."""
    num_validation = max(1, int(num_rows * validation_fraction)) if validation_fraction else 0
    num_train = num_rows - num_validation
    if num_train < 1:
        rows = {0: "no rows at all", 1: "1 row, too few to hold some out"}
        raise DataError(
            f"the data holds {rows.get(num_rows, f'{num_rows} rows, too few to hold some out')}",
            hint="Give it more data, lower model.context or set data.validation_fraction to 0.",
        )
    return num_train, num_validation


def feed_rows(
    folder: Path,
    num_rows: int,
    validation_fraction: float,
    *,
    patience_s: float = _PATIENCE_S,
    on_wait: Callable[[int], None] | None = None,
) -> tuple[FeedRows, FeedRows | None]:
    """The training rows and the validation rows of a store that has or will have `num_rows` rows."""
    num_train, num_validation = split(num_rows, validation_fraction)
    train = FeedRows(folder, 0, num_train, patience_s=patience_s, on_wait=on_wait)
    if not num_validation:
        return train, None
    return train, FeedRows(folder, num_train, num_rows, patience_s=patience_s, on_wait=on_wait)


def _nap(number: int) -> None:
    time.sleep(_NAP_S)


def _unpickled(folder: Path, first: int, last: int, patience_s: float) -> FeedRows:
    return FeedRows(folder, first, last, patience_s=patience_s)
