from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.orders import Orders
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import EndReason
from trainers.ray_train.happenings import CheckpointWanted, StopRequested, TargetChanged
from trainers.ray_train.lookout import Lookout, Sight, orders_for, standing_orders, wishes

SPEC = RunSpec.parse({"name": "otter", "task": "language_model", "workers": "1:4"})


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.begin(tmp_path, SPEC, 2)


@pytest.fixture
def lookout(run: RunDirectory) -> Lookout:
    return Lookout(run, attempt=2)


def orders(target: int = 4, *, attempt: int = 2, minimum: int = 1, **wish: Any) -> Orders:
    return Orders(attempt=attempt, workers_min=minimum, target=target, **wish)


def test_where_no_service_wrote_anything_there_is_nothing_to_see(lookout: Lookout) -> None:
    assert lookout.look() == Sight(None, None)


def test_orders_are_seen_once_each_time_they_are_given(run: RunDirectory, lookout: Lookout) -> None:
    for target in (3, 2):
        run.write_orders(orders(target))
        assert lookout.look().orders == orders(target)
        assert lookout.look().orders is None


def test_orders_for_another_attempt_are_not_heard(run: RunDirectory, lookout: Lookout) -> None:
    run.write_orders(orders(attempt=1))
    assert lookout.look().orders is None
    assert orders_for(run, 2) is None
    assert orders_for(run, 1) == orders(attempt=1)


def test_broken_orders_are_passed_over_until_whole_ones_come(run: RunDirectory, lookout: Lookout) -> None:
    run.orders_path.write_text("{")
    assert lookout.look().orders is None
    assert orders_for(run, 2) is None
    run.write_orders(orders(3))
    assert lookout.look().orders == orders(3)


def test_the_beat_is_seen_to_change(run: RunDirectory, lookout: Lookout) -> None:
    run.beat()
    first = lookout.look().beat
    assert first is not None
    assert lookout.look().beat == first


def test_an_attempt_that_is_ordered_what_it_does_anyway_does_nothing() -> None:
    assert wishes(standing_orders(SPEC, 2), orders(4)) == []


def test_a_new_target_or_a_new_minimum_is_a_wish() -> None:
    assert wishes(orders(4), orders(2)) == [TargetChanged(2, 1)]
    assert wishes(orders(4), orders(4, minimum=2)) == [TargetChanged(4, 2)]


def test_a_target_below_the_minimum_means_the_minimum() -> None:
    assert wishes(orders(4), orders(1, minimum=2)) == [TargetChanged(2, 2)]


def test_a_checkpoint_is_wished_once_and_its_number_tells_it_from_the_next() -> None:
    asked = orders(checkpoint=7)
    assert wishes(standing_orders(SPEC, 2), asked) == [CheckpointWanted(7)], "also by an older attempt"
    assert wishes(asked, orders(2, checkpoint=7)) == [TargetChanged(2, 1)]
    assert wishes(asked, orders()) == []
    assert wishes(asked, orders(checkpoint=9)) == [CheckpointWanted(9)]


def test_a_stop_is_wished_once_with_its_reason() -> None:
    paused = orders(4, stop=EndReason.USER_PAUSED)
    assert wishes(orders(4), paused) == [StopRequested(EndReason.USER_PAUSED, "a user paused it")]
    assert wishes(paused, orders(2, stop=EndReason.USER_PAUSED)) == [TargetChanged(2, 1)]
