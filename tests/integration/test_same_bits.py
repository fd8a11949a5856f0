"""One spec, one result: whatever the number of workers, whoever dies."""

import random
from typing import Any

from orchestrator.domain.audit import audit
from tests.integration.saboteur import Watched, kill_random_member, kill_ranks, sabotage
from trainers.main import RunResult, train

STEPS = {"steps": 60}


def trained(spec: Any) -> RunResult:
    result = train(spec)
    assert audit(result.run).ok
    return result


def test_one_spec_gives_one_sha256_at_any_number_of_workers_and_with_three_kills(paced: Any) -> None:
    results = {n: trained(paced(workers=n)) for n in (1, 2, 3, 4)}
    hashes = {n: result.parameters_sha256 for n, result in results.items()}

    def three_kills(run: Watched) -> None:
        rng = random.Random(7)
        for step in (10, 25, 40):
            run.wait(lambda step=step: run.step() >= step and len(run.members()) == 2)
            kill_random_member(run, rng)
            lost = len(run.events("worker-lost"))
            run.wait(lambda lost=lost: len(run.events("worker-lost")) > lost or lost >= 3)

    with sabotage(three_kills) as saboteur:
        # Slow enough that each replacement is there before the next kill.
        result = train(paced(workers="1:2", model={"pause_s": 0.12}), on_start=saboteur.on_start)
    report = audit(result.run)
    assert report.ok, report.problems
    hashes["2 with three kills"] = result.parameters_sha256

    assert len(set(hashes.values())) == 1, hashes
    assert len({audit(r.run).chain for r in (*results.values(), result)}) == 1


def test_all_lost_at_once_goes_on_from_the_newest_checkpoint(paced: Any) -> None:
    undisturbed = trained(paced(workers=2))

    def kill_all(run: Watched) -> None:
        run.wait(lambda: run.step() >= 30)
        kill_ranks(run, 0, 1)

    with sabotage(kill_all) as saboteur:
        result = train(paced(workers=2, model={"pause_s": 0.01}), on_start=saboteur.on_start)

    restored = [e for e in Watched(result.run).events("generation-started") if "step-" in e["source"]]
    assert [e["step"] for e in restored] == [20]
    assert result.parameters_sha256 == undisturbed.parameters_sha256
    assert audit(result.run).ok
