"""What one worker of a Task does from birth to end: build everything, become warm, train, say how it
ended."""

import hashlib
import os
import platform
import sys
import traceback
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from orchestrator.checkpoints.catalog import Catalog
from orchestrator.checkpoints.places import place_of
from orchestrator.checkpoints.sharing import check_shared
from orchestrator.domain.errors import DataError, SpecError
from orchestrator.domain.order import BatchPlan
from orchestrator.domain.spec import RunSpec
from trainers.checkpoints.held import Holding
from trainers.checkpoints.pace import SnapshotPace
from trainers.checkpoints.reading import restore_newest
from trainers.checkpoints.saver import Saver
from trainers.checkpoints.snapshots import restore_snapshot
from trainers.checkpoints.starting import start_from
from trainers.elastic.duties import Cadence, Duties
from trainers.elastic.group import ElasticGroup, open_meeting_place
from trainers.elastic.intake import Intake
from trainers.elastic.job import WorkerJob, run_environment
from trainers.elastic.link import WorkerLink
from trainers.elastic.links import Linker
from trainers.elastic.loop import Surroundings, TrainingLoop
from trainers.elastic.messages import Offer, Outcome, Raised, WorkerProfile
from trainers.elastic.state import TrainState
from trainers.elastic.step import StepRunner, seed_everything
from trainers.elastic.verification import Verification
from trainers.task_registry import load_task
from trainers.worker_log import logging_to

_LAST_RESORT_S = 1800.0
"""How long members wait for one another where the controller finds out who hangs, by the run's own pace."""


def live(job: WorkerJob, link: WorkerLink) -> Outcome:
    """Run a worker until it is over. Never raises: what went wrong is part of the outcome."""
    state_step = _StepSeen()
    try:
        loop = _become_warm(job, link, state_step)
        return loop.run()
    except BaseException as error:  # user code may raise anything, SystemExit too
        return Raised(
            step=state_step.read(),
            error=f"{type(error).__name__}: {error}".strip(),
            traceback=_users_traceback(error),
            final=isinstance(error, SpecError | DataError),
        )


class _StepSeen:
    """The newest applied step, as far as the worker got."""

    state: TrainState | None = None

    def read(self) -> int:
        return self.state.step if self.state else 0


def _become_warm(job: WorkerJob, link: WorkerLink, seen: _StepSeen) -> TrainingLoop:
    spec = job.spec
    check_shared(spec.checkpoint, job.run_folder.absolute(), job.attempt, link.host)
    torch.set_num_threads(spec.resources.threads)
    torch.use_deterministic_algorithms(spec.train.consistency == "bitwise", warn_only=True)
    # Filling memory that nobody reads costs up to a tenth of a step and changes no bit of the result.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    device = torch.device("cuda", 0) if spec.resources.gpu else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    meeting_place = open_meeting_place(link.host)
    _open_replica_group()

    assert spec.task is not None
    task = load_task(spec.task, spec.model)
    task.feed = job.feed
    data = task.build_dataset(spec.data, job.data_folder)
    data.check_rows(spec.train.global_batch)
    plan = BatchPlan(
        len(data.train),
        spec.train.global_batch,
        spec.train.logical_shards,
        spec.shuffle_seed,
        spec.data.shuffle.window,
    )
    num_steps = spec.train.steps or plan.num_steps(spec.train.epochs or 1)

    def fresh() -> torch.nn.Module:
        seed_everything(spec.train.seed)
        return task.build_model()

    def started() -> torch.nn.Module:
        model = fresh()
        if spec.train.from_checkpoint is not None:
            start_from(model, spec.train.from_checkpoint)
        return model

    catalog = Catalog(place_of(job.checkpoints))
    # One that has checkpoints of its own needs the other one no more, which may be gone.
    model = (fresh() if catalog.committed() else started()).to(device)
    optimizer = task.build_optimizer(model, spec.train.optimizer)
    schedule = task.build_schedule(optimizer, spec.train.schedule, num_steps)
    seen.state = state = TrainState(model, optimizer, schedule)
    steps = StepRunner(
        task,
        state,
        Intake(data.train, plan, job.feed),
        plan,
        spec.train,
        num_steps=num_steps,
        device=device,
    )
    steps.progress = link.mailbox.progress
    steps.warm_up()
    snapshots = spec.checkpoint.snapshot_every
    holding = Holding(job.run_folder.absolute(), spec.result_fingerprint()) if snapshots != "never" else None
    saver = Saver(state, job.checkpoints, spec.train.logical_shards, link.report, holding=holding)
    duties = Duties(
        task,
        state,
        data.validation,
        Cadence(
            checkpoint_every=spec.checkpoint.every,
            evaluate_every=spec.train.evaluate_every,
            evaluate_rows=spec.train.evaluate_rows,
            rows_at_once=spec.train.rows_at_once,
        ),
        saver=saver,
        pace=SnapshotPace(snapshots),
        attempt=job.attempt,
        num_shards=spec.train.logical_shards,
        worker_id=link.worker_id,
        device=device,
        report=link.report,
        precision=spec.train.precision,
        progress=link.mailbox.progress,
    )

    verification = Verification(state, spec.train.verify_every, started)
    here = Surroundings(
        worker_id=link.worker_id,
        host=link.host,
        backend="nccl" if device.type == "cuda" else "gloo",
        patience_s=spec.retry.hang_timeout or _LAST_RESORT_S,
        meeting_place=meeting_place,
    )
    link.mailbox.announce_warm(
        WorkerProfile(
            worker_id=link.worker_id,
            pid=link.pid,
            node_id=link.node_id,
            fingerprint=numeric_fingerprint(device, spec.resources.threads),
            store_host=link.host,
            store_port=meeting_place.port,
            rows=len(data.train),
            num_steps=num_steps,
            validation_rows=len(data.validation or ()),
        )
    )
    linker = Linker(state, spec.checkpoint.links_every, num_steps)
    loop = TrainingLoop(
        here,
        link.mailbox,
        steps,
        duties,
        link.report,
        link.on_generation,
        verification=verification,
        restore=partial(_restore, catalog, spec, holding),
        on_nan=spec.retry.on_nan,
        linked=linker.linked,
    )
    link.mailbox.progress.begin(loop.announce)
    return loop


def _restore(
    catalog: Catalog,
    spec: RunSpec,
    holding: Holding | None,
    group: ElasticGroup,
    state: TrainState,
    offer: Offer,
) -> tuple[str | None, list[tuple[str, str]]]:
    """The newest of what nodes hold in memory and what was committed."""
    newest = offer.recorded_step if offer.rewind_to is None else min(offer.recorded_step, offer.rewind_to)
    committed = max((found.step for found in offer.checkpoints), default=0)
    damaged: list[tuple[str, str]] = []
    if holding is not None:
        snapshot, damaged = restore_snapshot(group, state, holding, after=committed, newest=newest)
        if snapshot is not None:
            return snapshot, damaged
    found, passed_over = restore_newest(
        state,
        catalog,
        offer.checkpoints,
        fingerprint=spec.result_fingerprint(),
        content=spec.result_content(),
    )
    if found is not None:
        return catalog.place.describe(found.name), damaged + passed_over
    if offer.checkpoints and spec.train.from_checkpoint is not None:
        start_from(state.model, spec.train.from_checkpoint)
    return None, damaged + passed_over


def numeric_fingerprint(device: torch.device, threads: int) -> Mapping[str, str]:
    """What can change the last bit of a result besides the spec: two platforms that differ here are not
    mixed."""
    found = {
        "torch": torch.__version__,
        "machine": platform.machine(),
        "device": device.type,
        "threads": str(threads),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "code": _code_sha256(),
    }
    if device.type == "cuda":
        found |= {"gpu": torch.cuda.get_device_name(device), "cuda": str(torch.version.cuda)}
    return found


def _code_sha256() -> str:
    """Of Tumbler's own code on this node: two versions in one group would not even understand each other."""
    digest = hashlib.sha256()
    ours = Path(__file__).parent.parent
    for package in ("orchestrator", "trainers"):
        for path in sorted((ours / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _open_replica_group() -> None:
    """torch's default group belongs to one replica and lives as long as it does; here a replica is one
    worker."""
    if not dist.is_initialized():
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)


def _users_traceback(error: BaseException) -> str:
    """The traceback from the first frame that is not ours on, or all of it."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = str(Path(__file__).parent)
    foreign = next((i for i, frame in enumerate(frames) if not frame.filename.startswith(ours)), 0)
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(list(frames)[foreign:])]
    return "".join([*lines, *traceback.format_exception_only(error)])


def train_loop_per_worker(config: dict[str, Any]) -> None:
    """What Ray Train runs in the training thread of each worker."""
    from trainers.ray_train.worker import current_link

    link = current_link()
    job: WorkerJob = config["job"]
    os.environ.update(run_environment(job))
    with logging_to(job.run_folder / "logs" / f"{job.attempt}-{link.worker_id}.log"):
        outcome = live(job, link)
        if isinstance(outcome, Raised):
            print(outcome.traceback, file=sys.stderr, flush=True)
    link.mailbox.announce_over(outcome)
