"""Single workers of a run: all there ever were, and verbs that said twice change nothing."""

from fastapi import APIRouter
from starlette.responses import Response

from api.service.answers import RunDetail, WorkerList
from api.service.documents import PREFIX, returns
from api.service.parts import Given
from api.service.representations import json_response, run_response
from api.service.workers import check_present, roster_of, worker_dict
from orchestrator.domain.runs import Run, WorkerWishes

router = APIRouter(prefix=PREFIX, tags=["workers"])


@router.get("/runs/{ref}/workers", **returns(200, WorkerList, 404))
async def list_workers(ref: str, parts: Given) -> Response:
    """All workers that the run ever had, each as it was last seen."""
    run = await parts.record.find(ref)
    roster = await roster_of(parts.record, run.id)
    return json_response({"workers": [worker_dict(worker) for worker in roster.workers.values()]})


@router.post("/runs/{ref}/workers/{worker}/drain", **returns(202, RunDetail, 404, 409, 507))
async def drain_worker(ref: str, worker: str, parts: Given) -> Response:
    """Let it leave at a step boundary as soon as its replacement is there. No step is repeated."""
    run = await parts.record.find(ref)
    if worker not in _wishes(run).drain:
        check_present(run, worker, await roster_of(parts.record, run.id))
    return run_response(await parts.runs.drain_worker(run.id, worker), 202)


@router.delete("/runs/{ref}/workers/{worker}", **returns(202, RunDetail, 404, 409, 507))
async def kill_worker(ref: str, worker: str, parts: Given) -> Response:
    """Kill its process, as a drill; the others go on."""
    run = await parts.record.find(ref)
    if worker not in _wishes(run).kill:
        check_present(run, worker, await roster_of(parts.record, run.id))
    return run_response(await parts.runs.kill_worker(run.id, worker), 202)


def _wishes(run: Run) -> WorkerWishes:
    """Of its newest attempt: who was wished gone before may be gone by now."""
    return run.worker_wishes if run.worker_wishes.attempt == run.attempt else WorkerWishes()
