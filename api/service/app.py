"""The REST interface as one ASGI application."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from api.service.documents import PREFIX, openapi_of
from api.service.express import Express
from api.service.guards import SUBMIT, Guards
from api.service.pages import Pages
from api.service.parts import Parts
from api.service.problems import on_http_exception, on_tumbler_error, on_validation_error
from api.service.routes import (
    catalogue,
    charts,
    checkpoints,
    cluster,
    health,
    overview,
    packages,
    queues,
    records,
    runs,
    submit,
    verbs,
    workers,
)
from orchestrator.domain.errors import TumblerError

_PACKED_FROM: Final = 1024
"""Bytes of an answer."""
_BESIDE_FROM: Final = 32 << 10
"""Bytes of an answer that is packed on a thread: more would hold up the others for a millisecond."""
_QUICKEST: Final = 1
"""As a level of gzip: a page of runs becomes a ninth of it in 0.6 ms, hardly less in four times as long."""
_LEFT_AS_THEY_ARE: Final = (*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/x-tar")
"""Streams, whose events would wait in the packer, and weights, which do not become smaller."""
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


class Application(FastAPI):
    """What FastAPI has around its middleware costs each request, so the guards stand before that too."""

    guards: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        await self.guards(scope, receive, send)

    async def behind_guards(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)


def create_app(parts: Parts, *, version: str = "0.1.0", lifespan: Lifespan | None = None) -> FastAPI:
    app = Application(
        title="Tumbler",
        summary="Elastic training on Ray: submit, watch and steer runs",
        version=version,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.parts = parts
    every = (
        submit,
        runs,
        verbs,
        records,
        charts,
        overview,
        workers,
        checkpoints,
        cluster,
        queues,
        catalogue,
        packages,
        health,
    )
    for routes in every:
        # Taken over as they are: going through an included router costs each request more than its own route.
        app.router.routes.extend(routes.router.routes)
    for route in app.routes:
        if isinstance(route, APIRoute):
            route.operation_id = route.name
    # Where monitors look, and beside everything else.
    app.include_router(health.router, prefix=PREFIX, include_in_schema=False)
    app.add_exception_handler(TumblerError, on_tumbler_error)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    packed = GZipMiddleware(
        app.behind_guards,
        minimum_size=_PACKED_FROM,
        compresslevel=_QUICKEST,
        thread_minimum_size=_BESIDE_FROM,
        exclude_content_types=_LEFT_AS_THEY_ARE,
    )
    pages = Pages(packed, parts.ui)
    short = Express(pages, method="POST", path=SUBMIT, endpoint=submit.submit_run)
    app.guards = Guards(short, host=parts.host, observe=parts.gauges.answered)
    app.openapi = _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> Callable[[], dict[str, Any]]:
    return lambda: openapi_of(app)
