"""What users ask of runs, on the record in memory."""

import pytest

from orchestrator.domain.errors import KeyReused, RunExists, RunNotFound, SpecError, Stale, WrongStatus
from orchestrator.domain.runs import Run
from orchestrator.domain.status import RunStatus
from orchestrator.ports.record import IdempotencyKey
from orchestrator.services.runs import RunService, Submit, Workers
from orchestrator.store.memory import MemoryRecord
from tests.unit.service_world import NOW, spec_of


class Desk(RunService):
    """Remembers whom it woke."""

    def __init__(self) -> None:
        self.record = MemoryRecord()
        self.woken: list[str] = []
        super().__init__(self.record, wake=self.woken.append, clock=lambda: NOW)

    async def new(self, name: str = "otter", **content: object) -> Run:
        return (await self.submit(Submit(spec_of(name, **content), package="abc"))).run

    async def cancelled(self, name: str = "otter", **content: object) -> Run:
        await self.new(name, **content)
        return await self.cancel(name)


async def test_a_submit_is_kept_and_wakes_and_its_replay_does_neither() -> None:
    desk = Desk()
    key = IdempotencyKey("k", "body")
    first = await desk.submit(Submit(spec_of("otter")), key)
    again = await desk.submit(Submit(spec_of("otter")), key)
    assert (first.replayed, again.replayed) == (False, True)
    assert again.run.id == first.run.id
    assert desk.woken == [first.run.id]
    with pytest.raises(KeyReused):
        await desk.submit(Submit(spec_of("owl")), IdempotencyKey("k", "another body"))
    with pytest.raises(RunExists):
        await desk.new("otter")


async def test_verbs_take_a_prefix_and_say_the_same_when_said_twice() -> None:
    desk = Desk()
    run = await desk.new()
    paused = await desk.pause("ott")
    assert paused.status is RunStatus.PAUSED
    assert await desk.pause(run.id) == paused
    assert (await desk.resume("otter")).status is RunStatus.QUEUED
    assert (await desk.cancel("otter")).status is RunStatus.CANCELLED
    assert (await desk.cancel("otter")).status is RunStatus.CANCELLED
    assert len(desk.woken) == 4
    with pytest.raises(WrongStatus, match="run otter is CANCELLED and cannot be paused") as refused:
        await desk.pause("otter")
    assert refused.value.hint == "it can be retried, cloned or deleted"
    with pytest.raises(RunNotFound):
        await desk.pause("heron")


async def test_scale_takes_a_number_or_bounds() -> None:
    desk = Desk()
    await desk.new(workers="2:4")
    assert bounds(await desk.scale("otter", 1)) == (1, 1)
    assert bounds(await desk.scale("otter", Workers(max=6))) == (1, 6)
    assert bounds(await desk.scale("otter", Workers(3, 5))) == (3, 5)
    with pytest.raises(SpecError, match=r"workers\.max: expected at least 1"):
        await desk.scale("otter", 0)


async def test_a_patch_needs_the_version_it_was_made_from() -> None:
    desk = Desk()
    run = await desk.new(labels={"team": "nlp"})
    patched = await desk.patch(
        "otter", if_version=run.version, labels={"team": None, "a": "b"}, priority=9, workers=2
    )
    assert (patched.labels, patched.priority, bounds(patched)) == ({"a": "b"}, 9, (1, 2))
    assert patched.version == run.version + 1
    kinds = [event.kind for event in await desk.record.events(run.id)]
    assert kinds == ["run-submitted", "run-changed", "run-scaled"]
    with pytest.raises(Stale, match="run otter is at version 2 by now, not at 1"):
        await desk.patch("otter", if_version=run.version, priority=10)
    with pytest.raises(SpecError):
        await desk.patch("otter", if_version=2, priority=10, workers=99)
    assert (await desk.record.find("otter")).priority == 9, "half of a patch was done"
    assert await desk.patch("otter", if_version=2, priority=9) == patched


async def test_a_clone_is_a_new_run_of_the_same_spec_but_for_its_overrides() -> None:
    desk = Desk()
    run = await desk.new(labels={"team": "nlp"})
    clone = await desk.clone(
        "otter", overrides={"train.steps": 7, "workers": "1:3", "train": {"seed": 5}, "labels": {"x.y": "z"}}
    )
    assert clone.name != run.name
    assert clone.package == "abc"
    assert (clone.spec.train.steps, clone.spec.train.seed, bounds(clone)) == (7, 5, (1, 3))
    assert clone.labels == {"team": "nlp", "x.y": "z"}
    assert clone.spec.train.logical_shards == run.spec.train.logical_shards
    assert (await desk.clone("otter", name="heron")).name == "heron"
    with pytest.raises(SpecError, match="stepz"):
        await desk.clone("otter", overrides={"train.stepz": 7})
    with pytest.raises(RunExists):
        await desk.clone("otter", name="heron")


async def test_a_retry_gets_the_next_free_name_and_is_one_while_it_lives() -> None:
    desk = Desk()
    old = await desk.cancelled()
    first = await desk.retry("otter")
    assert (first.name, first.status, first.package) == ("otter-r1", RunStatus.QUEUED, "abc")
    assert first.spec.fingerprint() == old.spec.fingerprint()
    assert await desk.retry(old.id) == first
    await desk.cancel("otter-r1")
    assert (await desk.retry("otter-r1")).name == "otter-r2"
    with pytest.raises(WrongStatus, match="is QUEUED and cannot be retried"):
        await desk.retry("otter-r2")


async def test_a_retry_of_the_longest_name_has_a_legal_name() -> None:
    desk = Desk()
    await desk.cancelled("a" * 63)
    assert (await desk.retry("a" * 63)).name == "a" * 60 + "-r1"


async def test_only_an_ended_run_is_deleted() -> None:
    desk = Desk()
    await desk.new()
    with pytest.raises(WrongStatus, match="run otter is QUEUED and cannot be deleted"):
        await desk.delete("otter")
    await desk.cancel("otter")
    assert (await desk.delete("otter")).name == "otter"
    with pytest.raises(RunNotFound):
        await desk.record.find("otter")


def bounds(run: Run) -> tuple[int, int]:
    return run.workers_min, run.workers_max
