"""What an audit expects comes from the spec and from an own scan; and where there is nothing, it says why."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.audit import audit, notes_on
from orchestrator.domain.pinned_data import PinnedData
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import EndReason, RunStatus
from tests.unit.test_audit import PLAN, ROWS, audited, claims, rows, run

__all__ = ["run"]


def test_a_plan_that_is_not_that_of_the_spec_is_found(run: RunDirectory) -> None:
    plan = {**PLAN, "seed": 2, "window": 10000, "logical_shards": 2}
    report = audited(run, plan, *claims(1))
    assert report.problems == ("the ledger was planned with seed 2, the spec says 1",)


def pin(run: RunDirectory, **changes: Any) -> None:
    pinned = PinnedData(fingerprint="f", num_rows=12, num_train_rows=ROWS, num_validation_rows=2)
    run.data_path.write_text(pinned.model_copy(update=changes).model_dump_json())


def test_what_is_expected_comes_from_our_own_scan_and_not_from_the_trainer(run: RunDirectory) -> None:
    pin(run, num_train_rows=12)
    report = audited(run, PLAN, *claims(1, 2, 3, 4))
    assert rows(report) == [(12, 10, 0, 2), (4, 4, 0, 0)]
    assert report.problems[0] == (
        "the trainer was given other data than was scanned: training rows 10, the scan found 12"
    )
    assert "epoch 0: 2 rows missed" in report.problems


@pytest.mark.parametrize(("field", "value"), [("validation_rows", 3), ("fingerprint", "g")])
def test_a_trainer_that_read_other_data_than_was_scanned_is_found(
    run: RunDirectory, field: str, value: Any
) -> None:
    pin(run)
    right = {"validation_rows": 2, "fingerprint": "f"}
    assert audited(run, {**PLAN, **right}, *claims(1)).ok
    report = audited(run, {**PLAN, **right, field: value})
    assert any("other data than was scanned" in problem for problem in report.problems)


def test_a_broken_scan_is_a_problem_and_not_an_error(run: RunDirectory) -> None:
    run.data_path.write_text("{}")
    assert "data.json is broken" in audited(run, PLAN, *claims(1)).problems[0]


def test_a_run_that_did_no_step_yet_says_so(run: RunDirectory) -> None:
    assert audit(run).problems == ("there is no ledger yet: the run is QUEUED and has done no step",)
    assert audited(run, PLAN).problems == ("there is no ledger yet: the run is QUEUED and has done no step",)


def test_a_run_that_ended_before_its_first_step_says_so(run: RunDirectory) -> None:
    ended = {"status": RunStatus.FAILED, "reason": EndReason.NO_CAPACITY}
    run.write_status(run.read_status().model_copy(update=ended))
    assert audit(run).problems == ("there is no ledger: the run ended before its first step (NoCapacity)",)


@pytest.mark.parametrize("kind", [{"entrypoint": "pkg.train:fn"}, {"command": "python train.py"}])
def test_a_run_that_deals_its_own_rows_says_why_there_is_no_ledger(
    tmp_path: Path, kind: dict[str, str]
) -> None:
    run = RunDirectory.create(tmp_path, RunSpec.parse({"name": "otter", **kind}))
    report = audit(run)
    assert (report.ok, report.epochs, len(report.problems)) == (False, (), 1)
    assert "deals its rows itself, and Tumbler cannot see which" in report.problems[0]


def test_a_run_of_the_fast_kind_says_with_what_its_chain_can_be_compared(run: RunDirectory) -> None:
    spec = run.spec()
    fast = spec.model_copy(update={"train": spec.train.model_copy(update={"consistency": "fast"})})
    assert list(notes_on(spec)) == []
    assert "can only be compared" in next(notes_on(fast))
