"""`tumbler top`."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from api.cli import places
from api.cli.main import main
from api.cli.top import Look, Paces, picture
from api.client_types import NodeInfo, RunInfo
from tests.unit.fake_rest import FakeRest, problem, run_json

NODE = {"id": "n1", "hostname": "left", "address": "10.0.0.1", "alive": True, "resources": {"CPU": 4.0}}
QUEUE = {
    **{"name": "default", "weight": 1.0, "quota": {"CPU": 8.0}},
    **{"held": {"CPU": 2.0, "workers": 2}, "running": 1, "waiting": 1},
}
SEATED = {"attempt": 1, "state": "training", "node_id": "n1"}


@pytest.fixture(autouse=True)
def rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRest:
    monkeypatch.chdir(tmp_path)
    rest = FakeRest()
    monkeypatch.setattr(places, "find_service", rest.client)
    rest.on("GET", "/cluster/nodes", {"nodes": [NODE], "trouble": None})
    rest.on("GET", "/queues", {"queues": [QUEUE]})
    rest.on("GET", "/runs/id-otter/workers", {"workers": [{"worker": w, **SEATED} for w in ("w1", "w2")]})
    waiting = run_json("owl", "QUEUED", step=0, metrics={}, workers={}, wait={"why": "its turn"})
    looks = []
    for step in (40, 45):
        looks += [
            {"runs": [run_json("otter", step=step)], "next_cursor": None},
            {"runs": [waiting], "next_cursor": None},
        ]
    rest.on("GET", "/runs", *looks)
    return rest


def test_one_look_says_nodes_queues_and_runs_with_pace_and_time_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["top", "--once"]) == 0
    lines = capsys.readouterr().out.splitlines()
    node = next(line for line in lines if line.startswith("left"))
    assert node.split() == ["left", "alive", "4", "CPU", "2", "otter", "2"]
    otter = next(line for line in lines if line.startswith("otter")).split()
    assert otter[1:8] == ["RUNNING", "default", "45/100", "5", "2.5", "2/2", "11"]
    assert "its turn" in next(line for line in lines if line.startswith("owl"))
    assert "8 CPU" in next(line for line in lines if line.startswith("default"))


def test_programs_get_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["nodes"][0]["runs"] == ["otter", "otter"]
    assert [(run["name"], run["steps_per_s"], run["eta_s"]) for run in found["runs"]] == [
        ("otter", 5.0, 11.0),
        ("owl", None, None),
    ]


def test_a_cluster_that_is_away_is_said(rest: FakeRest, capsys: pytest.CaptureFixture[str]) -> None:
    rest.on("GET", "/cluster/nodes", problem(503, "cluster-unavailable", "Ray does not answer"))
    assert main(["top", "--once"]) == 0
    assert "Ray does not answer" in capsys.readouterr().out


def test_a_long_sentence_takes_no_room_from_the_other_columns() -> None:
    run = RunInfo.model_validate(run_json("brave-otter", "QUEUED", wait={"why": "x" * 500}))
    text = io.StringIO()
    look = Look([NodeInfo.model_validate(NODE)], [QUEUE], [run])
    Console(file=text, width=100).print(picture(look, Paces()))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 100
    assert next(line for line in lines if line.startswith("brave-otter")).split()[1:3] == [
        "QUEUED",
        "default",
    ]
