"""What became of a run, read over REST from real run directories."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.events import EventKind, event
from orchestrator.domain.runs import Attempt, Change, Driver, GenerationRow
from orchestrator.domain.status import EndReason, RunStatus
from tests.unit.api.in_process import RUNS, InProcess
from tests.unit.recorded_run import RecordedRun, finished_run

OTTER = f"{RUNS}/brave-otter"


@pytest.fixture
async def otter(service: InProcess) -> InProcess:
    """A run of eight steps that is over; see `finished_run`."""
    await service.submit("brave-otter")
    finished_run(service.storage)
    await service.moved("brave-otter", RunStatus.SUCCEEDED, attempt=1)
    return service


async def read(service: InProcess, what: str, **query: Any) -> dict[str, Any]:
    answer = await service.client.get(f"{OTTER}/{what}", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def write(service: InProcess, **rows: Any) -> None:
    run = await service.record.find("brave-otter")
    await service.record.change(run.id, lambda old: Change(old, **rows))


async def test_metrics_come_in_columns_of_equal_length(otter: InProcess) -> None:
    found = await read(otter, "metrics")
    assert found["step"] == list(range(1, 9))
    assert found["loss"][0] == 4.5
    assert found["val_loss"] == [None] * 7 + [1.0]
    assert {len(column) for column in found.values()} == {8}


async def test_only_the_keys_asked_for_come_and_unknown_ones_are_empty(otter: InProcess) -> None:
    found = await read(otter, "metrics", keys="loss, nothing", from_step=7)
    assert found == {"step": [7, 8], "loss": [1.5, 1.0], "nothing": [None, None]}


@pytest.mark.parametrize(
    ("agg", "expected"),
    [("last", [3.0, 1.0]), ("mean", [3.75, 1.75]), ("min", [3.0, 1.0]), ("max", [4.5, 2.5])],
)
async def test_neighbours_become_one_as_asked(otter: InProcess, agg: str, expected: list[float]) -> None:
    found = await read(otter, "metrics", keys="loss", max_points=2, agg=agg)
    assert found == {"step": [4, 8], "loss": expected}


async def test_new_points_are_seen_although_the_old_ones_are_kept(service: InProcess) -> None:
    await service.submit("brave-otter")
    assert (await read(service, "metrics"))["step"] == []
    recorded = RecordedRun(service.storage)
    recorded.formed(1, "w1", "w2")
    recorded.steps(1, 2)
    assert (await read(service, "metrics"))["step"] == [1, 2]
    recorded.steps(3, 3)
    assert (await read(service, "metrics"))["step"] == [1, 2, 3]


async def test_a_loss_that_is_no_number_is_shown(service: InProcess) -> None:
    await service.submit("brave-otter")
    recorded = RecordedRun(service.storage)
    recorded.formed(1, "w1")
    recorded.recorder.evaluated(0, {"val_loss": float("nan")})
    assert (await read(service, "metrics", keys="val_loss", agg="mean"))["val_loss"] == ["NaN"]


@pytest.mark.parametrize("query", [{"max_points": 0}, {"max_points": 100_001}, {"agg": "median"}])
async def test_metrics_that_nobody_could_give_are_refused(otter: InProcess, query: dict[str, Any]) -> None:
    assert (await otter.client.get(f"{OTTER}/metrics", params=query)).status_code == 422


async def test_events_are_read_from_any_place(otter: InProcess) -> None:
    everything = await read(otter, "events")
    seqs = [one["seq"] for one in everything["events"]]
    assert seqs == list(range(1, len(seqs) + 1))
    assert everything["events"][0]["kind"] == "run-submitted"
    rest = await read(otter, "events", after=seqs[-2], limit=10)
    assert [one["seq"] for one in rest["events"]] == seqs[-1:]
    assert rest["next_after"] == seqs[-1]
    assert await read(otter, "events", after=seqs[-1]) == {"events": [], "next_after": seqs[-1]}


async def test_attempts_drivers_and_generations_are_listed(otter: InProcess) -> None:
    run = await otter.record.find("brave-otter")
    at = "2026-01-31T12:00:00.000Z"
    await write(
        otter,
        attempts=(Attempt(run.id, 1, at, at, EndReason.FINISHED, "", 0, 8),),
        drivers=(Driver(run.id, 1, 1, f"{run.id}-1-1", at),),
        generations=(GenerationRow(run.id, 1, 1, at, 0, ("w1", "w2"), 0, 0.02),),
    )
    assert (await read(otter, "attempts"))["attempts"][0]["reason"] == "Finished"
    assert (await read(otter, "drivers"))["drivers"][0]["submission_id"] == f"{run.id}-1-1"
    assert (await read(otter, "generations"))["generations"][0]["workers"] == ["w1", "w2"]


async def test_workers_are_shown_as_they_were_seen_last(otter: InProcess) -> None:
    told = [
        (EventKind.WORKER_STARTED, {"worker": "w1", "pid": 11, "node_id": "n1"}),
        (EventKind.WORKER_STARTED, {"worker": "w2", "pid": 12, "node_id": "n2"}),
        (EventKind.WORKER_WARM, {"worker": "w2", "pid": 12}),
        (EventKind.GENERATION_STARTED, {"workers": ["w1", "w2"]}),
        (EventKind.WORKER_LOST, {"worker": "w2"}),
        (EventKind.WORKER_STARTED, {"worker": "w3", "pid": 13, "node_id": "n2"}),
    ]
    await write(otter, events=tuple(event(kind, "x", attempt=1, **facts) for kind, facts in told))
    workers = (await read(otter, "workers"))["workers"]
    shown = {w["worker"]: (w["state"], w["pid"], w["node_id"]) for w in workers}
    assert shown == {"w1": ("training", 11, "n1"), "w2": ("lost", 12, "n2"), "w3": ("starting", 13, "n2")}
    await write(otter, events=(event(EventKind.ATTEMPT_ENDED, "x", attempt=1),))
    states = {w["worker"]: w["state"] for w in (await read(otter, "workers"))["workers"]}
    assert states == {"w1": "ended", "w2": "lost", "w3": "ended"}


async def test_an_audit_is_the_same_as_on_the_command_line(otter: InProcess) -> None:
    report = await read(otter, "audit")
    assert (report["ok"], report["steps"]) == (True, 8)


async def test_a_run_that_has_no_directory_yet_has_no_audit(service: InProcess) -> None:
    await service.submit("brave-otter")
    assert (await service.client.get(f"{OTTER}/audit")).status_code == 404
    assert await read(service, "checkpoints") == {"checkpoints": []}
    assert (await read(service, "logs"))["lines"] == []


def log(service: InProcess, name: str) -> Path:
    path = service.storage / "brave-otter" / "logs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


async def test_the_last_lines_of_each_worker_come_and_then_what_is_new(service: InProcess) -> None:
    await service.submit("brave-otter")
    await service.moved("brave-otter", RunStatus.RUNNING, attempt=1)
    log(service, "1-w1.log").write_text("".join(f"line {n}\n" for n in range(5)) + "half")
    log(service, "1-w2.log").write_text("hello\n")
    first = await read(service, "logs", tail=2)
    assert [(one["worker"], one["text"]) for one in first["lines"]] == [
        ("w1", "line 3"),
        ("w1", "line 4"),
        ("w2", "hello"),
    ]
    with log(service, "1-w1.log").open("a") as file:
        file.write(" a line\n")
    log(service, "2-w9.log").write_text("of the next attempt\n")
    second = await read(service, "logs", since=first["next"])
    assert [(one["attempt"], one["text"]) for one in second["lines"]] == [
        (1, "half a line"),
        (2, "of the next attempt"),
    ]
    assert (await read(service, "logs", since=second["next"]))["lines"] == []


async def test_a_cursor_brings_no_more_lines_than_asked_for_and_loses_none(service: InProcess) -> None:
    await service.submit("brave-otter")
    await service.moved("brave-otter", RunStatus.RUNNING, attempt=1)
    for worker in ("w1", "w2"):
        log(service, f"1-{worker}.log").write_text("".join(f"{worker} {n}\n" for n in range(5)))
    cursor, seen = (await read(service, "logs", tail=0))["next"], []
    for worker in ("w1", "w2"):
        with log(service, f"1-{worker}.log").open("a") as file:
            file.write("".join(f"{worker} {n}\n" for n in range(5, 8)))
    for _ in range(4):
        page = await read(service, "logs", since=cursor, tail=2)
        assert len(page["lines"]) <= 2
        seen += [one["text"] for one in page["lines"]]
        cursor = page["next"]
    assert seen == ["w1 5", "w1 6", "w1 7", "w2 5", "w2 6", "w2 7"]


async def test_logs_are_narrowed_by_worker_attempt_and_text(otter: InProcess) -> None:
    log(otter, "1-w1.log").write_text("a warning\nfine\ntorn warning")
    log(otter, "1-w2.log").write_text("another warning\n")
    log(otter, "2-w1.log").write_text("later\n")
    found = await read(otter, "logs", worker="w1", q="warning")
    assert [one["text"] for one in found["lines"]] == ["a warning", "torn warning"]
    assert [one["text"] for one in (await read(otter, "logs", attempt=2))["lines"]] == ["later"]
    assert (await read(otter, "logs", worker="../../secret"))["lines"] == []


@pytest.mark.parametrize("cursor", ["x", "W10", "WzEsIHt9XQ=x", "bnVsbA"])
async def test_a_log_cursor_that_is_none_is_refused(otter: InProcess, cursor: str) -> None:
    answer = await otter.client.get(f"{OTTER}/logs", params={"since": cursor})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-cursor")
