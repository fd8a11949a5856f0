"""How far a worker's training thread has got, for whoever asks while it works."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import assert_never

from orchestrator.domain.vigil import Phase, Pulse
from trainers.elastic.faults import Fault, FlipBit, NotANumber, Slow, Stall


class Progress:
    """Written by the training thread, read by others: single values, so that a torn reading harms nobody."""

    def __init__(self) -> None:
        self._phase = Phase.START
        self._waiting = False
        self._moved_at = time.monotonic()
        self._clock: int | None = None
        self._moved_cpu_s = 0.0
        self._computing_since: float | None = None
        self._computed_s = 0.0
        self._faults: list[FlipBit] = []
        self._slow_s = 0.0
        self._stall_s = 0.0
        self._poisoned = False
        self._announce: Callable[[Phase], None] = lambda phase: None

    # the training thread's side

    def begin(self, announce: Callable[[Phase], None]) -> None:
        """This thread is the one that trains; `announce` is told of phases that may take long."""
        self._clock = time.pthread_getcpuclockid(threading.get_ident())
        self._announce = announce
        self._moved()

    def enter(self, phase: Phase) -> None:
        if phase is not self._phase:
            if not {phase, self._phase} <= _QUICK:
                self._announce(phase)
            self._phase = phase
        self._moved()

    def shard(self) -> bool:
        """A logical shard is about to be computed; True where a fault makes its loss no number."""
        if self._computing_since is None:
            self._computing_since = time.perf_counter()
        self._moved()
        return self._suffer()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, nothing but other members is waited for."""
        if self._computing_since is not None:
            self._computed_s = time.perf_counter() - self._computing_since
            self._computing_since = None
        self._moved()
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False
            self._moved()

    def take_computed_s(self) -> float:
        """Seconds from the first logical shard of the last step until waiting began; 0 if there were none."""
        computed, self._computed_s = self._computed_s, 0.0
        return computed

    def take_flips(self) -> list[FlipBit]:
        if not self._faults:
            return []
        flips, self._faults = self._faults, []
        return flips

    # everybody's

    def pulse(self) -> Pulse:
        return Pulse(
            self._phase,
            waiting=self._waiting,
            still_s=time.monotonic() - self._moved_at,
            cpu_s=self._cpu_s() - self._moved_cpu_s,
        )

    def inject(self, fault: Fault) -> None:
        match fault:
            case FlipBit():
                self._faults = [*self._faults, fault]
            case Slow(shard_s):
                self._slow_s = shard_s
            case Stall(seconds):
                self._stall_s = seconds
            case NotANumber():
                self._poisoned = True
            case _:
                assert_never(fault)

    def _suffer(self) -> bool:
        if self._slow_s:
            time.sleep(self._slow_s)
        if self._stall_s:
            stall_s, self._stall_s = self._stall_s, 0.0
            time.sleep(stall_s)
        poisoned, self._poisoned = self._poisoned, False
        return poisoned

    def _moved(self) -> None:
        self._moved_at = time.monotonic()
        self._moved_cpu_s = self._cpu_s()

    def _cpu_s(self) -> float:
        with suppress(OSError):  # the thread has ended
            return time.clock_gettime(self._clock) if self._clock is not None else 0.0
        return self._moved_cpu_s


_QUICK = {Phase.STEP, Phase.MEET}
"""Between these nobody needs to be told."""
