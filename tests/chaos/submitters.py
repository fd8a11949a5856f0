"""Clients that send each submit until it is acknowledged, through many lives of the service."""

import http.client
import itertools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from benchmarks.service_process import ServiceProcess

LABEL = "key"


@dataclass
class Submitter:
    """One client, for one thread. It leaves the names of its runs to the service, so that only the key keeps
    them from doubling."""

    name: str
    spec: Mapping[str, Any]
    acknowledged: dict[str, str] = field(default_factory=dict)
    """Idempotency-Key -> id of the run."""
    unanswered: list[str] = field(default_factory=list)
    replays: int = 0
    """Submits that had taken hold although their answer was lost."""

    def __post_init__(self) -> None:
        self._new_keys = (f"{self.name}-{number}" for number in itertools.count())

    def submit(self, service: ServiceProcess, num_submits: int) -> None:
        """Old ones first; ends early when the service dies."""
        keys = [*self.unanswered, *itertools.islice(self._new_keys, num_submits)]
        for position, key in enumerate(keys):
            try:
                answer = service.submit({**self.spec, "labels": {LABEL: key}}, key)
            except (OSError, http.client.HTTPException):
                self.unanswered = keys[position:]  # the first may have taken hold, the others were not sent
                return
            assert answer.status in (200, 201), f"{key}: {answer.status} {answer.body!r}"
            self.replays += answer.headers.get("idempotency-replayed") == "true"
            run = str(answer.json()["id"])
            assert self.acknowledged.setdefault(key, run) == run, f"{key} made two runs"
        self.unanswered = []


def submit_at_once(
    submitters: list[Submitter],
    service: ServiceProcess,
    num_submits: int,
    meanwhile: Callable[[], object] = lambda: None,
) -> None:
    """All of them beside each other, so that the service writes several submits in one commit."""
    with ThreadPoolExecutor(len(submitters)) as threads:
        under_way = [threads.submit(one.submit, service, num_submits) for one in submitters]
        meanwhile()
        for submitted in under_way:
            submitted.result()


def check_record(service: ServiceProcess, submitters: list[Submitter]) -> int:
    """None lost, none doubled, no gap in the events of any; returns how many runs there are."""
    runs_by_key: dict[str, list[str]] = {}
    for run in service.runs(sort="created"):
        runs_by_key.setdefault(run["labels"][LABEL], []).append(run["id"])
    doubled = {key: runs for key, runs in runs_by_key.items() if len(runs) > 1}
    assert not doubled
    for submitter in submitters:
        lost = {key: run for key, run in submitter.acknowledged.items() if runs_by_key.get(key) != [run]}
        assert not lost, f"{len(lost)} acknowledged runs are not as they were acknowledged: {lost}"
    with service.connected() as get:
        for (run_id,) in runs_by_key.values():
            check_events(get, run_id)
    return len(runs_by_key)


def check_events(get: Callable[[str], dict[str, Any]], run: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    while page := get(f"runs/{run}/events?after={len(events)}&limit=500")["events"]:
        events += page
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1)), run
    assert events, f"run {run} has no event, not even of its submit"
    return events
