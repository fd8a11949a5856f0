"""What is kept of the checkpoints of a run."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.checkpoints.retention import best, to_drop
from orchestrator.domain.spec import KeepBest

LOSS = KeepBest(metric="val_loss")
ACCURACY = KeepBest(metric="accuracy", mode="max")
METRICS = st.dictionaries(st.sampled_from(["val_loss", "accuracy"]), st.floats(), max_size=2)
RUNS = st.dictionaries(st.integers(0, 2000), METRICS, max_size=12).flatmap(
    lambda run: st.permutations(list(run.items()))
)
RULES = st.fixed_dictionaries(
    {
        "keep_last": st.integers(1, 5),
        "keep_every": st.none() | st.integers(1, 500),
        "keep_best": st.sampled_from([None, LOSS, ACCURACY]),
    }
)


@given(RUNS, RULES)
def test_the_newest_stays_and_never_fewer_than_promised_are_kept(run, rules) -> None:  # type: ignore[no-untyped-def]
    steps = sorted(step for step, _ in run)
    dropped = to_drop(run, **rules)
    kept = set(steps) - set(dropped)
    assert dropped == sorted(set(dropped) & set(steps))
    assert set(steps[-rules["keep_last"] :]) <= kept
    if rules["keep_every"]:
        assert {step for step in steps if step % rules["keep_every"] == 0} <= kept
    if rules["keep_best"]:
        assert {best(run, rules["keep_best"])} - {None} <= kept


@given(RUNS, RULES)
def test_nothing_is_kept_without_a_reason_and_dropping_twice_drops_no_more(run, rules) -> None:  # type: ignore[no-untyped-def]
    dropped = to_drop(run, **rules)
    left = [(step, metrics) for step, metrics in run if step not in dropped]
    assert to_drop(left, **rules) == []
    every = [step for step, _ in left if rules["keep_every"] and step % rules["keep_every"] == 0]
    assert len(left) <= rules["keep_last"] + len(every) + (rules["keep_best"] is not None)


def test_the_last_ones_stay() -> None:
    run = [(step, {}) for step in (100, 300, 200)]
    assert to_drop(run, keep_last=2) == [100]
    assert to_drop(run, keep_last=9) == []
    assert to_drop([], keep_last=1) == []


def test_one_every_so_many_steps_stays_for_ever() -> None:
    run = [(step, {}) for step in range(100, 1100, 100)]
    assert to_drop(run, keep_last=1, keep_every=500) == [100, 200, 300, 400, 600, 700, 800, 900]


def test_the_best_stays_and_of_equals_the_newer_one() -> None:
    run = [(100, {"val_loss": 1.0}), (200, {"val_loss": 1.0}), (300, {"val_loss": 2.0}), (400, {})]
    assert best(run, LOSS) == 200
    assert best(run, KeepBest(metric="val_loss", mode="max")) == 300
    assert to_drop(run, keep_last=1, keep_best=LOSS) == [100, 300]


def test_what_has_no_such_metric_or_no_finite_one_is_not_the_best() -> None:
    run = [(100, {"val_loss": float("nan")}), (200, {"loss": 0.1}), (300, {"val_loss": float("-inf")})]
    assert best(run, LOSS) is None
    assert best([*run, (400, {"val_loss": 9.0})], LOSS) == 400
