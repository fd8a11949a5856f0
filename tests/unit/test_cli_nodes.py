"""`tumbler nodes` and `tumbler workers`: what is typed, what is sent, what is said."""

from typing import Any

import pytest

from api.cli import places
from api.cli.main import main
from tests.unit.fake_rest import FakeRest, run_json

NODE: dict[str, Any] = {"id": "n" * 40, "address": "10.0.0.1", "hostname": "one", "alive": True}


@pytest.fixture
def rest(monkeypatch: pytest.MonkeyPatch) -> FakeRest:
    rest = FakeRest()
    monkeypatch.setattr(places, "find_service", rest.client)
    return rest


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("verb", "becomes", "state"),
    [
        ("cordon", {"cordoned": True}, "cordoned"),
        ("uncordon", {}, "alive"),
        ("drain", {"draining": True, "cordoned": True}, "draining, cordoned"),
    ],
)
def test_a_verb_says_what_the_node_is_then(
    rest: FakeRest, capsys: pytest.CaptureFixture[str], verb: str, becomes: dict[str, Any], state: str
) -> None:
    rest.on("POST", f"/cluster/nodes/one/{verb}", {**NODE, **becomes})
    assert said(capsys, "nodes", verb, "one") == f"node one (nnnnnnnnnnnn) is {state}\n"


def test_a_drain_sends_deadline_and_reason(rest: FakeRest, capsys: pytest.CaptureFixture[str]) -> None:
    rest.on("POST", "/cluster/nodes/one/drain", {**NODE, "draining": True})
    said(capsys, "nodes", "drain", "one", "--deadline-s", "90", "--reason", "maintenance")
    assert rest.sent() == {"deadline_s": 90.0, "reason": "maintenance"}


def test_a_worker_is_drained_or_killed(rest: FakeRest, capsys: pytest.CaptureFixture[str]) -> None:
    rest.on("POST", "/runs/otter/workers/w2/drain", run_json("otter"))
    assert said(capsys, "workers", "otter", "drain", "w2") == "worker w2 of otter is to be replaced\n"
    rest.on("DELETE", "/runs/otter/workers/w2", run_json("otter"))
    assert said(capsys, "workers", "otter", "kill", "w2") == "worker w2 of otter is to be killed\n"


def test_a_verb_without_a_worker_is_a_mistake(rest: FakeRest, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["workers", "otter", "drain"]) == 2
    assert "RUN drain WORKER" in capsys.readouterr().err
