"""Events of an attempt -> what Ray's Train tab shows."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.domain.events import EventKind, event
from orchestrator.domain.status import ENDINGS, EndReason, RunStatus
from trainers.ray_train import train_book
from trainers.ray_train.internals import TrainStateActor
from trainers.ray_train.internals import train_schema as theirs
from trainers.ray_train.train_book import TrainBook, ending
from trainers.ray_train.train_tab import forgetting

ALIVE, DEAD = theirs.ActorStatus.ALIVE, theirs.ActorStatus.DEAD


def new_book() -> TrainBook:
    # Checked by Ray where it is made (`train_tab.py`); here only its status matters.
    run = theirs.TrainRun.model_construct(
        id="lm-a1", status=theirs.RunStatus.INITIALIZING, status_detail=None, end_time_ns=None
    )
    return TrainBook(run, {"CPU": 2.0})


class Told:
    """A book, and an event each second."""

    def __init__(self) -> None:
        self.book = new_book()
        self.now_s = 0

    def __call__(self, kind: EventKind, message: str = "", **facts: Any) -> None:
        self.now_s += 1
        self.book.hear(event(kind, message, now=datetime.fromtimestamp(self.now_s, UTC), **facts))

    def starts(self, worker: str, node: str = "n1", gpus: tuple[int, ...] = ()) -> None:
        facts = {"pid": int(worker[1:]), "node_id": node, "node_ip": "10.0.0.1", "actor_id": f"a-{worker}"}
        self(EventKind.WORKER_STARTED, worker=worker, gpu_ids=list(gpus), **facts)

    def trains(self, generation: int, *workers: str) -> None:
        self(EventKind.GENERATION_STARTED, generation=generation, workers=list(workers))

    def loses(self, worker: str, phase: str = "active") -> None:
        self(EventKind.WORKER_LOST, f"worker {worker} was lost", worker=worker, phase=phase, step=3)
        self(EventKind.WORKER_GONE, worker=worker)

    def ends(self, reason: EndReason) -> None:
        status = ENDINGS[reason].status
        self(EventKind.RUN_ENDED, f"the run ended: {reason}", status=str(status), reason=str(reason))


@pytest.fixture
def told() -> Told:
    told = Told()
    for worker in ("w1", "w2", "w3"):
        told.starts(worker)
    return told


def life(book: TrainBook) -> list[tuple[str, str | None]]:
    return [(each.status.value, each.status_detail) for each in book.generations]


def workers(book: TrainBook, generation: int) -> dict[str, theirs.ActorStatus]:
    return {each.actor_id: each.status for each in book.generations[generation].workers}


def test_each_generation_is_an_attempt_that_ends_when_the_next_one_begins(told: Told) -> None:
    told.trains(1, "w1")
    told.trains(2, "w1", "w2")
    first, second = told.book.generations
    assert life(told.book) == [("FINISHED", None), ("RUNNING", None)]
    assert (first.attempt_id, second.attempt_id) == ("lm-a1-g1", "lm-a1-g2")
    assert (first.start_time_ns, first.end_time_ns) == (4_000_000_000, 5_000_000_000)
    assert first.end_time_ns == second.start_time_ns
    assert second.end_time_ns is None
    assert [len(each.resources) for each in (first, second)] == [1, 2]
    assert second.resources[0].resources == {"CPU": 2.0}


def test_a_loss_ends_its_generation_at_once_and_survivors_live_on(told: Told) -> None:
    told.trains(1, "w1", "w2")
    told.loses("w2")
    assert life(told.book) == [("ERRORED", "worker w2 was lost")]
    assert told.book.generations[0].end_time_ns == 5_000_000_000
    assert told.book.run.status is theirs.RunStatus.RESTARTING
    assert told.book.run.status_detail == "worker w2 was lost"
    told.trains(2, "w1", "w3")
    assert life(told.book) == [("ERRORED", "worker w2 was lost"), ("RUNNING", None)]
    assert workers(told.book, 0) == {"a-w1": ALIVE, "a-w2": DEAD}
    assert workers(told.book, 1) == {"a-w1": ALIVE, "a-w3": ALIVE}
    assert told.book.run.status is theirs.RunStatus.RUNNING
    assert told.book.run.status_detail is None


@pytest.mark.parametrize("phase", ["starting", "warm", "retiring"])
def test_a_loss_that_no_generation_feels_is_none(told: Told, phase: str) -> None:
    told.loses("w3", "starting")
    told.trains(1, "w1", "w2")
    told.loses("w2" if phase == "retiring" else "w3", phase)
    assert life(told.book) == [("RUNNING", None)]
    assert told.book.run.status is theirs.RunStatus.RUNNING


@pytest.mark.parametrize("kind", [EventKind.REPLICAS_DIFFER, EventKind.ROLLED_BACK])
def test_a_group_that_goes_back_has_failed_without_a_loss(told: Told, kind: EventKind) -> None:
    told.trains(1, "w1", "w2")
    told(kind, "they go back")
    assert life(told.book) == [("ERRORED", "they go back")]
    assert workers(told.book, 0) == {"a-w1": ALIVE, "a-w2": ALIVE}


def test_workers_are_numbered_by_generation_and_by_node() -> None:
    told = Told()
    told.starts("w1", "n1")
    told.starts("w2", "n2", gpus=(1,))
    told.starts("w3", "n1")
    told.trains(1, "w1", "w2", "w3")
    found = told.book.generations[0].workers
    assert [each.world_rank for each in found] == [0, 1, 2]
    assert [(each.node_id, each.node_rank, each.local_rank) for each in found] == [
        ("n1", 0, 0),
        ("n2", 1, 0),
        ("n1", 0, 1),
    ]
    assert [(each.pid, each.gpu_ids) for each in found] == [(1, []), (2, [1]), (3, [])]
    assert found[0].resources.resources == {"CPU": 2.0}
    told.trains(2, "w2", "w3")
    assert [each.actor_id for each in told.book.generations[1].workers] == ["a-w2", "a-w3"]
    assert [each.world_rank for each in told.book.generations[1].workers] == [0, 1]


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        (EndReason.FINISHED, "FINISHED"),
        (EndReason.USER_CANCELLED, "ABORTED"),
        (EndReason.USER_PAUSED, "ABORTED"),
        (EndReason.PREEMPTED, "ABORTED"),
        (EndReason.USER_ERROR, "ERRORED"),
        (EndReason.NO_PROGRESS, "ERRORED"),
        (EndReason.DEADLINE_EXCEEDED, "ERRORED"),
    ],
)
def test_the_end_is_shown_on_run_generation_and_workers(told: Told, reason: EndReason, shown: str) -> None:
    told.trains(1, "w1", "w2")
    told.trains(2, "w2")
    told.ends(reason)
    why = None if shown == "FINISHED" else f"the run ended: {reason}"
    assert (told.book.run.status.value, told.book.run.status_detail) == (shown, why)
    assert told.book.run.end_time_ns == 6_000_000_000
    assert life(told.book) == [("FINISHED", None), (shown, why)]
    assert {*workers(told.book, 0).values(), *workers(told.book, 1).values()} == {DEAD}
    told.book.end(theirs.RunStatus.ERRORED, "too late", 9)
    assert told.book.run.status.value == shown


def test_every_end_of_an_attempt_has_a_word_of_rays() -> None:
    for reason, follows in ENDINGS.items():
        assert ending(follows.status, reason).is_terminal()
    assert ending(RunStatus.QUEUED, EndReason.WORKER_LOST) is theirs.RunStatus.ERRORED


def test_only_what_changed_is_told(told: Told) -> None:
    def changes() -> list[str]:
        return [getattr(each, "attempt_id", "run") for each in told.book.take_changes()]

    assert changes() == ["run"]
    told.trains(1, "w1", "w2")
    assert changes() == ["run", "lm-a1-g1"]
    told(EventKind.CHECKPOINT_COMMITTED, step=3, path="x")
    assert changes() == []
    told.trains(2, "w1", "w2")
    told.trains(3, "w1")
    changes()
    told(EventKind.WORKER_GONE, worker="w2")
    assert changes() == ["lm-a1-g1", "lm-a1-g2"]
    told.book.all_changed()
    assert changes() == ["run", "lm-a1-g1", "lm-a1-g2", "lm-a1-g3"]


def test_the_newest_generations_are_kept(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_book, "MOST_GENERATIONS", 3)
    for number in range(1, 8):
        told.trains(number, "w1")
    assert [each.attempt_id for each in told.book.generations] == ["lm-a1-g5", "lm-a1-g6", "lm-a1-g7"]
    assert told.book.size == 4


@pytest.fixture
def make_state() -> Callable[[], Any]:
    def make() -> Any:
        state = TrainStateActor()
        for number in range(5):
            status = theirs.RunStatus.RUNNING if number == 1 else theirs.RunStatus.FINISHED
            state.create_or_update_train_run(SimpleNamespace(id=f"r{number}", status=status))
            for generation in (1, 3, 0, 2):
                facts = {"run_id": f"r{number}", "attempt_id": f"r{number}-g{generation}"}
                state.create_or_update_train_run_attempt(SimpleNamespace(**facts))
        return state

    return make


def test_the_state_actor_forgets_the_oldest_runs_that_are_over(make_state: Callable[[], Any]) -> None:
    state = make_state()
    assert forgetting("r0", most_runs=3, most_generations=2)(state) == 3
    assert list(state.get_train_runs()) == ["r0", "r1", "r4"]
    attempts = state.get_train_run_attempts()
    assert list(attempts) == ["r0", "r1", "r4"]
    assert list(attempts["r0"]) == ["r0-g2", "r0-g3"]
    assert len(attempts["r1"]) == 4


def test_a_state_actor_that_was_started_anew_says_so(make_state: Callable[[], Any]) -> None:
    assert forgetting("unknown")(make_state()) == 0
