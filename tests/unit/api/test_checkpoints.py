"""The checkpoints of a run over REST: listed, verified, removed and exported."""

import io
import json
import os
import tarfile
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from safetensors.torch import load

from api.service.exports import Archive
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.status import RunStatus
from tests.unit.api.in_process import RUNS, InProcess
from tests.unit.checkpoint_files import COMMITTED, commit_checkpoint, damage, damage_manifest
from tests.unit.recorded_run import finished_run

CHECKPOINTS = f"{RUNS}/brave-otter/checkpoints"


@pytest.fixture
async def run(service: InProcess) -> RunDirectory:
    """Over, with the checkpoints of steps 4 and 8."""
    await service.submit("brave-otter")
    run = finished_run(service.storage)
    await service.moved("brave-otter", RunStatus.SUCCEEDED, attempt=1)
    commit_checkpoint(run, 4)
    commit_checkpoint(run, 8, generation=3, metrics={"val_loss": float("nan")})
    return run


async def listed(service: InProcess) -> list[dict[str, Any]]:
    answer = await service.client.get(CHECKPOINTS)
    assert answer.status_code == 200
    return list(answer.json()["checkpoints"])


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


async def test_checkpoints_are_listed_newest_first(service: InProcess, run: RunDirectory) -> None:
    newest, older = await listed(service)
    assert (newest["step"], newest["generation"], newest["metrics"]) == (8, 3, {"val_loss": "NaN"})
    size = sum(path.stat().st_size for path in (run.checkpoints / "step-00000004").glob("a*/*"))
    assert older == {
        "name": "step-00000004",
        "step": 4,
        "attempt": 1,
        "generation": 1,
        "path": str(run.checkpoints / "step-00000004"),
        "size": size,
        "metrics": {"val_loss": 1.5},
        "committed": COMMITTED,
        "parameters_sha256": "a" * 64,
        "problem": None,
    }


async def test_a_damaged_manifest_is_listed_with_its_problem(service: InProcess, run: RunDirectory) -> None:
    damage_manifest(run, commit_checkpoint(run, 12))
    newest = (await listed(service))[0]
    assert (newest["step"], newest["size"], newest["metrics"], newest["committed"]) == (12, None, {}, None)
    assert "is damaged" in newest["problem"]


async def test_a_checkpoint_is_verified_by_reading_it(service: InProcess, run: RunDirectory) -> None:
    damage(run, commit_checkpoint(run, 12))
    good = (await service.client.post(f"{CHECKPOINTS}/8/verify")).json()
    assert good == {
        "name": "step-00000008",
        "step": 8,
        "attempt": 1,
        "generation": 3,
        "ok": True,
        "problem": None,
    }
    bad = (await service.client.post(f"{CHECKPOINTS}/12/verify")).json()
    assert bad["ok"] is False
    assert "does not match its checksum" in bad["problem"]


async def test_a_step_without_a_checkpoint_is_not_found(service: InProcess, run: RunDirectory) -> None:
    for answer in (
        await service.client.post(f"{CHECKPOINTS}/5/verify"),
        await service.client.delete(f"{CHECKPOINTS}/5"),
        await service.client.get(f"{CHECKPOINTS}/5/export"),
    ):
        assert refusal(answer) == (404, "checkpoint-not-found")
        assert answer.json()["hint"] == "it has 4, 8"


async def test_a_checkpoint_is_removed_once(service: InProcess, run: RunDirectory) -> None:
    assert (await service.client.delete(f"{CHECKPOINTS}/8")).status_code == 204
    assert [one["step"] for one in await listed(service)] == [4]
    assert refusal(await service.client.delete(f"{CHECKPOINTS}/8")) == (404, "checkpoint-not-found")


async def test_a_live_run_keeps_its_newest_checkpoint(service: InProcess) -> None:
    await service.submit("brave-otter")
    run = finished_run(service.storage)  # its files may say that it is over before the record does
    await service.moved("brave-otter", RunStatus.RUNNING, attempt=1)
    for step in (4, 8):
        commit_checkpoint(run, step)
    answer = await service.client.delete(f"{CHECKPOINTS}/8")
    assert refusal(answer) == (409, "wrong-status")
    assert "would go on from it" in answer.json()["detail"]
    assert (await service.client.delete(f"{CHECKPOINTS}/4")).status_code == 204
    assert [one["step"] for one in await listed(service)] == [8]


@pytest.mark.slow
async def test_the_model_is_exported_as_an_archive(service: InProcess, run: RunDirectory) -> None:
    answer = await service.client.get(f"{CHECKPOINTS}/8/export")
    assert "Content-Encoding" not in answer.headers, "weights do not become smaller"
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == 'attachment; filename="brave-otter-step-00000008.tar"'
    assert int(answer.headers["content-length"]) == len(answer.content)
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        files = {name: _content(archive, name) for name in archive.getnames()}
    assert set(files) == {"README.md", "config.json", "model.py", "model.safetensors"}
    assert json.loads(files["config.json"])["step"] == 8
    assert load(files["model.safetensors"])["weight"].tolist() == [0, 1, 2, 3]
    assert not list(run.path.glob(".export-*"))


@pytest.mark.slow
async def test_what_the_export_refuses_is_the_answer(service: InProcess, run: RunDirectory) -> None:
    damage(run, commit_checkpoint(run, 12))
    answer = await service.client.get(f"{CHECKPOINTS}/12/export")
    assert refusal(answer) == (409, "checkpoint-error")
    assert "does not match its checksum" in answer.json()["detail"]
    assert not list(run.path.glob(".export-*"))


@pytest.mark.slow
async def test_what_a_killed_service_left_behind_goes_with_the_next_export(
    service: InProcess, run: RunDirectory
) -> None:
    left, busy = run.path / ".export-left", run.path / ".export-busy"
    for folder in (left, busy):
        folder.mkdir()
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(left, (two_days_ago, two_days_ago))
    assert (await service.client.get(f"{CHECKPOINTS}/4/export")).status_code == 200
    assert list(run.path.glob(".export-*")) == [busy]


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 3 << 20])
def test_an_archive_is_as_long_as_it_says(size: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * size)
    archive = Archive([("a", size, (tmp_path / "a").open("rb"))])
    content = b"".join(archive.chunks())
    assert len(content) == archive.size
    with tarfile.open(fileobj=io.BytesIO(content)) as found:
        assert _content(found, "a") == b"x" * size


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()
