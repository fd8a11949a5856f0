"""What a spec can name: tasks, data sets, and the schema of the spec itself."""

import importlib
from functools import cache
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from api.service.answers import DatasetList, TaskList
from api.service.documents import PREFIX, returns
from api.service.representations import json_response
from orchestrator.domain.spec import json_schema
from orchestrator.domain.spec_training import KNOWN_DATASETS
from trainers.task_registry import BUILTIN_TASKS

router = APIRouter(prefix=PREFIX, tags=["catalogue"])


@router.get("/tasks", **returns(200, TaskList))
async def list_tasks() -> Response:
    """The built-in tasks; your own is named `module:TaskClass`."""
    return json_response({"tasks": [_task(name) for name in BUILTIN_TASKS]})


@router.get("/datasets", **returns(200, DatasetList))
async def list_datasets() -> Response:
    """The data sets that need no files of yours."""
    named = [{"name": name, "source": f"dataset://{name}"} for name in KNOWN_DATASETS]
    return json_response({"datasets": named})


@router.get("/schemas/run.json", **returns(200, dict[str, Any], description="JSON Schema 2020-12"))
async def run_schema() -> Response:
    """The JSON Schema of a run spec, for editors."""
    return json_response(_schema())


@cache
def _schema() -> dict[str, Any]:
    return json_schema()


@cache
def _task(name: str) -> dict[str, Any]:
    module, _, config = BUILTIN_TASKS[name].config.partition(":")
    return {"name": name, "model": getattr(importlib.import_module(module), config).model_json_schema()}
