"""A run that is no task, under the service: its driver is all it has."""

from pathlib import Path

import pytest

from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import EndReason
from tests.integration.test_driver import Service, ended, service

__all__ = ["service"]


@pytest.mark.long
def test_a_script_is_paused_by_an_order_and_its_driver_killed_is_an_attempt_lost(
    service: Service, tmp_path: Path
) -> None:
    spec = RunSpec.parse(
        {"name": "script", "command": "sleep 600", "workers": 1, "checkpoint": {"storage": str(tmp_path)}}
    )
    watched = service.begin(spec)
    first = service.drive(watched.run)
    logs = watched.run.logs
    watched.wait(lambda: (logs / "1-rank0.log").exists())
    service.order(watched.run, target=1, stop=EndReason.USER_PAUSED)
    ended(first, 0)
    state = watched.run.read_status()
    assert (state.status, state.reason) == ("PAUSED", "UserPaused")

    service.begin(spec, attempt=2)
    service.order(watched.run, target=1)
    second = service.drive(watched.run)
    watched.wait(lambda: (logs / "2-rank0.log").exists())
    second.kill()
    second.wait()
    ended(service.drive(watched.run, driver=2), 101)
    assert watched.run.read_status().reason == "ControllerLost"
