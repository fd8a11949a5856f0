"""`tumbler queues`."""

import pytest

from api.cli.errors import Usage
from api.cli.main import main
from api.cli.queues import changed
from tests.unit.fake_rest import FakeRest


@pytest.fixture
def rest(monkeypatch: pytest.MonkeyPatch) -> FakeRest:
    fake = FakeRest()
    monkeypatch.setattr("api.cli.queues.need_service", fake.client)
    return fake


NLP = {
    "name": "nlp",
    "quota": {"CPU": 8.0, "memory": 2.0**34},
    "weight": 2.0,
    "held": {"workers": 3.0, "CPU": 3.0},
    "running": 2,
    "waiting": 1,
}


def test_queues_are_listed(rest: FakeRest, capsys: pytest.CaptureFixture[str]) -> None:
    rest.on("GET", "/queues", {"queues": [NLP]})
    assert main(["queues", "ls"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].lower().split() == ["queue", "weight", "quota", "holds", "running", "waiting"]
    assert "8 CPU, 16.0 GiB" in shown[1]
    assert "3 workers, 3 CPU" in shown[1]


def test_what_is_not_named_stays_as_it_is(rest: FakeRest, capsys: pytest.CaptureFixture[str]) -> None:
    rest.on("GET", "/queues", {"queues": [NLP]})
    rest.on("PUT", "/queues/nlp", NLP)
    assert main(["queues", "set", "nlp", "cpu=16", "memory-", "gpu=2"]) == 0
    assert rest.sent("PUT") == {"quota": {"CPU": 16.0, "GPU": 2.0}, "weight": 2.0}
    capsys.readouterr()


def test_a_queue_that_is_not_there_yet_has_no_limit() -> None:
    assert changed({}, ["workers=4", "weight=0.5"]) == {"quota": {"workers": 4.0}, "weight": 0.5}
    assert changed({}, ["memory=64Gi"]) == {"quota": {"memory": 64.0 * 2**30}, "weight": 1.0}


@pytest.mark.parametrize("change", ["cpu", "tpu=1", "weight-", "cpu=many", "memory=much", "=3"])
def test_what_makes_no_sense_is_told(change: str) -> None:
    with pytest.raises(Usage, match="expected"):
        changed({}, [change])
