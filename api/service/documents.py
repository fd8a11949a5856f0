"""How routes document themselves in OpenAPI: which refusals they may answer, and what a spec looks like."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.service.problems import MEDIA_TYPE, ProblemDocument
from orchestrator.domain.spec import RunSpec

PREFIX: Final = "/api/v1"
_SCHEMAS: Final = "#/components/schemas/"
_WHEN: Final = {
    400: "The request, its cursor or its place in a stream is not understood",
    403: "A page from elsewhere asked",
    404: "There is no such run, or no such part of it",
    405: "Not with this method",
    409: "The run is not in a status for that, or the name is taken",
    412: "The run was changed since",
    413: "The body is too large",
    415: "The body is of another kind",
    421: "The service was asked by a name that is not its own",
    422: "Something is wrong with the values; all of it is listed",
    428: "If-Match is missing",
    500: "A mistake of the service; its log says more",
    503: "Ray or the storage is away; try again",
    507: "The disk is full; nothing was lost",
}
_ALWAYS: Final = (400, 403, 421, 422, 500, 503)
Responses = dict[int | str, dict[str, Any]]


def refusals(*statuses: int) -> Responses:
    """These, and those that any request may meet."""
    content = {MEDIA_TYPE: {"schema": {"$ref": f"{_SCHEMAS}Problem"}}}
    return {
        status: {"description": _WHEN[status], "content": content} for status in sorted({*_ALWAYS, *statuses})
    }


def returns(status: int, model: type[Any], *more: int, description: str = "") -> dict[str, Any]:
    """For a route that answers with a response it built itself."""
    return {
        "status_code": status,
        "response_model": model,
        "response_description": description or "As asked",
        "responses": refusals(*more),
    }


def spec_body() -> dict[str, Any]:
    """The request body of a submit."""
    schema = {"schema": {"$ref": f"{_SCHEMAS}RunSpec"}}
    return {"required": True, "content": {"application/json": schema, "application/yaml": schema}}


def openapi_of(app: FastAPI) -> dict[str, Any]:
    """The document of the whole service, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            routes=app.routes,
            openapi_version="3.1.0",
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for model in (ProblemDocument, RunSpec):
            schema = model.model_json_schema(ref_template=f"{_SCHEMAS}{{model}}")
            schemas.update(schema.pop("$defs", {}))
            schemas["Problem" if model is ProblemDocument else "RunSpec"] = schema
        app.openapi_schema = document
    return app.openapi_schema
