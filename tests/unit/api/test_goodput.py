"""Goodput over REST and in the metrics, read from real run directories."""

import os
import time

import pytest

from orchestrator.domain.goodput import goodput
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.status import RunStatus
from tests.unit.api.in_process import RUNS, InProcess
from tests.unit.recorded_run import RecordedRun, finished_run

CLUSTER = "/api/v1/cluster/goodput"


@pytest.fixture
async def otter(service: InProcess) -> InProcess:
    """A run of eight steps that is over; see `finished_run`."""
    await service.submit("brave-otter")
    finished_run(service.storage)
    await service.moved("brave-otter", RunStatus.SUCCEEDED, attempt=1)
    return service


async def test_the_goodput_of_a_run_is_that_of_its_directory(otter: InProcess) -> None:
    answer = await otter.client.get(f"{RUNS}/brave-otter/goodput")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found == goodput(RunDirectory(otter.storage / "brave-otter")).model_dump(mode="json")
    assert (found["run"], found["over"], found["steps"]) == ("brave-otter", True, 8)


async def test_a_run_that_never_started_has_none(service: InProcess) -> None:
    await service.submit("brave-otter")
    answer = await service.client.get(f"{RUNS}/brave-otter/goodput")
    assert (answer.status_code, answer.json()["code"]) == (404, "run-not-found")
    assert (await service.client.get(CLUSTER)).json()["runs"] == 0


async def test_a_living_run_is_read_on_from_where_it_was(service: InProcess) -> None:
    await service.submit("brave-otter")
    recorded = RecordedRun(service.storage)
    recorded.started(w1=11)
    recorded.formed(1, "w1")
    steps = []
    for step in (1, 2, 3):
        recorded.steps(step, step, workers=1)
        steps.append((await service.client.get(f"{RUNS}/brave-otter/goodput")).json()["steps"])
    assert steps == [1, 2, 3]


async def test_the_cluster_is_all_its_queues(otter: InProcess) -> None:
    await otter.submit("calm-owl", queue="default")
    finished_run(otter.storage, "calm-owl")
    found = (await otter.client.get(CLUSTER)).json()
    assert (found["runs"], found["left_out"]) == (2, [])
    assert [(queue["queue"], queue["runs"]) for queue in found["queues"]] == [("default", 2)]
    one = (await otter.client.get(f"{RUNS}/calm-owl/goodput")).json()
    other = (await otter.client.get(f"{RUNS}/brave-otter/goodput")).json()
    assert found["cluster"]["worker_s"] == pytest.approx(one["worker_s"] + other["worker_s"])


async def test_a_run_whose_records_are_broken_is_named_and_left_out(otter: InProcess) -> None:
    segment = otter.storage / "brave-otter" / "outbox" / "metrics-000001.jsonl"
    segment.write_bytes(segment.read_bytes().replace(b'"step":3', b'"step":4'))
    found = (await otter.client.get(CLUSTER)).json()
    assert (found["runs"], found["left_out"]) == (0, ["brave-otter"])
    assert (await otter.client.get(f"{RUNS}/brave-otter/goodput")).status_code == 503


async def test_the_metrics_have_the_worker_seconds_of_active_runs(otter: InProcess) -> None:
    assert "tumbler_run_worker_seconds{" not in (await otter.client.get("/metrics")).text
    await otter.submit("calm-owl")
    recorded = RecordedRun(otter.storage, "calm-owl")
    recorded.started(w1=os.getpid())
    time.sleep(0.02)
    recorded.formed(1, "w1")
    run = await otter.moved("calm-owl", RunStatus.RUNNING, attempt=1)
    text = (await otter.client.get("/metrics")).text
    line = next(
        line
        for line in text.splitlines()
        if line.startswith("tumbler_run_worker_seconds{") and 'bucket="start"' in line
    )
    assert f'run="calm-owl",run_id="{run.id}"' in line
    assert float(line.split()[-1]) >= 0.01
    assert 'tumbler_run_queue_seconds{run="calm-owl"' in text
