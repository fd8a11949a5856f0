"""The one writer of a run directory while an attempt lives: events, metrics, ledger, hash chain, status.

It lives in the controller, so that no worker's death can tear a record; every report it takes may come twice.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from orchestrator.domain.audit_journals import Plan, chain_link
from orchestrator.domain.disk import is_disk_trouble
from orchestrator.domain.errors import StorageError
from orchestrator.domain.events import EventKind, event, timestamp
from orchestrator.domain.journal import JournalWriter, read_journal
from orchestrator.domain.run_directory import RunDirectory, RunState
from orchestrator.domain.sealed_journal import SealedWriter, Tip
from orchestrator.domain.status import ENDINGS, EndReason, RunStatus, check_move
from trainers.elastic.messages import Formed, StepPoint

_STATUS_EVERY_S = 0.5
_NEWEST_WEIGHS = 0.1
"""Of the newest step in the mean of its world size."""
_ON_THE_WAY_TO = {RunStatus.PAUSED: RunStatus.PAUSING, RunStatus.CANCELLED: RunStatus.CANCELLING}


class Recorder:
    """Everything here is quick (a buffered line, at most a small file), so it may run inside the control
    loop."""

    def __init__(
        self,
        run: RunDirectory,
        *,
        global_batch: int,
        link_every: int,
        on_event: Callable[[Mapping[str, Any]], None] = lambda event: None,
    ):
        """`on_event` hears each event when it is on record."""
        self._run = run
        self._on_event = on_event
        self._global_batch = global_batch
        self._link_every = link_every
        self._plan: Plan | None = None
        self._recorded_step = 0
        self._links: list[tuple[int, str]] = []
        self._distrusted = False
        self.state: RunState = run.read_status()
        self._events = JournalWriter(run.outbox, "events")
        self._metrics = JournalWriter(run.outbox, "metrics")
        self._ledger = SealedWriter(run.outbox, "ledger", replay=self._replay_ledger)
        self._chain = SealedWriter(run.outbox, "chain", replay=self._replay_chain)
        # The status is written now and then only: what an attempt that was killed did is in the ledger.
        self.state = self.state.model_copy(update={"step": self._recorded_step})
        if self.state.attempt > 1:  # from here on generations are numbered anew
            self._metrics.append({"kind": "attempt", "attempt": self.state.attempt, "step": self.state.step})
        self._status_at = 0.0
        self._trouble: str | None = None
        self._closed = False

    @property
    def step(self) -> int:
        """The newest step on record."""
        return self.state.step

    def event(self, kind: EventKind, message: str, **facts: Any) -> None:
        if kind in (EventKind.REPLICA_CORRUPTED, EventKind.REPLICAS_DIFFER):
            self._distrusted = True
        happened = event(kind, message, attempt=self.state.attempt, **facts)
        self._events.append(happened)
        self._flush(self._events)
        self._on_event(happened)

    def move(
        self, status: RunStatus, *, reason: EndReason | None = None, message: str = "", **facts: Any
    ) -> None:
        """Change the status through the one table of legal moves, and write it at once."""
        if status is not self.state.status:
            check_move(self.state.status, status)
        self._update(force=True, status=status, reason=reason, message=message, **facts)

    def end(self, reason: EndReason, message: str = "", **facts: Any) -> RunStatus:
        """The attempt is over: an event says so, then the status; returns that. Nothing is recorded after.

        Raises StorageError where not everything could be put on the disk.
        """
        status = ENDINGS[reason].status
        # The event first: who finds in the status that it is over must find all that happened.
        self.event(
            EventKind.RUN_ENDED,
            f"the run ended: {reason}" + (f", {message}" if message else ""),
            status=str(status),
            reason=str(reason),
            step=self.step,
            **facts,
        )
        before = _ON_THE_WAY_TO.get(status)
        if before is not None:
            self.move(before)
        self.move(status, reason=reason, message=message, phase="", workers=0, **facts)
        self.close()
        return status

    def plan(self, rows: int, num_steps: int, **facts: Any) -> None:
        """The first thing in a ledger: what an epoch holds. `facts` are further fields of `Plan`.

        Told again by every worker, it is written again only where it is another one.
        """
        plan = Plan(rows=rows, global_batch=self._global_batch, link_every=self._link_every, **facts)
        if plan != self._plan:
            self._ledger.append({"kind": "plan", **plan.model_dump(exclude_unset=True)})
            self._plan = plan
        self._update(force=True, total_steps=num_steps)

    def formed(self, formed: Formed, num_workers: int) -> None:
        """A generation goes on from `formed.step`; what is on record beyond it is undone."""
        if formed.step < self.state.step:
            self._ledger.append({"kind": "rewind", "step": formed.step})
            self._metrics.append({"kind": "rewind", "step": formed.step})
        if self._links and self._links[-1][0] > formed.step:
            # What replicas had come to whose bits differed may have gone into links: it need not come again.
            why = {"distrusted": True} if self._distrusted else {}
            self._chain.append({"kind": "rewind", "step": formed.step, **why})
            self._links = [link for link in self._links if link[0] <= formed.step]
        self._distrusted = False
        # Steps that a survivor did and could not report yet are behind `formed.step`; their points follow.
        step = min(formed.step, self.state.step)
        self._update(force=True, step=step, workers=num_workers, generation=formed.generation)

    def steps(self, points: tuple[StepPoint, ...]) -> None:
        """Record applied steps; those already on record are passed over."""
        new = [point for point in points if point.step > self.state.step]
        for point in new:
            self._link(point)
            self._ledger.append(
                {
                    "step": point.step,
                    "epoch": point.epoch,
                    "first": point.first,
                    "last": point.last,
                    "generation": point.generation,
                }
            )
            self._metrics.append(
                {
                    "step": point.step,
                    "time": round(point.time_s, 4),
                    "step_s": round(point.step_s, 5),
                    "workers": point.world_size,
                    "generation": point.generation,
                    **point.metrics,
                }
            )
            self._timed(point)
        if not new:
            return
        # The chain first: a link ahead of the ledger is undone by the next attempt, one behind it is missing.
        self._flush(self._chain, self._ledger, self._metrics)
        self._update(step=new[-1].step, metrics={**self.state.metrics, **new[-1].metrics})

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        self._metrics.append({"kind": "evaluation", "step": step, "time": round(time.time(), 4), **metrics})
        self._flush(self._metrics)
        self._update(force=True, metrics={**self.state.metrics, **metrics})

    def checkpoint(self, path: str, parameters_sha256: str | None) -> None:
        facts = {"parameters_sha256": parameters_sha256} if parameters_sha256 is not None else {}
        self._update(force=True, checkpoint=path, **facts)

    def phase(self, phase: str, num_workers: int | None = None) -> None:
        workers = self.state.workers if num_workers is None else num_workers
        self._update(force=True, phase=phase, workers=workers)

    def close(self) -> None:
        """Put everything on the disk; a second time does nothing. Raises StorageError where it cannot."""
        if self._closed:
            return
        for journal in (self._events, self._metrics, self._ledger, self._chain):
            journal.sync()
            journal.close()
        self.state = self.state.model_copy(update={"tips": self._tips()})
        self._run.write_status(self.state)
        self._closed = True

    def _timed(self, point: StepPoint) -> None:
        """Into the running mean of its world size; a step that was held up counts twice the mean at most."""
        step_s = self.state.step_s
        mean = step_s.get(point.world_size, point.step_s)
        mean += _NEWEST_WEIGHS * (min(point.step_s, 2 * mean) - mean)
        self.state = self.state.model_copy(update={"step_s": {**step_s, point.world_size: round(mean, 5)}})

    def _link(self, point: StepPoint) -> None:
        """A link of the chain, where the step brings the hashes for one."""
        if point.parameters_sha256 is None or point.optimizer_sha256 is None:
            return
        previous = self._links[-1][1] if self._links else ""
        link = chain_link(previous, point.step, point.parameters_sha256, point.optimizer_sha256)
        self._chain.append(
            {
                "step": point.step,
                "parameters_sha256": point.parameters_sha256,
                "optimizer_sha256": point.optimizer_sha256,
                "chain": link,
            }
        )
        self._links.append((point.step, link))

    def _replay_ledger(self, record: Mapping[str, Any]) -> None:
        self._recorded_step = record.get("step", self._recorded_step)
        if record.get("kind") == "plan":
            self._plan = Plan.model_validate(record)

    def _replay_chain(self, record: Mapping[str, Any]) -> None:
        if record.get("kind") == "rewind":
            self._links = [link for link in self._links if link[0] <= record["step"]]
        elif "chain" in record:
            self._links.append((record["step"], record["chain"]))

    def _tips(self) -> dict[str, Tip]:
        return {"ledger": self._ledger.tip, "chain": self._chain.tip}

    def _update(self, *, force: bool = False, **changes: Any) -> None:
        now = timestamp()
        if changes.get("status") is RunStatus.RUNNING and self.state.started is None:
            changes["started"] = now
        if changes.get("status") and changes["status"].terminal:
            changes["ended"] = now
        self.state = self.state.model_copy(update={**changes, "updated": now, "tips": self._tips()})
        if force or time.monotonic() - self._status_at > _STATUS_EVERY_S:
            with self._holding_back():
                self._run.write_status(self.state)
            self._status_at = time.monotonic()

    def _flush(self, *journals: JournalWriter | SealedWriter) -> None:
        for journal in journals:
            with self._holding_back():
                journal.flush()

    @contextmanager
    def _holding_back(self) -> Iterator[None]:
        """A full or absent disk must not end the training: what it refuses is kept, and tried again.

        Anything else, such as a newer attempt that owns the run now, does end it.
        """
        try:
            yield
        except StorageError as error:
            if not is_disk_trouble(error):
                raise
            if self._trouble is None:
                print(f"records are held back: {error}; {error.hint}", file=sys.stderr, flush=True)
            self._trouble = str(error)
        else:
            if self._trouble is not None:
                trouble, self._trouble = self._trouble, None
                self.event(EventKind.STORAGE_HEALED, f"records were held back for a while: {trouble}")


def newest_step(run: RunDirectory) -> int:
    """The newest step on record, by the ledger. Raises StorageError where that is broken."""
    step = 0
    for record in read_journal(run.outbox, "ledger"):
        step = record.get("step", step)
    return step
