"""Ray's own dashboard tells of our runs what their record tells: asked over its REST interface."""

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.deployment import Deployment, deployment
from orchestrator.domain.run_directory import RunDirectory
from tests.integration.saboteur import Watched, kill_ranks
from tests.integration.shipped import paced_code
from tests.integration.test_service import spec_of, submit_over_rest, watched_at


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployment(tmp_path_factory.mktemp("service"), num_cpus=5) as deployed:
        yield deployed


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paced_code(tmp_path_factory.mktemp("code"))


def ask(service: Deployment, path: str) -> Any:
    """Ray's dashboard, by its token where it wants one."""
    environment = service.ray_environment
    token = environment.get("RAY_AUTH_TOKEN_PATH")
    headers = {"Authorization": f"Bearer {Path(token).read_text().strip()}"} if token else {}
    request = urllib.request.Request(f"{environment['RAY_ADDRESS']}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def shown(service: Deployment, name: str) -> dict[str, Any] | None:
    try:
        runs = ask(service, "/api/train/v2/runs/v1")["train_runs"]
    except urllib.error.HTTPError as error:
        if "Train state data is not available" in error.read().decode():
            return None  # no run has asked for the state actor yet
        raise
    found = [run for run in runs if run["name"] == name]
    assert len(found) <= 1
    return found[0] if found else None


def is_shown_in(service: Deployment, name: str, status: str, *, generations: int = 0) -> dict[str, Any]:
    def arrived() -> bool:
        run = shown(service, name)
        return run is not None and run["status"] == status and len(run["attempts"]) >= generations

    service.wait_until(arrived, timeout_s=30)
    run = shown(service, name)
    assert run is not None
    return run


def assert_generations_are_those_on_record(run: dict[str, Any], watched: Watched) -> None:
    started = {e["worker"]: e for e in watched.events("worker-started")}
    generations = watched.events("generation-started")
    assert [each["attempt_id"].rpartition("-g")[2] for each in run["attempts"]] == [
        str(each["generation"]) for each in generations
    ]
    for attempt, generation in zip(run["attempts"], generations, strict=True):
        members = [started[worker] for worker in generation["workers"]]
        for key in ("pid", "node_id", "node_ip", "actor_id", "gpu_ids"):
            assert [w[key] for w in attempt["workers"]] == [m[key] for m in members]
        assert [w["world_rank"] for w in attempt["workers"]] == list(range(len(members)))
        assert [w["local_rank"] for w in attempt["workers"]] == list(range(len(members)))
        assert [w["resources"]["resources"] for w in attempt["workers"]] == [{"CPU": 1.0}] * len(members)


def kill_state_actor(service: Deployment) -> None:
    actors = ask(service, "/logical/actors")["data"]["actors"].values()
    [alive] = [a for a in actors if a["actorClass"] == "TrainStateActor" and a["state"] == "ALIVE"]
    os.kill(alive["pid"], signal.SIGKILL)


@pytest.mark.long
def test_a_run_with_a_killed_worker_is_shown_as_it_was(service: Deployment, code: Path) -> None:
    submit_over_rest(service, spec_of("shown", code, steps=700))
    watched = watched_at(service.run_directory("shown"), step=20)
    before = is_shown_in(service, "shown", "RUNNING", generations=1)
    assert [w["status"] for w in before["attempts"][-1]["workers"]] == ["ALIVE", "ALIVE"]
    assert before["end_time_ns"] is None
    victim = list(watched.members())[1]
    kill_ranks(watched, 1)
    watched.wait(lambda: len(watched.members()) == 2 and victim not in watched.members())
    num_generations = len(watched.events("generation-started"))
    during = is_shown_in(service, "shown", "RUNNING", generations=num_generations)
    broken = next(a for a in during["attempts"] if a["status"] == "ERRORED")
    assert victim in broken["status_detail"]
    assert [w["status"] for w in broken["workers"]] == ["ALIVE", "DEAD"]
    assert {w["status"] for w in during["attempts"][-1]["workers"]} == {"ALIVE"}
    assert during["attempts"][-1]["status"] == "RUNNING"

    service.tumbler("wait", "shown")
    after = is_shown_in(service, "shown", "FINISHED")
    assert_generations_are_those_on_record(after, watched)
    assert {w["status"] for a in after["attempts"] for w in a["workers"]} == {"DEAD"}
    assert after["attempts"][-1]["status"] == "FINISHED"
    assert after["end_time_ns"] == after["attempts"][-1]["end_time_ns"]
    assert after["start_time_ns"] < after["attempts"][0]["start_time_ns"]
    assert "trainers.driver" in after["job_details"]["entrypoint"]
    assert after["run_settings"]["train_loop_config"]["train"]["steps"] == 700
    settings = after["run_settings"]["run_config"]
    assert settings["name"] == "shown"


@pytest.mark.long
def test_what_the_state_actor_forgets_when_it_dies_is_told_again(service: Deployment, code: Path) -> None:
    submit_over_rest(service, spec_of("forgotten", code, steps=5000))
    watched = watched_at(service.run_directory("forgotten"), step=20)
    is_shown_in(service, "forgotten", "RUNNING", generations=1)
    kill_state_actor(service)
    step = watched.step()
    watched.wait(lambda: watched.step() > step + 20)
    service.tumbler("cancel", "forgotten")
    service.tumbler("wait", "forgotten", check=False)
    run = is_shown_in(service, "forgotten", "ABORTED")
    assert "UserCancelled" in run["status_detail"]
    assert_generations_are_those_on_record(run, watched)
    assert len(watched.events("worker-lost")) == 0


@pytest.mark.long
def test_a_run_that_does_not_want_it_is_not_shown(service: Deployment, code: Path) -> None:
    spec = spec_of("unseen", code, steps=40)
    spec["code"]["env"] = {"RAY_TRAIN_ENABLE_STATE_TRACKING": "0"}
    submit_over_rest(service, spec)
    service.tumbler("wait", "unseen")
    assert RunDirectory(service.home / "runs" / "unseen").read_status().step == 40
    assert shown(service, "unseen") is None
