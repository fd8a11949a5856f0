from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.drill import IsAlive, Plan, recover, train_alone
from benchmarks.steps import StepLog


def plan_in(folder: Path) -> Plan:
    return Plan("nothing:trained", str(folder), str(folder), num_workers=1)


@contextmanager
def ends_at_once(plan: Plan) -> Iterator[IsAlive]:
    Path(plan.folder, "contender.log").write_text("no such workload\n")
    yield lambda: False


@contextmanager
def stands_still(plan: Plan) -> Iterator[IsAlive]:
    yield lambda: True


@contextmanager
def steps_ten_times(plan: Plan) -> Iterator[IsAlive]:
    for step in range(1, 11):
        StepLog(plan.log).write(step, rank=0, world=1)
    yield lambda: True


def test_a_plan_survives_the_trip_to_another_process(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    assert Plan.from_json(plan.to_json()) == plan


def test_a_contender_that_ends_early_is_reported_with_what_it_printed(tmp_path: Path) -> None:
    with pytest.raises(ChildProcessError, match=r"contender\.log: no such workload"):
        recover(ends_at_once, plan_in(tmp_path))


def test_a_contender_that_stands_still_runs_into_the_time_out(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match="did not get there in 0 s"):
        train_alone(stands_still, plan_in(tmp_path), num_steps=1, timeout_s=0)


def test_undisturbed_steps_are_timed_after_the_warm_up(tmp_path: Path) -> None:
    times = train_alone(steps_ten_times, plan_in(tmp_path), num_steps=4, num_warmup=2)
    assert len(times) == 4
    assert all(0 <= time < 1 for time in times)
