import json
from pathlib import Path

from benchmarks.shared_steps import Cost, Fault, SharedStep, StepLogs, cost_of

A, B, C, NEW = 10, 11, 12, 13
FOREVER = float("inf")


def log(folder: Path, pid: int, *steps: tuple[float, int, int, int]) -> None:
    """Append (t, step, rank, world) to the log of one worker."""
    with (folder / f"{pid}.jsonl").open("a") as file:
        for t, step, rank, world in steps:
            file.write(json.dumps({"t": t, "step": step, "rank": rank, "world": world, "pid": pid}) + "\n")


def killed(*victims: int, t: float = 3.5) -> Fault:
    return Fault("one", t, victims, members=(A, B, C), full=3)


def test_a_step_is_shared_when_the_last_member_has_applied_it(tmp_path: Path) -> None:
    logs = StepLogs(tmp_path)
    log(tmp_path, A, (1.0, 1, 0, 2))
    logs.refresh()
    assert logs.newest is None
    log(tmp_path, B, (1.25, 1, 1, 2))
    logs.refresh()
    assert logs.newest == SharedStep(1.25, 1, (A, B))


def test_a_step_that_is_done_again_by_other_workers_counts_as_done_by_them(tmp_path: Path) -> None:
    log(tmp_path, A, (1.0, 1, 0, 2))
    log(tmp_path, B, (1.1, 1, 1, 2), (5.0, 1, 0, 2))
    log(tmp_path, NEW, (5.1, 1, 1, 2))
    logs = StepLogs(tmp_path)
    logs.refresh()
    assert logs.shared == [SharedStep(5.1, 1, (B, NEW))]


def test_the_clock_stops_at_the_step_of_all_survivors_and_not_at_the_victims_last() -> None:
    shared = [
        SharedStep(3.6, 4, (A, B, C)),
        SharedStep(3.75, 5, (A, B)),
        SharedStep(7.5, 9, (A, B, NEW)),
    ]
    assert cost_of(killed(C), shared, FOREVER) == Cost(0.25, 4.0, survivors_lost=0)


def test_a_survivor_that_takes_no_part_in_the_next_step_is_counted() -> None:
    cost = cost_of(killed(C), [SharedStep(4.0, 5, (A, NEW))], FOREVER)
    assert cost is not None
    assert cost.survivors_lost == 1


def test_full_strength_after_the_next_fault_is_not_credited_to_this_one() -> None:
    shared = [SharedStep(3.75, 5, (A, B)), SharedStep(7.5, 9, (A, B, NEW))]
    assert cost_of(killed(C), shared, until=5.0) == Cost(0.25, None, survivors_lost=0)


def test_a_replacement_that_is_killed_while_it_starts_leaves_the_next_step_to_the_others() -> None:
    fault = Fault("while starting", 3.5, (NEW,), members=(A, B), full=3)
    assert cost_of(fault, [SharedStep(3.75, 5, (A, B))], FOREVER) == Cost(0.25, None, survivors_lost=0)


def test_a_fault_that_no_step_follows_cannot_be_measured() -> None:
    assert cost_of(killed(C), [SharedStep(3.0, 3, (A, B, C))], FOREVER) is None
