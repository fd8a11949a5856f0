"""What `tumbler run` says of a run that failed."""

from pathlib import Path

import pytest

from api.cli.training import show_users_error
from orchestrator.domain.events import EventKind
from orchestrator.domain.status import EndReason
from tests.unit.recorded_run import RecordedRun


@pytest.mark.parametrize(
    ("reason", "said"),
    [(EndReason.MAX_FAILURES_EXCEEDED, "Traceback of the user's\n"), (EndReason.SPEC_REFUSED, "")],
)
def test_a_traceback_is_shown_of_the_users_own_code_and_not_of_a_refused_spec(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reason: EndReason, said: str
) -> None:
    run = RecordedRun(tmp_path)
    run.recorder.event(EventKind.USER_ERROR, "worker w1 raised", traceback="Traceback of the user's\n")
    run.recorder.end(reason, "SpecError: train.from_checkpoint: another model")
    show_users_error(run.run)
    assert capsys.readouterr().err == said
