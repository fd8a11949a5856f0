"""What went wrong so far, and whether the run goes on."""

from dataclasses import dataclass

from orchestrator.domain.retry import FailureBudget, GiveUp, IncidentKind
from orchestrator.domain.status import EndReason
from trainers.elastic.messages import Raised
from trainers.ray_train.happenings import End, GoOn, Verdict

_MAX_BACK_OFF_S = 30.0


@dataclass
class Incidents:
    """Charges each incident once: members of one generation that go together are one, however many they
    are."""

    budget: FailureBudget
    failed_starts: int = 0
    """Workers in a row that were lost before they were warm."""
    _charged_generation: int = -1
    _traceback: str = ""

    @property
    def back_off_s(self) -> float:
        """How long to wait before another worker is started; 0 unless starts keep failing."""
        return min(_MAX_BACK_OFF_S, 2.0 ** min(self.failed_starts, 10) - 1)

    def raised(self, raised: Raised, generation: int | None) -> Verdict:
        self._traceback = raised.traceback
        if raised.final:
            return End(EndReason.SPEC_REFUSED, raised.error, traceback=raised.traceback)
        return self.lost(IncidentKind.OWN_ERROR, raised.step, raised.error, generation)

    def lost(self, kind: IncidentKind, step: int, message: str, generation: int | None) -> Verdict:
        """`generation` is that of which the worker was a member, None for one that was still starting."""
        if generation is None:
            self.failed_starts += 1
        elif generation == self._charged_generation:
            return GoOn()
        else:
            self._charged_generation = generation
        verdict = self.budget.record(kind, step, message)
        if isinstance(verdict, GiveUp):
            return End(verdict.reason, verdict.message, traceback=self._traceback)
        return GoOn()
