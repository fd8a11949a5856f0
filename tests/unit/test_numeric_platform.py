from pathlib import Path

import pytest

from orchestrator.domain.numeric_platform import PlatformGate, refusal
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec

FIRST = {"torch": "2.13.0", "instructions": "AVX512", "code": "aa"}
OTHER = {"torch": "2.13.0", "instructions": "AVX2", "code": "bb"}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path, RunSpec(name="r", task="language_model"))


def gate(run: RunDirectory, attempt: int, *, step: int = 10, bitwise: bool = True) -> PlatformGate:
    return PlatformGate(run, attempt, num_steps_done=step, bitwise=bitwise)


@pytest.fixture
def recorded(run: RunDirectory) -> RunDirectory:
    gate(run, 1, step=0).admitted(FIRST)
    return run


def test_a_later_attempt_on_another_platform_is_told_what_differs_and_what_to_do(
    recorded: RunDirectory,
) -> None:
    (found,) = gate(recorded, 2).differences(OTHER)
    assert found == "instructions was AVX512 and is AVX2"
    sentence = refusal(10, [found])
    assert "of the 10 steps done so far" in sentence
    assert "--set name=OTHER" in sentence


def test_the_same_platform_goes_on_and_so_does_other_code(recorded: RunDirectory) -> None:
    assert gate(recorded, 2).differences(FIRST) == []
    assert gate(recorded, 2).differences({**FIRST, "code": "bb"}) == []


def test_a_fact_that_a_worker_does_not_tell_differs(recorded: RunDirectory) -> None:
    assert gate(recorded, 2).differences({"torch": "2.13.0"}) == ["instructions was AVX512 and is unknown"]


def test_the_first_worker_of_the_first_attempt_decides_and_a_later_attempt_changes_nothing(
    recorded: RunDirectory,
) -> None:
    second = gate(recorded, 2)
    second.admitted(FIRST | {"code": "bb"})
    assert '"code": "aa"' in (recorded.path / "platform.json").read_text()


@pytest.mark.parametrize(("step", "bitwise"), [(0, True), (10, False)])
def test_nobody_is_bound_where_nothing_is_done_or_no_bits_are_promised(
    recorded: RunDirectory, step: int, bitwise: bool
) -> None:
    second = gate(recorded, 2, step=step, bitwise=bitwise)
    assert second.differences(OTHER) == []
    second.admitted(OTHER)
    assert gate(recorded, 3).differences(OTHER) == []


def test_a_run_of_an_earlier_version_has_no_record_and_gets_one(run: RunDirectory) -> None:
    first = gate(run, 2)
    assert first.differences(OTHER) == []
    first.admitted(OTHER)
    assert gate(run, 3).differences(FIRST) == ["instructions was AVX2 and is AVX512"]
