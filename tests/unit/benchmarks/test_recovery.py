from benchmarks.joins import Join
from benchmarks.recovery import SCHEDULES, bars_of, shuffled, summary
from benchmarks.recovery_figures import FaultFigures, Verdicts, figures_of, median_step_s
from benchmarks.shared_steps import Cost, Fault, SharedStep
from benchmarks.tumbler_drill import ONE, TWO, WHILE_STARTING, Drilled, num_faults

KILL_S = 1_700_000_000.0
"""2023-11-14T22:13:20Z."""


def drilled(*, faults: tuple[Fault, ...], audit_ok: bool = True) -> Drilled:
    formed = {"kind": "generation-started", "time": "2023-11-14T22:13:20.250Z", "steps_repeated": 1}
    shared = [SharedStep(KILL_S + 0.5 * number, number, (10, 11)) for number in range(-3, 0)]
    shared += [SharedStep(KILL_S + 0.375, 0, (10,)), SharedStep(KILL_S + 4, 9, (10, 12))]
    return Drilled(2, faults, len(faults), shared, [formed], "aa", audit_ok)


def fault(t: float = KILL_S) -> Fault:
    return Fault(ONE, t, (11,), members=(10, 11), full=2)


def figures(to_next_step_s: float = 0.25, *, repeated: int = 1, lost: int = 0) -> FaultFigures:
    return FaultFigures(2, ONE, Cost(to_next_step_s, 4.0, lost), repeated)


def verdicts(*parameters: str) -> Verdicts:
    return Verdicts(set(parameters or ["aa"]))


def missed(faults: list[FaultFigures], joins: list[Join], found: Verdicts) -> list[str]:
    return [bar.bar for bar in bars_of(faults, joins, found) if not bar.ok]


def test_the_schedules_hold_what_was_promised() -> None:
    plans = [shuffled(counts, 1) for counts in SCHEDULES.values()]
    kinds = [kind for plan in plans for kind in plan]
    assert kinds.count(ONE) + kinds.count(WHILE_STARTING) == 20
    assert kinds.count(WHILE_STARTING) == 5
    assert kinds.count(TWO) == 3
    assert sum(map(num_faults, plans)) == 28


def test_two_at_once_never_takes_everybody() -> None:
    assert all(TWO not in counts for workers, counts in SCHEDULES.items() if workers <= 2)


def test_a_seed_gives_one_order_of_the_faults() -> None:
    counts = SCHEDULES[4]
    assert shuffled(counts, 5) == shuffled(counts, 5)
    assert len({tuple(shuffled(counts, seed)) for seed in range(20)}) > 1


def test_a_kill_is_charged_with_the_generation_after_it() -> None:
    assert figures_of(drilled(faults=(fault(),))) == [FaultFigures(2, ONE, Cost(0.375, 4.0, 0), 1)]


def test_a_run_that_nobody_disturbed_has_no_figures_and_missed_no_kill() -> None:
    found = Verdicts()
    found.take(drilled(faults=()))
    assert figures_of(drilled(faults=())) == []
    assert found.num_missed == 0


def test_a_generation_before_the_kill_is_not_charged_to_it() -> None:
    (late,) = figures_of(drilled(faults=(fault(KILL_S + 0.3),)))
    assert late.steps_repeated == 0


def test_a_normal_step_is_one_of_all_workers_in_one_group() -> None:
    assert median_step_s(drilled(faults=())) == 0.5


def test_a_kill_after_which_nothing_was_done_counts_as_one_for_which_there_was_no_time() -> None:
    found = Verdicts()
    found.take(drilled(faults=(fault(), fault(KILL_S + 100))))
    assert found.num_missed == 1


def test_good_figures_miss_no_bar() -> None:
    assert missed([figures()], [Join(0.2, 0.05, 0.01)], verdicts()) == []


def test_each_bar_can_be_missed() -> None:
    assert len(missed([figures(0.75)], [], verdicts())) == 1
    assert len(missed([figures(), figures(), figures(2.5)], [], verdicts())) == 1
    assert len(missed([figures(repeated=2)], [], verdicts())) == 1
    assert len(missed([figures(lost=1)], [], verdicts())) == 1
    assert len(missed([figures()], [Join(0.4, 0.05, 0.01)], verdicts())) == 1
    assert len(missed([figures()], [], verdicts("aa", "bb"))) == 1
    assert len(missed([figures()], [], Verdicts({"aa"}, num_bad_audits=1))) == 1
    assert len(missed([figures()], [], Verdicts({"aa"}, num_missed=1))) == 1


def test_the_summary_counts_by_kind_and_is_silent_about_what_did_not_happen() -> None:
    shown = summary([figures(0.25), figures(0.5)], [], verdicts())
    assert shown["one: number, p50, max"] == [2, 0.375, 0.5]
    assert not any(TWO in name or "join_pause" in name for name in shown)
