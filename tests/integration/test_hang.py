"""A worker that neither works nor dies is found by those who wait for it, and replaced."""

import signal
from typing import Any

import pytest

from orchestrator.domain.audit import audit
from tests.integration.saboteur import Watched, kill, sabotage
from trainers.main import train


@pytest.mark.long
def test_a_frozen_worker_is_named_ended_and_replaced_and_the_bits_stay(paced: Any) -> None:
    undisturbed = train(paced(workers=1, train={"steps": 120}))

    def plan(run: Watched) -> None:
        run.wait(lambda: run.step() >= 10 and len(run.members()) == 2)
        frozen = next(iter(run.members().values()))
        kill(frozen, signal.SIGSTOP)
        run.wait(lambda: bool(run.events("worker-hung")))
        run.wait(lambda: len(run.members()) == 2 and frozen not in run.members().values())

    with sabotage(plan) as saboteur:
        result = train(
            paced(workers="1:2", model={"pause_s": 0.02}, retry={"hang_timeout": 2}, train={"steps": 120}),
            on_start=saboteur.on_start,
        )
    assert [e["worker"] for e in Watched(result.run).events("worker-hung")] == ["w1"]
    assert result.parameters_sha256 == undisturbed.parameters_sha256
    assert audit(result.run).ok
