"""Runs that are there: listed, shown, changed, steered, deleted."""

from typing import Any

import pytest

from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import RunStatus
from tests.unit.api.in_process import RUNS, SPEC, InProcess


async def test_runs_are_listed_newest_first_without_their_specs(service: InProcess) -> None:
    for name in ("one", "two", "three"):
        await service.submit(name)
        service.cluster.tick()
    page = (await service.client.get(RUNS)).json()
    assert [run["name"] for run in page["runs"]] == ["three", "two", "one"]
    assert all("spec" not in run for run in page["runs"])
    assert page["next_cursor"] is None


async def test_a_cursor_leads_through_all_pages(service: InProcess) -> None:
    names = [f"run-{number}" for number in range(5)]
    for name in names:
        await service.submit(name)
    seen: list[str] = []
    params: dict[str, Any] = {"limit": 2, "sort": "name"}
    while True:
        page = (await service.client.get(RUNS, params=params)).json()
        seen += [run["name"] for run in page["runs"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == names


async def test_runs_are_found_by_label_status_name_and_time(service: InProcess) -> None:
    await service.submit("otter", labels={"team": "nlp"})
    await service.submit("badger", labels={"team": "vision"})
    await service.moved("badger", RunStatus.CANCELLED)

    async def names(**query: Any) -> list[str]:
        return [r["name"] for r in (await service.client.get(RUNS, params=query)).json()["runs"]]

    assert await names(label="team=nlp") == ["otter"]
    assert await names(status="CANCELLED") == ["badger"]
    assert sorted(await names(status=["CANCELLED", "QUEUED"])) == ["badger", "otter"]
    assert await names(name="ot") == ["otter"]
    assert await names(since="2030-01-01T00:00:00Z") == []
    assert len(await names(since="2026-01-01T01:00:00+01:00")) == 2


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 501},
        {"limit": 0},
        {"sort": "size"},
        {"status": "LOST"},
        {"label": "team"},
        {"since": "yesterday"},
        {"since": "0001-01-01T00:00:00+10:00"},
    ],
)
async def test_a_query_that_makes_no_sense_is_told_by_its_parameter(
    service: InProcess, query: dict[str, Any]
) -> None:
    answer = await service.client.get(RUNS, params=query)
    assert answer.status_code == 422
    assert f"query parameter {next(iter(query))}" in answer.json()["detail"]


async def test_a_cursor_of_another_listing_is_refused(service: InProcess) -> None:
    answer = await service.client.get(RUNS, params={"cursor": "nonsense"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-cursor")


async def test_a_run_is_found_by_a_unique_prefix(service: InProcess) -> None:
    run = await service.submit("otter")
    for reference in (run["id"], "otter", "ott"):
        answer = await service.client.get(f"{RUNS}/{reference}")
        assert answer.json()["id"] == run["id"]
        assert answer.headers["ETag"] == '"1"'


async def test_an_unknown_run_is_not_found(service: InProcess) -> None:
    answer = await service.client.get(f"{RUNS}/nobody")
    assert (answer.status_code, answer.json()["code"]) == (404, "run-not-found")


async def test_a_waiting_run_says_its_place_and_why(service: InProcess) -> None:
    await service.submit("big", workers=4)
    await service.round()
    await service.submit("next", workers=2)
    service.cluster.tick()
    await service.submit("last", workers=1)
    await service.round()
    shown = (await service.client.get(f"{RUNS}/next")).json()
    assert shown["wait"]["position"] == 1
    assert "big" in shown["wait"]["why"]
    assert (await service.client.get(f"{RUNS}/last")).json()["wait"]["position"] == 2


async def test_a_list_says_why_its_runs_wait_and_counts_no_places(
    service: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.submit("big", workers=4)
    await service.round()
    await service.submit("next", workers=2)
    await service.submit("gone")
    await service.moved("gone", RunStatus.CANCELLED)
    await service.round()
    why = (await service.client.get(f"{RUNS}/next")).json()["wait"]["why"]
    monkeypatch.delattr(type(service.record), "num_ahead")
    listed = {run["name"]: run["wait"] for run in (await service.client.get(RUNS)).json()["runs"]}
    assert listed["next"] == {"position": None, "why": why}
    assert "big" in why
    assert listed["gone"] is None


async def test_a_change_needs_the_version_that_was_read(service: InProcess) -> None:
    await service.submit("otter", labels={"team": "nlp", "old": "yes"})
    patch = {"labels": {"old": None, "new": "yes"}, "priority": 70, "workers": {"max": 4}}
    missing = await service.client.patch(f"{RUNS}/otter", json=patch)
    assert (missing.status_code, missing.json()["code"]) == (428, "precondition-required")
    good = await service.client.patch(f"{RUNS}/otter", json=patch, headers={"If-Match": '"1"'})
    assert good.status_code == 200
    assert good.headers["ETag"] != '"1"'
    assert good.json()["labels"] == {"team": "nlp", "new": "yes"}
    assert (good.json()["priority"], good.json()["workers"]["max"]) == (70, 4)
    stale = await service.client.patch(f"{RUNS}/otter", json=patch, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "stale")


@pytest.mark.parametrize("tag", ["*", '"7", "1"'])
async def test_any_matching_tag_will_do(service: InProcess, tag: str) -> None:
    await service.submit("otter")
    answer = await service.client.patch(f"{RUNS}/otter", json={"priority": 1}, headers={"If-Match": tag})
    assert answer.status_code == 200


@pytest.mark.parametrize("tag", ['W/"1"', "1", "nonsense", '"999999999999999999999"'])
async def test_a_tag_that_is_not_of_the_run_is_stale(service: InProcess, tag: str) -> None:
    await service.submit("otter")
    answer = await service.client.patch(f"{RUNS}/otter", json={"priority": 1}, headers={"If-Match": tag})
    assert answer.status_code == 412


@pytest.mark.parametrize(
    ("patch", "pointer"),
    [
        ({"name": "other"}, "/name"),
        ({"priority": 101}, "/priority"),
        ({"labels": {"a": 1}}, "/labels/a"),
        ({"workers": {"max": 100}}, "/workers/max"),
    ],
)
async def test_a_change_that_is_wrong_is_told_by_pointer(
    service: InProcess, patch: dict[str, Any], pointer: str
) -> None:
    await service.submit("otter")
    answer = await service.client.patch(f"{RUNS}/otter", json=patch, headers={"If-Match": "*"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_a_verb_said_twice_changes_nothing(service: InProcess) -> None:
    await service.submit("otter")
    first = await service.client.post(f"{RUNS}/otter/pause")
    again = await service.client.post(f"{RUNS}/otter/pause")
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["status"] == "PAUSED"
    assert first.json() == again.json()
    assert (await service.client.post(f"{RUNS}/otter/resume")).json()["status"] == "QUEUED"
    assert (await service.client.post(f"{RUNS}/otter/cancel")).json()["status"] == "CANCELLED"
    late = await service.client.post(f"{RUNS}/otter/pause")
    assert (late.status_code, late.json()["code"]) == (409, "wrong-status")
    assert late.json()["hint"]


@pytest.mark.parametrize(
    ("wish", "workers"),
    [({"workers": 3}, (1, 3)), ({"min": 2, "max": 4}, (2, 4)), ({"max": 1}, (1, 1))],
)
async def test_a_run_is_scaled_to_a_number_or_a_range(
    service: InProcess, wish: dict[str, int], workers: tuple[int, int]
) -> None:
    await service.submit("otter")
    scaled = (await service.client.post(f"{RUNS}/otter/scale", json=wish)).json()["workers"]
    assert (scaled["min"], scaled["max"]) == workers


async def test_scaling_beyond_the_logical_shards_is_refused(service: InProcess) -> None:
    await service.submit("otter")
    answer = await service.client.post(f"{RUNS}/otter/scale", json={"workers": 9})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/workers/max"


async def test_a_clone_is_a_new_run_of_the_same_spec_with_other_values(service: InProcess) -> None:
    run = await service.submit("otter")
    answer = await service.client.post(
        f"{RUNS}/otter/clone", json={"name": "badger", "overrides": {"train.steps": 5}}
    )
    clone = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"{RUNS}/{clone['id']}"
    assert clone["id"] != run["id"]
    assert clone["name"] == "badger"
    assert clone["spec"]["train"]["steps"] == 5
    assert (await service.client.post(f"{RUNS}/otter/clone")).json()["name"] != "otter"


@pytest.mark.parametrize(
    ("overrides", "pointer"),
    [
        ({"checkpoint.storage": "./runs"}, "/checkpoint/storage"),
        ({"code": {"working_dir": "/elsewhere"}}, "/code/working_dir"),
        ({"secrets": ["KEY"]}, "/secrets"),
        ({"model.preset": "enormous"}, "/model/preset"),
        ({"train": 5}, "/train"),
        ({"": 5}, ""),
    ],
)
async def test_a_clone_is_held_to_what_a_submit_is(
    service: InProcess, overrides: dict[str, Any], pointer: str
) -> None:
    await service.submit("otter")
    answer = await service.client.post(f"{RUNS}/otter/clone", json={"overrides": overrides})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_half_a_character_in_a_clone_is_refused(service: InProcess) -> None:
    await service.submit("otter")
    body = b'{"overrides": {"model": {"x": "\\ud800"}}}'
    answer = await service.client.post(
        f"{RUNS}/otter/clone", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422


async def test_a_checkpoint_is_taken_of_a_run_that_trains_and_asking_twice_is_asking_once(
    service: InProcess,
) -> None:
    await service.submit("otter", train={**SPEC["train"], "steps": 10_000})  # type: ignore[dict-item]
    early = await service.client.post(f"{RUNS}/otter/checkpoint")
    assert (early.status_code, early.json()["code"]) == (409, "wrong-status")
    for _ in range(4):
        await service.round()
    first, second = [await service.client.post(f"{RUNS}/otter/checkpoint") for _ in range(2)]
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["version"] == second.json()["version"]
    for _ in range(3):
        await service.round()
    run = (await service.client.get(f"{RUNS}/otter")).json()
    assert run["checkpoint"] is not None


async def test_a_cancelled_run_is_retried_as_a_new_one(service: InProcess) -> None:
    await service.submit("otter")
    early = await service.client.post(f"{RUNS}/otter/retry")
    assert early.status_code == 409
    await service.client.post(f"{RUNS}/otter/cancel")
    answer = await service.client.post(f"{RUNS}/otter/retry")
    assert (answer.status_code, answer.json()["status"]) == (202, "QUEUED")
    assert answer.json()["name"].startswith("otter-r")


async def test_only_a_run_that_is_over_is_deleted_with_its_directory(service: InProcess) -> None:
    owner = (await service.submit("otter"))["id"]
    run = RunDirectory.begin(service.storage, RunSpec.parse({"name": "otter", **SPEC}), 1, owner=owner)
    early = await service.client.delete(f"{RUNS}/otter")
    assert early.status_code == 409
    await service.moved("otter", RunStatus.CANCELLED)
    gone = await service.client.delete(f"{RUNS}/otter")
    assert (gone.status_code, gone.content) == (204, b"")
    assert not run.path.exists()
    assert list(service.storage.iterdir()) == []
    assert (await service.client.get(f"{RUNS}/otter")).status_code == 404


async def test_files_are_kept_where_that_is_asked(service: InProcess) -> None:
    owner = (await service.submit("otter"))["id"]
    run = RunDirectory.begin(service.storage, RunSpec.parse({"name": "otter", **SPEC}), 1, owner=owner)
    await service.moved("otter", RunStatus.CANCELLED)
    assert (await service.client.delete(f"{RUNS}/otter?keep_files=true")).status_code == 204
    assert run.status_path.exists()


async def test_a_directory_that_was_made_for_somebody_else_is_left_alone(service: InProcess) -> None:
    await service.submit("otter")
    run = RunDirectory.create(service.storage, RunSpec.parse({"name": "otter", **SPEC}))
    await service.moved("otter", RunStatus.CANCELLED)
    assert (await service.client.delete(f"{RUNS}/otter")).status_code == 204
    assert run.status_path.exists()
