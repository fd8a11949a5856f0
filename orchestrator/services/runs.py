"""What users ask of runs: each method is one request, and what it returned is on the disk."""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from orchestrator.domain import lifecycle
from orchestrator.domain.errors import RunExists, RunNotFound, Stale
from orchestrator.domain.events import utc_now
from orchestrator.domain.lifecycle_workers import drain_worker, kill_worker
from orchestrator.domain.names import LONGEST_NAME, generate_name
from orchestrator.domain.runs import Change, Run
from orchestrator.domain.spec import RunSpec
from orchestrator.ports.record import Added, IdempotencyKey, Record

_RETRY: Final = re.compile(r"-r[1-9][0-9]*$")
_NOTHING: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True)
class Submit:
    """One training request, checked at the door."""

    spec: RunSpec
    """Paths absolute, storage filled in."""
    package: str | None = None
    """SHA-256 of an uploaded archive of the user's code."""


@dataclass(frozen=True)
class Workers:
    """As asked; None leaves a bound where it is."""

    min: int | None = None
    max: int | None = None


def ignore(run_id: str) -> None:
    """Nobody wants to know."""


def accept(spec: RunSpec) -> None:
    """Whatever it is."""


class RunService:
    """A `reference` is an id, a name, or a unique prefix of either; RunNotFound where it is none.

    Verbs that say what already holds change nothing. WrongStatus says what is possible instead.
    """

    def __init__(
        self,
        record: Record,
        *,
        wake: Callable[[str], None] = ignore,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`wake` is told the id of each run that changed."""
        self._record = record
        self._wake = wake
        self._clock = clock

    async def submit(self, order: Submit, key: IdempotencyKey | None = None) -> Added:
        """Raises RunExists and KeyReused."""
        added = await self._record.add(
            lifecycle.new_run(order.spec, now=self._clock(), package=order.package), key
        )
        if not added.replayed:
            self._wake(added.run.id)
        return added

    async def pause(self, reference: str) -> Run:
        return await self._change(reference, lambda run: lifecycle.pause(run, self._clock()))

    async def resume(self, reference: str) -> Run:
        return await self._change(reference, lambda run: lifecycle.resume(run, self._clock()))

    async def cancel(self, reference: str) -> Run:
        return await self._change(reference, lambda run: lifecycle.cancel(run, self._clock()))

    async def take_checkpoint(self, reference: str) -> Run:
        """At the next step boundary; an event with the number of the wish tells what became of it."""
        return await self._change(reference, lambda run: lifecycle.take_checkpoint(run, self._clock()))

    async def drain_worker(self, reference: str, worker: str) -> Run:
        """It leaves politely, and another comes. Raises WrongStatus; whether there is such a worker is for
        the caller to know."""
        return await self._change(reference, lambda run: drain_worker(run, worker, self._clock()))

    async def kill_worker(self, reference: str, worker: str) -> Run:
        """A fault on purpose; as above."""
        return await self._change(reference, lambda run: kill_worker(run, worker, self._clock()))

    async def scale(self, reference: str, workers: int | Workers) -> Run:
        """A number is the most, and the least follows where it is above. Raises SpecError for what it cannot
        have."""
        return await self._change(reference, lambda run: self._scaled(run, workers))

    async def patch(
        self,
        reference: str,
        *,
        if_version: int,
        labels: Mapping[str, str | None] | None = None,
        priority: int | None = None,
        workers: Workers | int | None = None,
    ) -> Run:
        """All of it or nothing; None leaves a field as it is, and a label of None goes away.

        Raises Stale where the run has another version by now, and SpecError.
        """

        def decide(run: Run) -> Change | None:
            if run.version != if_version:
                raise Stale(
                    f"run {run.name} is at version {run.version} by now, not at {if_version}",
                    hint="read it again, and send the change with its new version",
                )
            edited = lifecycle.edit(run, self._clock(), labels=labels, priority=priority)
            scaled = None if workers is None else self._scaled(run if edited is None else edited.run, workers)
            if edited is None or scaled is None:
                return edited or scaled
            return replace(scaled, events=(*edited.events, *scaled.events))

        return await self._change(reference, decide)

    async def clone(
        self, reference: str, *, name: str | None = None, overrides: Mapping[str, Any] = _NOTHING
    ) -> Run:
        """A new run of the same spec, and of the same code, but for the overrides.

        Those are nested as in a spec, or have dotted keys such as `train.steps`. Raises SpecError, RunExists.
        """
        run = await self._record.find(reference)
        values = json.loads(run.spec_json)
        values["name"] = generate_name()
        _override(values, overrides)
        if name is not None:
            values["name"] = name
        return (await self.submit(Submit(RunSpec.parse(values), run.package))).run

    async def retry(self, reference: str, check: Callable[[RunSpec], None] = accept) -> Run:
        """Do it again under the name NAME-r1, NAME-r2 and so on, from step 0: checkpoints belong to the run
        directory that made them, together with the ledger that says how they came about.

        Only a run that failed or was cancelled. While a retry of it lives, that one is returned. `check`
        sees the new spec first, in a thread, and may raise SpecError.
        """
        run = await self._record.find(reference)
        lifecycle.check_retriable(run)
        values = json.loads(run.spec_json)
        stem = _RETRY.sub("", run.name)
        number = 1
        while True:
            suffix = f"-r{number}"
            values["name"] = stem[: LONGEST_NAME - len(suffix)].rstrip("-") + suffix
            spec = RunSpec.parse(values)
            before = await self._named(spec.name)
            if before is None:
                await asyncio.to_thread(check, spec)
                try:
                    return (await self.submit(Submit(spec, run.package))).run
                except RunExists:
                    continue  # somebody was quicker: look who
            if not before.status.terminal and before.spec.fingerprint() == spec.fingerprint():
                return before
            number += 1

    async def delete(self, reference: str) -> Run:
        """Forget an ended run. Its run directory is left to the caller."""
        run = await self._record.find(reference)
        gone = await self._record.remove(run.id, lifecycle.check_deletable)
        self._wake(gone.id)
        return gone

    async def _change(self, reference: str, decide: Callable[[Run], Change | None]) -> Run:
        run = await self._record.find(reference)
        after = await self._record.change(run.id, decide)
        if after != run:
            self._wake(after.id)
        return after

    async def _named(self, name: str) -> Run | None:
        try:
            run = await self._record.find(name)
        except RunNotFound:
            return None
        return run if run.name == name else None

    def _scaled(self, run: Run, workers: Workers | int) -> Change | None:
        if isinstance(workers, int):
            return lifecycle.scale_to(run, workers, self._clock())
        return lifecycle.scale(run, workers.min, workers.max, self._clock())


def _override(values: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    for key, value in overrides.items():
        place = values
        *parents, last = key.split(".")
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                place[parent] = {}
            place = place[parent]
        _merge(place, last, value)


def _merge(place: dict[str, Any], key: str, value: Any) -> None:
    old = place.get(key)
    if isinstance(old, dict) and isinstance(value, Mapping):
        for inner, content in value.items():
            _merge(old, inner, content)
    else:
        place[key] = value
