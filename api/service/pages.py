"""The pages of the dashboard: the files of `api/ui_dist`, which `make ui` builds.

All files are in memory by name, so a path can lead nowhere else, and packed once. Whatever else is asked for
outside of the interface gets the one page, which finds out by itself what to show. Without a build it is a
plain page that says so.
"""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.service.problems import problem_response

UI: Final = Path(__file__).parents[1] / "ui_dist"
_OURS: Final = frozenset(
    {"api", "docs", "redoc", "openapi.json", "livez", "readyz", "version", "metrics"},
)
"""First parts of the paths that are the interface's."""
_KINDS: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_PACKED_ALREADY: Final = frozenset({".ico", ".png", ".woff2"})
_PACKED_FROM: Final = 1024
"""Bytes; below, packing gains nothing."""
_ASSETS: Final = "/assets/"
"""Their names have a hash of their content in them."""
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Vary": "Accept-Encoding",
}
_NOT_BUILT: Final = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Tumbler</title></head><body><main><h1>Tumbler</h1>
<p>The service works. Its dashboard is not built here: run <code>make ui</code> in the checkout
(it needs npm), and load this page again.</p>
<p><a href="/docs">The REST interface</a> and the command <code>tumbler</code> can do all of it too.</p>
</main></body></html>
"""


@dataclass(frozen=True)
class _File:
    content: bytes
    packed: bytes | None
    """By gzip, where that makes it smaller."""
    kind: str
    etag: str
    cache: str


class Pages:
    """Answers what is not for the interface; the rest goes on to the application."""

    def __init__(self, app: ASGIApp, folder: Path) -> None:
        self._app = app
        self._folder = folder
        self._files: Mapping[str, _File] = {}
        self._stamp: tuple[int, int] | None = (0, 0)
        self._route = SimpleNamespace(path="/{page}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and not _is_ours(scope["path"]):
            scope["route"] = self._route  # for whoever counts by route
            await self._answer(scope)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _answer(self, scope: Scope) -> Response:
        self._load_if_changed()
        path = scope["path"]
        found = self._files.get(path)
        if found is None and (path.startswith(_ASSETS) or "." in path.rpartition("/")[2]):
            detail = f"there is nothing at {path}"
            return problem_response(scope["request_id"], 404, "not-found", detail)
        found = found or self._files["/"]
        headers = dict(scope["headers"])
        told = {**_HEADERS, "ETag": found.etag, "Cache-Control": found.cache}
        if found.etag.encode() in headers.get(b"if-none-match", b""):
            return Response(status_code=304, headers=told)
        content = found.content
        if found.packed is not None and b"gzip" in headers.get(b"accept-encoding", b""):
            content = found.packed
            told["Content-Encoding"] = "gzip"
        if scope["method"] == "HEAD":
            return Response(headers={**told, "Content-Length": str(len(content))}, media_type=found.kind)
        return Response(content, headers=told, media_type=found.kind)

    def _load_if_changed(self) -> None:
        """Also after another build, without a restart."""
        stamp = _stamp(self._folder / "index.html")
        if stamp == self._stamp:
            return
        files = {"/": _file(_NOT_BUILT, ".html", "no-cache")}
        if stamp is not None:
            files = {
                f"/{path.relative_to(self._folder).as_posix()}": _read(path, self._folder)
                for path in sorted(self._folder.rglob("*"))
                if path.is_file()
            }
            files["/"] = files["/index.html"]
        self._files, self._stamp = files, stamp


def _is_ours(path: str) -> bool:
    return path.lstrip("/").partition("/")[0] in _OURS


def _stamp(index: Path) -> tuple[int, int] | None:
    try:
        found = index.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _read(path: Path, folder: Path) -> _File:
    hashed = f"/{path.relative_to(folder).as_posix()}".startswith(_ASSETS)
    cache = "public, max-age=31536000, immutable" if hashed else "no-cache"
    return _file(path.read_bytes(), path.suffix, cache)


def _file(content: bytes, suffix: str, cache: str) -> _File:
    packed = None
    if suffix not in _PACKED_ALREADY and len(content) >= _PACKED_FROM:
        packed = gzip.compress(content, 9, mtime=0)
    kind = _KINDS.get(suffix, "application/octet-stream")
    return _File(content, packed, kind, f'"{hashlib.sha256(content).hexdigest()[:32]}"', cache)
