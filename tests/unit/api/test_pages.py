"""The dashboard: which files are given out for which path, and under which rules."""

import gzip
import os
from pathlib import Path

import pytest

from tests.unit.api.in_process import RUNS, InProcess

SCRIPT = b"console.log(1);" * 200
INDEX = b'<!doctype html><script type="module" src="/assets/app-1a2b.js"></script>'


@pytest.fixture
def built(service: InProcess) -> InProcess:
    build(service.folder / "ui_dist")
    return service


def build(folder: Path, index: bytes = INDEX) -> None:
    (folder / "assets").mkdir(parents=True, exist_ok=True)
    (folder / "assets" / "app-1a2b.js").write_bytes(SCRIPT)
    (folder / "icon.svg").write_bytes(b"<svg/>")
    # As a build does: a new file in the place of the old one.
    (folder / "new.html").write_bytes(index)
    os.replace(folder / "new.html", folder / "index.html")


@pytest.mark.parametrize(
    "path", ["/", "/runs/brave-otter", "/compare?runs=a,b", "/cluster", "/submit", "/apis", "/index.html"]
)
async def test_every_place_of_the_dashboard_is_the_one_page(built: InProcess, path: str) -> None:
    answer = await built.client.get(path)
    assert (answer.status_code, answer.content) == (200, INDEX)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache"


async def test_pages_may_load_and_ask_nothing_but_this_service(built: InProcess) -> None:
    for path in ("/", "/assets/app-1a2b.js"):
        headers = (await built.client.get(path)).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"


async def test_what_has_a_hash_in_its_name_is_kept_by_browsers_for_good(built: InProcess) -> None:
    answer = await built.client.get("/assets/app-1a2b.js", headers={"Accept-Encoding": "identity"})
    assert answer.content == SCRIPT
    assert "Content-Encoding" not in answer.headers
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert "immutable" in answer.headers["Cache-Control"]
    assert (await built.client.get("/icon.svg")).headers["Cache-Control"] == "no-cache"


async def test_large_texts_are_packed_for_who_takes_them(built: InProcess) -> None:
    async with built.client.stream(
        "GET", "/assets/app-1a2b.js", headers={"Accept-Encoding": "gzip"}
    ) as answer:
        raw = b"".join([part async for part in answer.aiter_raw()])
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(raw) < len(SCRIPT) / 10
    assert gzip.decompress(raw) == SCRIPT
    assert "Content-Encoding" not in (await built.client.get("/icon.svg")).headers


async def test_what_a_browser_has_already_is_not_sent_again(built: InProcess) -> None:
    etag = (await built.client.get("/")).headers["ETag"]
    again = await built.client.get("/", headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    build(built.folder / "ui_dist", b"another")
    changed = await built.client.get("/", headers={"If-None-Match": etag})
    assert (changed.status_code, changed.content) == (200, b"another")


async def test_head_tells_the_size_without_the_content(built: InProcess) -> None:
    answer = await built.client.head("/icon.svg")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Length"] == "6"


@pytest.mark.parametrize(
    "path",
    [
        "/assets/none.js",
        "/assets/",
        "/favicon.ico",
        "/../secret.txt",
        "/assets/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/assets/%2e%2e/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "//etc/passwd.txt",
    ],
)
async def test_files_that_are_not_of_the_dashboard_are_not_found(built: InProcess, path: str) -> None:
    (built.folder / "secret.txt").write_text("secret")
    answer = await built.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


@pytest.mark.parametrize("path", ["/api", "/api/v1/nothing", "/api/v2/runs", "/docs/nothing", "/livez/x"])
async def test_what_is_unknown_of_the_interface_stays_a_problem(built: InProcess, path: str) -> None:
    answer = await built.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_pages_are_only_read(built: InProcess) -> None:
    answer = await built.client.post("/runs/brave-otter", json={})
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert (await built.client.get(RUNS)).json()["runs"] == []


async def test_a_page_is_not_given_out_under_a_name_that_is_not_ours(built: InProcess) -> None:
    assert (await built.client.get("/", headers={"Host": "evil.example"})).status_code == 421
    assert (await built.client.get("/", headers={"Origin": "http://evil.example"})).status_code == 403


async def test_without_a_build_one_plain_page_says_how_to_make_it(service: InProcess) -> None:
    for path in ("/", "/runs/brave-otter"):
        answer = await service.client.get(path)
        assert answer.status_code == 200
        assert "make ui" in answer.text
    build(service.folder / "ui_dist")
    assert (await service.client.get("/")).content == INDEX


async def test_pages_make_one_series_of_metrics_however_many_paths_there_are(built: InProcess) -> None:
    for number in range(3):
        await built.client.get(f"/runs/{number}")
    text = (await built.client.get("/metrics")).text
    assert 'tumbler_http_requests_total{method="GET",route="/{page}",status="200"} 3.0' in text
