"""Runs whose checkpoints are put to use: what they are made of, how they are struck, and what must not depend
on it."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from orchestrator.checkpoints.catalog import Catalog
from orchestrator.checkpoints.manifest import Manifest, step_of
from orchestrator.checkpoints.places import Place, place_of
from orchestrator.domain.audit import audit
from orchestrator.domain.errors import ClusterUnavailable
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.spec_parts import WorkersSpec
from tests.integration.saboteur import Watched, controller_pid, kill, sabotage
from trainers.door import at_the_door
from trainers.elastic.job import WorkerJob
from trainers.main import run_attempt, train

STEPS, EVERY = 60, 10
Proof = tuple[Any, ...]


def spec_of(storage: Path, workers: Any, *, pause_s: float = 0.0, **more: Any) -> RunSpec:
    """`more` goes into the sections that are here, or beside them."""
    content: dict[str, Any] = {
        "task": "tests.integration.tasks:Paced",
        "workers": workers,
        "model": {"pause_s": pause_s},
        "train": {"steps": STEPS, "global_batch": 16, "logical_shards": 8, "evaluate_rows": 64},
        "checkpoint": {
            "storage": str(storage),
            "every": EVERY,
            "snapshot_every": "never",
            "keep_last": 100,
        },
    }
    for key, value in more.items():
        content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
    return RunSpec.parse(content)


def proof(run: RunDirectory) -> Proof:
    """What decides whether two runs went the same way; the audit must find nothing."""
    report = audit(run)
    assert report.problems == ()
    assert report.parameters_sha256 == run.read_status().parameters_sha256
    return report.parameters_sha256, report.optimizer_sha256, report.chain


def place_of_run(run: RunDirectory) -> Place:
    return place_of(run.spec().checkpoint.checkpoints_of(run.path))


def committed(run: RunDirectory) -> dict[int, Manifest]:
    """By step, the oldest first."""
    catalog = Catalog(place_of_run(run))
    return {found.step: catalog.read(found) for found in reversed(catalog.committed())}


def newest(run: RunDirectory) -> int:
    """Step of the newest checkpoint, 0 where there is none."""
    found = Catalog(place_of_run(run)).committed()
    return found[0].step if found else 0


def uncommitted(run: RunDirectory) -> list[int]:
    """Steps after the newest checkpoint of which there are parts."""
    found = [
        step
        for folder in run.checkpoints.iterdir()
        if (step := step_of(folder.name)) is not None and list(folder.glob("a*"))
    ]
    last = newest(run)
    return [step for step in found if step > last]


def wait_under_way(run: RunDirectory) -> None:
    """Until there are parts that are not committed, and at once then; for 20 s at most."""
    deadline = time.monotonic() + 20
    while not uncommitted(run) and time.monotonic() < deadline:
        time.sleep(0.0005)


def num_writers(manifest: Manifest) -> int:
    return len([part for part in manifest.parts if part.name.endswith(".safetensors")])


def restored(run: RunDirectory) -> list[dict[str, Any]]:
    """The generations that began from a checkpoint."""
    return [event for event in Watched(run).events("generation-started") if "step-" in event["source"]]


def resumed_from_memory(run: RunDirectory) -> list[dict[str, Any]]:
    """The generations that began from a snapshot."""
    return [event for event in Watched(run).events("generation-started") if "snapshot" in event["source"]]


def writers_of(worker_pid: int) -> set[int]:
    """The processes that write checkpoints for a living worker: nobody's children, at the other end of a pipe
    of it."""
    pipes = set(_files(worker_pid).values())
    writers = {
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if b"trainers.checkpoints.writer_process" in _read(path)
    }
    return {pid for pid in writers if _files(pid).get("0") in pipes}


def _read(path: Path) -> bytes:
    """Empty where its process is gone."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _files(pid: int) -> dict[str, str]:
    """What a process has open, by file descriptor."""
    found = {}
    with suppress(FileNotFoundError, ProcessLookupError):
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                found[path.name] = str(path.readlink())
    return found


def wait_committed(run: Watched, step: int) -> None:
    """Until a checkpoint of this step or a later one has been committed, and at once then."""
    run.wait(lambda: any(event["step"] >= step for event in run.events("checkpoint-committed")))


def left_behind(spec: RunSpec, after: int) -> RunDirectory:
    """A run whose controller and workers were all killed soon after the checkpoint of step `after`."""
    struck: list[RunDirectory] = []

    def kill_everything(run: Watched) -> None:
        struck.append(run.run)
        run.wait(lambda: len(run.members()) == spec.workers.max)
        controller = controller_pid(run.run)
        wait_committed(run, after)
        for pid in (controller, *run.members().values()):
            kill(pid)

    with sabotage(kill_everything) as saboteur, pytest.raises(ClusterUnavailable):
        train(spec, on_start=saboteur.on_start)
    return struck[0]


def go_on_with(spec: RunSpec, workers: int) -> RunDirectory:
    """The next attempt of a run with another number of workers, as a service begins it."""
    spec = at_the_door(spec.model_copy(update={"workers": WorkersSpec(min=workers)})).spec
    storage = spec.checkpoint.storage_path
    attempt = RunDirectory.open(storage / str(spec.name)).record().attempt + 1
    run = RunDirectory.begin(storage, spec, attempt)
    run_attempt(WorkerJob(spec, run.path, storage, attempt))
    return run
