import os
import signal
from types import MappingProxyType

import pytest

from orchestrator.domain import failpoints
from orchestrator.domain.failpoints import parse, reach


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    monkeypatch.setattr("orchestrator.domain.failpoints.os.kill", lambda *args: found.append(args))
    return found


def arm(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(failpoints, "_ARMED", parse(text))


def test_nothing_is_armed_by_default(kills: list[tuple[int, int]]) -> None:
    assert parse("") == MappingProxyType({})
    reach("before-commit")
    assert kills == []


def test_reaching_an_armed_failpoint_kills_this_process(
    monkeypatch: pytest.MonkeyPatch, kills: list[tuple[int, int]]
) -> None:
    arm(monkeypatch, "before-commit:1:0, after-commit:0:0")
    reach("after-commit")
    reach("elsewhere")
    assert kills == []
    reach("before-commit")
    assert kills == [(os.getpid(), signal.SIGKILL)]


def test_the_seed_decides_which_time_it_is(
    monkeypatch: pytest.MonkeyPatch, kills: list[tuple[int, int]]
) -> None:
    def times(seed: int) -> list[int]:
        arm(monkeypatch, f"here:0.2:{seed}")
        killed = []
        for time in range(100):
            kills.clear()
            reach("here")
            killed += [time] if kills else []
        return killed

    assert times(1) == times(1) != times(2)
    assert 5 < len(times(1)) < 40


@pytest.mark.parametrize("text", ["here", "here:1", "here:x:1", "here:1:x", "here:1:1:1", "here:2:0"])
def test_a_text_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="TUMBLER_FAILPOINTS: expected"):
        parse(text)
