"""The service dies at named points of its own code, again and again; nothing it acknowledged is lost."""

import http.client
from collections.abc import Callable, Iterator
from signal import SIGKILL
from statistics import median

import pytest

from benchmarks.control_plane import WAITING, local_head
from benchmarks.service_process import OWN_HEAD, ServiceDied, ServiceProcess
from tests.chaos.submitters import Submitter, check_record, submit_at_once

SPEC = {name: value for name, value in WAITING.items() if name != "labels"}
SMALL = {
    "task": "language_model",
    "model": {"preset": "gpt-nano"},
    "workers": 1,
    "train": {"steps": 2, "global_batch": 8, "logical_shards": 1, "evaluate_rows": 8},
}
NUM_CLIENTS, NUM_SUBMITS = 4, 100
DYING_S = 5.0
BACK_S = 10.0
"""Generous, for a busy machine; the bar is 3 s, and what was measured is printed."""

MakeService = Callable[..., ServiceProcess]


def one_life(service: ServiceProcess, submitters: list[Submitter], failpoints: str) -> float | None:
    """Submits until the service dies or all is submitted, then it is killed if need be.

    Returns the seconds until it was ready, or None where it died before.
    """
    service.start(failpoints=failpoints)
    try:
        ready_s = service.wait_ready()
        submit_at_once(submitters, service, NUM_SUBMITS)
        if any(submitter.unanswered for submitter in submitters):
            service.wait_dead(DYING_S)
    except ServiceDied:
        ready_s = None
    finally:
        service.kill()
    return ready_s


def died_by_itself(service: ServiceProcess) -> bool:
    assert service.process is not None
    return service.process.returncode == -SIGKILL and not service.killed


def report(failpoint: str, deaths: int, back_s: list[float], num_runs: int, replays: int) -> None:
    print(
        f"\n{failpoint}: {deaths} deaths, ready again after {median(back_s):.2f} s, at most "
        f"{max(back_s):.2f} s; {num_runs} runs, {replays} answers were lost and given again"
    )


@pytest.mark.parametrize("failpoint", ["before-commit", "after-commit"])
def test_a_service_that_dies_at_a_commit_loses_and_doubles_no_run(
    failpoint: str, repeats: int, make_service: MakeService
) -> None:
    service = make_service()
    submitters = [Submitter(f"client-{number}", SPEC) for number in range(NUM_CLIENTS)]
    deaths, back_s = 0, []
    for seed in range(repeats):
        ready_s = one_life(service, submitters, f"{failpoint}:0.1:{seed}")
        deaths += died_by_itself(service)
        back_s += [] if ready_s is None else [ready_s]

    back_s.append(service.start().wait_ready())
    submit_at_once(submitters, service, 1)
    num_runs = check_record(service, submitters)
    replays = sum(submitter.replays for submitter in submitters)
    report(failpoint, deaths, back_s, num_runs, replays)
    assert not any(submitter.unanswered for submitter in submitters)
    assert deaths >= 0.8 * repeats
    assert max(back_s) <= BACK_S
    if failpoint == "after-commit":
        assert replays, "no submit was committed and not answered, so nothing was proven"


def test_a_service_that_dies_while_it_migrates_starts_the_next_time(
    repeats: int, make_service: MakeService
) -> None:
    deaths, back_s, num_runs = 0, [], 0
    for seed in range(repeats):
        service = make_service(f"service-{seed}")
        submitters = [Submitter("client", SPEC)]
        service.start(failpoints=f"mid-migration:0.7:{seed}")
        try:
            service.wait_ready()
        except ServiceDied:
            deaths += died_by_itself(service)
        service.kill()
        back_s.append(service.start().wait_ready())
        submit_at_once(submitters, service, 3)
        num_runs += check_record(service, submitters)
        service.end()
    report("mid-migration", deaths, back_s, num_runs, replays=0)
    assert deaths >= 0.4 * repeats
    assert max(back_s) <= BACK_S


@pytest.fixture
def service_with_head(make_service: MakeService) -> Iterator[ServiceProcess]:
    service = make_service(ray_address=OWN_HEAD)
    with local_head(service.home):
        yield service
        service.end()


def test_a_service_that_dies_between_a_decision_and_its_act_starts_each_run_once(
    repeats: int, service_with_head: ServiceProcess
) -> None:
    service = service_with_head
    submitter = Submitter("client", SMALL)
    deaths, back_s = 0, [service.start().wait_ready()]
    submitter.submit(service, repeats)
    seed, ended = 0, False
    while not ended:
        service.kill()
        service.start(failpoints=f"mid-reconcile:0.5:{seed}")
        seed += 1
        try:
            back_s.append(service.wait_ready())
            ended = wait_for_ends(service, repeats)
        except ServiceDied:
            pass
        deaths += died_by_itself(service)

    service.kill()
    back_s.append(service.start().wait_ready())
    num_runs = check_record(service, [submitter])
    runs = list(service.runs())
    report("mid-reconcile", deaths, back_s, num_runs, submitter.replays)
    assert [(run["status"], run["attempt"]) for run in runs] == [("SUCCEEDED", 1)] * repeats, runs
    assert len({run["parameters_sha256"] for run in runs}) == 1
    assert deaths >= 0.4 * repeats
    assert max(back_s) <= BACK_S


def wait_for_ends(service: ServiceProcess, num_runs: int) -> bool:
    """Whether all runs ended; False as soon as the service dies."""
    while service.alive:
        try:
            if sum(1 for _ in service.runs(status=["SUCCEEDED", "FAILED", "CANCELLED"])) == num_runs:
                return True
        except (OSError, http.client.HTTPException):
            pass  # it dies just now
        service.wait_dead(0.2)
    return False
