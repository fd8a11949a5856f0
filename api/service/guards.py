"""What stands before every request: request ids, hosts and origins, content types, sizes, the last resort.

Pure ASGI and a few dictionary look-ups, since each submit passes through. A page that a browser loaded from
elsewhere must not steer this service: the name it was reached by is checked (DNS rebinding), so is where a
request comes from, and a body must be of a kind that no form can send (CSRF).
"""

import itertools
import os
import re
import time
from collections.abc import Callable
from typing import Any, Final

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.service.problems import problem_response
from api.settings import is_loopback

MAX_BODY: Final = 1 << 20
MAX_PACKAGE: Final = 200 << 20
PACKAGES: Final = "/api/v1/packages/"
SUBMIT: Final = "/api/v1/runs"
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_JSON: Final = frozenset({b"application/json"})
_SPEC: Final = frozenset({b"application/json", b"application/yaml"})
_PATCH: Final = frozenset({b"application/json", b"application/merge-patch+json"})
_ZIP: Final = frozenset({b"application/zip"})
_log = structlog.get_logger()

Observe = Callable[[Scope, int, float], None]
"""Told of each answer: scope, status, seconds until its head was sent."""


class Guards:
    """Wraps the whole application, its error pages included."""

    def __init__(self, app: ASGIApp, *, host: str, observe: Observe) -> None:
        self._app = app
        self._host = host.strip("[]").lower()
        self._observe = observe
        self._prefix = os.urandom(4).hex()
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        begun = time.perf_counter()
        request_id = self._request_id(headers)
        scope["request_id"] = request_id
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start" and not started:
                started = True
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
                self._observe(scope, message["status"], time.perf_counter() - begun)
            await send(message)

        refusal = self._refusal(scope, headers)
        if refusal is not None:
            status, code, detail = refusal
            response = problem_response(request_id, status, code, detail, headers={"Connection": "close"})
            await response(scope, receive, answer)
            return
        if b"transfer-encoding" in headers:
            receive = _counted(receive, _limit(scope["path"]))
        try:
            await self._app(scope, receive, answer)
        except Exception:
            _log.exception(
                "a request failed unexpectedly",
                request_id=request_id,
                method=scope["method"],
                path=scope["path"],
            )
            if started:
                raise
            detail = "the service failed at this; its log says more under the request id"
            await problem_response(request_id, 500, "unexpected", detail)(scope, receive, answer)

    def _request_id(self, headers: dict[bytes, bytes]) -> str:
        given = headers.get(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given.decode()
        return f"{self._prefix}-{next(self._numbers)}"

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> tuple[int, str, str] | None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not self._is_ours(host):
            return (
                421,
                "misdirected-request",
                f"this service is not {host or 'nameless'}; use its own address",
            )
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").lower().partition("://")[2] != host:
            return 403, "foreign-origin", f"pages from {origin.decode('latin-1')} may not use this service"
        length = headers.get(b"content-length", b"0")
        if length == b"0" and b"transfer-encoding" not in headers:
            return None
        if not length.isdigit():
            return 400, "bad-request", "the Content-Length is no number"
        return _refusal_of_body(scope, headers, int(length))

    def _is_ours(self, host: str) -> bool:
        name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
        return name in ("127.0.0.1", self._host) or is_loopback(name)


def _refusal_of_body(scope: Scope, headers: dict[bytes, bytes], length: int) -> tuple[int, str, str] | None:
    limit = _limit(scope["path"])
    if length > limit:
        return 413, "body-too-large", _too_large(limit)
    kinds = _kinds(scope["method"], scope["path"])
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind not in kinds:
        expected = " or ".join(sorted(known.decode() for known in kinds))
        got = kind.decode("latin-1") or "none"
        return 415, "unsupported-media-type", f"expected a body of content type {expected}, got {got}"
    return None


def _kinds(method: str, path: str) -> frozenset[bytes]:
    if path == SUBMIT:
        return _SPEC
    if path.startswith(PACKAGES):
        return _ZIP
    return _PATCH if method == "PATCH" else _JSON


def _limit(path: str) -> int:
    return MAX_PACKAGE if path.startswith(PACKAGES) else MAX_BODY


def _too_large(limit: int) -> str:
    return f"expected a body of at most {limit >> 20} MiB, got more"


def _counted(receive: Receive, limit: int) -> Receive:
    """For bodies that do not say how long they are."""
    size = 0

    async def counting() -> Any:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise HTTPException(413, _too_large(limit))
        return message

    return counting
