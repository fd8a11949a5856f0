"""Queues over REST, and what a submit is told of them."""

from tests.unit.api.in_process import RUNS, SPEC, InProcess

QUEUES = "/api/v1/queues"


async def test_a_queue_is_set_as_a_whole_and_shows_what_its_runs_hold(service: InProcess) -> None:
    assert (await service.client.get(QUEUES)).json() == {"queues": []}
    await service.client.put(f"{QUEUES}/nlp", json={"quota": {"CPU": 8, "GPU": 1}, "weight": 3})
    answer = await service.client.put(f"{QUEUES}/nlp", json={"quota": {"workers": 1}})
    assert answer.status_code == 200
    await service.submit("a", queue="nlp", priority=60)
    await service.submit("b", queue="nlp")
    await service.submit("c", queue="vision", workers=1)
    await service.round()
    await service.round()
    assert (await service.client.get(QUEUES)).json()["queues"] == [
        {
            "name": "nlp",
            "quota": {"workers": 1.0},
            "weight": 1.0,
            "held": {"workers": 1.0, "CPU": 1.0},
            "running": 1,
            "waiting": 1,
        },
        {
            "name": "vision",
            "quota": {},
            "weight": 1.0,
            "held": {"workers": 1.0, "CPU": 1.0},
            "running": 1,
            "waiting": 0,
        },
    ]
    waits = (await service.client.get(f"{RUNS}/b")).json()["wait"]
    assert waits == {
        "position": 1,
        "why": "queue nlp is at its quota: it holds 1 of 1 worker and this one needs 1",
    }


async def test_a_quota_of_something_else_is_refused(service: InProcess) -> None:
    answer = await service.client.put(f"{QUEUES}/nlp", json={"quota": {"TPU": 1}, "weight": 1})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"pointer": "/quota/TPU", "message": "unknown kind, expected one of workers, CPU, GPU, memory"}
    ]
    for body in ({"weight": 0}, {"quota": {"CPU": -1}}, {"quota": {"CPU": "a"}}, {"limit": 3}):
        assert (await service.client.put(f"{QUEUES}/nlp", json=body)).status_code == 422


async def test_a_run_larger_than_its_quota_is_refused_at_submit(service: InProcess) -> None:
    await service.client.put(f"{QUEUES}/nlp", json={"quota": {"CPU": 1}})
    await service.round()
    for query in ("", "?dry_run=true"):
        body = {**SPEC, "workers": 2, "queue": "nlp"}
        answer = await service.client.post(RUNS + query, json=body)
        assert answer.status_code == 422
        assert answer.json()["errors"] == [
            {
                "pointer": "/workers/min",
                "message": "its smallest group needs 2 CPU and queue nlp may hold 1 CPU in all",
            }
        ]


async def test_a_run_that_can_never_fit_is_taken_and_told_so_at_once(service: InProcess) -> None:
    await service.round()
    taken = await service.submit("giant", workers=8)
    assert taken["status"] == "QUEUED"
    assert taken["wait"]["why"].startswith("can never fit: needs 8 workers of 1 CPU each")
    assert (await service.submit("small"))["wait"] is None


async def test_who_trains_with_less_than_it_could_use_is_told_why(service: InProcess) -> None:
    await service.submit("wide", workers="1:8", train={**SPEC["train"], "steps": 1000})
    for _ in range(4):
        await service.round()
    run = (await service.client.get(f"{RUNS}/wide")).json()
    assert run["status"] == "RUNNING"
    target = run["workers"]["target"]
    assert run["wait"]["why"].startswith(f"{target} of 8 workers: the cluster's ")
