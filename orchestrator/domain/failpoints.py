"""Places at which a test may have this process killed, to prove that dying there loses nothing.

`TUMBLER_FAILPOINTS="NAME:PROBABILITY:SEED,..."` arms them, such as `before-commit:0.01:7`; without it they
cost one look into an empty mapping. It is read once, when the process starts.
"""

import os
import random
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

VARIABLE: Final = "TUMBLER_FAILPOINTS"


@dataclass(frozen=True)
class Failpoint:
    probability: float
    """Of each time that it is reached."""
    chance: random.Random


def parse(text: str) -> Mapping[str, Failpoint]:
    """Raises ValueError, with a sentence for the user, where the text is not of the form above."""
    points = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            name, probability, seed = part.split(":")
            points[name] = Failpoint(float(probability), random.Random(int(seed)))
        except ValueError:
            raise ValueError(
                f"{VARIABLE}: expected NAME:PROBABILITY:SEED such as before-commit:0.01:7, got {part!r}"
            ) from None
        if not 0 <= points[name].probability <= 1:
            raise ValueError(f"{VARIABLE}: expected a probability of 0 to 1, got {probability} for {name}")
    return MappingProxyType(points)


_ARMED: Final = parse(os.environ.get(VARIABLE, ""))


def reach(name: str) -> None:
    """Kill this process with SIGKILL, if the failpoint is armed and chance wants it."""
    point = _ARMED.get(name)
    if point is not None and point.chance.random() < point.probability:
        os.kill(os.getpid(), signal.SIGKILL)
