"""Whether a run goes on after an incident: own errors, infrastructure and preemption are counted apart."""

from dataclasses import dataclass, field
from typing import TypeAlias

from orchestrator.domain.spec_parts import RetrySpec
from orchestrator.domain.status import EndReason, IncidentKind

__all__ = ["FailureBudget", "GiveUp", "GoOn", "IncidentKind", "Verdict"]


@dataclass(frozen=True)
class GoOn:
    """The budget holds."""


@dataclass(frozen=True)
class GiveUp:
    """The run ends FAILED."""

    reason: EndReason
    message: str
    """One sentence for the user."""


Verdict: TypeAlias = GoOn | GiveUp


@dataclass
class FailureBudget:
    """What is left of a run's patience. Pure state: it knows no clock and starts nothing."""

    retry: RetrySpec
    counts: dict[IncidentKind, int] = field(default_factory=lambda: dict.fromkeys(IncidentKind, 0))
    """Incidents so far, over the whole life of the run."""
    losses_without_progress: int = 0
    """Own errors and losses since the last new step; a preemption is nobody's failure and does not count."""
    newest_step: int = 0
    """The newest step ever done. Doing a step again after a restore is no progress."""

    def progressed(self, step: int) -> None:
        """`step` is done."""
        if step > self.newest_step:
            self.newest_step = step
            self.losses_without_progress = 0

    def record(self, kind: IncidentKind, step: int, message: str) -> Verdict:
        """Charges one incident that happened after `step` was done, and says whether the run goes on.

        However many workers an incident takes with it, it is one: a node's death must not count once per
        worker.
        """
        self.progressed(step)
        self.counts[kind] += 1
        if kind is not IncidentKind.PREEMPTION:
            self.losses_without_progress += 1
        return self._verdict(message)

    def _verdict(self, message: str) -> Verdict:
        own_errors, preemptions = self.counts[IncidentKind.OWN_ERROR], self.counts[IncidentKind.PREEMPTION]
        if _over(own_errors, self.retry.max_failures):
            return GiveUp(
                EndReason.MAX_FAILURES_EXCEEDED,
                f"the run failed {own_errors} times and retry.max_failures is {self.retry.max_failures}; "
                f"the last time: {message}",
            )
        if _over(preemptions, self.retry.max_preemptions):
            return GiveUp(
                EndReason.MAX_PREEMPTIONS_EXCEEDED,
                f"the run was preempted {preemptions} times and retry.max_preemptions is "
                f"{self.retry.max_preemptions}; the last time: {message}",
            )
        if self.losses_without_progress >= self.retry.max_losses_without_progress:
            return GiveUp(
                EndReason.NO_PROGRESS,
                f"{self.losses_without_progress} losses or errors in a row left the run at step "
                f"{self.newest_step}; the last one: {message}",
            )
        return GoOn()


def _over(count: int, limit: int) -> bool:
    return 0 <= limit < count
