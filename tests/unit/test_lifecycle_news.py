"""What the record keeps of the news of a run directory."""

from typing import Any

from orchestrator.domain.events import EventKind, event, timestamp
from orchestrator.domain.lifecycle_news import heard
from orchestrator.domain.run_directory import RunState
from orchestrator.domain.status import RunStatus
from tests.unit.test_lifecycle import NOW, made, run_in


def test_checkpoints_that_were_skipped_are_counted_once_each() -> None:
    run = run_in(RunStatus.RUNNING)
    told = [event(EventKind.CHECKPOINT_SKIPPED, "no room", now=NOW) | {"seq": seq} for seq in (1, 2)]
    after = made(heard(run, None, told, NOW)).run
    assert after.skipped_checkpoints == 2
    assert heard(after, None, told, NOW) is None


def test_it_is_known_on_which_node_each_worker_is_until_it_leaves() -> None:
    def happened(seq: int, kind: EventKind, worker: str, node: str | None = None) -> dict[str, Any]:
        facts = {} if node is None else {"node_id": node}
        return event(kind, "", now=NOW, worker=worker, **facts) | {"seq": seq}

    come = [happened(seq, EventKind.WORKER_STARTED, f"w{seq}", f"n{seq % 2}") for seq in (1, 2, 3)]
    run = made(heard(run_in(RunStatus.RUNNING), None, come, NOW)).run
    assert run.progress.seats == {"w1": "n1", "w2": "n0", "w3": "n1"}
    left = [happened(4, EventKind.WORKER_RETIRED, "w3"), happened(5, EventKind.WORKER_LOST, "w1")]
    assert made(heard(run, None, left, NOW)).run.progress.seats == {"w2": "n0"}


def test_the_time_of_a_step_by_world_size_is_kept() -> None:
    state = RunState(
        run="otter",
        attempt=1,
        status=RunStatus.RUNNING,
        updated=timestamp(NOW),
        generation=2,
        workers=4,
        step_s={2: 0.5, 4: 0.3},
    )
    assert made(heard(run_in(RunStatus.RUNNING), state, [], NOW)).run.progress.step_s == {2: 0.5, 4: 0.3}
