"""Faults that were found by reading, each kept from coming back."""

import sys
from pathlib import Path

import pytest

from orchestrator.domain.audit import audit
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from tests.unit.test_incidents import incidents
from tests.unit.test_recorder import LAST, formed, open_recorder, points, run
from trainers.door import at_the_door
from trainers.worker_log import logging_to


def test_steps_recorded_after_the_last_status_are_undone_by_a_resume_from_before_them(
    run: RunDirectory,
) -> None:
    """The status is written every 0.5 s, the ledger at once: a controller that is killed leaves a ledger that
    is ahead. The next attempt goes on from a checkpoint at the step of the status: no rewind, rows claimed
    twice."""
    first = open_recorder(run)
    first.steps(points(1, 2, 3, 4))
    first.evaluated(4, {})  # forces the status: step 4
    first.steps(points(5, 6))  # within 0.5 s: ledger only; killed here, so no close
    RunDirectory.create(run.path.parent, run.spec(), resume=True)
    second = open_recorder(run)
    second.formed(formed(1, 4), 2)
    second.steps(points(*range(5, LAST + 1), generation=1))
    second.close()
    assert audit(run).problems == ()


def test_starts_may_fail_for_ever() -> None:
    seen = incidents()
    seen.failed_starts = 2000  # a refused worker counts and is charged to no budget
    assert seen.back_off_s == 30.0


def test_an_entrypoint_in_the_working_directory_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_training.py").write_text("def train(config): ...")
    spec = RunSpec.parse({"entrypoint": "my_training:train", "code": {"working_dir": str(tmp_path)}})
    at_the_door(spec)
    from trainers.door import load_entrypoint

    assert callable(load_entrypoint(spec))


def test_who_keeps_the_old_stdout_may_print_when_the_log_is_closed(tmp_path: Path) -> None:
    with logging_to(tmp_path / "w1.log"):
        kept = sys.stdout
    print("still here", file=kept)
