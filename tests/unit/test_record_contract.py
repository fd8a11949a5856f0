"""What every record keeps to: runs go in, change through the one gate, and are forgotten."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.errors import KeyReused, LeaseLost, RunExists, RunNotFound, WrongStatus
from orchestrator.domain.runs import Attempt, Change, Driver, GenerationRow, Patience, Progress, Run
from orchestrator.domain.status import EndReason, IncidentKind, RunStatus
from orchestrator.ports.record import Decide, IdempotencyKey, Record
from tests.unit.records import KINDS, happened, new, opened, run, time

KEY = IdempotencyKey("key-1", "a" * 64)


@pytest.fixture(params=KINDS)
async def record(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Record]:
    async with opened(request.param, tmp_path) as record:
        yield record


def to(status: RunStatus, **fields: object) -> Decide:
    return lambda run: Change(run.with_(status=status, **fields))


async def test_a_run_comes_back_as_it_went_in(record: Record) -> None:
    full = run(
        labels={"team": "vision", "ünïcode": "ö"},
        reason="WaitsForWorkers",
        message="it waits",
        phase="resizing",
        started=time(2),
        ended=time(3),
        not_before=time(4),
        attempt=2,
        driver=3,
        target=4,
        stop=EndReason.USER_PAUSED,
        stop_since=time(5),
        package="f" * 64,
        progress=Progress(7, 9, 2, 3, {"loss": 2.5}, "step-5", "e" * 64, {1: 0.5, 16: 0.1}, {"w0": "n1"}),
        patience=Patience({IncidentKind.PREEMPTION: 2}, 1, 7),
        outbox_seq=11,
    )
    added = await record.add(Change(full))
    assert added.run == full
    assert not added.replayed
    assert await record.find("r0001") == full


async def test_the_events_of_a_new_run_are_numbered_from_one(record: Record) -> None:
    first, second = happened("first", worker="w1"), {**happened("second"), "attempt": 4, "seq": 99}
    added = await record.add(Change(run(attempt=3), (first, second)))
    assert added.run.event_seq == 2
    events = await record.events("r0001")
    assert [(event.seq, event.message, event.attempt) for event in events] == [
        (1, "first", 3),
        (2, "second", 4),
    ]
    assert events[0].facts == {"worker": "w1"}
    assert events[1].facts == {}
    assert (events[0].run_id, events[0].kind, events[0].time) == ("r0001", "run-started", time(0))


async def test_a_name_that_is_taken_is_refused_and_nothing_is_written(record: Record) -> None:
    await record.add(new())
    with pytest.raises(RunExists, match="run 'run-1' already exists"):
        await record.add(new(2, name="run-1"))
    with pytest.raises(RunExists):
        await record.add(new(1, name="run-2"))
    assert (await record.counts())[RunStatus.QUEUED] == 1
    assert len(await record.events("r0001")) == 1
    assert await record.events("r0002") == []


async def test_sending_a_submit_again_makes_no_second_run(record: Record) -> None:
    first = await record.add(new(1), KEY)
    again = await record.add(new(2), KEY)
    assert (first.replayed, again.replayed) == (False, True)
    assert again.run == first.run
    assert (await record.counts())[RunStatus.QUEUED] == 1


async def test_a_replay_shows_the_run_as_it_is_now(record: Record) -> None:
    await record.add(new(1), KEY)
    moved = await record.change("r0001", to(RunStatus.STARTING))
    assert (await record.add(new(2), KEY)).run == moved


async def test_a_key_with_another_request_is_refused(record: Record) -> None:
    await record.add(new(1), KEY)
    with pytest.raises(KeyReused, match="Idempotency-Key 'key-1' came before with another request"):
        await record.add(new(2), replace(KEY, body_sha256="b" * 64))


async def test_of_submits_at_the_same_time_each_gets_its_own_answer(record: Record) -> None:
    answers = await asyncio.gather(
        record.add(new(1), KEY),
        record.add(new(2), KEY),
        record.add(new(3, name="run-1")),
        record.add(new(4), replace(KEY, body_sha256="b" * 64)),
        record.add(new(5)),
        record.change("r0001", to(RunStatus.PAUSED)),
        record.change("r0001", to(RunStatus.RUNNING)),
        record.add(new(6, name="run-5")),
        return_exceptions=True,
    )
    kinds = [getattr(answer, "replayed", type(answer)) for answer in answers]
    assert kinds == [False, True, RunExists, KeyReused, False, Run, ValueError, RunExists]
    assert (await record.find("run-1")).status is RunStatus.PAUSED
    assert sum((await record.counts()).values()) == 2


async def test_a_change_writes_the_run_and_all_its_rows(record: Record) -> None:
    await record.add(new())
    attempt = Attempt("r0001", 1, time(9))
    driver = Driver("r0001", 1, 1, "r0001-1-1", time(9))
    formed = GenerationRow("r0001", 1, 1, time(9), 0, ("w1", "w2"), 0, 0.5)

    def start(old: Run) -> Change:
        moved = old.with_(status=RunStatus.STARTING, attempt=1, labels={"a": "b"})
        return Change(moved, (happened("it starts"),), (attempt,), (driver,), (formed,))

    changed = await record.change("r0001", start)
    assert changed == run(status=RunStatus.STARTING, attempt=1, labels={"a": "b"}, event_seq=2, version=2)
    assert await record.find("run-1") == changed
    assert [event.seq for event in await record.events("r0001")] == [1, 2]
    assert await record.attempts("r0001") == [attempt]
    assert await record.drivers("r0001") == [driver]
    assert await record.generations("r0001") == [formed]


async def test_rows_that_are_known_get_new_values_and_come_in_order(record: Record) -> None:
    await record.add(new())
    second, first = Attempt("r0001", 2, time(3)), Attempt("r0001", 1, time(2))
    drivers = tuple(Driver("r0001", a, n, f"r0001-{a}-{n}", time(3)) for a, n in ((2, 1), (1, 2), (1, 1)))
    await record.change("r0001", lambda old: Change(old, (), (second, first), drivers))
    ended = replace(first, ended=time(9), reason=EndReason.WORKER_LOST, message="gone", last_step=4)
    await record.change("r0001", lambda old: Change(old, (), (ended,)))
    assert await record.attempts("r0001") == [ended, second]
    assert [(d.attempt, d.number) for d in await record.drivers("r0001")] == [(1, 1), (1, 2), (2, 1)]


async def test_an_illegal_move_is_refused_and_nothing_is_written(record: Record) -> None:
    await record.add(new())
    with pytest.raises(ValueError, match="a run cannot go from QUEUED to SUCCEEDED"):
        await record.change(
            "r0001",
            lambda old: Change(old.with_(status=RunStatus.SUCCEEDED), (happened("never"),)),
        )
    assert await record.find("r0001") == run(event_seq=1)
    assert len(await record.events("r0001")) == 1


async def test_a_change_of_another_run_is_refused(record: Record) -> None:
    await record.add(new())
    with pytest.raises(ValueError, match="expected a change of run r0001"):
        await record.change("r0001", lambda _: Change(run(2)))


@pytest.mark.parametrize(
    "progress",
    [
        {"progress": Progress(step=3)},
        {"outbox_seq": 4},
        {"target": 2},
        {"phase": "resizing"},
        {"updated": time(50)},
        {"patience": Patience(newest_step=3)},
    ],
)
async def test_progress_does_not_count_as_a_version(record: Record, progress: dict[str, Any]) -> None:
    await record.add(new())
    changed = await record.change("r0001", lambda old: Change(old.with_(**progress), (happened("on"),)))
    assert changed.version == 1
    assert changed == await record.find("r0001") == run(event_seq=2, **progress)


@pytest.mark.parametrize("setting", [{"priority": 51}, {"labels": {"a": "b"}}, {"workers_max": 5}])
async def test_a_setting_counts_as_a_version(record: Record, setting: dict[str, object]) -> None:
    await record.add(new())
    changed = await record.change("r0001", lambda old: Change(old.with_(**setting, version=77)))
    assert changed.version == 2
    assert changed == await record.find("r0001")


async def test_what_a_decision_raises_comes_through_and_nothing_is_written(record: Record) -> None:
    await record.add(new())

    def refuse(_: Run) -> Change:
        raise WrongStatus("not now")

    with pytest.raises(WrongStatus, match="not now"):
        await record.change("r0001", refuse)
    assert await record.change("r0001", lambda _: None) == run(event_seq=1)
    with pytest.raises(RunNotFound, match="there is no run 'r0002'"):
        await record.change("r0002", refuse)


async def test_a_removed_run_leaves_nothing_and_its_name_and_key_are_free(record: Record) -> None:
    await record.add(new(labels={"a": "b"}), KEY)
    await record.change("r0001", lambda old: Change(old, (), (Attempt("r0001", 1, time(1)),)))
    assert (await record.remove("r0001", lambda _: None)).name == "run-1"
    with pytest.raises(RunNotFound):
        await record.find("run-1")
    assert [await record.events("r0001"), await record.attempts("r0001")] == [[], []]
    assert not (await record.add(new(2, name="run-1"), replace(KEY, body_sha256="c" * 64))).replayed


async def test_a_run_whose_removal_is_refused_stays(record: Record) -> None:
    await record.add(new())

    def refuse(_: Run) -> None:
        raise WrongStatus("it is not over")

    with pytest.raises(WrongStatus):
        await record.remove("r0001", refuse)
    assert await record.find("r0001") == run(event_seq=1)
    with pytest.raises(RunNotFound):
        await record.remove("r0002", lambda _: None)


async def test_one_holder_at_a_time_has_the_lease_and_each_new_one_a_greater_token(record: Record) -> None:
    assert await record.take_lease("a", now_s=100.0, ttl_s=5.0) == 1
    assert await record.take_lease("b", now_s=104.0, ttl_s=5.0) is None
    assert await record.take_lease("a", now_s=104.0, ttl_s=5.0) == 1
    assert await record.take_lease("b", now_s=108.9, ttl_s=5.0) is None
    assert await record.take_lease("b", now_s=109.0, ttl_s=5.0) == 2
    assert await record.take_lease("a", now_s=110.0, ttl_s=5.0) is None
    await record.drop_lease("a")
    assert await record.take_lease("a", now_s=110.0, ttl_s=5.0) is None
    await record.drop_lease("b")
    assert await record.take_lease("a", now_s=110.0, ttl_s=5.0) == 3


async def test_whoever_lost_the_lease_writes_nothing(record: Record) -> None:
    await record.add(new())
    with pytest.raises(LeaseLost):
        await record.change("r0001", to(RunStatus.STARTING), lease=1)
    old = await record.take_lease("a", now_s=100.0, ttl_s=5.0)
    assert old is not None
    await record.change("r0001", to(RunStatus.STARTING), lease=old)
    token = await record.take_lease("b", now_s=200.0, ttl_s=5.0)
    with pytest.raises(LeaseLost, match="another service acts"):
        await record.change("r0001", to(RunStatus.RUNNING), lease=old)
    assert (await record.find("r0001")).status is RunStatus.STARTING
    assert (await record.change("r0001", to(RunStatus.RUNNING), lease=token)).status is RunStatus.RUNNING


async def test_runs_that_ended_long_ago_are_forgotten_with_keys_as_old(record: Record) -> None:
    for number in (1, 2, 3):
        await record.add(new(number), IdempotencyKey(f"key-{number}", "a" * 64))
    for number, ended in ((1, time(10)), (2, time(20))):
        await record.change(f"r000{number}", to(RunStatus.CANCELLED, ended=ended))
    assert await record.prune(ended_before=time(20)) == ["r0001"]
    assert await record.prune(ended_before=time(20)) == []
    with pytest.raises(RunNotFound):
        await record.find("run-1")
    assert (await record.find("run-2")).status is RunStatus.CANCELLED
    assert await record.events("r0001") == []
    # The key of run-3, older than that, is forgotten too; its run is not.
    assert not (await record.add(new(4), IdempotencyKey("key-3", "b" * 64))).replayed
    assert (await record.find("run-3")).status is RunStatus.QUEUED
