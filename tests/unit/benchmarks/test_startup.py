from typing import Any

import pytest
import ray

from benchmarks.peers.stock_start import ray_arguments
from benchmarks.startup import bars_of
from orchestrator.domain.spec import RunSpec
from trainers.ray_session import ray_session


def test_stock_starts_ray_with_the_arguments_that_tumbler_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **arguments: asked.update(arguments))
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}])
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with ray_session(RunSpec.parse({"task": "language_model", "workers": 2}), num_cpus=2):
        pass
    assert asked == ray_arguments(2)


def test_each_bar_of_the_startup_can_be_missed() -> None:
    good: dict[str, Any] = {"of_medians": 1.0, "of_pairs": [0.9, 1.1], "ends": [2.0, 3.0], "helps": [0.4]}
    bad = {"of_medians": 1.2, "of_pairs": [1.2], "ends": [1.0, 3.5], "helps": [0.6, 0.7, 0.1]}
    assert all(bar.ok for bar in bars_of(**good))
    for name, value in bad.items():
        assert sum(not bar.ok for bar in bars_of(**{**good, name: value})) == 1
