"""The curve of `tumbler watch`, dot by dot."""

import math

from api.cli.curve import Curve, drawn


def dots(lines: list[str]) -> set[tuple[int, int]]:
    """(column, row from the top) of every dot behind the scale."""
    order = (0x01, 0x02, 0x04, 0x40, 0x08, 0x10, 0x20, 0x80)
    found = set()
    for row, line in enumerate(lines):
        for column, sign in enumerate(char for char in line if 0x2800 <= ord(char) < 0x2900):
            for number, bit in enumerate(order):
                if (ord(sign) - 0x2800) & bit:
                    found.add((2 * column + number // 4, 4 * row + number % 4))
    return found


def test_a_falling_line_goes_from_the_upper_left_to_the_lower_right() -> None:
    lines = drawn([(step, 1.0 - step / 15) for step in range(16)], width=10, height=4)
    assert lines[0].startswith("1 ")
    assert lines[3].startswith("0 ")
    assert lines[-1].split() == ["15"]
    assert dots(lines[:-1]) == {(step, step) for step in range(16)}


def test_the_steps_stand_below_where_there_is_room() -> None:
    lines = drawn([(3, 1.0), (90, 2.0)], width=30, height=2)
    assert lines[-1].split() == ["step", "3", "90"]
    assert len(lines) == 3


def test_a_jump_is_drawn_as_a_line_without_gaps() -> None:
    found = dots(drawn([(0, 0.0), (1, 1.0)], width=6, height=2)[:-1])
    assert {row for _, row in found} == set(range(8))


def test_a_flat_line_and_one_point_are_no_trouble() -> None:
    assert dots(drawn([(0, 2.0), (9, 2.0)], width=12, height=2)[:-1])
    assert drawn([(0, 2.0)], width=12, height=2) == []
    assert drawn([(0, 2.0), (1, 3.0)], width=5, height=2) == []
    assert drawn([(0, 2.0), (1, 3.0)], width=50, height=0) == []


def test_no_line_is_wider_than_what_there_is() -> None:
    points = [(step, math.sin(step / 50)) for step in range(1000)]
    for width in (12, 40, 133):
        assert all(len(line) <= width for line in drawn(points, width, 6))


def test_what_was_undone_is_gone_and_what_is_not_finite_has_no_dot() -> None:
    curve = Curve()
    for step in range(1, 11):
        curve.add(step, float(step))
    curve.back_to(5)
    curve.add(6, math.nan)
    curve.add(7, "NaN")
    curve.add(8, 80.0)
    assert curve.points == [*((float(step), float(step)) for step in range(1, 6)), (8, 80.0)]
    curve.add(4, 40.0)
    assert curve.points[-1] == (4, 40.0)
    assert len(curve.points) == 4


def test_a_million_points_are_few_and_the_ends_stay() -> None:
    curve = Curve()
    for step in range(100_000):
        curve.add(step, 1.0)
    assert len(curve.points) <= 4096
    assert (curve.points[0][0], curve.points[-1][0]) == (0, 99_999)
