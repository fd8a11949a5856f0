"""Ray's state actor is told beside the training, and training never waits for it."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.domain.events import EventKind, event
from tests.unit.test_train_book import new_book
from trainers.ray_train import train_tab
from trainers.ray_train.internals import TrainStateActor
from trainers.ray_train.internals import train_schema as theirs
from trainers.ray_train.train_tab import TrainTab


class Method:
    def __init__(self, actor: "StateActor", call: Callable[..., Any]):
        self._actor, self._call = actor, call

    def remote(self, *arguments: Any) -> "asyncio.Future[Any]":
        return asyncio.ensure_future(self._answer(*arguments))

    async def _answer(self, *arguments: Any) -> Any:
        await self._actor.answers.wait()
        if self._actor.failures:
            raise self._actor.failures.pop()
        self._actor.num_calls += 1
        return self._call(*arguments)


class StateActor:
    """Ray's own, in this process, shaped like an actor handle; it may be slow, fail, and forget."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.answers.set()
        self.failures: list[Exception] = []
        self.num_calls = 0
        self.forget()

    def forget(self) -> None:
        self.state = TrainStateActor()

    def __getattr__(self, name: str) -> Method:
        if name == "__ray_call__":
            return Method(self, lambda function: function(self.state))
        return Method(self, lambda *arguments: getattr(self.state, name)(*arguments))

    @property
    def run(self) -> theirs.TrainRun:
        return self.state.get_train_runs()["lm-a1"]

    @property
    def generations(self) -> list[str]:
        return list(self.state.get_train_run_attempts()["lm-a1"])


@pytest.fixture
async def actor() -> StateActor:
    return StateActor()


@pytest.fixture
async def tab(actor: StateActor, monkeypatch: pytest.MonkeyPatch) -> TrainTab:
    monkeypatch.setattr(train_tab, "_AGAIN_AFTER_S", 0.01)
    monkeypatch.setattr(train_tab, "_FAREWELL_S", 0.2)
    return TrainTab(new_book, lambda: actor)


def starts(tab: TrainTab) -> None:
    facts = {"pid": 7, "node_id": "n1", "node_ip": "10.0.0.1", "actor_id": "a", "gpu_ids": []}
    tab.hear(event(EventKind.WORKER_STARTED, "", worker="w1", **facts))


def trains(tab: TrainTab, generation: int) -> None:
    tab.hear(event(EventKind.GENERATION_STARTED, "", generation=generation, workers=["w1"]))


def ends(tab: TrainTab) -> None:
    tab.hear(event(EventKind.RUN_ENDED, "", status="SUCCEEDED", reason="Finished"))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_nobody_is_asked_before_the_first_generation(tab: TrainTab, actor: StateActor) -> None:
    starts(tab)
    await asyncio.sleep(0.01)
    assert actor.num_calls == 0
    trains(tab, 1)
    await until(lambda: actor.num_calls == 3)
    assert actor.generations == ["lm-a1-g1"]
    assert actor.run.status == "RUNNING"
    ends(tab)
    await tab.close(None)
    assert actor.run.status == "FINISHED"


async def test_what_happens_while_the_actor_is_slow_goes_in_one_message(
    tab: TrainTab, actor: StateActor
) -> None:
    actor.answers.clear()
    starts(tab)
    trains(tab, 1)
    await asyncio.sleep(0.02)
    for number in range(2, 50):
        trains(tab, number)
        await asyncio.sleep(0)
    assert actor.num_calls == 0
    actor.answers.set()
    await until(lambda: len(actor.generations) == 49)
    # run, generation 1 and the count; then the run, all generations and the count
    assert actor.num_calls == 3 + 1 + 49 + 1


async def test_an_actor_that_never_answers_holds_up_the_end_for_a_moment_only(
    tab: TrainTab, actor: StateActor
) -> None:
    actor.answers.clear()
    starts(tab)
    trains(tab, 1)
    ends(tab)
    begun = time.monotonic()
    await tab.close(None)
    assert 0.1 < time.monotonic() - begun < 1.0


async def test_an_actor_that_fails_is_told_again(
    tab: TrainTab, actor: StateActor, capsys: pytest.CaptureFixture[str]
) -> None:
    actor.failures = [RuntimeError("gone"), RuntimeError("gone")]
    starts(tab)
    trains(tab, 1)
    trains(tab, 2)
    await until(lambda: actor.generations == ["lm-a1-g1", "lm-a1-g2"])
    ends(tab)
    await tab.close(None)
    assert actor.run.status == "FINISHED"
    assert capsys.readouterr().err.startswith("Ray's Train tab is not told: RuntimeError: gone\n")


async def test_an_actor_that_forgot_is_told_everything(tab: TrainTab, actor: StateActor) -> None:
    starts(tab)
    trains(tab, 1)
    trains(tab, 2)
    await until(lambda: actor.num_calls >= 4)
    actor.forget()
    trains(tab, 3)
    await until(lambda: actor.generations == ["lm-a1-g1", "lm-a1-g2", "lm-a1-g3"])
    assert actor.run.status == "RUNNING"


async def test_without_a_dashboard_nothing_is_told_and_nothing_is_waited_for() -> None:
    tab = TrainTab(new_book, lambda: None)
    trains(tab, 1)
    await asyncio.sleep(0.05)
    ends(tab)
    begun = time.monotonic()
    await tab.close(None)
    assert time.monotonic() - begun < 0.1
    assert not tab._heard


async def test_who_does_not_want_it_asks_nobody(actor: StateActor) -> None:
    tab = TrainTab(new_book, lambda: actor, wanted=False)
    starts(tab)
    trains(tab, 1)
    await asyncio.sleep(0.02)
    await tab.close(None)
    assert actor.num_calls == 0


async def test_an_error_of_ours_that_no_event_tells_of_is_shown(tab: TrainTab, actor: StateActor) -> None:
    starts(tab)
    trains(tab, 1)
    await until(lambda: actor.num_calls == 3)
    await tab.close(RuntimeError("the disk is gone"))
    assert (actor.run.status, actor.run.status_detail) == ("ERRORED", "the disk is gone")
    [generation] = actor.state.get_train_run_attempts()["lm-a1"].values()
    assert (generation.status, generation.workers[0].status) == ("ERRORED", "DEAD")
