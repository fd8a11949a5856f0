import pytest

from orchestrator.domain.retry import FailureBudget, GiveUp, GoOn, IncidentKind, Verdict
from orchestrator.domain.spec_parts import RetrySpec
from orchestrator.domain.status import EndReason

OWN_ERROR, INFRASTRUCTURE, PREEMPTION = (
    IncidentKind.OWN_ERROR,
    IncidentKind.INFRASTRUCTURE,
    IncidentKind.PREEMPTION,
)


def reason(verdict: Verdict) -> EndReason | None:
    return verdict.reason if isinstance(verdict, GiveUp) else None


def test_the_error_after_the_last_forgiven_one_ends_the_run_and_is_quoted() -> None:
    budget = FailureBudget(RetrySpec(max_failures=2))
    assert budget.record(OWN_ERROR, 1, "ValueError: a") == GoOn()
    assert budget.record(OWN_ERROR, 2, "ValueError: b") == GoOn()
    assert budget.record(OWN_ERROR, 3, "ValueError: c") == GiveUp(
        EndReason.MAX_FAILURES_EXCEEDED,
        "the run failed 3 times and retry.max_failures is 2; the last time: ValueError: c",
    )


def test_no_failure_is_forgiven_at_zero() -> None:
    budget = FailureBudget(RetrySpec(max_failures=0))
    assert reason(budget.record(OWN_ERROR, 1, "boom")) is EndReason.MAX_FAILURES_EXCEEDED


@pytest.mark.parametrize("kind", IncidentKind)
def test_with_progress_in_between_an_unlimited_budget_never_ends(kind: IncidentKind) -> None:
    budget = FailureBudget(RetrySpec(max_failures=-1, max_preemptions=-1))
    assert all(budget.record(kind, step, "gone") == GoOn() for step in range(1, 100))
    assert budget.counts[kind] == 99


def test_infrastructure_is_never_charged_to_the_failures_of_the_run() -> None:
    budget = FailureBudget(RetrySpec(max_failures=0, max_preemptions=0))
    assert all(budget.record(INFRASTRUCTURE, step, "node lost") == GoOn() for step in range(1, 20))


def test_preemptions_have_a_limit_of_their_own() -> None:
    budget = FailureBudget(RetrySpec(max_failures=0, max_preemptions=1))
    assert budget.record(PREEMPTION, 5, "spot") == GoOn()
    assert reason(budget.record(PREEMPTION, 5, "spot")) is EndReason.MAX_PREEMPTIONS_EXCEEDED


def test_losses_in_a_row_at_one_step_end_the_run() -> None:
    budget = FailureBudget(RetrySpec(max_losses_without_progress=3))
    assert budget.record(INFRASTRUCTURE, 7, "lost") == GoOn()
    assert budget.record(OWN_ERROR, 7, "boom") == GoOn()
    verdict = budget.record(INFRASTRUCTURE, 7, "lost again")
    assert verdict == GiveUp(
        EndReason.NO_PROGRESS,
        "3 losses or errors in a row left the run at step 7; the last one: lost again",
    )


def test_a_new_step_resets_the_losses_without_progress() -> None:
    budget = FailureBudget(RetrySpec(max_losses_without_progress=2))
    for step in range(10):
        assert budget.record(INFRASTRUCTURE, step, "lost") == GoOn()
        budget.progressed(step + 1)
    assert budget.losses_without_progress == 0


def test_doing_steps_again_after_a_restore_is_no_progress() -> None:
    budget = FailureBudget(RetrySpec(max_losses_without_progress=2))
    assert budget.record(INFRASTRUCTURE, 120, "lost") == GoOn()
    for step in range(101, 121):
        budget.progressed(step)
    assert reason(budget.record(INFRASTRUCTURE, 120, "lost")) is EndReason.NO_PROGRESS


def test_preemptions_at_one_step_are_no_lack_of_progress() -> None:
    budget = FailureBudget(RetrySpec(max_losses_without_progress=1))
    assert all(budget.record(PREEMPTION, 7, "spot") == GoOn() for _ in range(10))
