"""One run through the deaths of the service, its driver and the GCS, and a long absence of the service."""

import itertools
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.deployment import Deployment, deployment
from orchestrator.domain.audit import audit
from orchestrator.domain.journal import read_journal
from orchestrator.domain.run_directory import RunDirectory
from tests.integration.saboteur import Watched
from tests.integration.shipped import paced_code, paced_spec

AWAY_S = float(os.environ.get("TUMBLER_CHAOS_AWAY_S", "60"))
"""How long the service stays away."""
PAUSE_S = 2.0
"""Generous, for a busy machine; the bar is 1 s, and what was measured is printed."""
STEPS_PER_S = 12
NUM_STEPS = round((60 + AWAY_S) * STEPS_PER_S)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployment(tmp_path_factory.mktemp("service"), num_cpus=3) as deployed:
        yield deployed


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paced_code(tmp_path_factory.mktemp("code"))


def spec_of(name: str, code: Path, *, pause_s: float) -> dict[str, Any]:
    return paced_spec(name, code, pause_s=pause_s, steps=NUM_STEPS, checkpoint={"every": 100})


class Faults:
    """What was done to the run, and when."""

    def __init__(self, service: Deployment, watched: Watched) -> None:
        self._service = service
        self._watched = watched
        self.times: dict[str, float] = {}

    def service_killed_for(self, away_s: float) -> None:
        self._note(f"service away for {away_s:.0f} s")
        self._service.kill_service()
        time.sleep(away_s)
        self._service.tumbler("up")
        self._train_on()

    def driver_killed(self) -> None:
        driver = self._service.run(self._watched.run.name)["driver"]
        self._note("driver killed")
        os.kill(self._service.driver_pid(self._watched.run.name), signal.SIGKILL)
        self._service.wait_until(lambda: self._service.run(self._watched.run.name)["driver"] == driver + 1)
        self._train_on()

    def gcs_killed(self) -> None:
        self._note("GCS killed")
        dead = self._service.gcs_pid()
        os.kill(dead, signal.SIGKILL)
        self._service.wait_until(lambda: self._gcs_pid() not in (None, dead))
        self._train_on()

    def _gcs_pid(self) -> int | None:
        try:
            return self._service.gcs_pid()
        except LookupError:
            return None

    def _note(self, fault: str) -> None:
        self.times[fault] = time.time()

    def _train_on(self) -> None:
        step = self._watched.step()
        self._watched.wait(lambda: self._watched.step() > step + 2 * STEPS_PER_S)


def pauses_s(run: RunDirectory, faults: Faults) -> dict[str, float]:
    """Fault -> the longest time between two steps, from a second before it to the next one."""
    times = [record["time"] for record in read_journal(run.outbox, "metrics") if "step_s" in record]
    begins = [*faults.times.values(), times[-1]]
    return {
        fault: max(
            later - earlier
            for earlier, later in itertools.pairwise(times)
            if later > begin - 1 and earlier < end
        )
        for fault, (begin, end) in zip(faults.times, itertools.pairwise(begins), strict=True)
    }


def submit(service: Deployment, folder: Path, spec: dict[str, Any]) -> None:
    path = folder / f"{spec['name']}.json"
    path.write_text(json.dumps(spec))
    service.tumbler("submit", "-f", str(path), "--detach")


def all_events(service: Deployment, name: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    while page := service.get(f"runs/{name}/events?limit=500&after={len(events)}")["events"]:
        events += page
    return events


def test_a_run_trains_through_every_death_around_it_and_ends_with_the_same_bits(
    service: Deployment, code: Path, tmp_path: Path
) -> None:
    submit(service, tmp_path, spec_of("disturbed", code, pause_s=0.02))
    run = service.run_directory("disturbed")
    watched = Watched(run)
    watched.wait(lambda: run.status_path.exists() and watched.step() >= 20, timeout_s=120)
    members = watched.members()
    faults = Faults(service, watched)
    faults.service_killed_for(3)
    faults.driver_killed()
    faults.gcs_killed()
    faults.service_killed_for(AWAY_S)
    assert watched.run.read_status().ended is None, "the run was too short for its faults"
    service.tumbler("wait", "disturbed", timeout_s=300)

    submit(service, tmp_path, spec_of("undisturbed", code, pause_s=0.0))
    service.tumbler("wait", "undisturbed", timeout_s=300)

    pauses = pauses_s(run, faults)
    print("\n" + "\n".join(f"{fault}: longest pause {pause:.3f} s" for fault, pause in pauses.items()))
    ended, calm = service.run("disturbed"), service.run("undisturbed")
    assert (ended["status"], ended["attempt"]) == ("SUCCEEDED", 1)
    assert (calm["status"], calm["attempt"]) == ("SUCCEEDED", 1)
    assert ended["parameters_sha256"] == calm["parameters_sha256"] is not None
    assert watched.members() == members
    assert audit(run).problems == ()
    assert max(pauses.values()) <= PAUSE_S

    events = all_events(service, "disturbed")
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    told = Counter((event["time"], event["kind"], event["message"]) for event in events)
    noted = Counter((event["time"], event["kind"], event["message"]) for event in watched.events())
    assert {event: told[event] for event in noted} == noted

    steps = [record["step"] for record in read_journal(run.outbox, "metrics") if "step_s" in record]
    assert steps == list(range(1, NUM_STEPS + 1))
