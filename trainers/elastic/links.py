"""Where a link of the trajectory hash chain is due: the hashes that go into it."""

from dataclasses import dataclass, replace

from trainers.elastic.messages import StepPoint
from trainers.elastic.state import TrainState


@dataclass(frozen=True)
class Linker:
    """Every member hashes its own state and keeps that in the record of the step, so that any survivor can
    tell of it: the chain is as whole as the ledger, whoever dies."""

    state: TrainState
    every: int
    """Steps."""
    num_steps: int

    def linked(self, point: StepPoint) -> StepPoint:
        """The record of the step that the state has just reached, with hashes where they are due."""
        if point.step % self.every and point.step != self.num_steps:
            return point
        return replace(
            point,
            parameters_sha256=self.state.parameters_sha256(),
            optimizer_sha256=self.state.optimizer_sha256(),
        )
