"""Faults that tests and drills put into a worker. Data: what they do is done where they strike."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class FlipBit:
    """Memory that does not hold what was written: one bit of the state, at the next step boundary."""

    tensor: int = 0
    """Which of `TrainState.tensors()`."""
    octet: int = 0
    bit: int = 0


@dataclass(frozen=True)
class Slow:
    """Every logical shard takes this much longer, until another `Slow` comes."""

    shard_s: float


@dataclass(frozen=True)
class Stall:
    """The training thread stands still once, at its next logical shard; the process lives on."""

    seconds: float


@dataclass(frozen=True)
class NotANumber:
    """The loss of the next logical shard is not a number, once."""


Fault: TypeAlias = FlipBit | Slow | Stall | NotANumber
