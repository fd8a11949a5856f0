"""The short way to the one route that must be fast.

FastAPI's routing, exit stacks and exception layers take as long as a submit itself. They do nothing for an
endpoint that reads its request by itself and raises TumblerError or HTTPException only.
"""

from collections.abc import Awaitable, Callable
from types import SimpleNamespace

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.service.problems import on_http_exception, on_tumbler_error
from orchestrator.domain.errors import TumblerError

Endpoint = Callable[[Request], Awaitable[Response]]


class Express:
    """Answers one method and path; all else goes on to the application, where the same route is described."""

    def __init__(self, app: ASGIApp, *, method: str, path: str, endpoint: Endpoint) -> None:
        self._app = app
        self._method, self._path, self._endpoint = method, path, endpoint
        self._route = SimpleNamespace(path=path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] != self._method:
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route  # for whoever counts by route
        request = Request(scope, receive, send)
        try:
            response = await self._endpoint(request)
        except TumblerError as error:
            response = await on_tumbler_error(request, error)
        except HTTPException as error:
            response = await on_http_exception(request, error)
        await response(scope, receive, send)
