"""Large answers are packed for who asks; what must come at once, or is packed already, is left as it is."""

from typing import Any

import pytest

from tests.unit.api.in_process import RUNS, SPEC, InProcess

ENDED = f"{RUNS}/brave-otter/stream"


@pytest.fixture
async def three(service: InProcess) -> InProcess:
    for name in ("brave-otter", "calm-owl", "shy-fox"):
        await service.submit(name, labels={"note": "x" * 60})
    await service.client.post(f"{RUNS}/brave-otter/cancel")
    return service


async def asked(service: InProcess, path: str, accepted: str) -> Any:
    return await service.client.get(path, headers={"Accept-Encoding": accepted})


async def test_a_large_answer_is_packed_where_it_is_asked_for(three: InProcess) -> None:
    packed, plain = await asked(three, RUNS, "gzip"), await asked(three, RUNS, "identity")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.json() == plain.json()
    assert int(packed.headers["Content-Length"]) < int(plain.headers["Content-Length"]) / 2
    assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize("path", ["/api/v1/version", "/livez", ENDED])
async def test_small_answers_and_streams_are_sent_as_they_are(three: InProcess, path: str) -> None:
    answer = await asked(three, path, "gzip")
    assert answer.status_code == 200
    assert "Content-Encoding" not in answer.headers


async def test_the_answer_to_a_submit_is_not_packed(service: InProcess) -> None:
    headers = {"Accept-Encoding": "gzip"}
    answer = await service.client.post(RUNS, json={**SPEC, "labels": {"note": "x" * 60}}, headers=headers)
    assert answer.status_code == 201
    assert len(answer.content) > 1024
    assert "Content-Encoding" not in answer.headers
