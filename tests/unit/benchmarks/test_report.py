import io
import json
from collections.abc import Sequence

import pytest
from rich.console import Console

from benchmarks.report import Bar, Report, bootstrap_interval, percentile, print_report


def report(*bars: Bar) -> Report:
    peers = {"torchrun": {"steps_repeated_max": 10, "step_p50_interval_s": [0.25, 0.5]}}
    return Report("recovery", {"steps_repeated_max": 0}, peers, bars, machine={"num_cores": 2})


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize(("value", "ok"), [(1.9, True), (2.0, True), (2.1, False)])
def test_a_ceiling_is_kept_up_to_and_at_the_limit(value: float, ok: bool) -> None:
    assert Bar.at_most("kill to next step", value, 2.0, "s").ok is ok


@pytest.mark.parametrize(("value", "ok"), [(0.9, False), (1.0, True), (1.1, True)])
def test_a_floor_is_kept_from_the_limit_up(value: float, ok: bool) -> None:
    assert Bar.at_least("useful time", value, 1.0, "of all").ok is ok


def test_a_report_is_ok_only_if_every_bar_is() -> None:
    kept, missed = Bar.at_most("a", 1, 2, "s"), Bar.at_most("b", 3, 2, "s")
    assert report(kept).ok
    assert not report(kept, missed).ok


def test_the_json_of_a_report_is_one_line_of_the_documented_shape() -> None:
    text = report(Bar.at_most("repeated", 0, 1, "steps")).to_json()
    assert "\n" not in text
    assert json.loads(text) == {
        "name": "recovery",
        "machine": {"num_cores": 2},
        "results": {"steps_repeated_max": 0},
        "peers": {"torchrun": {"steps_repeated_max": 10, "step_p50_interval_s": [0.25, 0.5]}},
        "bars": [{"bar": "repeated", "limit": 1, "value": 0, "unit": "steps", "ok": True}],
        "ok": True,
    }


def test_the_table_has_a_column_per_contender_and_shows_missed_bars() -> None:
    console = Console(record=True, width=100, file=io.StringIO())
    print_report(report(Bar.at_most("repeated", 3, 1, "steps")), console)
    text = console.export_text()
    assert "tumbler" in text
    assert "torchrun" in text
    assert "0.25 0.5" in text
    assert "MISSED repeated: 3 steps, limit 1" in text


def test_percentiles_are_linear_between_neighbours() -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], 50) == 2.5
    assert percentile([1.0, 2.0], 100) == 2.0


def test_statistics_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        percentile([], 50)
    with pytest.raises(ValueError, match="at least one value"):
        bootstrap_interval([], mean)


def test_a_bootstrap_interval_encloses_the_statistic_and_shrinks_with_more_values() -> None:
    few, many = [1.0, 2.0, 3.0, 4.0] * 5, [1.0, 2.0, 3.0, 4.0] * 50
    low, high = bootstrap_interval(few, mean)
    assert low < 2.5 < high
    narrow_low, narrow_high = bootstrap_interval(many, mean)
    assert narrow_high - narrow_low < (high - low) / 2


def test_the_same_seed_gives_the_same_bootstrap_interval() -> None:
    values = [value**1.5 for value in range(1, 20)]
    assert bootstrap_interval(values, mean, seed=3) == bootstrap_interval(values, mean, seed=3)
    assert bootstrap_interval(values, mean, seed=3) != bootstrap_interval(values, mean, seed=4)


def test_values_that_do_not_vary_have_an_interval_of_no_width() -> None:
    assert bootstrap_interval([2.0] * 9, mean) == (2.0, 2.0)
