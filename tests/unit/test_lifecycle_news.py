"""What the record keeps of the news of a run directory."""

from orchestrator.domain.events import EventKind, event
from orchestrator.domain.lifecycle_news import heard
from orchestrator.domain.status import RunStatus
from tests.unit.test_lifecycle import NOW, made, run_in


def test_checkpoints_that_were_skipped_are_counted_once_each() -> None:
    run = run_in(RunStatus.RUNNING)
    told = [event(EventKind.CHECKPOINT_SKIPPED, "no room", now=NOW) | {"seq": seq} for seq in (1, 2)]
    after = made(heard(run, None, told, NOW)).run
    assert after.skipped_checkpoints == 2
    assert heard(after, None, told, NOW) is None
