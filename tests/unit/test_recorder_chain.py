"""What the recorder writes so that an audit can prove something: plan, links, seals and tips."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain import journal as journal_module
from orchestrator.domain.audit import audit, chain_link
from orchestrator.domain.audit_journals import read_chain
from orchestrator.domain.events import EventKind
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.sealed_journal import SealedWriter
from orchestrator.domain.status import EndReason, RunStatus
from tests.unit.test_recorder import (
    LAST,
    ROWS,
    formed,
    journal,
    open_recorder,
    points,
    recorder,
    run,
)
from trainers.recorder import Recorder

__all__ = ["recorder", "run"]


def test_a_plan_that_another_worker_or_attempt_has_otherwise_is_on_record_too(
    run: RunDirectory, recorder: Recorder
) -> None:
    recorder.close()
    RunDirectory.create(run.path.parent, run.spec(), resume=True)
    second = open_recorder(run)
    second.plan(ROWS + 1, LAST)
    second.close()
    assert journal(run, "ledger", "rows") == [(ROWS,), (ROWS + 1,)]
    assert "the plan changed on the way: rows was 40 and is 41" in audit(run).problems


def test_each_step_that_brings_hashes_is_a_link_of_the_chain(run: RunDirectory, recorder: Recorder) -> None:
    recorder.steps(points(*range(1, 7)))
    recorder.steps(points(*range(3, LAST + 1)))
    first = chain_link("", 4, "p4", "o4")
    second = chain_link(first, 8, "p8", "o8")
    assert journal(run, "chain", "step", "parameters_sha256", "optimizer_sha256", "chain") == [
        (4, "p4", "o4", first),
        (8, "p8", "o8", second),
        (LAST, "p10", "o10", chain_link(second, LAST, "p10", "o10")),
    ]


def test_a_checkpoint_is_in_the_status_and_no_link_of_the_chain(
    run: RunDirectory, recorder: Recorder
) -> None:
    """It may be written at other steps in another run of the spec, for a pause, or fail."""
    recorder.checkpoint("/checkpoints/6", "p6")
    assert journal(run, "chain") == []
    state = run.read_status()
    assert (state.checkpoint, state.parameters_sha256) == ("/checkpoints/6", "p6")


def test_a_link_that_was_undone_is_made_again_and_the_chain_still_holds(
    run: RunDirectory, recorder: Recorder
) -> None:
    recorder.steps(points(*range(1, 9)))
    recorder.formed(formed(2, 5), 2)
    recorder.steps(points(6, 7, 8, generation=2))
    assert journal(run, "chain", "step", "kind") == [(4, None), (8, None), (5, "rewind"), (8, None)]
    report = audit(run)
    assert report.problems == ()
    assert [link.step for link in report.chain] == [4, 8]


def done_otherwise(recorder: Recorder) -> None:
    """Step 8 is undone, and gives other parameters when it is done again."""
    recorder.formed(formed(2, 5), 2)
    recorder.steps(points(6, 7, generation=2))
    recorder.steps(tuple(replace(point, parameters_sha256="q8") for point in points(8, generation=2)))


def test_a_step_that_gives_other_parameters_when_it_is_done_again_is_a_problem(
    run: RunDirectory, recorder: Recorder
) -> None:
    recorder.steps(points(*range(1, 9)))
    done_otherwise(recorder)
    assert audit(run).problems == ("step 8 was done twice and gave different parameters",)


@pytest.mark.parametrize("kind", [EventKind.REPLICA_CORRUPTED, EventKind.REPLICAS_DIFFER])
def test_what_replicas_with_differing_bits_had_come_to_need_not_come_again(
    run: RunDirectory, recorder: Recorder, kind: EventKind
) -> None:
    recorder.steps(points(*range(1, 9)))
    recorder.event(kind, "their bits differ")
    done_otherwise(recorder)
    assert audit(run).problems == ()


def test_distrust_ends_with_the_generation_that_goes_back(run: RunDirectory, recorder: Recorder) -> None:
    recorder.steps(points(1, 2, 3))
    recorder.event(EventKind.REPLICAS_DIFFER, "their bits differ")
    recorder.formed(formed(2, 0), 2)  # before the first link: nothing of the chain is undone
    recorder.steps(points(*range(1, 9), generation=2))
    done_otherwise(recorder)
    assert audit(run).problems == ("step 8 was done twice and gave different parameters",)


def test_a_step_of_a_fast_run_need_not_give_the_same_again() -> None:
    records: list[dict[str, Any]] = []
    for parameters in ("p4", "q4"):
        link = {"step": 4, "parameters_sha256": parameters, "optimizer_sha256": "o4"}
        records += [{**link, "chain": chain_link("", 4, parameters, "o4")}, {"kind": "rewind", "step": 0}]
    assert read_chain(records, bitwise=False).problems == []
    assert read_chain(records).problems == ["step 4 was done twice and gave different parameters"]


def test_links_ahead_of_the_ledger_are_undone_by_the_next_attempt(run: RunDirectory) -> None:
    """The controller was killed between the two."""
    first = open_recorder(run)
    first.steps(points(*range(1, 8)))
    first.close()
    last = journal(run, "chain")[-1]["chain"]
    chain = SealedWriter(run.outbox, "chain")
    link = {"step": 8, "parameters_sha256": "p8", "optimizer_sha256": "o8"}
    chain.append({**link, "chain": chain_link(last, 8, "p8", "o8")})
    chain.close()
    RunDirectory.create(run.path.parent, run.spec(), resume=True)
    second = open_recorder(run)
    second.formed(formed(1, 4), 1)
    second.steps(points(*range(5, LAST + 1)))
    second.move(RunStatus.RUNNING)
    second.end(EndReason.FINISHED)
    report = audit(run)
    assert report.problems == ()
    assert [link.step for link in report.chain] == [4, 8, LAST]


def test_a_later_attempt_goes_on_with_ledger_and_chain(run: RunDirectory) -> None:
    first = open_recorder(run)
    first.steps(points(1, 2, 3, 4, 5, 6))
    first.close()
    RunDirectory.create(run.path.parent, run.spec(), resume=True)
    second = open_recorder(run)
    assert second.step == 6
    second.formed(formed(1, 4), 2)
    second.steps(points(*range(5, LAST + 1)))
    second.close()
    report = audit(run)
    assert report.problems == ()
    assert [link.step for link in report.chain] == [4, 8, LAST]
    assert report.steps == LAST


def test_the_status_names_the_newest_records_that_were_written(
    run: RunDirectory, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    recorder.steps(points(1, 2, 3, 4))
    with monkeypatch.context() as disk:
        disk.setattr(journal_module.os, "write", full)
        recorder.steps(points(5))
    recorder.phase("recovering")
    tips = run.read_status().tips
    assert (tips["ledger"].seq, tips["chain"].seq) == (5, 1)  # the plan and four steps; step 5 is held back
    assert tips["ledger"].seal == journal(run, "ledger")[-1]["seal"]
