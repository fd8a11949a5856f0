"""Health, metrics, catalogue, cluster and packages over REST."""

import hashlib
import io
import zipfile
from typing import Any

import pytest

from orchestrator.domain.errors import StorageError
from orchestrator.domain.spec import json_schema
from orchestrator.store.memory import MemoryRecord
from tests.unit.api.in_process import RUNS, InProcess, in_process

ZIP = {"Content-Type": "application/zip"}


def zipped(**files: str) -> tuple[bytes, str]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue(), hashlib.sha256(buffer.getvalue()).hexdigest()


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
async def test_a_service_that_can_work_says_so(service: InProcess, prefix: str) -> None:
    assert (await service.client.get(f"{prefix}/livez")).json() == {"alive": True}
    ready = await service.client.get(f"{prefix}/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    assert (await service.client.get(f"{prefix}/version")).json()["api"] == "v1"


async def test_ray_that_is_away_is_named_and_makes_nothing_unready(service: InProcess) -> None:
    service.cluster.go_away()
    await service.reconciler.look()
    answer = await service.client.get("/readyz")
    assert answer.status_code == 200
    assert "Ray does not answer" in answer.json()["ray"]


async def test_a_reconciler_that_stopped_makes_the_service_unready(service: InProcess) -> None:
    service.reconciling = False
    answer = await service.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["the reconciler does not run"]


class Unreadable(MemoryRecord):
    async def counts(self) -> Any:
        raise StorageError("cannot read tumbler.db")


async def test_a_record_that_cannot_be_read_makes_the_service_unready(tmp_path: Any) -> None:
    async with in_process(tmp_path, record=Unreadable()) as service:
        answer = await service.client.get("/readyz")
    assert answer.status_code == 503
    assert "cannot read tumbler.db" in answer.json()["reasons"][0]


async def test_nodes_are_what_ray_tells(service: InProcess) -> None:
    found = (await service.client.get("/api/v1/cluster/nodes")).json()
    assert [(node["id"], node["head"], node["resources"]["CPU"]) for node in found["nodes"]] == [
        ("node-0", True, 4.0)
    ]
    service.cluster.go_away()
    away = await service.client.get("/api/v1/cluster/nodes")
    assert (away.status_code, away.json()["code"]) == (503, "cluster-unavailable")
    assert int(away.headers["Retry-After"]) > 0


async def test_the_catalogue_says_what_a_spec_can_name(service: InProcess) -> None:
    tasks = (await service.client.get("/api/v1/tasks")).json()["tasks"]
    assert tasks[0]["name"] == "language_model"
    assert "preset" in tasks[0]["model"]["properties"]
    datasets = (await service.client.get("/api/v1/datasets")).json()["datasets"]
    assert datasets == [{"name": "stdlib", "source": "dataset://stdlib"}]
    assert (await service.client.get("/api/v1/schemas/run.json")).json() == json_schema()


async def test_a_package_is_taken_once_and_found_again(service: InProcess) -> None:
    content, sha256 = zipped(**{"task.py": "pass"})
    path = f"/api/v1/packages/{sha256}"
    assert (await service.client.head(path)).status_code == 404
    first = await service.client.put(path, content=content, headers=ZIP)
    again = await service.client.put(path, content=content, headers=ZIP)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == {"sha256": sha256, "size": len(content)}
    assert (await service.client.head(path)).status_code == 200
    assert [path.name for path in service.packages.iterdir()] == [f"{sha256}.zip"]


@pytest.mark.parametrize("content", [b"no archive", b""])
async def test_a_package_that_is_no_archive_leaves_nothing(service: InProcess, content: bytes) -> None:
    sha256 = hashlib.sha256(content).hexdigest()
    answer = await service.client.put(f"/api/v1/packages/{sha256}", content=content, headers=ZIP)
    assert answer.status_code == 422
    assert "zip archive" in answer.json()["detail"]
    assert list(service.packages.iterdir()) == []


async def test_a_package_of_other_content_than_it_is_called_is_refused(service: InProcess) -> None:
    content, sha256 = zipped(**{"task.py": "pass"})
    other = "0" * 64
    answer = await service.client.put(f"/api/v1/packages/{other}", content=content, headers=ZIP)
    assert answer.status_code == 422
    assert sha256 in answer.json()["detail"]
    assert list(service.packages.iterdir()) == []


@pytest.mark.parametrize("name", ["abc", "A" * 64])
async def test_a_package_is_called_by_its_digest_only(service: InProcess, name: str) -> None:
    answer = await service.client.put(f"/api/v1/packages/{name}", content=b"x", headers=ZIP)
    assert answer.status_code == 422


async def test_prometheus_reads_counts_and_the_gauges_of_active_runs(service: InProcess) -> None:
    run = await service.submit("otter")
    await service.submit("badger")
    await service.round()
    text = (await service.client.get("/metrics")).text
    assert 'tumbler_runs{status="STARTING"} 2.0' in text
    assert f'tumbler_run_target_workers{{run="otter",run_id="{run["id"]}"}} 2.0' in text
    assert 'tumbler_http_requests_total{method="POST",route="/api/v1/runs",status="201"} 2.0' in text
    assert "step=" not in text


async def test_the_series_of_a_run_are_gone_when_it_is_over(service: InProcess) -> None:
    await service.submit("otter")
    await service.round()
    assert 'run="otter"' in (await service.client.get("/metrics")).text
    await service.client.post(f"{RUNS}/otter/cancel")
    for _ in range(6):
        await service.round()
    assert (await service.client.get(f"{RUNS}/otter")).json()["status"] == "CANCELLED"
    assert 'run="otter"' not in (await service.client.get("/metrics")).text


async def test_paths_that_clients_make_up_make_no_series(service: InProcess) -> None:
    for path in ("/nowhere", "/nowhere/else", f"{RUNS}/a", f"{RUNS}/b"):
        await service.client.get(path)
    text = (await service.client.get("/metrics")).text
    assert "nowhere" not in text
    assert 'route="/api/v1/runs/{ref}",status="404"} 2.0' in text


async def test_the_interface_documents_itself(service: InProcess) -> None:
    document = (await service.client.get("/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    operations = [
        (path, name, one) for path, methods in document["paths"].items() for name, one in methods.items()
    ]
    ids = [one["operationId"] for _, _, one in operations]
    assert len(ids) == len(set(ids))
    assert {"submit_run", "list_runs", "get_run", "stream_run", "readyz"} <= set(ids)
    for path, name, one in operations:
        for status, answer in one["responses"].items():
            if int(status) >= 400 and (path, status) != ("/readyz", "503") and name != "head":
                assert list(answer["content"]) == ["application/problem+json"], (path, name, status)
    assert (await service.client.get("/docs")).status_code == 200
