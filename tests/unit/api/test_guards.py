"""What stands before every request, and what every refusal looks like."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from api.service.problems import STATUS_OF, code_of, status_of
from orchestrator.domain import errors
from orchestrator.domain.errors import DiskFull, SpecError, StorageError, TumblerError
from orchestrator.domain.runs import Change
from orchestrator.ports.record import Added, IdempotencyKey
from orchestrator.store.memory import MemoryRecord
from tests.unit.api.in_process import RUNS, SPEC, InProcess, in_process

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("host", ["127.0.0.1:8700", "localhost", "LOCALHOST:1", "[::1]:8700", "127.1.2.3"])
async def test_the_names_of_this_machine_are_answered(service: InProcess, host: str) -> None:
    assert (await service.client.get("/livez", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8700", "10.0.0.1", "[::2]", ""])
async def test_a_name_that_is_not_ours_is_refused(service: InProcess, host: str) -> None:
    answer = await service.client.get("/livez", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (421, "misdirected-request")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999"])
async def test_pages_from_elsewhere_are_refused(service: InProcess, origin: str) -> None:
    answer = await service.client.post(RUNS, json=SPEC, headers={"Origin": origin})
    assert (answer.status_code, answer.json()["code"]) == (403, "foreign-origin")


async def test_our_own_pages_may_ask(service: InProcess) -> None:
    headers = {"Origin": "http://127.0.0.1:8700"}
    assert (await service.client.post(RUNS, json=SPEC, headers=headers)).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("POST", RUNS, "text/plain"),
        ("POST", RUNS, "application/x-www-form-urlencoded"),
        ("POST", RUNS, ""),
        ("POST", f"{RUNS}/otter/scale", "application/yaml"),
        ("PATCH", f"{RUNS}/otter", "text/plain"),
        ("PUT", f"/api/v1/packages/{'a' * 64}", "application/json"),
    ],
)
async def test_a_body_that_a_form_could_send_is_refused(
    service: InProcess, method: str, path: str, kind: str
) -> None:
    answer = await service.client.request(method, path, content=b"{}", headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type")


async def test_a_content_type_with_parameters_is_understood(service: InProcess) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    answer = await service.client.post(RUNS, content=b'{"task": "language_model"}', headers=headers)
    assert answer.status_code == 201


async def pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(size >> 16):
        yield bytes(1 << 16)


@pytest.mark.parametrize("says_its_size", [True, False])
async def test_a_body_that_is_too_large_is_refused_whether_or_not_it_says_so(
    service: InProcess, says_its_size: bool
) -> None:
    content: Any = bytes(2 << 20) if says_its_size else pieces(2 << 20)
    answer = await service.client.post(RUNS, content=content, headers=JSON)
    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.json()["code"], answer.json()["detail"]) == (
        "body-too-large",
        "expected a body of at most 1 MiB, got more",
    )


async def test_every_answer_has_an_id_and_a_problem_names_it(service: InProcess) -> None:
    first, second = [await service.client.get("/api/nowhere") for _ in range(2)]
    assert first.headers["X-Request-Id"] == first.json()["request_id"]
    assert first.headers["X-Request-Id"] != second.headers["X-Request-Id"]


async def test_an_id_of_the_client_is_kept_where_it_is_one(service: InProcess) -> None:
    given = await service.client.get("/livez", headers={"X-Request-Id": "abc-1"})
    assert given.headers["X-Request-Id"] == "abc-1"
    strange = await service.client.get("/livez", headers={"X-Request-Id": "a b"})
    assert strange.headers["X-Request-Id"] != "a b"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/api/nowhere", 404, "not-found"), ("PUT", RUNS, 405, "method-not-allowed")],
)
async def test_what_is_not_there_is_a_problem_document_too(
    service: InProcess, method: str, path: str, status: int, code: str
) -> None:
    answer = await service.client.request(method, path)
    problem = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["title"]
    assert problem["detail"]


class Broken(MemoryRecord):
    """Fails at each submit."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    async def add(self, new: Change, key: IdempotencyKey | None = None) -> Added:
        raise self._error


FULL = StorageError("cannot write tumbler.db: No space left on device")
FULL.__cause__ = OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (DiskFull("the disk is full", hint="free some space"), 507, "disk-full"),
        (FULL, 507, "disk-full"),
        (StorageError("the database is away"), 503, "storage-error"),
        (RuntimeError("a mistake"), 500, "unexpected"),
    ],
)
async def test_trouble_of_the_service_is_told_apart(
    tmp_path: Any, error: Exception, status: int, code: str
) -> None:
    async with in_process(tmp_path, record=Broken(error)) as service:
        answer = await service.client.post(RUNS, json=SPEC)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert "a mistake" not in answer.text
    assert answer.json()["request_id"]


def test_every_error_class_has_its_status() -> None:
    classes: Sequence[type] = [value for value in vars(errors).values() if isinstance(value, type)]
    assert {one for one in classes if issubclass(one, TumblerError)} == set(STATUS_OF)


def test_an_error_of_a_package_of_its_own_counts_as_its_parent() -> None:
    class Torn(errors.CheckpointError):
        pass

    assert (status_of(Torn("x")), code_of(Torn("x"))) == (409, "torn")
    assert status_of(SpecError([])) == 422
