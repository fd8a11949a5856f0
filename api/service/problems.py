"""Every refusal as application/problem+json (RFC 9457), by one table from error class to status."""

import errno
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.domain import errors
from orchestrator.domain.errors import Problem, SpecError, TumblerError

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 2
_MOST_NAMED: Final = 100
"""Problems listed in one answer; a body can hold many thousands."""

STATUS_OF: Final[Mapping[type[TumblerError], int]] = {
    errors.TumblerError: 500,
    errors.SpecError: 422,
    errors.DataError: 422,
    errors.RunNotFound: 404,
    errors.NodeNotFound: 404,
    errors.WorkerNotFound: 404,
    errors.RunExists: 409,
    errors.ClusterUnavailable: 503,
    errors.StorageError: 503,
    errors.CheckpointError: 409,
    errors.CheckpointNotFound: 404,
    errors.DiskFull: 507,
    errors.WrongStatus: 409,
    errors.Stale: 412,
    errors.KeyReused: 422,
    errors.BadCursor: 400,
    errors.LeaseLost: 503,
    errors.ServiceUnreachable: 503,
    errors.NotFinished: 409,
    errors.RunFailed: 409,
    errors.RunCancelled: 409,
}
"""A class that is not here counts as its nearest parent; the last ones only commands raise."""

_CODES: Final = {413: "body-too-large"}
"""Where the phrase of the status is not the code."""


class FieldProblem(BaseModel):
    """One thing wrong with a request."""

    pointer: str
    """JSON pointer (RFC 6901) into the body; empty for the body as a whole and for parameters."""
    message: str
    line: int | None = None
    column: int | None = None


class ProblemDocument(BaseModel):
    """Why a request was refused."""

    model_config = ConfigDict(title="Problem")

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    """In kebab case, such as `run-not-found`; stays the same whatever the sentence says."""
    errors: list[FieldProblem] = []
    hint: str = ""
    request_id: str = ""


def problem_response(
    request_id: str,
    status: int,
    code: str,
    detail: str,
    *,
    hint: str = "",
    found: Iterable[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    document = ProblemDocument(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        errors=list(found),
        hint=hint,
        request_id=request_id,
    )
    more = {"Retry-After": str(RETRY_AFTER_S)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    return Response(
        document.model_dump_json(exclude_none=True),
        status,
        headers={**more, **(headers or {})},
        media_type=MEDIA_TYPE,
    )


def status_of(error: TumblerError) -> int:
    if isinstance(error, errors.StorageError) and _is_full(error):
        return STATUS_OF[errors.DiskFull]
    return next(STATUS_OF[known] for known in type(error).__mro__ if known in STATUS_OF)


def code_of(error: TumblerError) -> str:
    """Such as `run-not-found` for RunNotFound."""
    name = "DiskFull" if status_of(error) == STATUS_OF[errors.DiskFull] else type(error).__name__
    return "".join(f"-{char.lower()}" if char.isupper() else char for char in name).lstrip("-")


def json_pointer(dotted: str) -> str:
    """`workers.max` as `/workers/max`; the empty one stays empty, the whole document."""
    return "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in dotted.split(".") if dotted)


def field_problem(problem: Problem) -> FieldProblem:
    return FieldProblem(
        pointer=json_pointer(problem.pointer),
        message=problem.message,
        line=problem.line,
        column=problem.column,
    )


def request_id(request: Request) -> str:
    return str(request.scope.get("request_id", ""))


async def on_tumbler_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TumblerError)
    if isinstance(error, SpecError):
        found = [field_problem(problem) for problem in error.problems[:_MOST_NAMED]]
        return problem_response(
            request_id(request), 422, "spec-error", _spec_detail(error), hint=error.hint, found=found
        )
    return problem_response(
        request_id(request), status_of(error), code_of(error), error.message, hint=error.hint
    )


async def on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = [_of_request(details) for details in error.errors()[:_MOST_NAMED]]
    detail = found[0].message if len(found) == 1 else f"{len(found)} things are wrong with the request"
    return problem_response(request_id(request), 422, "bad-request", detail, found=found)


async def on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    code = _CODES.get(status) or status.phrase.lower().replace(" ", "-")
    detail = {
        HTTPStatus.NOT_FOUND: f"there is nothing at {request.url.path}",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{request.url.path} does not take {request.method}",
    }.get(status, str(error.detail))
    return problem_response(request_id(request), status, code, detail, headers=error.headers)


def _spec_detail(error: SpecError) -> str:
    if len(error.problems) == 1:
        return str(error.problems[0])
    return f"{len(error.problems)} things are wrong with the spec"


def _of_request(details: Mapping[str, Any]) -> FieldProblem:
    place, *path = details["loc"]
    message = details["msg"][:1].lower() + details["msg"][1:]
    if place == "body":
        if details["type"] == "json_invalid":
            return FieldProblem(pointer="", message=f"not valid JSON: {details['ctx']['error']}")
        return FieldProblem(pointer=json_pointer(".".join(map(str, path))), message=message)
    return FieldProblem(pointer="", message=f"{place} parameter {'.'.join(map(str, path))}: {message}")


def _is_full(error: errors.StorageError) -> bool:
    cause = error.__cause__
    return isinstance(error, errors.DiskFull) or (
        isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
    )
