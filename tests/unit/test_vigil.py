"""The vigil turn by turn: what is heard and what the clock shows are data."""

from collections.abc import Callable

import pytest

from orchestrator.domain.vigil import LOOK_EVERY_S, Hung, Phase, Pulse, Vigil

STEP_S = 0.1


class Watch:
    """A vigil over a group, and a clock that the test moves."""

    def __init__(self, members: str = "abc", *, bound_s: float | None = None, step_s: float | None = STEP_S):
        self.now = 100.0
        self.vigil = Vigil(bound_s, start_timeout_s=600.0)
        self.vigil.offered(tuple(members), self.now)
        if step_s is not None:
            self.vigil.heard(self.now, [step_s] * 40)
        self.found: list[Hung] = []

    def look(self) -> list[Hung]:
        self.now += LOOK_EVERY_S
        found = self.vigil.look(self.now)
        self.found += found
        return found

    def until_found(self, within_s: float, answer: Callable[[str], Pulse | None]) -> float | None:
        """Look on, with everybody answering as `answer` says; seconds until somebody was found to hang."""
        begun = self.now
        while self.now - begun < within_s:
            if self.look():
                return self.now - begun
            for worker in self.vigil.to_ask(self.now):
                pulse = answer(worker)
                if pulse is not None:
                    self.vigil.answered(worker, pulse, self.now)
        return None


def waits(still_s: float = 1.0, phase: Phase = Phase.STEP) -> Pulse:
    return Pulse(phase, waiting=True, still_s=still_s, cpu_s=0.0)


def stands(still_s: float, phase: Phase = Phase.STEP, cpu_s: float = 0.0) -> Pulse:
    return Pulse(phase, waiting=False, still_s=still_s, cpu_s=cpu_s)


@pytest.mark.parametrize("step_s", [0.01, 0.1, 1.0, 10.0])
def test_a_frozen_worker_is_found_within_two_steps_and_three_seconds(step_s: float) -> None:
    watch = Watch(step_s=step_s)
    late_s = watch.until_found(100.0, lambda worker: None if worker == "b" else waits())
    assert late_s is not None
    assert late_s <= 2 * step_s + 3
    (hung,) = watch.found
    assert (hung.worker_id, hung.phase, hung.silent) == ("b", Phase.STEP, True)


@pytest.mark.parametrize("step_s", [0.1, 10.0])
def test_one_that_answers_and_does_not_move_is_found_as_fast(step_s: float) -> None:
    watch = Watch(step_s=step_s)
    begun = watch.now
    late_s = watch.until_found(100.0, lambda worker: stands(watch.now - begun) if worker == "c" else waits())
    assert late_s is not None
    assert late_s <= 2 * step_s + 3
    assert (watch.found[0].worker_id, watch.found[0].silent) == ("c", False)


def test_one_that_makes_progress_is_slow_and_not_hung() -> None:
    watch = Watch()
    assert watch.until_found(500.0, lambda worker: stands(0.3) if worker == "c" else waits()) is None


def test_one_that_computes_on_a_machine_under_load_is_given_a_minute() -> None:
    watch = Watch()
    begun = watch.now

    def answer(worker: str) -> Pulse:
        still_s = watch.now - begun
        return stands(still_s, cpu_s=0.05 * still_s) if worker == "c" else waits()

    late_s = watch.until_found(100.0, answer)
    assert late_s is not None
    assert 60.0 <= late_s < 61.0


def test_nobody_hangs_where_nobody_waits() -> None:
    watch = Watch(step_s=1.0)
    begun = watch.now
    assert watch.until_found(60.0, lambda worker: stands(watch.now - begun)) is None, "a step that is slow"


def test_nobody_hangs_where_everybody_waits() -> None:
    watch = Watch()
    assert watch.until_found(500.0, lambda worker: waits(watch.now)) is None


def test_a_lone_worker_that_keeps_nobody_waiting_has_two_minutes() -> None:
    watch = Watch("a")
    late_s = watch.until_found(500.0, lambda worker: None)
    assert late_s is not None
    assert 120.0 <= late_s < 121.0


def test_a_first_step_that_compiles_is_waited_for() -> None:
    watch = Watch()
    watch.vigil.entered("c", Phase.FIRST_STEP, watch.now)
    begun = watch.now
    answer = {"c": lambda: stands(watch.now - begun, Phase.FIRST_STEP)}
    assert watch.until_found(100.0, lambda worker: answer.get(worker, waits)()) is None


def test_an_evaluation_is_measured_by_earlier_ones() -> None:
    watch = Watch()
    for phase in (Phase.EVALUATE, Phase.STEP, Phase.EVALUATE):
        watch.vigil.entered("c", phase, watch.now)
        watch.now += 20.0  # the first one took this long
        watch.vigil.look(watch.now)
    watch.vigil.heard(watch.now)
    late_s = watch.until_found(500.0, lambda worker: None if worker == "c" else waits())
    assert late_s is not None
    assert 70.0 <= late_s < 72.0, "three times the longest and ten seconds"


def test_a_checkpoint_that_takes_long_is_no_hang_though_its_writer_cannot_even_answer() -> None:
    watch = Watch()
    watch.vigil.entered("a", Phase.CHECKPOINT, watch.now)
    assert watch.until_found(500.0, lambda worker: None if worker == "a" else waits()) is None


def test_a_controller_that_was_stopped_itself_blames_nobody() -> None:
    watch = Watch()
    watch.until_found(1.0, lambda worker: None)
    watch.now += 3600.0
    assert watch.look() == []
    assert watch.until_found(1.5, lambda worker: None) is None, "all are asked anew"


def test_a_number_is_a_fixed_bound_for_every_phase() -> None:
    watch = Watch(bound_s=9.0)
    watch.vigil.entered("b", Phase.EVALUATE, watch.now)
    late_s = watch.until_found(100.0, lambda worker: None if worker == "b" else waits())
    assert late_s is not None
    assert 9.0 <= late_s < 9.5


def test_hangs_in_a_row_at_one_step_make_it_more_patient_and_a_step_forgives() -> None:
    watch = Watch()
    silent = {"c"}

    def answer(worker: str) -> Pulse | None:
        return None if worker in silent else waits()

    first = watch.until_found(100.0, answer)
    watch.vigil.offered(("a", "b", "d"), watch.now)
    watch.vigil.heard(watch.now)  # they met; no step was done
    silent.add("d")
    second = watch.until_found(100.0, answer)
    assert first is not None
    assert second is not None
    assert second > 3 * first
    watch.vigil.heard(watch.now, [STEP_S])
    watch.vigil.offered(("a", "b", "e"), watch.now)
    silent.add("e")
    assert watch.until_found(100.0, answer) == first


def test_while_steps_are_reported_nobody_is_asked() -> None:
    watch = Watch()
    for _ in range(100):
        watch.look()
        watch.vigil.heard(watch.now, [STEP_S])
        assert watch.vigil.to_ask(watch.now + LOOK_EVERY_S) == []


def test_a_starting_worker_is_measured_by_earlier_starts_and_the_first_by_the_start_timeout() -> None:
    watch = Watch()
    watch.vigil.starting("d", watch.now)
    watch.vigil.starting("e", watch.now)
    for _ in range(40):
        assert watch.look() == []
        watch.vigil.heard(watch.now, [STEP_S])
    watch.vigil.warm("d", watch.now)
    found: list[Hung] = []
    while not found:
        found = watch.look()
        watch.vigil.heard(watch.now, [STEP_S])
    assert found[0].worker_id == "e"
    assert found[0].phase is Phase.START
    assert 60.0 <= found[0].late_s < 60.5, "three times ten seconds, and thirty"


def test_who_is_gone_is_not_waited_for() -> None:
    watch = Watch()
    watch.vigil.gone("b")
    assert watch.until_found(100.0, lambda worker: None if worker == "b" else waits()) is None
