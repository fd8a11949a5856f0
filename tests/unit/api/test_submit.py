"""POST /runs: what is taken, and how what is wrong is told."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from api.service.folders import TakenNames
from orchestrator.checkpoints.catalog import Catalog
from orchestrator.checkpoints.places import LocalPlace
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from tests.unit.api.in_process import RUNS, SPEC, InProcess
from tests.unit.checkpoint_places import committed_in

YAML = {"Content-Type": "application/yaml"}


async def test_a_submit_is_answered_with_the_run_where_it_is_and_its_version(service: InProcess) -> None:
    answer = await service.client.post(RUNS, json={"name": "otter", "labels": {"team": "nlp"}, **SPEC})
    run = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"{RUNS}/{run['id']}"
    assert answer.headers["ETag"] == f'"{run["version"]}"'
    assert (run["name"], run["status"], run["labels"]) == ("otter", "QUEUED", {"team": "nlp"})
    assert run["workers"] == {"min": 1, "max": 2, "now": 0, "target": 0}
    assert run["path"] == str(service.storage / "otter")
    assert run["spec"]["checkpoint"]["storage"] == str(service.storage)
    assert (await service.client.get(answer.headers["Location"])).json()["id"] == run["id"]


async def test_a_run_without_a_name_gets_one(service: InProcess) -> None:
    assert (await service.client.post(RUNS, json=SPEC)).json()["name"]


async def test_yaml_is_read_as_the_same_spec(service: InProcess) -> None:
    text = "name: otter\ntask: language_model\nworkers: 1:2\ntrain: {steps: 8, global_batch: 8}\n"
    by_yaml = await service.client.post(RUNS, content=text, headers=YAML)
    assert by_yaml.status_code == 201
    by_json = await service.submit("badger")
    spec = by_yaml.json()["spec"]
    assert RunSpec.parse(spec).fingerprint() == RunSpec.parse(by_json["spec"]).fingerprint()


async def test_the_same_key_and_body_again_is_answered_with_the_first_run(service: InProcess) -> None:
    headers = {"Idempotency-Key": "abc"}
    first = await service.client.post(RUNS, json={"name": "otter", **SPEC}, headers=headers)
    (service.storage / "otter").mkdir(parents=True)  # it has begun meanwhile
    again = await service.client.post(RUNS, json={"name": "otter", **SPEC}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json()["id"] == first.json()["id"]
    assert len((await service.client.get(RUNS)).json()["runs"]) == 1


async def test_a_key_with_another_body_is_refused(service: InProcess) -> None:
    headers = {"Idempotency-Key": "abc"}
    await service.client.post(RUNS, json={"name": "otter", **SPEC}, headers=headers)
    other = await service.client.post(RUNS, json={"name": "badger", **SPEC}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "key-reused")


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_that_is_none_is_refused(service: InProcess, key: str) -> None:
    answer = await service.client.post(RUNS, json=SPEC, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["errors"][0]["message"]


async def test_a_name_that_is_taken_is_a_conflict(service: InProcess) -> None:
    await service.submit("otter")
    answer = await service.client.post(RUNS, json={"name": "otter", **SPEC})
    assert (answer.status_code, answer.json()["code"]) == (409, "run-exists")


async def test_a_run_directory_that_is_of_no_run_here_takes_the_name_too(service: InProcess) -> None:
    RunDirectory.create(service.storage, RunSpec.parse({"name": "otter", **SPEC}))
    answer = await service.client.post(RUNS, json={"name": "otter", **SPEC})
    assert (answer.status_code, answer.json()["code"]) == (409, "run-exists")
    assert str(service.storage / "otter") in answer.json()["detail"]


async def test_what_lies_in_a_storage_is_looked_up_now_and_then_only(tmp_path: Path) -> None:
    now = [0.0]
    folders = TakenNames(lambda: now[0])
    storage = str(tmp_path)
    assert not await folders.has(storage, "otter")
    (tmp_path / "otter").mkdir()
    assert not await folders.has(storage, "otter")
    now[0] += 1
    assert await folders.has(storage, "otter")
    (tmp_path / "otter").rmdir()
    assert not await folders.has(storage, "otter")  # a name that is free again is free at once
    assert not await folders.has(str(tmp_path / "nowhere"), "otter")


async def test_all_that_is_wrong_is_told_at_once_by_pointer(service: InProcess) -> None:
    body = {"task": "language_model", "workers": {"mx": 2}, "train": {"steps": 0}, "secrets": ["A B"]}
    answer = await service.client.post(RUNS, json=body)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    pointers = {error["pointer"] for error in answer.json()["errors"]}
    assert pointers == {"/workers/mx", "/train/steps", "/secrets/0"}


async def test_problems_of_yaml_say_line_and_column(service: InProcess) -> None:
    text = "task: language_model\nworkers:\n  mx: 2\ntrain:\n  steps: none\n"
    answer = await service.client.post(RUNS, content=text, headers=YAML)
    places = [(e["pointer"], e["line"], e["column"]) for e in answer.json()["errors"]]
    assert places == [("/workers/mx", 3, 3), ("/train/steps", 5, 3)]


async def test_problems_found_at_the_door_say_line_and_column_too(service: InProcess) -> None:
    text = "task: language_model\nmodel:\n  prset: x\ncheckpoint:\n  storage: ./runs\n"
    answer = await service.client.post(RUNS, content=text, headers=YAML)
    places = {(e["pointer"], e["line"]) for e in answer.json()["errors"]}
    assert places == {("/model/prset", 3), ("/checkpoint/storage", 5)}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "not valid JSON"),
        (b'{"task": NaN}', "not valid JSON"),
        (b'{"name": "\\ud800"}', "not valid JSON"),
        (b"[1]", "expected a JSON object"),
        (b"[" * 100_000, "not valid JSON"),
        (b"\xff", "not valid JSON"),
    ],
)
async def test_a_body_that_is_no_json_object_is_told_as_one_problem(
    service: InProcess, body: bytes, message: str
) -> None:
    answer = await service.client.post(RUNS, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert message in answer.json()["errors"][0]["message"]


async def test_a_mistake_in_json_says_where_it_is(service: InProcess) -> None:
    answer = await service.client.post(
        RUNS, content=b'{\n  "task": ,\n}', headers={"Content-Type": "application/json"}
    )
    assert (answer.json()["errors"][0]["line"], answer.json()["errors"][0]["column"]) == (2, 11)


@pytest.mark.parametrize(
    ("section", "pointer"),
    [
        ({"checkpoint": {"storage": "./runs"}}, "/checkpoint/storage"),
        ({"data": {"source": "corpus/*.txt"}}, "/data/source"),
        ({"code": {"working_dir": "src"}}, "/code/working_dir"),
        ({"code": {"working_dir": "package://nothing"}}, "/code/working_dir"),
        ({"code": {"working_dir": f"package://{'a' * 64}"}}, "/code/working_dir"),
        ({"secrets": ["API_KEY"]}, "/secrets"),
        ({"checkpoint": {"location": "checkpoints"}}, "/checkpoint/location"),
        ({"checkpoint": {"location": "nonsense://bucket"}}, "/checkpoint/location"),
        ({"train": {"from_checkpoint": "./runs/badger"}}, "/train/from_checkpoint"),
        ({"train": {"from_checkpoint": "badger"}}, "/train/from_checkpoint"),
        ({"log": {"mlflow": {"experiment": ""}}}, "/log/mlflow/experiment"),
        ({"task": "langauge_model"}, "/task"),
        ({"model": {"preset": "enormous"}}, "/model/preset"),
    ],
)
async def test_what_the_service_cannot_do_is_refused_at_the_door(
    service: InProcess, section: dict[str, Any], pointer: str
) -> None:
    answer = await service.client.post(RUNS, json={**SPEC, **section})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_a_run_is_pinned_to_the_checkpoint_that_was_there_when_it_was_submitted(
    service: InProcess,
) -> None:
    source = RunDirectory.create(service.storage, RunSpec.parse({"name": "badger", **SPEC}))
    committed_in(LocalPlace(source.checkpoints), 4)
    run = await service.submit("otter", train={**SPEC["train"], "from_checkpoint": "badger"})
    committed_in(LocalPlace(source.checkpoints), 8)
    assert run["spec"]["train"]["from_checkpoint"] == f"{source.checkpoints}@4"
    clone = (await service.client.post(f"{RUNS}/otter/clone")).json()
    assert clone["spec"]["train"]["from_checkpoint"] == f"{source.checkpoints}@4"
    answer = await service.client.post(
        f"{RUNS}/otter/clone", json={"overrides": {"train.from_checkpoint": "badger"}}
    )
    assert answer.json()["spec"]["train"]["from_checkpoint"] == f"{source.checkpoints}@8"
    answer = await service.client.post(
        f"{RUNS}/otter/clone", json={"overrides": {"train": {"from_checkpoint": "stoat"}}}
    )
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/train/from_checkpoint")


async def test_a_retry_whose_location_has_checkpoints_of_another_run_is_refused_as_a_submit_is(
    service: InProcess,
) -> None:
    location = service.folder / "elsewhere"
    await service.submit("otter", checkpoint={"location": str(location)})
    await service.client.post(f"{RUNS}/otter/cancel")
    committed_in(LocalPlace(location / "otter-r1"), 4)
    answer = await service.client.post(f"{RUNS}/otter/retry")
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["pointer"] == "/checkpoint/location"
    assert "has the checkpoints of another run" in error["message"]
    Catalog(LocalPlace(location / "otter-r1")).remove(4)
    assert (await service.client.post(f"{RUNS}/otter/retry")).json()["name"] == "otter-r1"


async def test_a_mistake_about_storage_in_yaml_says_where_it_is(service: InProcess) -> None:
    text = "task: language_model\ntrain:\n  from_checkpoint: badger\n"
    answer = await service.client.post(RUNS, content=text, headers=YAML)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["line"] == 3


async def test_an_uploaded_package_goes_with_the_run_and_not_into_its_spec(service: InProcess) -> None:
    content = b"PK\x05\x06" + bytes(18)
    sha256 = hashlib.sha256(content).hexdigest()
    put = await service.client.put(
        f"/api/v1/packages/{sha256}", content=content, headers={"Content-Type": "application/zip"}
    )
    assert put.status_code == 201
    run = await service.submit("otter", code={"working_dir": f"package://{sha256}"})
    assert run["spec"]["code"]["working_dir"] == "."
    assert (await service.record.find("otter")).package == sha256


async def test_a_dry_run_fills_in_the_spec_says_the_plan_and_submits_nothing(service: InProcess) -> None:
    await service.reconciler.look()
    answer = await service.client.post(f"{RUNS}?dry_run=true", json={**SPEC, "workers": 3})
    assert answer.status_code == 200
    assert answer.json()["spec"]["train"]["optimizer"]["name"] == "adamw"
    assert answer.json()["plan"] == {"workers": {"min": 3, "max": 3}, "fits": True, "why": None, "ahead": 0}
    assert (await service.client.get(RUNS)).json()["runs"] == []


async def test_a_dry_run_says_what_can_never_fit(service: InProcess) -> None:
    await service.reconciler.look()
    answer = await service.client.post(f"{RUNS}?dry_run=true", json={**SPEC, "workers": 7})
    assert answer.json()["plan"]["fits"] is False
    assert "7 CPU" in answer.json()["plan"]["why"] or "7 workers" in answer.json()["plan"]["why"]


async def test_a_submit_waits_for_ray_that_is_away(service: InProcess) -> None:
    service.cluster.go_away()
    await service.submit("otter")
    await service.round()
    shown = (await service.client.get(f"{RUNS}/otter")).json()
    assert shown["status"] == "QUEUED"
    assert shown["wait"]["position"] == 1
    assert "Ray" in shown["wait"]["why"]


async def test_a_long_list_of_problems_is_cut(service: InProcess) -> None:
    body = {**SPEC, **{f"field{number}": 1 for number in range(300)}}
    answer = await service.client.post(RUNS, json=body)
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 100
    assert "300" in answer.json()["detail"]
