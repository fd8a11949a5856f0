"""The interface and the document of it agree, whatever a client makes up from the document."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from orchestrator.domain.status import RunStatus
from tests.unit.api.in_process import URL, InProcess, assembled
from tests.unit.checkpoint_files import commit_checkpoint
from tests.unit.recorded_run import finished_run

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OVER, WAITING = "brave-otter", "waiting"
STEP = 8
ENDLESS = "/api/v1/stream"
"""Its own tests are in `test_overview.py`."""


@schemathesis.serializer("application/zip")
def as_it_is(ctx: schemathesis.SerializationContext, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Any:
    service = assembled(tmp_path_factory.mktemp("service"))
    asyncio.run(_fill(service))
    return schemathesis.openapi.from_asgi("/openapi.json", service.app, headers={"Host": "localhost"})


async def _fill(service: InProcess) -> None:
    await service.reconciler.look()
    await service.submit(WAITING)
    await service.submit(OVER)
    run = finished_run(service.storage, OVER)
    await service.moved(OVER, RunStatus.SUCCEEDED, attempt=1)
    commit_checkpoint(run, STEP)
    Path(service.storage / OVER / "logs" / "1-w1.log").write_text("hello\n")


def operations() -> list[tuple[str, str]]:
    with TemporaryDirectory() as folder:
        paths = assembled(Path(folder)).app.openapi()["paths"]
    return [(method, path) for path, methods in paths.items() if path != ENDLESS for method in methods]


@pytest.mark.parametrize(("method", "path"), operations())
def test_every_answer_is_one_that_the_document_foresees(document: Any, method: str, path: str) -> None:
    @settings(
        max_examples=6,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=document[path][method].as_strategy())
    def holds(case: schemathesis.Case) -> None:
        """Once as made up, and on runs that are there: a made-up reference finds none."""
        references = [OVER] if path.endswith("/stream") else [None, OVER, WAITING]
        for reference in references if "{ref}" in path else [None]:
            if reference is not None:
                case.path_parameters["ref"] = reference
                if reference == OVER and path.endswith("/verify"):
                    case.path_parameters["step"] = STEP
            case.call_and_validate(base_url=URL, checks=CHECKS)

    holds()
