"""What Prometheus is told of runs, queues and nodes; and that dashboards and alerts ask for nothing else."""

import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.service.prometheus import Gauges, Seen
from orchestrator.domain.goodput import RunGoodput
from orchestrator.domain.runs import Progress, Run
from orchestrator.domain.status import RunStatus
from orchestrator.ports.cluster import ClusterView, Node
from tests.unit.test_lifecycle import run_in

ROOT = Path(__file__).resolve().parents[3]
DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
RULES = ROOT / "deploy" / "prometheus"
PROMTOOL = shutil.which("promtool")
QUEUE = {
    "name": "nlp",
    "weight": 2.0,
    "quota": {"CPU": 8.0, "memory": 2.0**30},
    "held": {"CPU": 3.0, "workers": 3},
    "running": 1,
    "waiting": 4,
}
METRICS = {"loss": 2.5, "val_loss": 2.25, "count": 512.0}
PROGRESS = Progress(step=430, total_steps=500, workers=2, metrics=METRICS, step_s={1: 0.5, 2: 0.25})


def node(name: str, **facts: Any) -> Node:
    return Node(name, name, name, **{"alive": True, "head": False, "resources": {"CPU": 4.0}, **facts})


def busy() -> tuple[Gauges, Run, Seen]:
    run = run_in(RunStatus.RUNNING, progress=PROGRESS)
    view = ClusterView((node("a"), node("b", cordoned=True), node("c", alive=False)))
    spent = {run.id: RunGoodput(run=run.name, queue_s=3.0, steps_repeated=7, workers_lost=2)}
    gauges = Gauges()
    gauges.deliveries.labels("ops", "delivered").inc()
    gauges.backlog.labels("ops").set(0)
    gauges.failing.labels("ops").set(0)
    gauges.round_took(0.01)
    gauges.answered({"method": "GET"}, 200, 0.01)
    return gauges, run, Seen({RunStatus.RUNNING: 1}, [run], spent, [QUEUE], view)


def test_the_newest_checkpoint_and_those_that_were_skipped_are_told() -> None:
    progress = Progress(step=430, checkpoint="s3://bucket/prefix/otter/step-00000400")
    run = run_in(RunStatus.RUNNING, progress=progress, skipped_checkpoints=2)
    gauges = Gauges()
    text = gauges.text(Seen(active=[run])).decode()
    labels = f'{{run="{run.name}",run_id="{run.id}"}}'
    assert f"tumbler_run_checkpoint_step{labels} 400.0" in text
    assert f"tumbler_run_skipped_checkpoints{labels} 2.0" in text
    without = gauges.text(Seen(active=[run_in(RunStatus.RUNNING)])).decode()
    assert f"tumbler_run_checkpoint_step{labels} 0.0" in without
    assert f"tumbler_run_loss{labels}" not in without
    assert labels not in gauges.text(Seen()).decode()


def test_a_run_is_told_with_its_loss_its_pace_and_what_it_lost() -> None:
    gauges, run, seen = busy()
    text = gauges.text(seen).decode()
    labels = f'{{run="{run.name}",run_id="{run.id}"}}'
    for name, value in {
        "loss": 2.5,
        "validation_loss": 2.25,
        "total_steps": 500.0,
        "step_seconds": 0.25,
        "items_per_second": 2048.0,
        "repeated_steps": 7.0,
        "lost_workers": 2.0,
        "queue_seconds": 3.0,
    }.items():
        assert f"tumbler_run_{name}{labels} {value}" in text
    assert run.name not in gauges.text(Seen()).decode(), "series of a run that has ended"


def test_a_loss_that_is_not_finite_is_told_as_it_is() -> None:
    run = run_in(RunStatus.RUNNING, progress=Progress(step=1, metrics={"loss": math.nan}))
    text = Gauges().text(Seen(active=[run])).decode()
    assert f'tumbler_run_loss{{run="{run.name}",run_id="{run.id}"}} NaN' in text


def test_queues_and_nodes_are_told_and_gone_when_they_are() -> None:
    gauges, _, seen = busy()
    text = gauges.text(seen).decode()
    for line in (
        'tumbler_queue_waiting_runs{queue="nlp"} 4.0',
        'tumbler_queue_held{queue="nlp",resource="cpus"} 3.0',
        'tumbler_queue_quota{queue="nlp",resource="memory_bytes"} 1.073741824e+09',
        'tumbler_cluster_nodes{state="open"} 1.0',
        'tumbler_cluster_nodes{state="cordoned"} 1.0',
        'tumbler_cluster_nodes{state="gone"} 1.0',
        "tumbler_cluster_cpus 8.0",
        "tumbler_cluster_up 1.0",
    ):
        assert line in text
    assert "nlp" not in gauges.text(Seen(cluster_up=False)).decode()


def names_told() -> set[str]:
    gauges, _, seen = busy()
    return {
        re.split(r"[{ ]", line, maxsplit=1)[0]
        for line in gauges.text(seen).decode().splitlines()
        if line.startswith("tumbler_")
    }


def asked_for(value: Any) -> Iterator[str]:
    """Every PromQL expression of a dashboard, those of its variables too."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in ("expr", "query") and isinstance(item, str):
                yield item
            yield from asked_for(item)
    elif isinstance(value, list):
        for item in value:
            yield from asked_for(item)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_a_dashboard_names_only_metrics_that_there_are(path: Path) -> None:
    content = json.loads(path.read_text())
    used = {name for text in asked_for(content) for name in re.findall(r"\btumbler_\w+", text)}
    assert len(used) > 5
    assert used <= names_told()
    ids = [panel["id"] for panel in content["panels"]]
    assert len(set(ids)) == len(ids)


def test_alerts_name_only_metrics_that_there_are() -> None:
    used = set(re.findall(r"\btumbler_\w+", (RULES / "alerts.yaml").read_text()))
    assert len(used) > 5
    assert used <= names_told()


def test_nothing_is_labelled_by_step_or_by_anything_a_client_can_make_up() -> None:
    gauges, _, seen = busy()
    labels = set(re.findall(r'[{,](\w+)="', gauges.text(seen).decode()))
    assert labels <= {
        *("status", "le", "method", "route", "run", "run_id", "bucket"),
        *("queue", "resource", "state", "webhook", "outcome"),
    }


@pytest.mark.skipif(PROMTOOL is None, reason="promtool, which comes with Prometheus, is not installed")
def test_promtool_finds_nothing_to_say() -> None:
    gauges, _, seen = busy()
    for command, text in (
        (["check", "metrics"], gauges.text(seen)),
        (["check", "rules", str(RULES / "alerts.yaml")], b""),
        (["check", "config", str(RULES / "prometheus.yaml")], b""),
    ):
        done = subprocess.run([str(PROMTOOL), *command], input=text, capture_output=True, timeout=30)
        assert (done.returncode, done.stderr.decode()) == (0, ""), command
