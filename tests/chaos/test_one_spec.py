"""One spec in nine lives. Each must end with the parameters, the optimizer state and the hash chain of one
worker whom nobody disturbed, and with an audit that finds each row used once.
"""

import random
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator.domain.audit import AuditReport
from orchestrator.domain.errors import TumblerError
from tests.chaos.one_spec import STEPS, audited, must_be_the_same, spec_of, write_corpus
from tests.integration.saboteur import (
    Watched,
    controller_pid,
    four_then_two_then_three,
    inject,
    kill,
    kill_random_member,
    sabotage,
)
from trainers.elastic.faults import Slow
from trainers.main import train

KILLS = 10
Plan = Callable[[Watched], None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Path:
    folder = tmp_path_factory.mktemp("one-spec")
    write_corpus(folder / "corpus")
    return folder


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> AuditReport:
    return audited(train(spec_of(folder / "corpus", folder, "one", 1)).run)


def await_steps(run: Watched, number: int) -> None:
    goal = min(run.step() + number, STEPS)
    run.wait(lambda: run.step() >= goal)


def ten_random_kills(run: Watched) -> None:
    rng = random.Random(7)
    run.wait(lambda: run.step() >= 5)
    for _ in range(KILLS):
        run.wait(lambda: bool(run.members()))
        await_steps(run, rng.randrange(2, 25))
        lost = len(run.events("worker-lost"))
        with suppress(ProcessLookupError):
            kill_random_member(run, rng)
        run.wait(lambda lost=lost: len(run.events("worker-lost")) > lost)


def slow_and_one_to_four_to_two_to_three(run: Watched) -> None:
    run.wait(lambda: run.step() >= 10)
    slow_down(run)
    four_then_two_then_three(run, slow_down)
    slow_down(run, 0.0)


def slow_down(run: Watched, shard_s: float = 0.2) -> None:
    """Workers take seconds to start; the run must not be over by then."""
    for rank in range(len(run.members())):
        inject(run, rank, Slow(shard_s))


def zombie(run: Watched) -> None:
    run.wait(lambda: run.step() >= 40 and len(run.members()) == 2)
    name, frozen = list(run.members().items())[1]
    kill(frozen, signal.SIGSTOP)
    run.wait(lambda: name in [event["worker"] for event in run.events("worker-hung")])
    await_steps(run, 10)
    with suppress(ProcessLookupError):
        kill(frozen, signal.SIGCONT)
    run.wait(lambda: frozen not in run.members().values())


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_any_number_of_workers(folder: Path, undisturbed: AuditReport, workers: int) -> None:
    result = train(spec_of(folder / "corpus", folder, f"workers-{workers}", workers))
    must_be_the_same(audited(result.run), undisturbed)


@pytest.mark.parametrize(
    ("workers", "plan"),
    [("1:2", ten_random_kills), (1, slow_and_one_to_four_to_two_to_three), ("1:2", zombie)],
    ids=["ten kills", "1-4-2-3", "zombie"],
)
def test_whatever_becomes_of_the_workers(
    folder: Path, undisturbed: AuditReport, workers: object, plan: Plan
) -> None:
    name = plan.__name__.replace("_", "-")
    spec = spec_of(folder / "corpus", folder, name, workers, retry={"max_losses_without_progress": 2 * KILLS})
    with sabotage(plan) as saboteur:
        result = train(spec, on_start=saboteur.on_start)
    events = Watched(result.run).events
    if plan is ten_random_kills:
        assert len(events("worker-lost")) >= KILLS
    must_be_the_same(audited(result.run), undisturbed)


def test_everything_killed_at_once(folder: Path, undisturbed: AuditReport) -> None:
    def kill_everything(run: Watched) -> None:
        run.wait(lambda: run.step() >= 170)
        pids = [controller_pid(run.run), *run.members().values()]
        for pid in pids:
            kill(pid)

    spec = spec_of(folder / "corpus", folder, "all-killed", 2)
    with sabotage(kill_everything) as saboteur, pytest.raises(TumblerError):
        train(spec, on_start=saboteur.on_start)
    result = train(spec, resume=True)
    assert Watched(result.run).events("generation-started")[-1]["step"] >= 150
    must_be_the_same(audited(result.run), undisturbed)


def test_the_feed_killed(folder: Path, undisturbed: AuditReport, tmp_path: Path) -> None:
    def kill_feed(run: Watched) -> None:
        run.wait(lambda: bool(run.events("feed-started")))
        kill(run.events("feed-started")[0]["pid"])
        run.wait(lambda: bool(run.events("feed-lost")))

    # A storage of its own, in which no other run has left the rows.
    spec = spec_of(folder / "corpus", tmp_path, "feed-killed", 2)
    with sabotage(kill_feed) as saboteur:
        result = train(spec, on_start=saboteur.on_start)
    must_be_the_same(audited(result.run), undisturbed)
