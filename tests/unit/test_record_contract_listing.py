"""What every record keeps to: runs are found, listed and counted."""

import base64
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.errors import BadCursor, RunNotFound
from orchestrator.domain.node_marks import NodeMark
from orchestrator.domain.queues import Queue
from orchestrator.domain.runs import Change, Run, WorkerWishes
from orchestrator.domain.status import LEGAL_MOVES, RunStatus
from orchestrator.ports.record import Record, RunQuery
from tests.unit.records import KINDS, happened, new, opened, run, time


@pytest.fixture(params=KINDS)
async def record(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Record]:
    async with opened(request.param, tmp_path) as record:
        yield record


async def names(record: Record, **query: object) -> list[str]:
    return [run.name for run in (await record.page(RunQuery(**query))).runs]  # type: ignore[arg-type]


async def bring_to(record: Record, run_id: str, *statuses: RunStatus) -> None:
    for status in statuses:
        await record.change(run_id, lambda run, status=status: Change(run.with_(status=status)))  # type: ignore[misc]


async def test_a_run_is_found_by_id_name_and_unique_prefix(record: Record) -> None:
    for number, name in ((1, "brave-otter"), (2, "brave"), (31, "calm-owl")):
        await record.add(new(number, name=name))
    for reference, name in (
        ("r0001", "brave-otter"),
        ("brave", "brave"),
        ("brave-", "brave-otter"),
        ("c", "calm-owl"),
        ("r003", "calm-owl"),
    ):
        assert (await record.find(reference)).name == name
    with pytest.raises(RunNotFound, match="'bra' could be any of brave, brave-otter") as caught:
        await record.find("bra")
    assert caught.value.hint == "type more of the name"


async def test_an_id_goes_before_a_name_that_is_alike(record: Record) -> None:
    await record.add(new(1, name="r0002"))
    await record.add(new(2, name="other"))
    assert (await record.find("r0002")).name == "other"


@pytest.mark.parametrize("reference", ["", "x", "brave-oter", "%", "_", "brave-otter\x00", "\U0010ffff"])
async def test_a_run_that_is_not_there_is_one_sentence(record: Record, reference: str) -> None:
    await record.add(new(1, name="brave-otter"))
    with pytest.raises(RunNotFound, match="there is no run") as caught:
        await record.find(reference)
    guess, way_out = "did you mean 'brave-otter'?", "`tumbler ls` lists those that there are"
    assert caught.value.hint == (guess if reference.startswith("brave") else way_out)


async def test_of_very_many_that_are_meant_only_some_are_named(record: Record) -> None:
    for number in range(1, 9):
        await record.add(new(number))
    with pytest.raises(RunNotFound, match=r"run-1, run-2, run-3, run-4, run-5, \.\.\.$"):
        await record.find("run-")


async def test_the_newest_runs_are_listed_first(record: Record) -> None:
    for number in (2, 3, 1):
        await record.add(new(number))
    assert await names(record) == ["run-3", "run-2", "run-1"]
    assert await names(record, limit=2) == ["run-3", "run-2"]


@pytest.mark.parametrize("sort", ["created", "name", "priority", "updated"])
@pytest.mark.parametrize("dash", ["", "-"])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
async def test_pages_put_together_are_the_whole_list(
    record: Record, sort: str, dash: str, limit: int
) -> None:
    for number, (created, priority) in enumerate(itertools.product((5, 3, 5), (10, 20)), start=1):
        await record.add(new(number, created=time(created), priority=priority, updated=time(9 - created)))
    await record.add(new(7, name="a-run"))
    runs = [await record.find(f"r000{number}") for number in range(1, 8)]
    runs.sort(key=lambda run: (getattr(run, sort), run.id), reverse=dash == "-")
    found: list[Run] = []
    query = RunQuery(sort=dash + sort, limit=limit)
    while True:
        page = await record.page(query)
        found += page.runs
        if page.next_cursor is None:
            break
        assert len(page.runs) == limit
        query = replace(query, cursor=page.next_cursor)
    assert found == runs


async def test_a_cursor_goes_on_where_it_was_though_runs_come_and_go(record: Record) -> None:
    for number in range(1, 7):
        await record.add(new(number))
    page = await record.page(RunQuery(limit=2))
    await record.add(new(8))
    await record.remove("r0005", lambda _: None)
    assert await names(record, limit=2, cursor=page.next_cursor) == ["run-4", "run-3"]


async def test_every_condition_narrows_the_list(record: Record) -> None:
    await record.add(new(1, name="brave-otter", labels={"team": "a", "kind": "x"}))
    await record.add(new(2, name="brave-owl", labels={"team": "a"}, queue="night"))
    await record.add(new(3, name="calm-owl", labels={"team": "b", "kind": "x"}))
    await bring_to(record, "r0003", RunStatus.PAUSED)
    assert await names(record, labels={"team": "a"}) == ["brave-owl", "brave-otter"]
    assert await names(record, labels={"team": "a", "kind": "x"}) == ["brave-otter"]
    assert await names(record, labels={"team": "x"}) == []
    assert await names(record, labels={}) == ["calm-owl", "brave-owl", "brave-otter"]
    assert await names(record, queue="night") == ["brave-owl"]
    assert await names(record, name="brave") == ["brave-owl", "brave-otter"]
    assert await names(record, name="brave", sort="name") == ["brave-otter", "brave-owl"]
    assert await names(record, statuses=(RunStatus.PAUSED,)) == ["calm-owl"]
    assert await names(record, statuses=(RunStatus.PAUSED, RunStatus.QUEUED), queue="default") == [
        "calm-owl",
        "brave-otter",
    ]
    assert await names(record, since=time(2)) == ["calm-owl", "brave-owl"]
    assert await names(record, part="owl") == ["calm-owl", "brave-owl"]
    assert await names(record, part="0001") == ["brave-otter"]
    assert await names(record, part="%") == []


async def test_the_first_page_says_how_many_there_are_in_all(record: Record) -> None:
    for number in range(1, 6):
        await record.add(new(number, queue="night" if number > 3 else "default"))
    page = await record.page(RunQuery(limit=2))
    assert page.total == 5
    assert (await record.page(RunQuery(limit=2, cursor=page.next_cursor))).total is None
    assert (await record.page(RunQuery(limit=1, queue="night"))).total == 2


async def test_labels_that_were_changed_are_found_and_the_old_ones_are_not(record: Record) -> None:
    await record.add(new(1, labels={"team": "a", "kind": "x"}))
    await record.change("r0001", lambda run: Change(run.with_(labels={"team": "b"})))
    assert await names(record, labels={"team": "b"}) == ["run-1"]
    assert await names(record, labels={"team": "a"}) == await names(record, labels={"kind": "x"}) == []


async def test_a_cursor_of_another_listing_is_refused(record: Record) -> None:
    for number in (1, 2, 3):
        await record.add(new(number))
    cursor = (await record.page(RunQuery(limit=1))).next_cursor
    for other in (
        RunQuery(sort="created"),
        RunQuery(queue="night"),
        RunQuery(part="run"),
        RunQuery(labels={"a": "b"}),
        RunQuery(statuses=(RunStatus.QUEUED,)),
    ):
        with pytest.raises(BadCursor, match="not from a page of this listing"):
            await record.page(replace(other, cursor=cursor))
    assert await names(record, limit=5, cursor=cursor) == ["run-2", "run-1"]


@pytest.mark.parametrize("cursor", ["", "x", "ö", "eyJ9", "W10", "WzEsMl0", "bnVsbA", "MQ==", "a" * 5000])
async def test_nonsense_for_a_cursor_is_refused(record: Record, cursor: str) -> None:
    with pytest.raises(BadCursor):
        await record.page(RunQuery(cursor=cursor))


@pytest.mark.parametrize(("sort", "value"), [("priority", 1 << 64), ("priority", "1"), ("name", "\ud800")])
async def test_a_cursor_that_somebody_made_up_is_refused(record: Record, sort: str, value: object) -> None:
    await record.add(new(1))
    await record.add(new(2))
    real = (await record.page(RunQuery(sort=sort, limit=1))).next_cursor
    assert real is not None
    digest, _, run_id = json.loads(base64.urlsafe_b64decode(real + "=="))
    forged = base64.urlsafe_b64encode(json.dumps([digest, value, run_id]).encode()).decode()
    with pytest.raises(BadCursor):
        await record.page(RunQuery(sort=sort, cursor=forged))


async def test_a_sort_that_there_is_not_is_refused(record: Record) -> None:
    with pytest.raises(ValueError, match="expected a sort of created, name, priority, updated"):
        await record.page(RunQuery(sort="--name"))


async def test_the_queue_goes_by_priority_and_then_by_age(record: Record) -> None:
    await record.add(new(1, priority=10, queued=time(1)))
    await record.add(new(2, priority=90, queued=time(9)))
    await record.add(new(3, priority=90, queued=time(8)))
    await record.add(new(4, priority=99, not_before=time(30)))
    await record.add(new(5, priority=99))
    await bring_to(record, "r0005", RunStatus.PAUSED)
    assert [run.name for run in await record.queue(each=9)] == ["run-4", "run-3", "run-2", "run-1"]
    ahead = [await record.num_ahead(await record.find(f"r000{number}")) for number in (4, 3, 2, 1)]
    assert ahead == [0, 1, 2, 3]


async def test_the_queue_can_leave_out_those_that_ask_for_too_much_but_none_that_has_started(
    record: Record,
) -> None:
    await record.add(new(1, workers_min=8))
    await record.add(new(2, workers_min=8, started=time(3)))
    await record.add(new(3, workers_min=2))
    too_much = (await record.find("run-1")).gang_claim
    assert [run.name for run in await record.queue(each=9, without={too_much})] == ["run-2", "run-3"]


async def test_of_each_queue_and_priority_those_that_wait_longest_are_seen(record: Record) -> None:
    for number in range(1, 5):
        await record.add(new(number, queue="long", queued=time(9 - number)))
    await record.add(new(5, queue="short"))
    await record.add(new(6, queue="long", priority=10))
    seen = [run.name for run in await record.queue(each=2)]
    assert seen == ["run-4", "run-5", "run-3", "run-6"]


async def test_who_is_left_out_takes_no_place_of_those_behind(record: Record) -> None:
    await record.add(new(1, workers_min=8))
    await record.add(new(2, workers_min=2))
    assert [run.name for run in await record.queue(each=1, without={run(1, workers_min=8).gang_claim})] == [
        "run-2"
    ]


async def test_those_who_wait_are_counted_by_queue(record: Record) -> None:
    assert await record.waiting() == {}
    for number, queue in ((1, "nlp"), (2, "nlp"), (3, "vision"), (4, "vision")):
        await record.add(new(number, queue=queue))
    await bring_to(record, "r0004", RunStatus.PAUSED)
    assert await record.waiting() == {"nlp": 2, "vision": 1}


async def test_queues_are_as_they_were_set_last(record: Record) -> None:
    assert list(await record.queues()) == []
    await record.put_queue(Queue("vision", {"workers": 3.0}, 2.0))
    await record.put_queue(Queue("nlp", {"CPU": 4.0, "memory": 2.0**30}))
    await record.put_queue(Queue("vision", {}, 0.5))
    assert list(await record.queues()) == [
        Queue("nlp", {"CPU": 4.0, "memory": 2.0**30}),
        Queue("vision", {}, 0.5),
    ]


async def test_active_runs_are_those_that_may_hold_workers_oldest_first(record: Record) -> None:
    for number in (4, 3, 2, 1):
        await record.add(new(number))
    await bring_to(record, "r0003", RunStatus.STARTING)
    await bring_to(record, "r0002", RunStatus.STARTING, RunStatus.RUNNING, RunStatus.CANCELLING)
    await bring_to(record, "r0004", RunStatus.STARTING, RunStatus.RUNNING, RunStatus.SUCCEEDED)
    assert [run.name for run in await record.active()] == ["run-2", "run-3"]


async def test_every_status_is_counted(record: Record) -> None:
    assert await record.counts() == dict.fromkeys(LEGAL_MOVES, 0)
    for number in (1, 2, 3):
        await record.add(new(number))
    await bring_to(record, "r0003", RunStatus.PAUSED)
    assert await record.counts() == {
        **dict.fromkeys(LEGAL_MOVES, 0),
        RunStatus.QUEUED: 2,
        RunStatus.PAUSED: 1,
    }


async def test_events_are_read_in_pieces(record: Record) -> None:
    await record.add(Change(run(), tuple(happened(f"event {number}") for number in range(1, 6))))
    assert [event.seq for event in await record.events("r0001", limit=2)] == [1, 2]
    assert [event.seq for event in await record.events("r0001", after=2, limit=2)] == [3, 4]
    assert [event.message for event in await record.events("r0001", after=4)] == ["event 5"]
    assert await record.events("r0001", after=5) == []
    assert await record.events("r0009") == []


async def test_what_was_said_of_nodes_is_kept_until_it_is_taken_back(record: Record) -> None:
    assert await record.node_marks() == {}
    cordoned = NodeMark("n1", cordoned=True)
    drained = NodeMark("n2", draining=True, drain_until=time(5), reason="spot", told_ray=True)
    for mark in (cordoned, NodeMark("n2", cordoned=True), drained):
        await record.put_node_mark(mark)
    assert await record.node_marks() == {"n1": cordoned, "n2": drained}
    for _ in range(2):
        await record.drop_node_mark("n1")
    assert await record.node_marks() == {"n2": drained}


async def test_wishes_about_workers_are_kept(record: Record) -> None:
    await record.add(new())
    wishes = WorkerWishes(2, drain=("w1", "w3"), kill=("w2",))
    await record.change("r0001", lambda run: Change(run.with_(worker_wishes=wishes)))
    assert (await record.find("r0001")).worker_wishes == wishes
