"""Keeps Ray's Train tab in step with the record, beside the training: nobody ever waits for it.

A Ray cluster has one state actor, from which the dashboard reads. It is asked for when the first generation
has formed, and is told the newest of what changed, one message at a time. By itself it keeps all for ever.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import ray

from orchestrator.domain.events import EventKind
from orchestrator.domain.run_directory import RunDirectory
from trainers.elastic.job import WorkerJob
from trainers.ray_train.internals import (
    TrainRunContext,
    TrainStateManager,
    get_or_create_state_actor,
    get_train_application_controller_log_path,
    has_dashboard,
)
from trainers.ray_train.internals import (
    train_schema as theirs,
)
from trainers.ray_train.train_book import MOST_GENERATIONS, TrainBook
from trainers.tracking.tracker import tracker_id

MOST_RUNS: Final = 200
"""In the whole cluster; those that are over go first."""
_AGAIN_AFTER_S: Final = 10.0
_FAREWELL_S: Final = 2.0
"""How long the end of an attempt waits until its last word is taken; some milliseconds are usual."""


def connect() -> Any | None:
    """Ray's state actor; None where no dashboard would read from it. Blocks for the GCS."""
    return get_or_create_state_actor() if has_dashboard() else None


class TrainTab:
    """Hears the events of an attempt, and tells Ray's state actor."""

    def __init__(
        self,
        make_book: Callable[[], TrainBook],
        connect: Callable[[], Any | None] = connect,
        *,
        wanted: bool = True,
    ) -> None:
        """`make_book` is asked once, when there is something to show."""
        self._make_book = make_book
        self._connect = connect
        self._wanted = wanted
        self._heard: list[Mapping[str, Any]] = []
        self._news = asyncio.Event()
        self._all_told = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._book: TrainBook | None = None
        self._troubled = False

    def hear(self, event: Mapping[str, Any]) -> None:
        """An event went on record. Returns at once."""
        if not self._wanted:
            return
        self._heard.append(event)
        self._wake()
        if self._task is None and event["kind"] == EventKind.GENERATION_STARTED:
            self._task = asyncio.get_running_loop().create_task(self._keep_telling())

    async def close(self, error: Exception | None) -> None:
        """Have the last word told, if that is possible soon.

        `error` is what ended the attempt; it is told where the record says nothing of an end.
        """
        if self._task is None:
            return
        if self._wanted:
            if error is not None and self._book is not None:
                self._catch_up(self._book)
                self._book.end(theirs.RunStatus.ERRORED, str(error) or type(error).__name__, time.time_ns())
                self._wake()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._all_told.wait(), _FAREWELL_S)
        self._task.cancel()

    def _wake(self) -> None:
        self._all_told.clear()
        self._news.set()

    async def _keep_telling(self) -> None:
        while True:
            try:
                actor = await asyncio.to_thread(self._connect)
                if actor is None:
                    self._wanted = False
                    self._heard.clear()
                    return
                self._book = self._book or self._make_book()
                await self._tell_all(actor, self._book)
            except Exception as error:  # whatever it is, training is not to end by it
                await self._wait_out(error)

    async def _tell_all(self, actor: Any, book: TrainBook) -> None:
        """Until it fails. An actor that does not answer is waited for: no messages pile up before it."""
        book.all_changed()
        while True:
            self._catch_up(book)
            if await _send(actor, book) < book.size:  # it died, was started anew, and knows nothing
                book.all_changed()
                await _send(actor, book)
            self._troubled = False
            if not self._news.is_set():
                self._all_told.set()
            await self._news.wait()

    def _catch_up(self, book: TrainBook) -> None:
        self._news.clear()
        while self._heard:
            book.hear(self._heard.pop(0))

    async def _wait_out(self, error: Exception) -> None:
        if not self._troubled:
            print(
                f"Ray's Train tab is not told: {type(error).__name__}: {error}", file=sys.stderr, flush=True
            )
        self._troubled = True
        await asyncio.sleep(_AGAIN_AFTER_S)


async def _send(actor: Any, book: TrainBook) -> int:
    """Tell what changed; how many records of this attempt are there then."""
    calls = []
    for record in book.take_changes():
        if isinstance(record, theirs.TrainRun):
            calls.append(actor.create_or_update_train_run.remote(record))
        else:
            calls.append(actor.create_or_update_train_run_attempt.remote(record))
    calls.append(actor.__ray_call__.remote(forgetting(book.run.id)))
    return int((await asyncio.gather(*calls))[-1])


def forgetting(
    run_id: str, most_runs: int = MOST_RUNS, most_generations: int = MOST_GENERATIONS
) -> Callable[[Any], int]:
    """What has the state actor drop the oldest, and say how many records of this attempt it has.

    They are put in order, for Ray takes the last one for the newest, and some may have been told again.

    Made here so that it travels by value: the actor may not know our code.
    """

    def forget(state: Any) -> int:
        with state._runs_lock, state._run_attempts_lock:
            over = [run.id for run in state._runs.values() if run.status.is_terminal() and run.id != run_id]
            for old in over[: max(0, len(state._runs) - most_runs)]:
                del state._runs[old]
                state._run_attempts.pop(old, None)
            generations = state._run_attempts[run_id]
            for attempt_id in sorted(generations, key=lambda each: int(each.rpartition("-g")[2])):
                generations.move_to_end(attempt_id)
            while len(generations) > most_generations:
                generations.popitem(last=False)
            return len(generations) + (run_id in state._runs)

    return forget


def train_tab_of(job: WorkerJob, context: TrainRunContext, *, wanted: bool) -> TrainTab:
    """For the controller of an attempt, within its actor."""
    begun_ns = time.time_ns()
    each = dict(context.scaling_config._resources_per_worker_not_none)
    return TrainTab(lambda: TrainBook(_described(job, context, begun_ns), each), wanted=wanted)


class _Describer(TrainStateManager):  # type: ignore[misc]
    """Ray's own description of a run, told to nobody."""

    def __init__(self) -> None:
        self._runs: dict[str, theirs.TrainRun] = {}

    def _create_or_update_train_run(self, run: theirs.TrainRun, *, block: bool = False) -> None:
        self.described = run


def _described(job: WorkerJob, context: TrainRunContext, begun_ns: int) -> theirs.TrainRun:
    """The attempt as one of Ray's runs that begins. Of the spec only what is no secret."""
    spec = job.spec
    describer = _Describer()
    here = ray.get_runtime_context()
    describer.create_train_run(
        id=f"{tracker_id(RunDirectory(job.run_folder))}-a{job.attempt}",
        name=str(spec.name) if job.attempt == 1 else f"{spec.name} (attempt {job.attempt})",
        job_id=here.get_job_id(),
        controller_actor_id=here.get_actor_id(),
        controller_log_file_path=get_train_application_controller_log_path(),
        run_config=context.run_config,
        train_loop_config=spec.model_dump(mode="json", include={"task", "model", "train"}),
        scaling_config=context.scaling_config,
        backend_config=context.backend_config,
        datasets={},
        dataset_config=context.dataset_config,
    )
    described = describer.described
    described.start_time_ns = begun_ns
    described.run_settings.run_config.name = described.name
    return described
