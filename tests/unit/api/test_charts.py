"""Curves, sparklines and timelines over REST."""

from typing import Any

import pytest

from orchestrator.domain.events import EventKind, event
from orchestrator.domain.runs import Change, GenerationRow
from orchestrator.domain.status import RunStatus
from tests.unit.api.in_process import RUNS, InProcess
from tests.unit.recorded_run import RecordedRun, finished_run

OTTER = f"{RUNS}/brave-otter"
SPARKLINES = "/api/v1/sparklines"


@pytest.fixture
async def otter(service: InProcess) -> InProcess:
    """A run of eight steps that is over; see `finished_run`."""
    await service.submit("brave-otter")
    finished_run(service.storage)
    await service.moved("brave-otter", RunStatus.SUCCEEDED, attempt=1)
    return service


async def read(service: InProcess, what: str, **query: Any) -> dict[str, Any]:
    answer = await service.client.get(what, params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_part_of_a_curve_is_between_two_steps(otter: InProcess) -> None:
    found = await read(otter, f"{OTTER}/metrics", keys="loss", from_step=2, to_step=4)
    assert found == {"step": [2, 3, 4], "loss": [4.0, 3.5, 3.0]}
    assert (await read(otter, f"{OTTER}/metrics", keys="loss", from_step=5, to_step=4))["step"] == []


async def test_sparklines_are_one_small_curve_of_each_run(otter: InProcess) -> None:
    over = (await otter.record.find("brave-otter")).id
    waiting = (await otter.submit("calm-owl"))["id"]
    found = await read(otter, SPARKLINES, runs=[over, waiting, "nobody"], max_points=2)
    assert found["runs"] == {over: {"step": [4, 8], "loss": [3.0, 1.0]}, waiting: {"step": [], "loss": []}}
    other = await read(otter, SPARKLINES, runs=[over], key="val_loss", max_points=1)
    assert other["runs"][over] == {"step": [8], "val_loss": [1.0]}
    assert (await read(otter, SPARKLINES))["runs"] == {}


async def test_a_broken_journal_makes_one_curve_empty_and_no_other(otter: InProcess) -> None:
    over = (await otter.record.find("brave-otter")).id
    path = next((otter.storage / "brave-otter" / "outbox").glob("metrics-*.jsonl"))
    path.write_bytes(path.read_bytes().replace(b'"loss":4.5', b'"loss":9.5'))
    await otter.submit("calm-owl")
    RecordedRun(otter.storage, "calm-owl").steps(1, 1)
    owl = (await otter.record.find("calm-owl")).id
    found = (await read(otter, SPARKLINES, runs=[over, owl]))["runs"]
    assert (found[over]["step"], found[owl]["step"]) == ([], [1])


async def test_more_sparklines_than_a_page_shows_are_refused(service: InProcess) -> None:
    answer = await service.client.get(SPARKLINES, params={"runs": [str(n) for n in range(101)]})
    assert answer.status_code == 422


def at(second: int) -> str:
    return f"2026-01-31T12:00:{second:02}.000Z"


async def told(service: InProcess, *events: tuple[EventKind, dict[str, Any]], begin: int = 0) -> None:
    """One event a second."""
    rows = tuple(
        {**event(kind, f"{kind}!", **{"attempt": 1, **facts}), "time": at(second)}
        for second, (kind, facts) in enumerate(events, start=begin)
    )
    run = await service.record.find("brave-otter")
    await service.record.change(run.id, lambda old: Change(old, events=rows))


async def test_a_timeline_tells_each_workers_life_and_why_it_ended(service: InProcess) -> None:
    await service.submit("brave-otter")
    await told(
        service,
        (EventKind.WORKER_PLACED, {"worker": "w1"}),
        (EventKind.WORKER_STARTED, {"worker": "w1", "pid": 11, "node_id": "n1"}),
        (EventKind.WORKER_WARM, {"worker": "w1", "pid": 11}),
        (EventKind.GENERATION_STARTED, {"workers": ["w1"], "generation": 1}),
        (EventKind.CHECKPOINT_COMMITTED, {"step": 1}),
        (EventKind.WORKER_PLACED, {"worker": "w2"}),
        (EventKind.GENERATION_STARTED, {"workers": ["w1", "w2"], "generation": 2}),
        (EventKind.WORKER_HUNG, {"worker": "w1"}),
        (EventKind.WORKER_LOST, {"worker": "w1"}),
        (EventKind.WORKER_GONE, {"worker": "w1"}),
        (EventKind.WORKER_PLACED, {"worker": "w3"}),
        (EventKind.RUN_ENDED, {}),
    )
    found = await read(service, f"{OTTER}/timeline")
    lives = {life["worker"]: life for life in found["workers"]}
    assert lives["w1"] == {
        "worker": "w1",
        "attempt": 1,
        "state": "lost",
        "node_id": "n1",
        "pid": 11,
        "placed": at(0),
        "started": at(1),
        "warm": at(2),
        "joined": at(3),
        "ended": at(7),
        "why": "worker-hung!",
    }
    assert (lives["w2"]["joined"], lives["w2"]["ended"], lives["w2"]["state"]) == (at(6), at(11), "ended")
    assert (lives["w3"]["joined"], lives["w3"]["ended"]) == (None, at(11))
    assert [(one["kind"], one["worker"], one["time"]) for one in found["incidents"]] == [
        ("worker-hung", "w1", at(7)),
        ("worker-lost", "w1", at(8)),
    ]


async def test_workers_of_two_attempts_are_two_though_their_names_are_one(service: InProcess) -> None:
    await service.submit("brave-otter")
    await told(service, (EventKind.WORKER_PLACED, {"worker": "w1"}), (EventKind.ATTEMPT_ENDED, {}))
    await told(service, (EventKind.WORKER_PLACED, {"worker": "w1", "attempt": 2}), begin=5)
    run = await service.record.find("brave-otter")
    formed = GenerationRow(run.id, 2, 1, at(6), 0, ("w1",), 0, 0.02)
    await service.record.change(run.id, lambda old: Change(old, generations=(formed,)))
    found = await read(service, f"{OTTER}/timeline")
    assert [(one["attempt"], one["placed"], one["ended"]) for one in found["workers"]] == [
        (1, at(0), at(1)),
        (2, at(5), None),
    ]
    assert found["generations"][0]["formed"] == at(6)


async def test_a_long_timeline_is_read_page_by_page(service: InProcess) -> None:
    await service.submit("brave-otter")
    events = [(EventKind.WORKER_PLACED, {"worker": f"w{number}"}) for number in range(1, 60)]
    for _ in range(20):
        await told(service, *events)
    found = await read(service, f"{OTTER}/timeline")
    assert len(found["workers"]) == 59


@pytest.mark.parametrize("what", ["timeline", "metrics"])
async def test_of_an_unknown_run_nothing_is_drawn(service: InProcess, what: str) -> None:
    assert (await service.client.get(f"{RUNS}/nobody/{what}")).status_code == 404


async def test_lists_are_searched_by_a_part_of_the_name_and_counted(service: InProcess) -> None:
    for name in ("brave-otter", "calm-otter", "owl"):
        await service.submit(name)
    found = await read(service, RUNS, q="otter", limit=1)
    assert (len(found["runs"]), found["total"]) == (1, 2)
    more = await read(service, RUNS, q="otter", limit=1, cursor=found["next_cursor"])
    assert (len(more["runs"]), more["total"], more["next_cursor"]) == (1, None, None)
