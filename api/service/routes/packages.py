"""Archives of users' code, each under the SHA-256 of its content."""

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from api.service.answers import PackageShown
from api.service.documents import PREFIX, refusals
from api.service.parts import Given
from api.service.representations import json_response
from api.service.shipping import archive, receive

router = APIRouter(prefix=PREFIX, tags=["packages"])
Digest = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
_BODY: Final = {
    "required": True,
    "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
}


@router.put(
    "/packages/{sha256}",
    status_code=201,
    response_model=PackageShown,
    responses={
        200: {"model": PackageShown, "description": "It was there already"},
        **refusals(413, 415, 507),
    },
    openapi_extra={"requestBody": _BODY},
)
async def put_package(sha256: Digest, request: Request, parts: Given) -> Response:
    """Upload a zip archive of at most 200 MiB; a spec names it as `package://SHA256` in code.working_dir."""
    is_new = await receive(request.stream(), sha256, parts.packages)
    size = (await asyncio.to_thread(archive(parts.packages, sha256).stat)).st_size
    return json_response({"sha256": sha256, "size": size}, 201 if is_new else 200)


@router.head(
    "/packages/{sha256}",
    response_class=Response,
    responses={**refusals(), 404: {"description": "It is not"}},
)
async def head_package(sha256: Digest, parts: Given) -> Response:
    """Whether the archive is here."""
    known = await asyncio.to_thread(archive(parts.packages, sha256).is_file)
    return Response(status_code=200 if known else 404)
