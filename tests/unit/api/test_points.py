"""The kept points answer as the journal itself does, whatever happened to it, and cost little."""

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.history import read_points
from api.service import point_index
from api.service.points import PointCache
from api.service.points_asked import Aggregate, Asked, columns
from orchestrator.domain.errors import StorageError
from orchestrator.domain.journal import JournalWriter
from orchestrator.domain.run_directory import RunDirectory

ID = "r0001"
NUMBERS = st.floats(width=32) | st.integers(-5, 5)
KEYS = st.sampled_from(["loss", "val_loss", "count"])
STEPS = st.integers(0, 12)
POINTS = st.builds(
    lambda step, metrics: {"step": step, "time": 1.5, "workers": 2, **metrics},
    STEPS,
    st.dictionaries(KEYS, NUMBERS),
)
EVALUATIONS = st.builds(
    lambda step, metrics: {"kind": "evaluation", "step": step, "time": 2.5, **metrics},
    STEPS,
    st.dictionaries(KEYS, NUMBERS),
)
OTHERS = st.builds(
    lambda kind, step: {"kind": kind, "step": step, "attempt": 2},
    st.sampled_from(["rewind", "attempt", "note-of-later"]),
    STEPS,
)
ASKED = st.builds(
    Asked,
    st.lists(KEYS | st.just("nothing"), max_size=2, unique=True).map(tuple),
    st.integers(0, 6),
    st.none() | st.integers(0, 14),
    st.integers(1, 14),
    st.sampled_from(Aggregate),
)


@pytest.fixture
def few_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few points make a long run."""
    monkeypatch.setattr(point_index, "MOST_IN_MEMORY", 2)
    monkeypatch.setattr(point_index, "_SAVED_EVERY", 3)
    monkeypatch.setattr(point_index, "_BATCH", 4)


def outbox_of(folder: Path) -> Path:
    return folder / "run" / "outbox"


def write(folder: Path, records: list[dict[str, Any]], max_bytes: int = 600) -> None:
    with JournalWriter(outbox_of(folder), "metrics", max_bytes=max_bytes) as journal:
        for record in records:
            journal.append(record)
            if record["step"] % 3 == 0:
                journal.flush()


def steps(first: int, last: int, **metrics: float) -> list[dict[str, Any]]:
    return [{"step": step, "loss": 10.0 - step, **metrics} for step in range(first, last + 1)]


def same(found: dict[str, list[Any]], expected: dict[str, list[Any]]) -> bool:
    """By value: NaN is NaN, and a name without any value says nothing."""
    mine, theirs = (
        {name: [_comparable(value) for value in column] for name, column in one.items() if _is_told(column)}
        for one in (found, expected)
    )
    return mine == theirs


def _is_told(column: list[Any]) -> bool:
    return any(value is not None for value in column)


def _comparable(value: Any) -> Any:
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def check(cache: PointCache, folder: Path, *asked: Asked) -> None:
    run = RunDirectory(folder / "run")
    points = read_points(run)
    for one in asked or (Asked(), Asked(max_points=3), Asked(("loss",), 2, 4)):
        found, expected = cache.curves(ID, run, one), columns(points, one)
        assert found["step"] == expected["step"]
        assert same(found, expected), (one, found, expected)
        assert not one.keys or found.keys() == expected.keys()


@pytest.mark.usefixtures("few_in_memory")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.lists(POINTS | EVALUATIONS | OTHERS, max_size=8), min_size=1, max_size=5),
    asked=st.lists(ASKED, min_size=1, max_size=3),
    restarts=st.sets(st.integers(0, 4)),
    orderly=st.booleans(),
)
@pytest.mark.slow
def test_the_answers_are_those_of_reading_the_whole_journal(
    tmp_path_factory: pytest.TempPathFactory,
    parts: list[list[dict[str, Any]]],
    asked: list[Asked],
    restarts: set[int],
    orderly: bool,
) -> None:
    folder = tmp_path_factory.mktemp("points")
    cache = PointCache(folder / "cache")
    for number, records in enumerate(parts):
        write(folder, records)
        if number in restarts:
            if orderly:
                cache.close()
            cache = restarted(cache, folder)
        check(cache, folder, *asked)


def restarted(cache: PointCache, folder: Path) -> PointCache:
    """As another process would: the lock of this one goes with it."""
    shutil.move(folder / "cache", folder / "moved")
    shutil.copytree(folder / "moved", folder / "cache", ignore=shutil.ignore_patterns("lock"))
    shutil.rmtree(folder / "moved")
    return PointCache(folder / "cache")


@pytest.mark.usefixtures("few_in_memory")
def test_after_a_restart_only_what_is_new_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, steps(1, 20))
    cache = PointCache(tmp_path / "cache")
    check(cache, tmp_path)
    write(tmp_path, steps(21, 22))
    again = restarted(cache, tmp_path)
    read: list[int] = []
    take = point_index.PointTable.take

    def counting(self: Any, records: Any, before: Any) -> None:
        read.extend(record["step"] for record in records)
        take(self, records, before)

    monkeypatch.setattr(point_index.PointTable, "take", counting)
    check(again, tmp_path)
    assert read == [21, 22]
    check(again, tmp_path)
    assert read == [21, 22]


def _another_line(path: Path) -> None:
    """As somebody does who mends a journal by hand."""
    text = path.read_text()
    shutil.rmtree(path.parent)
    write(path.parents[2], steps(1, text.count("\n") + 3))
    for segment in path.parent.glob("metrics-*.jsonl"):
        segment.write_text(segment.read_text())


def _restored(path: Path) -> None:
    for segment in path.parent.glob("metrics-*.jsonl"):
        content = segment.read_bytes()
        segment.unlink()
        segment.write_bytes(content)


def _garbled(path: Path) -> None:
    for file in (path.parents[2] / "cache").rglob("index.json"):
        file.write_text("{")


def _cut_short(path: Path) -> None:
    for file in (path.parents[2] / "cache").rglob("*.f64"):
        os.truncate(file, 8)


def _removed(path: Path) -> None:
    for folder in (path.parents[2] / "cache").iterdir():
        if folder.is_dir():
            shutil.rmtree(folder)


@pytest.mark.usefixtures("few_in_memory")
@pytest.mark.parametrize("damage", [_another_line, _restored, _garbled, _cut_short, _removed])
@pytest.mark.parametrize("restart", [False, True])
def test_files_that_are_not_of_this_journal_any_more_are_not_believed(
    tmp_path: Path, damage: Callable[[Path], None], restart: bool
) -> None:
    write(tmp_path, steps(1, 20, lr=0.5))
    cache = PointCache(tmp_path / "cache")
    check(cache, tmp_path)
    damage(outbox_of(tmp_path) / "metrics-000001.jsonl")
    check(restarted(cache, tmp_path) if restart else cache, tmp_path)


@pytest.mark.usefixtures("few_in_memory")
def test_a_line_that_is_torn_comes_when_it_is_whole(tmp_path: Path) -> None:
    write(tmp_path, steps(1, 5), max_bytes=1 << 20)
    path = outbox_of(tmp_path) / "metrics-000001.jsonl"
    whole = path.read_bytes()
    cache = PointCache(tmp_path / "cache")
    path.write_bytes(whole[:-20])
    check(cache, tmp_path)
    with path.open("ab") as file:
        file.write(whole[-20:])
    check(cache, tmp_path)
    assert cache.curves(ID, RunDirectory(tmp_path / "run"), Asked())["step"] == [1, 2, 3, 4, 5]


@pytest.mark.usefixtures("few_in_memory")
def test_a_broken_line_is_an_error_again_and_again_until_it_is_mended(tmp_path: Path) -> None:
    write(tmp_path, steps(1, 20), max_bytes=1 << 20)
    path = outbox_of(tmp_path) / "metrics-000001.jsonl"
    sound = path.read_bytes()
    run, cache = RunDirectory(tmp_path / "run"), PointCache(tmp_path / "cache")
    path.write_bytes(sound.replace(b'"loss":1.0', b'"loss":2.0'))
    for _ in range(2):
        with pytest.raises(StorageError, match="its checksum does not match"):
            cache.curves(ID, run, Asked())
    path.write_bytes(sound)
    check(cache, tmp_path)


@pytest.mark.parametrize("odd", ["text", True, None, [1], 2**60])
def test_points_that_are_no_numbers_are_read_as_they_are(tmp_path: Path, odd: Any) -> None:
    write(tmp_path, [*steps(1, 3), {"step": 4, "note": odd}])
    run, cache = RunDirectory(tmp_path / "run"), PointCache(tmp_path / "cache")
    found = cache.curves(ID, run, Asked(("note",)))
    assert found["note"] == [None, None, None, odd]
    check(cache, tmp_path, Asked(("loss",)))


def test_integers_stay_integers_and_what_is_no_number_stays_it(tmp_path: Path) -> None:
    write(
        tmp_path, [{"step": 1, "workers": 2, "loss": math.nan}, {"step": 2, "workers": 3, "loss": -math.inf}]
    )
    found = PointCache().curves(ID, RunDirectory(tmp_path / "run"), Asked(aggregate=Aggregate.MAX))
    assert str(found) == "{'step': [1, 2], 'workers': [2, 3], 'loss': [nan, -inf]}"


@pytest.mark.usefixtures("few_in_memory")
def test_what_a_second_process_keeps_does_not_touch_the_files_of_the_first(tmp_path: Path) -> None:
    write(tmp_path, steps(1, 20))
    first, second = PointCache(tmp_path / "cache"), PointCache(tmp_path / "cache")
    check(second, tmp_path)
    assert not (tmp_path / "cache" / ID).exists()
    check(first, tmp_path)
    assert first.kept() == [ID]
    first.forget(ID)
    assert first.kept() == []
    check(first, tmp_path)


@pytest.mark.usefixtures("few_in_memory")
def test_of_many_runs_only_some_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.service.points._MOST_OPEN", 2)
    write(tmp_path, steps(1, 20))
    run, cache = RunDirectory(tmp_path / "run"), PointCache(tmp_path / "cache")
    for number in range(5):
        cache.follow(f"r{number}", run)
    assert list(cache._open) == ["r3", "r4"]
    assert sorted(cache.kept()) == [f"r{number}" for number in range(5)]
    monkeypatch.setattr("api.service.points._MOST_OPEN", 1000)
    monkeypatch.setattr("api.service.points._MOST_BYTES", -1)
    cache.follow("r5", run)
    assert list(cache._open) == []
