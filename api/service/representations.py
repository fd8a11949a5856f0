"""Builds what the service answers, as `answers` says.

Plain dictionaries and no models: a submit is answered in microseconds, a page of runs in a millisecond.
Numbers that are not finite become text ("NaN"): JSON has none, and a loss that became NaN is worth showing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic_core import to_json
from starlette.responses import Response

from api.service.answers import AttemptShown, DriverShown, EventShown, GenerationShown, NodeShown
from orchestrator.domain.runs import Attempt, Driver, GenerationRow, Run, RunEvent
from orchestrator.ports.cluster import Node

_JSON: Final = "application/json"


def run_dict(run: Run) -> dict[str, Any]:
    """As RunShown says."""
    progress = run.progress
    return {
        "id": run.id,
        "name": run.name,
        "status": run.status.value,
        "reason": run.reason,
        "message": run.message,
        "phase": run.phase,
        "labels": dict(run.labels),
        "queue": run.queue,
        "priority": run.priority,
        "workers": {
            "min": run.workers_min,
            "max": run.workers_max,
            "now": progress.workers,
            "target": run.target,
        },
        "attempt": run.attempt,
        "driver": run.driver,
        "generation": progress.generation,
        "step": progress.step,
        "total_steps": progress.total_steps,
        "metrics": dict(progress.metrics),
        "checkpoint": progress.checkpoint,
        "parameters_sha256": progress.parameters_sha256,
        "created": run.created,
        "queued": run.queued,
        "started": run.started,
        "ended": run.ended,
        "updated": run.updated,
        "path": f"{run.storage}/{run.name}",
        "version": run.version,
    }


def run_bytes(run: Run, wait: Mapping[str, Any] | None = None) -> bytes:
    """As RunDetail says; the spec goes in as it is kept, unparsed."""
    head = to_json({**run_dict(run), "wait": wait}, inf_nan_mode="strings")
    return b'%b,"spec":%b}' % (head[:-1], run.spec_json.encode())


def run_response(
    run: Run,
    status: int = 200,
    *,
    wait: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """With the ETag that If-Match takes."""
    return Response(
        run_bytes(run, wait), status, headers={"ETag": etag(run), **(headers or {})}, media_type=_JSON
    )


def etag(run: Run) -> str:
    return f'"{run.version}"'


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(to_json(content, inf_nan_mode="strings"), status, headers=headers, media_type=_JSON)


def run_folder(run: Run) -> Path:
    return Path(run.storage) / run.name


def attempt_dict(attempt: Attempt) -> dict[str, Any]:
    return {name: getattr(attempt, name) for name in AttemptShown.model_fields}


def driver_dict(driver: Driver) -> dict[str, Any]:
    return {name: getattr(driver, name) for name in DriverShown.model_fields}


def generation_dict(generation: GenerationRow) -> dict[str, Any]:
    return {name: getattr(generation, name) for name in GenerationShown.model_fields}


def event_dict(event: RunEvent) -> dict[str, Any]:
    return {name: getattr(event, name) for name in EventShown.model_fields}


def node_dict(node: Node) -> dict[str, Any]:
    return {name: getattr(node, name) for name in NodeShown.model_fields}
