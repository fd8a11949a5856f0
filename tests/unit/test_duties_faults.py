"""Faults that were found by reading, each kept from coming back."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from tests.integration.tasks import Paced, PacedConfig, Squares
from tests.unit.gang import gang
from tests.unit.saving import WriterHere
from trainers.checkpoints.pace import SnapshotPace
from trainers.checkpoints.saver import Saver
from trainers.elastic.duties import Cadence, Duties
from trainers.elastic.group import ElasticGroup
from trainers.elastic.loop import Surroundings, TrainingLoop
from trainers.elastic.mailbox import Mailbox
from trainers.elastic.messages import Formed, Offer, PartsWritten, Report, StepPoint, StepsDone
from trainers.elastic.state import TrainState, agree_on_newest
from trainers.elastic.verification import Verification

torch.set_num_threads(1)


def state_at(step: int) -> TrainState:
    torch.manual_seed(1)
    model = Paced(PacedConfig()).build_model()
    return TrainState(model, torch.optim.SGD(model.parameters(), lr=0.1), None, step=step)


def duties(state: TrainState, folder: Path, reports: list[Report], name: str) -> Duties:
    return Duties(
        Paced(PacedConfig()),
        state,
        Squares(16),
        Cadence(checkpoint_every=10, evaluate_every=5, evaluate_rows=16, rows_at_once=4),
        saver=Saver(state, str(folder), 4, reports.append, WriterHere()),
        pace=SnapshotPace("never"),
        attempt=1,
        num_shards=4,
        worker_id=name,
        device=torch.device("cpu"),
        report=reports.append,
    )


def test_members_of_which_one_only_has_evaluated_agree_whether_to_evaluate(tmp_path: Path) -> None:
    """The last exchange of an evaluation reached one and not the other, then a third member died: the two
    have equal steps and checksums, so nothing is copied; one evaluates, and the other goes on to the next
    step: their messages meet."""
    ahead, behind = state_at(5), state_at(5)
    ahead.evaluated_step, ahead.metrics = 5, {"val_loss": 1.0}
    states = [ahead, behind]

    def work(group: ElasticGroup) -> Any:
        agree_on_newest(group, states[group.rank])
        return states[group.rank].evaluated_step

    first, second = gang(2, work)
    assert first == second


def point(step: int) -> StepPoint:
    return StepPoint(step, 0, 0, 1, 1.7e9, 0.01, 1, 2, False, {"loss": 1.0}, parameters_sha256=f"p{step}")


def test_a_step_that_one_survivor_had_applied_and_rank_0_had_not_is_told_all_the_same() -> None:
    """The last exchange of step 6 reached rank 1 and not rank 0, then a third member died. Rank 0 gets the
    state by copy, but only who applied a step had its record, and only rank 0 tells: the ledger lacks step 6
    for ever."""
    reports: list[Report] = []

    def meet(group: ElasticGroup) -> None:
        state = state_at(5 + group.rank)
        state.newest_point = point(state.step)
        here = Surroundings(f"w{group.rank}", "127.0.0.1", "gloo", 5.0, meeting_place=None)  # type: ignore[arg-type]
        steps: Any = SimpleNamespace(state=state, num_steps=10)
        duty: Any = SimpleNamespace(answered=0, formed=lambda *facts: None)
        off = Verification(state, 0, lambda: state.model)
        loop = TrainingLoop(
            here,
            Mailbox(),
            steps,
            duty,
            reports.append,
            lambda offer, rank: None,
            off,
            lambda group, state, offer: (None, []),
            "skip",
        )
        for step in range(1, state.step + 1):
            loop._points.append(point(step))
        loop._meet(group, Offer(2, ("w0", "w1"), ("n", "n"), "127.0.0.1", 1, recorded_step=4), 0.0)

    gang(2, meet)
    assert [type(report) for report in reports] == [Formed, StepsDone]
    assert [(p.step, p.parameters_sha256) for p in reports[1].points] == [(5, "p5"), (6, "p6")]  # type: ignore[union-attr]


def test_a_step_that_the_group_came_from_is_not_saved_again_and_any_other_is(tmp_path: Path) -> None:
    """A group that formed at the step of a checkpoint came from it, or saved it; one that gets there later
    saves it again, for what is there may be damaged."""
    reports: list[Report] = []
    came, gets_there = state_at(10), state_at(10)

    def work(group: ElasticGroup) -> None:
        first = duties(came, tmp_path, reports, "w1")
        first.formed(0, 10, {10}, 0, ["node"])
        first.at_step_boundary(group, 2)
        assert not [report for report in reports if isinstance(report, PartsWritten)]
        second = duties(gets_there, tmp_path, reports, "w2")
        second.formed(0, 7, {10, 5}, 0, ["node"])
        gets_there.evaluated_step = 10
        second.at_step_boundary(group, 3)
        assert second.finish(group, 3, stopped=True).saved is not None

    gang(1, work)
    saved = [(report.worker_id, report.step) for report in reports if isinstance(report, PartsWritten)]
    assert saved == [("w2", 10), ("w2", 10)]
