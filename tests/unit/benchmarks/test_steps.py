import json
from pathlib import Path

import pytest

from benchmarks.steps import Kill, Recovery, Step, StepLog, StepReader, measure_recovery, step_times

SURVIVOR, VICTIM, NEWCOMER = 10, 11, 12


def pair(t: float, step: int, *, world: int = 2, pids: tuple[int, ...] = (SURVIVOR, VICTIM)) -> list[Step]:
    """One step as all of its workers logged it, a millisecond apart."""
    return [Step(t + rank / 1000, step, rank, world, pid) for rank, pid in enumerate(pids)]


BEFORE = [*pair(1.0, 1), *pair(2.0, 2), *pair(3.0, 3)]
KILL = Kill(3.5, VICTIM)


def test_a_group_that_restarts_from_a_checkpoint_repeats_the_steps_after_it() -> None:
    after = [*pair(9.0, 2, pids=(20, 21)), *pair(10.0, 3, pids=(20, 21))]
    assert measure_recovery([*BEFORE, *after], KILL) == Recovery(5.5, 2, 5.5)


def test_survivors_that_train_on_repeat_nothing_and_are_whole_when_the_newcomer_steps() -> None:
    alone = pair(3.75, 4, world=1, pids=(SURVIVOR,))
    whole = pair(6.0, 5, pids=(SURVIVOR, NEWCOMER))
    assert measure_recovery([*BEFORE, *alone, *whole], KILL) == Recovery(0.25, 0, 2.5)


def test_a_step_that_the_survivors_had_in_flight_is_no_recovery_but_can_be_repeated() -> None:
    in_flight = [Step(3.6, 4, 0, 2, SURVIVOR)]
    again = pair(5.5, 4, pids=(SURVIVOR, NEWCOMER))
    recovery = measure_recovery([*BEFORE, *in_flight, *again], KILL)
    assert recovery is not None
    assert recovery.steps_repeated == 1
    assert recovery.kill_to_next_step_s == pytest.approx(2.0, abs=0.002)


def test_nothing_is_measured_until_full_strength_is_back() -> None:
    assert measure_recovery(BEFORE, KILL) is None
    assert measure_recovery([*BEFORE, *pair(4.0, 4, world=1, pids=(SURVIVOR,))], KILL) is None


def test_a_kill_before_the_first_step_cannot_be_measured() -> None:
    with pytest.raises(ValueError, match="no step before the kill"):
        measure_recovery(BEFORE, Kill(0.5, VICTIM))


def test_step_times_are_those_of_one_rank_without_the_warm_up() -> None:
    steps = [*pair(1.0, 1), *pair(4.0, 2), *pair(4.5, 3), *pair(5.25, 4)]
    assert step_times(steps, num_warmup=1) == [0.5, 0.75]


def test_the_log_holds_one_line_of_json_per_step(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    StepLog(path).write(7, rank=1, world=2)
    (line,) = path.read_text().splitlines()
    assert json.loads(line).keys() == {"t", "step", "rank", "world", "pid"}


def test_a_reader_follows_the_log_and_leaves_a_half_written_line_for_later(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    reader = StepReader(path)
    assert reader.refresh() == []
    lines = [json.dumps(vars(step)) for step in BEFORE[:2]]
    path.write_text(lines[0] + "\n" + lines[1][:9])
    assert reader.refresh() == BEFORE[:1]
    path.write_text("\n".join(lines) + "\n")
    assert reader.refresh() == BEFORE[:2]
