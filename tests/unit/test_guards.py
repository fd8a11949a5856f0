"""What the controller does about what the guards find; the processes of the workers are left out."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.journal import read_journal
from orchestrator.domain.membership import Generation, Roster, WorkerPhase
from orchestrator.domain.retry import FailureBudget
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.spec_parts import RetrySpec
from orchestrator.domain.status import EndReason, RunStatus
from orchestrator.domain.vigil import Hung, Phase
from trainers.elastic.messages import Formed, ReplicasDiffer, StepNotFinite, StepPoint, StepsDone
from trainers.ray_train.guards import Guards
from trainers.ray_train.happenings import End, GoOn, StillBroken
from trainers.ray_train.incidents import Incidents
from trainers.ray_train.muster import Muster
from trainers.recorder import Recorder

NOTHING: Any = None


class Post:
    """Guards over three members, and what they did."""

    def __init__(self, storage: Path, **retry: Any):
        self.run = RunDirectory.create(storage, RunSpec.parse({"name": "otter", "task": "language_model"}))
        self.recorder = Recorder(self.run, global_batch=8, link_every=4)
        self.recorder.move(RunStatus.STARTING)
        self.roster = Roster(minimum=1, target=3)
        for worker in ("w1", "w2", "w3"):
            self.roster.requested(worker)
            self.roster.warm(worker)
        self.roster.next_generation()
        budget = FailureBudget(RetrySpec(**retry))
        muster = Muster(self.roster, NOTHING, NOTHING)
        self.published: list[tuple[Any, ...]] = []
        muster.publish = lambda *facts, urgent=False: self.published.append((*facts, urgent))  # type: ignore[method-assign]
        self.guards = Guards(budget.retry, self.recorder, muster, Incidents(budget), lambda happening: None)
        self.guards.publish(self.roster.generation, [])

    def next_generation(self) -> Generation | None:
        found = self.roster.next_generation()
        if found is not None:
            self.guards.publish(found, [])
        return found

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in read_journal(self.run.outbox, "events") if event["kind"] == kind]


def differ(*outvoted: str, generation: int = 1, step: int = 100) -> ReplicasDiffer:
    return ReplicasDiffer("w1", generation, step, step - 1, outvoted, ("w1", "w2", "w3"))


def not_finite(worker: str = "w1", *, generation: int = 1, shard: int = 3) -> StepNotFinite:
    culprit = "w2" if shard >= 0 else ""
    return StepNotFinite(worker, generation, 7, 0, 54, 56, culprit, shard, "gradient")


def formed(generation: int, step: int) -> Formed:
    return Formed("w1", generation, step, 0, 0.01, 0.0, "w1")


def test_who_is_outvoted_is_named_ended_and_heard_no_more_and_the_others_go_back(tmp_path: Path) -> None:
    post = Post(tmp_path)
    assert post.guards.hear(differ("w2")) == GoOn()
    assert post.guards.hear(differ("w2")) == GoOn(), "each member reports it"
    (event,) = post.events("replica-corrupted")
    assert (event["worker"], event["step"]) == ("w2", 100)
    assert "w1, w3" in event["message"]
    assert post.guards.evicted == {"w2"}
    assert post.next_generation() == Generation(2, ("w1", "w3"))
    _, _, _, rewind_to, _, urgent = post.published[-1]
    assert (rewind_to, urgent) == (99, True)


def test_where_none_is_outvoted_all_stay_and_go_back(tmp_path: Path) -> None:
    post = Post(tmp_path)
    post.guards.hear(differ())
    assert post.events("replicas-differ")[0]["workers"] == ["w1", "w2", "w3"]
    assert post.next_generation() == Generation(2, ("w1", "w2", "w3"))
    assert post.published[-1][3] == 99


def test_generations_are_told_to_go_back_until_one_of_them_has(tmp_path: Path) -> None:
    post = Post(tmp_path)
    post.guards.hear(differ("w2"))
    post.next_generation()
    post.guards.hear(formed(1, 90))  # late news of the generation before
    post.roster.broken(2)
    post.next_generation()
    assert post.published[-1][3] == 99, "the one before never formed"
    post.guards.hear(formed(3, 90))
    post.roster.broken(3)
    post.next_generation()
    assert post.published[-1][3] is None


def test_replicas_that_differ_again_and_again_end_the_run(tmp_path: Path) -> None:
    post = Post(tmp_path, max_losses_without_progress=3)
    verdicts = []
    for generation in (1, 2, 3):
        verdicts.append(post.guards.hear(differ(generation=generation)))
        post.next_generation()
    assert verdicts[:2] == [GoOn(), GoOn()]
    assert isinstance(verdicts[2], End)
    assert verdicts[2].reason is EndReason.NO_PROGRESS


def test_a_hung_worker_is_a_loss_that_is_named_with_its_phase(tmp_path: Path) -> None:
    post = Post(tmp_path)
    post.guards._on_hung(Hung("w3", Phase.STEP, 2.3, silent=True))
    (event,) = post.events("worker-hung")
    assert (event["worker"], event["phase"], event["late_s"]) == ("w3", "step", 2.3)
    assert "it does not answer" in event["message"]
    assert post.next_generation() == Generation(2, ("w1", "w2"))
    assert post.published[-1][-1] is True, "those who wait for it are to be woken"
    assert post.guards.evicted == {"w3"}


def test_under_skip_the_culprit_is_an_event_and_nothing_more(tmp_path: Path) -> None:
    post = Post(tmp_path)
    assert post.guards.hear(not_finite()) == GoOn()
    (event,) = post.events("not-finite")
    assert event["message"] == (
        "step 7: the gradient of logical shard 3 (positions 54 to 55 of epoch 0), computed by worker w2, was"
        " not finite"
    )
    assert post.next_generation() is None


def test_under_rollback_all_go_back_before_the_step_and_may_skip_it_then(tmp_path: Path) -> None:
    post = Post(tmp_path, on_nan="rollback")
    for worker in ("w1", "w2", "w3"):
        post.guards.hear(not_finite(worker))
    assert len(post.events("rolled-back")) == len(post.events("not-finite")) == 1
    assert post.next_generation() == Generation(2, ("w1", "w2", "w3"))
    _, _, _, rewind_to, tolerated, _ = post.published[-1]
    assert (rewind_to, tolerated) == (6, (7,))
    post.guards.hear(formed(2, 4))
    post.roster.broken(2)
    post.next_generation()
    assert post.published[-1][3:5] == (None, (7,)), "who comes later is told, too"


@pytest.mark.parametrize(("shard", "words"), [(3, "computed by worker w2"), (-1, "each was by itself")])
def test_under_fail_one_sentence_ends_the_run(tmp_path: Path, shard: int, words: str) -> None:
    end = Post(tmp_path, on_nan="fail").guards.hear(not_finite(shard=shard))
    assert isinstance(end, End)
    assert end.reason is EndReason.NOT_FINITE
    assert "step 7" in end.message
    assert "positions 54 to 55 of epoch 0" in end.message
    assert words in end.message


def steps_done(*paces: float, steps: int = 20) -> StepsDone:
    points = tuple(
        StepPoint(step, 0, 0, 8, 1.7e9, 0.1, 1, 3, False, {"loss": 1.0}, compute_s=paces)
        for step in range(1, steps + 1)
    )
    return StepsDone("w1", 1, points, ("w1", "w2", "w3"))


def test_a_straggler_is_named_and_stays_unless_asked_otherwise(tmp_path: Path) -> None:
    post = Post(tmp_path)
    post.guards.hear(steps_done(0.01, 0.03, 0.01))
    (event,) = post.events("straggler-found")
    assert (event["worker"], event["ratio"]) == ("w2", 3.0)
    assert event["step"] <= 20
    assert post.roster.missing() == 0


def test_a_straggler_that_is_replaced_leaves_when_its_replacement_is_warm(tmp_path: Path) -> None:
    post = Post(tmp_path, replace_stragglers=True)
    post.guards.hear(steps_done(0.01, 0.03, 0.01))
    assert post.roster.missing() == 1
    assert post.next_generation() is None
    post.roster.requested("w4")
    assert post.roster.missing() == 0
    assert post.roster.surplus() == []
    post.roster.warm("w4")
    assert post.next_generation() == Generation(2, ("w1", "w3", "w4"))
    assert post.roster.phase("w2") is WorkerPhase.RETIRING
    assert post.published[-1][-1] is False, "it leaves at a step boundary"
    assert post.roster.missing() == 0


def test_a_group_that_failed_without_a_death_meets_again_without_those_who_did_not_show_up(
    tmp_path: Path,
) -> None:
    post = Post(tmp_path)
    assert isinstance(post.guards.handle(StillBroken(1, "a timeout", ("w3",))), GoOn)
    assert post.next_generation() == Generation(2, ("w1", "w2"))
    assert [event["worker"] for event in post.events("worker-hung")] == ["w3"]
    post.guards.handle(StillBroken(1, "a timeout", ("w2",)))
    assert post.next_generation() is None, "that was explained"
    post.guards.handle(StillBroken(2, "connection closed", ()))
    assert post.next_generation() == Generation(3, ("w1", "w2"))
