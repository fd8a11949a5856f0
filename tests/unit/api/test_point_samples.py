"""A sample of a long journal shows true points only, and costs a small part of reading it whole."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.history import read_points
from api.service import point_index, point_samples
from api.service.points import PointCache
from api.service.points_asked import Aggregate, Asked
from orchestrator.domain import journal_sample
from orchestrator.domain.journal import JournalWriter
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.status import RunStatus
from tests.unit.api.in_process import RUNS, InProcess

ID = "r0001"
SMALL = Asked(("loss",), max_points=40)


def write(folder: Path, records: list[dict[str, Any]], max_bytes: int = 8 << 20) -> RunDirectory:
    with JournalWriter(folder / "outbox", "metrics", max_bytes=max_bytes) as journal:
        for number, record in enumerate(records):
            journal.append(record)
            if number % 50 == 0:
                journal.flush()
    return RunDirectory(folder)


def steps(first: int, last: int, loss: float = 0.0) -> list[dict[str, Any]]:
    return [{"step": step, "loss": loss + step / 7, "lr": 0.1} for step in range(first, last + 1)]


@pytest.fixture
def all_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(point_samples, "LONG", 0)
    monkeypatch.setattr(journal_sample, "_BLOCK", 1 << 10)


PARTS = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 80), st.booleans()), min_size=1, max_size=6)
"""Of a history: how many steps, how many are undone then, and whether the last of them is evaluated."""


def history(parts: list[tuple[int, int, bool]]) -> list[dict[str, Any]]:
    """As a run writes it; a step that is done again has another loss."""
    records: list[dict[str, Any]] = []
    step = 0
    for number, (more, undone, evaluated) in enumerate(parts):
        records += steps(step + 1, step + more, loss=100.0 * number)
        step += more
        if evaluated:
            records.append({"kind": "evaluation", "step": step, "time": 1.0, "val_loss": number + 0.5})
        if undone:
            step = max(0, step - undone)
            records.append({"kind": "rewind", "step": step})
    return records


@pytest.mark.usefixtures("all_are_long")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=PARTS, max_points=st.integers(1, 20), max_bytes=st.sampled_from([600, 8 << 20]))
def test_no_point_is_shown_that_was_undone(
    tmp_path_factory: pytest.TempPathFactory,
    parts: list[tuple[int, int, bool]],
    max_points: int,
    max_bytes: int,
) -> None:
    run = write(tmp_path_factory.mktemp("run"), history(parts), max_bytes)
    true = {point["step"]: point for point in read_points(run)}
    found = PointCache().sample(ID, run, Asked(max_points=1000))
    assert found is not None
    for name in ("loss", "val_loss", "lr"):
        for step, value in zip(found["step"], found.get(name, []), strict=False):
            assert value is None or value == true[step].get(name), (name, step)
    assert found["step"] == list(true), "a sample of all is all"
    few = PointCache().sample(ID, run, Asked(max_points=max_points))
    assert few is not None
    assert len(few["step"]) <= max_points


def test_a_sample_is_spread_over_the_whole_run_and_has_evaluations_with_their_points(tmp_path: Path) -> None:
    records = []
    for step in range(100, 20_001, 100):
        records += steps(step - 99, step)
        records.append({"kind": "evaluation", "step": step, "time": 1.0, "val_loss": step / 3})
    run = write(tmp_path, records, max_bytes=100_000)
    found = PointCache().sample(ID, run, Asked(("loss", "val_loss"), max_points=40))
    assert found is not None
    assert (len(found["step"]), found["step"][-1]) == (40, 20_000)
    gaps = [later - step for step, later in zip(found["step"], found["step"][1:], strict=False)]
    assert max(gaps) < 2500, gaps
    assert None not in found["loss"]
    assert sum(value is not None for value in found["val_loss"]) > 20


def test_of_a_long_run_that_was_not_read_only_few_records_are_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, cache = write(tmp_path, steps(1, 20_000)), PointCache()
    num_parsed = []
    monkeypatch.setattr(journal_sample, "parsed", lambda text: num_parsed.append(1) or {"step": 1})
    assert cache.sample(ID, run, SMALL) is not None
    assert len(num_parsed) < 200
    assert cache.sample(ID, run, SMALL) is not None
    assert len(num_parsed) < 200, "what was drawn is kept while the journal is the same"


def test_who_wants_what_no_sample_gives_reads_it_whole(tmp_path: Path) -> None:
    long, short = write(tmp_path / "long", steps(1, 5000)), write(tmp_path / "short", steps(1, 100))
    cache = PointCache(tmp_path / "cache")
    for asked in (Asked(from_step=5), Asked(to_step=9), Asked(aggregate=Aggregate.MEAN)):
        assert cache.sample(ID, long, asked) is None
    assert cache.sample("short", short, SMALL) is None
    assert cache.sample(ID, long, SMALL) is not None
    cache.follow(ID, long)
    assert cache.sample(ID, long, SMALL) is None, "it was read"


def test_a_long_run_that_another_start_read_is_not_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(point_index, "MOST_IN_MEMORY", 100)
    run = write(tmp_path / "run", steps(1, 5000))
    first = PointCache(tmp_path / "cache")
    first.follow(ID, run)
    first.close()
    shutil.copytree(tmp_path / "cache", tmp_path / "next", ignore=shutil.ignore_patterns("lock"))
    assert PointCache(tmp_path / "next").sample(ID, run, SMALL) is None


def test_what_is_broken_or_no_number_is_left_to_whoever_reads_it_whole(tmp_path: Path) -> None:
    odd = write(tmp_path / "odd", [*steps(1, 5000), {"step": 5001, "loss": "much"}])
    assert PointCache().sample(ID, odd, SMALL) is None
    broken = write(tmp_path / "broken", steps(1, 5000))
    path = next(broken.outbox.glob("metrics-*.jsonl"))
    path.write_bytes(path.read_bytes().replace(b'"step":1,', b'"step":2,'))
    assert PointCache().sample(ID, broken, SMALL) is None


def test_a_line_that_is_torn_or_not_finite_harms_no_sample(tmp_path: Path) -> None:
    run = write(tmp_path, [*steps(1, 5000), {"step": 5001, "loss": math.nan}])
    path = next(run.outbox.glob("metrics-*.jsonl"))
    with path.open("ab") as file:
        file.write(b'{"seq":5002,"crc":"00')
    found = PointCache().sample(ID, run, SMALL)
    assert found is not None
    assert found["step"][-1] == 5001
    assert math.isnan(found["loss"][-1])


@pytest.fixture
async def long_run(service: InProcess) -> str:
    """The id of one that ended and nobody looked at."""
    await service.submit("brave-otter")
    await service.moved("brave-otter", RunStatus.SUCCEEDED, attempt=1)
    write(service.storage / "brave-otter", steps(1, 5000))
    return (await service.record.find("brave-otter")).id


async def test_a_sparkline_reads_no_long_journal_whole(
    service: InProcess, long_run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(point_index.PointIndex, "update", lambda self: pytest.fail("it was read whole"))
    answer = await service.client.get("/api/v1/sparklines", params={"runs": long_run})
    found = answer.json()["runs"][long_run]
    assert (len(found["step"]), found["step"][-1], found["loss"][-1]) == (40, 5000, 5000 / 7)


async def test_metrics_of_a_sample_say_so_and_the_whole_is_read_meanwhile(
    service: InProcess, long_run: str
) -> None:
    async def asked(**query: Any) -> Any:
        return await service.client.get(f"{RUNS}/{long_run}/metrics", params={"max_points": 100, **query})

    first = await asked(sample=True)
    assert first.headers["Tumbler-Sampled"] == "true"
    assert first.json()["step"][-1] == 5000
    whole = await asked()
    assert "Tumbler-Sampled" not in whole.headers
    assert whole.json()["step"] == list(range(50, 5001, 50))
    service.parts.points._ahead.submit(int).result()  # behind what was begun
    assert "Tumbler-Sampled" not in (await asked(sample=True)).headers
