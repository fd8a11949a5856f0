"""What the service answers when it refuses, as the errors that the same mistake raises without a service."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import httpx2

from orchestrator.domain.errors import (
    BadCursor,
    CheckpointError,
    CheckpointNotFound,
    ClusterUnavailable,
    DataError,
    DiskFull,
    KeyReused,
    LeaseLost,
    NodeNotFound,
    Problem,
    RunExists,
    RunNotFound,
    ServiceUnreachable,
    SpecError,
    Stale,
    StorageError,
    TumblerError,
    WorkerNotFound,
    WrongStatus,
)


class Unauthorised(TumblerError):
    """The service wants to know who asks, or does not let them."""

    exit_code: ClassVar[int] = 5


class NotUnderstood(TumblerError):
    """The service could not make sense of a request that was no spec."""

    exit_code: ClassVar[int] = 2


class ServiceTrouble(TumblerError):
    """The service failed at something that should have worked."""


_KNOWN: Final = (
    BadCursor,
    CheckpointError,
    CheckpointNotFound,
    ClusterUnavailable,
    DataError,
    DiskFull,
    KeyReused,
    LeaseLost,
    NodeNotFound,
    RunExists,
    RunNotFound,
    ServiceUnreachable,
    Stale,
    StorageError,
    WorkerNotFound,
    WrongStatus,
)
_NO_SPEC: Final = "bad-request"
"""Said of parameters and of small bodies."""
_BY_STATUS: Final[Mapping[int, type[TumblerError]]] = {
    400: NotUnderstood,
    401: Unauthorised,
    403: Unauthorised,
    404: RunNotFound,
    405: NotUnderstood,
    409: WrongStatus,
    412: Stale,
    413: NotUnderstood,
    415: NotUnderstood,
    421: Unauthorised,
    422: NotUnderstood,
    428: Stale,
    503: ClusterUnavailable,
    507: DiskFull,
}


def error_of(response: httpx2.Response) -> TumblerError:
    """The error that an answer of 400 or more stands for; its body must have been read."""
    problem = _problem_in(response)
    message = str(problem.get("detail") or problem.get("title") or _bare(response))
    hint = str(problem.get("hint") or "")
    problems = [_placed(one) for one in problem.get("errors") or () if isinstance(one, Mapping)]
    code = str(problem.get("code", ""))
    if response.status_code == 422 and problems and code != _NO_SPEC:
        return SpecError(problems, hint=hint)
    found = _class_of(code, response.status_code)
    if found is ServiceTrouble and problem.get("request_id"):
        hint = hint or f"look for request {problem['request_id']} in the log of the service"
    return found("\n".join(map(str, problems)) or message, hint=hint)


def _class_of(code: str, status: int) -> type[TumblerError]:
    named = {_letters(known.__name__): known for known in _KNOWN}
    return named.get(_letters(code)) or _BY_STATUS.get(status, ServiceTrouble)


def _letters(name: str) -> str:
    """`run-not-found`, `RUN_NOT_FOUND` and `RunNotFound` are one name."""
    return "".join(char for char in name.lower() if char.isalnum())


def _problem_in(response: httpx2.Response) -> Mapping[str, Any]:
    try:
        content = json.loads(response.content)
    except ValueError:
        return {}
    return content if isinstance(content, Mapping) else {}


def _placed(one: Mapping[str, Any]) -> Problem:
    pointer = str(one.get("pointer") or "").removeprefix("#")
    if pointer.startswith("/"):
        steps = pointer[1:].split("/")
        pointer = ".".join(step.replace("~1", "/").replace("~0", "~") for step in steps)
    return Problem(pointer, str(one.get("message", "")), None, one.get("line"), one.get("column"))


def _bare(response: httpx2.Response) -> str:
    """Where no problem document came: somebody else may listen there."""
    return f"{response.request.url} answered {response.status_code} {response.reason_phrase}".rstrip()
