from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.audit import AuditReport, audit, chain_link
from orchestrator.domain.order import BatchPlan
from orchestrator.domain.run_directory import RunDirectory, RunState
from orchestrator.domain.sealed_journal import SealedWriter
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import RunStatus

ROWS, BATCH = 10, 4
"""Three steps an epoch, the last one of two rows."""
PLAN = {"kind": "plan", "rows": ROWS, "global_batch": BATCH}


def claim(step: int, generation: int = 1, rows: int = ROWS, batch: int = BATCH) -> dict[str, Any]:
    epoch, first, last = BatchPlan(rows, batch, 1, seed=1).span(step)
    return {"step": step, "epoch": epoch, "first": first, "last": last, "generation": generation}


def claims(*steps: int, generation: int = 1) -> list[dict[str, Any]]:
    return [claim(step, generation) for step in steps]


def links(*steps: int, parameters: str = "p") -> list[dict[str, Any]]:
    records, previous = [], ""
    for step in steps:
        hashes = {"parameters_sha256": f"{parameters}{step}", "optimizer_sha256": f"o{step}"}
        previous = chain_link(previous, step, *hashes.values())
        records.append({"step": step, **hashes, "chain": previous})
    return records


def write(run: RunDirectory, name: str, records: Iterable[dict[str, Any]]) -> None:
    journal = SealedWriter(run.outbox, name)
    for record in records:
        journal.append(record)
    journal.close()


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return make_run(tmp_path)


def make_run(storage: Path, **more: Any) -> RunDirectory:
    train = {"global_batch": BATCH, "logical_shards": 2, "steps": 4, **more.pop("train", {})}
    return RunDirectory.create(
        storage, RunSpec.parse({"name": "otter", "task": "language_model", "train": train, **more})
    )


def audited(run: RunDirectory, *ledger: dict[str, Any], chain: Iterable[dict[str, Any]] = ()) -> AuditReport:
    write(run, "ledger", ledger)
    write(run, "chain", chain)
    return audit(run)


def rows(report: AuditReport) -> list[tuple[int, int, int, int]]:
    return [(epoch.expected, epoch.consumed, epoch.repeated, epoch.missed) for epoch in report.epochs]


def test_the_report_of_a_good_run_is_the_published_json(run: RunDirectory) -> None:
    chain = links(2, 4)
    report = audited(run, PLAN, *claims(1, 2, 3, 4), chain=chain)
    assert report.model_dump(mode="json") == {
        "run": "otter",
        "epochs": [
            {"epoch": 0, "expected": 10, "consumed": 10, "repeated": 0, "missed": 0},
            {"epoch": 1, "expected": 4, "consumed": 4, "repeated": 0, "missed": 0},
        ],
        "steps": 4,
        "parameters_sha256": "p4",
        "optimizer_sha256": "o4",
        "chain": [{"step": 2, "sha256": chain[0]["chain"]}, {"step": 4, "sha256": chain[1]["chain"]}],
        "ok": True,
        "problems": [],
        "notes": [],
    }


@settings(max_examples=50, deadline=None)
@given(num_rows=st.integers(1, 40), batch=st.integers(1, 50), num_steps=st.integers(1, 30))
def test_what_the_batch_plan_says_is_what_the_audit_expects(
    tmp_path_factory: pytest.TempPathFactory, num_rows: int, batch: int, num_steps: int
) -> None:
    train = {"global_batch": batch, "logical_shards": 1}
    run = make_run(tmp_path_factory.mktemp("runs"), train=train)
    plan = {"kind": "plan", "rows": num_rows, "global_batch": batch}
    ledger = [claim(step, rows=num_rows, batch=batch) for step in range(1, num_steps + 1)]
    report = audited(run, plan, *ledger)
    assert report.ok
    assert sum(epoch.consumed for epoch in report.epochs) == sum(
        entry["last"] - entry["first"] for entry in ledger
    )


@settings(max_examples=50, deadline=None)
@given(
    spans=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 10)).filter(lambda s: s[0] < s[1]), min_size=3)
)
def test_spans_are_counted_as_if_row_by_row(
    tmp_path_factory: pytest.TempPathFactory, spans: list[tuple[int, int]]
) -> None:
    run = make_run(tmp_path_factory.mktemp("runs"))
    ledger = [
        {"step": 1 + index % 3, "epoch": 0, "first": first, "last": last, "generation": 1}
        for index, (first, last) in enumerate(spans)
    ]
    report = audited(run, PLAN, *ledger)
    used = [position for first, last in spans for position in range(first, last)]
    assert rows(report) == [(ROWS, len(used), len(used) - len(set(used)), ROWS - len(set(used)))]


def test_generations_may_follow_one_another(run: RunDirectory) -> None:
    assert audited(run, PLAN, *claims(1, 2), *claims(3, 4, generation=2)).ok


def test_a_step_that_is_skipped_is_found_with_its_rows(run: RunDirectory) -> None:
    report = audited(run, PLAN, *claims(1, 3, 6))
    assert rows(report) == [(10, 6, 0, 4), (10, 2, 0, 8)]
    assert report.problems == (
        "step 2 is missing",
        "steps 4 to 5 are missing",
        "epoch 0: 4 rows missed",
        "epoch 1: 8 rows missed",
    )
    assert not report.ok


def test_a_step_that_is_recorded_twice_is_found_with_its_rows(run: RunDirectory) -> None:
    report = audited(run, PLAN, *claims(1, 2, 2, 3))
    assert rows(report) == [(10, 14, 4, 0)]
    assert report.problems == ("step 2 is recorded twice", "epoch 0: 4 rows repeated")


def test_two_generations_that_claim_one_step_are_found(run: RunDirectory) -> None:
    report = audited(run, PLAN, *claims(1, 2), *claims(2, 3, generation=2))
    assert report.problems[0] == "step 2 is claimed by generations 1 and 2"


def test_rows_that_were_not_due_are_found(run: RunDirectory) -> None:
    wrong = {**claim(1), "last": 6}
    report = audited(run, PLAN, wrong)
    assert rows(report) == [(4, 6, 0, 0)]
    assert report.problems == (
        "step 1 used 0 to 6 of epoch 0, due was 0 to 4 of epoch 0",
        "epoch 0: 2 rows used that were not due",
    )


def test_two_steps_that_swapped_their_rows_are_found(run: RunDirectory) -> None:
    first, second = claims(1, 2)
    report = audited(run, PLAN, {**second, "step": 1}, {**first, "step": 2})
    assert rows(report) == [(8, 8, 0, 0)]
    assert report.problems[0] == "step 1 used 4 to 8 of epoch 0, due was 0 to 4 of epoch 0"


def test_steps_done_again_after_a_rewind_count_once(run: RunDirectory) -> None:
    again = claims(2, 3, 4, generation=2)
    report = audited(
        run,
        PLAN,
        *claims(1, 2, 3),
        {"kind": "rewind", "step": 1},
        *again,
        chain=[*links(1, 2), {"kind": "rewind", "step": 1}, *links(1, 2, 3)[1:]],
    )
    assert report.ok
    assert rows(report) == [(10, 10, 0, 0), (4, 4, 0, 0)]
    assert [link.step for link in report.chain] == [1, 2, 3]


def test_a_rewind_without_doing_the_steps_again_leaves_them_undone(run: RunDirectory) -> None:
    report = audited(run, PLAN, *claims(1, 2, 3), {"kind": "rewind", "step": 1}, *claims(3))
    assert report.problems == ("step 2 is missing", "epoch 0: 4 rows missed")


def test_a_step_that_gave_other_parameters_the_second_time_is_found(run: RunDirectory) -> None:
    again = [*links(1), {"kind": "rewind", "step": 0}, *links(1, parameters="q")]
    report = audited(run, PLAN, *claims(1, 2), chain=again)
    assert report.problems == ("step 1 was done twice and gave different parameters",)


def test_a_chain_beside_a_rewound_ledger_ends_where_that_does(run: RunDirectory) -> None:
    report = audited(
        run, PLAN, *claims(1, 2, 3), {"kind": "rewind", "step": 1}, *claims(2), chain=links(1, 2, 3)
    )
    assert report.parameters_sha256 == "p2"


def test_a_forged_link_of_the_chain_is_found(run: RunDirectory) -> None:
    chain = links(1, 2, 3)
    chain[1]["parameters_sha256"] = "forged"
    report = audited(run, PLAN, *claims(1, 2, 3), chain=chain)
    assert report.problems == ("the hash chain is broken at step 2",)


def test_a_left_out_link_of_the_chain_is_found(run: RunDirectory) -> None:
    chain = links(1, 2, 3)
    report = audited(run, PLAN, *claims(1, 2, 3), chain=[chain[0], chain[2]])
    assert report.problems == ("the hash chain is broken at step 3",)


def test_optimizer_state_is_part_of_the_chain(run: RunDirectory) -> None:
    chain = links(1, 2)
    chain[0]["optimizer_sha256"] = "forged"
    report = audited(run, PLAN, *claims(1, 2, 3), chain=chain)
    assert report.problems == ("the hash chain is broken at step 1",)


def test_a_link_that_was_due_and_is_not_there_is_found(run: RunDirectory) -> None:
    plan = {**PLAN, "link_every": 2}
    report = audited(run, plan, *claims(1, 2, 3, 4, 5), chain=links(3, 4))
    assert report.problems == (
        "the chain lacks its link at step 2",
        "the chain has a link at step 3, where none is due",
    )


@pytest.mark.parametrize("total_steps", [4, None])
def test_a_ledger_that_ends_before_the_run_did_is_found(run: RunDirectory, total_steps: int | None) -> None:
    ended = RunState(
        run="otter",
        attempt=1,
        status=RunStatus.SUCCEEDED,
        updated="2026-01-31T00:00:00.000Z",
        step=4,
        total_steps=total_steps,
    )
    run.write_status(ended)
    assert audited(run, PLAN, *claims(1, 2, 3)).problems == (
        "the run succeeded with step 4, but the ledger ends at step 3",
    )


def test_a_run_that_succeeded_before_the_last_step_of_its_spec_is_found(run: RunDirectory) -> None:
    ended = RunState(run="otter", attempt=1, status=RunStatus.SUCCEEDED, updated="now", step=3)
    run.write_status(ended)
    assert audited(run, PLAN, *claims(1, 2, 3)).problems == (
        "the spec asks for 4 steps, but the run succeeded with step 3",
    )


def test_a_plan_that_changes_on_the_way_is_found(run: RunDirectory) -> None:
    report = audited(run, PLAN, *claims(1), {**PLAN, "rows": 9})
    assert report.problems == ("the plan changed on the way: rows was 10 and is 9",)


def test_a_ledger_without_a_plan_proves_nothing(run: RunDirectory) -> None:
    report = audited(run, *claims(1))
    assert any("no plan" in problem for problem in report.problems)


def test_many_problems_are_counted_not_listed(run: RunDirectory) -> None:
    report = audited(run, PLAN, *claims(*range(1, 25), *range(1, 25)))
    assert "and 19 more like it" in report.problems
