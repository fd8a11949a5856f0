import pytest

from orchestrator.domain.retry import FailureBudget, IncidentKind
from orchestrator.domain.spec_parts import RetrySpec
from orchestrator.domain.status import EndReason
from trainers.elastic.messages import Raised
from trainers.ray_train.happenings import End, GoOn
from trainers.ray_train.incidents import Incidents

INFRASTRUCTURE = IncidentKind.INFRASTRUCTURE


def incidents(**retry: int) -> Incidents:
    return Incidents(FailureBudget(RetrySpec(**{"max_losses_without_progress": 3, **retry})))


def raised(step: int, *, final: bool = False) -> Raised:
    return Raised(step, f"ValueError: at {step}", f"Traceback of step {step}", final)


def test_members_of_one_generation_that_go_together_are_one_incident() -> None:
    seen = incidents()
    for _ in range(10):
        assert seen.lost(INFRASTRUCTURE, 7, "its node died", 4) == GoOn()
    assert seen.budget.counts[INFRASTRUCTURE] == 1
    assert seen.lost(INFRASTRUCTURE, 7, "its node died", 5) == GoOn()
    assert seen.budget.counts[INFRASTRUCTURE] == 2


def test_generations_lost_at_one_step_end_the_run_and_the_last_loss_is_named() -> None:
    seen = incidents(max_losses_without_progress=2)
    assert seen.lost(INFRASTRUCTURE, 7, "w1 was lost", 1) == GoOn()
    end = seen.lost(INFRASTRUCTURE, 7, "w2 was lost", 2)
    assert isinstance(end, End)
    assert end.reason is EndReason.NO_PROGRESS
    assert "w2 was lost" in end.message


def test_an_error_of_the_users_own_is_charged_and_its_traceback_ends_the_run() -> None:
    seen = incidents(max_failures=1)
    assert seen.raised(raised(3), 1) == GoOn()
    end = seen.raised(raised(5), 2)
    assert isinstance(end, End)
    assert end.reason is EndReason.MAX_FAILURES_EXCEEDED
    assert end.traceback == "Traceback of step 5"
    assert "ValueError: at 5" in end.message
    assert seen.budget.counts[IncidentKind.OWN_ERROR] == 2


def test_an_error_that_no_retry_can_mend_ends_the_run_at_once() -> None:
    seen = incidents()
    assert seen.raised(raised(0, final=True), None) == End(
        EndReason.SPEC_REFUSED, "ValueError: at 0", traceback="Traceback of step 0"
    )
    assert sum(seen.budget.counts.values()) == 0


def test_each_worker_lost_before_it_was_a_member_is_an_incident_of_its_own() -> None:
    seen = incidents(max_losses_without_progress=9)
    for _ in range(3):
        assert seen.lost(INFRASTRUCTURE, 0, "its process died", None) == GoOn()
    assert seen.budget.counts[INFRASTRUCTURE] == 3
    assert seen.failed_starts == 3


@pytest.mark.parametrize(
    ("failed_starts", "wait_s"), [(0, 0.0), (1, 1.0), (2, 3.0), (3, 7.0), (4, 15.0), (5, 30.0), (50, 30.0)]
)
def test_starts_that_keep_failing_are_tried_less_and_less_often(failed_starts: int, wait_s: float) -> None:
    seen = incidents()
    seen.failed_starts = failed_starts
    assert seen.back_off_s == wait_s


def test_the_loss_of_a_member_is_no_failed_start() -> None:
    seen = incidents()
    seen.lost(INFRASTRUCTURE, 7, "its process died", 1)
    seen.raised(raised(8), 2)
    assert seen.failed_starts == 0
    assert seen.back_off_s == 0.0
