import math
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.client import Client
from api.client_errors import NotUnderstood, ServiceTrouble, Unauthorised
from api.client_types import points_of
from orchestrator.domain.errors import (
    CheckpointNotFound,
    ClusterUnavailable,
    DiskFull,
    KeyReused,
    RunExists,
    RunNotFound,
    ServiceUnreachable,
    SpecError,
    Stale,
    TumblerError,
    WrongStatus,
)
from tests.unit.fake_rest import FakeRest, event_json, message, problem, run_json

LOST = httpx2.ReadError("the connection was reset")
REFUSED = httpx2.ConnectError("connection refused")


@pytest.fixture
def rest() -> FakeRest:
    return FakeRest()


@pytest.mark.parametrize(
    ("call", "path", "body"),
    [
        (lambda client: client.pause("x"), "/runs/x/pause", {}),
        (lambda client: client.resume("x"), "/runs/x/resume", {}),
        (lambda client: client.cancel("x"), "/runs/x/cancel", {}),
        (lambda client: client.take_checkpoint("x"), "/runs/x/checkpoint", {}),
        (lambda client: client.scale("x", 3), "/runs/x/scale", {"workers": 3}),
        (lambda client: client.scale("x", {"min": 1, "max": 4}), "/runs/x/scale", {"min": 1, "max": 4}),
        (lambda client: client.retry("x"), "/runs/x/retry", {}),
        (lambda client: client.clone("x"), "/runs/x/clone", {}),
        (
            lambda client: client.clone("x", name="y", overrides={"train.steps": 5}),
            "/runs/x/clone",
            {"name": "y", "overrides": {"train.steps": 5}},
        ),
    ],
)
def test_a_verb_is_a_post_that_answers_with_the_run(call: Any, path: str, body: Any, rest: FakeRest) -> None:
    rest.on("POST", path, httpx2.Response(202, json=run_json("x", "PAUSING")))
    run = call(rest.client())
    assert (run.name, run.status, run.over) == ("x", "PAUSING", False)
    assert rest.sent() == body
    assert rest.requests[0].headers["Content-Type"] == "application/json"


def test_what_this_version_does_not_know_is_kept_for_programs(rest: FakeRest) -> None:
    run = rest.has(run_json("x", metrics={"loss": "NaN"})).client().run("x")
    assert run.content()["of_a_later_version"] == 1
    assert math.isnan(run.metrics["loss"])


def test_a_patch_says_which_version_it_saw(rest: FakeRest) -> None:
    rest.on("PATCH", "/runs/x", run_json("x"))
    rest.client().patch("x", {"priority": 70}, version=7)
    assert rest.requests[0].headers["If-Match"] == '"7"'
    assert rest.sent("PATCH") == {"priority": 70}
    rest.client().patch("x", {"priority": 70})
    assert rest.requests[1].headers["If-Match"] == "*"


@pytest.mark.parametrize(
    ("status", "code", "kind", "exit_code"),
    [
        (404, "run-not-found", RunNotFound, 4),
        (409, "run-exists", RunExists, 6),
        (409, "wrong-status", WrongStatus, 6),
        (412, "stale", Stale, 6),
        (422, "key-reused", KeyReused, 6),
        (503, "cluster-unavailable", ClusterUnavailable, 1),
        (507, "disk-full", DiskFull, 1),
        (401, "unauthorized", Unauthorised, 5),
        (421, "misdirected-request", Unauthorised, 5),
        (413, "body-too-large", NotUnderstood, 2),
        (500, "internal-server-error", ServiceTrouble, 1),
    ],
)
def test_a_refusal_is_the_error_that_it_would_be_here(
    status: int, code: str, kind: type[TumblerError], exit_code: int, rest: FakeRest
) -> None:
    rest.on("GET", "/runs/x", problem(status, code, "it cannot be", hint="do this"))
    with pytest.raises(kind) as raised:
        rest.client().run("x")
    assert (type(raised.value), raised.value.exit_code) == (kind, exit_code)
    assert (str(raised.value), raised.value.hint) == ("it cannot be", "do this")


def test_problems_of_a_spec_come_with_their_place(rest: FakeRest) -> None:
    found = [{"pointer": "/workers/max", "message": "too many", "line": 3, "column": 5}]
    rest.on("POST", "/runs", problem(422, "spec-error", "one thing", errors=found))
    with pytest.raises(SpecError) as raised:
        rest.client().submit("task: x")
    (one,) = raised.value.problems
    assert (one.pointer, one.message, one.line, one.column) == ("workers.max", "too many", 3, 5)


def test_a_wrong_parameter_is_no_wrong_spec(rest: FakeRest) -> None:
    found = [{"pointer": "/priority", "message": "too large"}]
    rest.on("GET", "/runs", problem(422, "bad-request", "too large", errors=found))
    with pytest.raises(NotUnderstood, match=r"^priority: too large$"):
        list(rest.client().runs())


def test_somebody_else_at_the_address_is_named(rest: FakeRest) -> None:
    rest.on("GET", "/runs/x", httpx2.Response(404, text="<html>nothing here</html>"))
    with pytest.raises(RunNotFound, match="/api/v1/runs/x answered 404"):
        rest.client().run("x")


def test_a_submit_whose_reply_was_lost_is_sent_again_under_the_same_key(rest: FakeRest) -> None:
    rest.on("POST", "/runs", LOST, REFUSED, httpx2.Response(201, json=run_json("x", "QUEUED")))
    assert rest.client().submit({"task": "language_model"}).name == "x"
    keys = {request.headers["Idempotency-Key"] for request in rest.requests}
    assert (len(rest.requests), len(keys)) == (3, 1)
    rest.client().submit({"task": "language_model"})
    assert rest.requests[-1].headers["Idempotency-Key"] not in keys


def test_text_is_yaml_and_a_mapping_is_json(rest: FakeRest) -> None:
    rest.on("POST", "/runs", run_json())
    rest.client().submit("task: language_model")
    rest.client().submit({"task": "language_model"}, key="mine")
    assert [request.headers["Content-Type"] for request in rest.requests] == [
        "application/yaml",
        "application/json",
    ]
    assert rest.requests[1].headers["Idempotency-Key"] == "mine"


def test_what_would_make_a_second_run_is_not_sent_twice(rest: FakeRest) -> None:
    rest.on("POST", "/runs/x/clone", LOST, run_json())
    with pytest.raises(ServiceUnreachable) as raised:
        rest.client().clone("x")
    assert len(rest.requests) == 1
    assert raised.value.hint == "whether it was done is not known; look with `tumbler ls`"


def test_what_was_never_sent_is_sent_again_whatever_it_is(rest: FakeRest) -> None:
    rest.on("POST", "/runs/x/clone", REFUSED, REFUSED, run_json("y"))
    assert rest.client().clone("x").name == "y"
    assert rest.clock.slept == [0.1, 0.2]


def test_a_service_that_does_not_answer_is_given_up_soon(rest: FakeRest) -> None:
    rest.on("GET", "/runs/x", REFUSED)
    with pytest.raises(ServiceUnreachable, match="no service answers at http://") as raised:
        rest.client().run("x")
    assert raised.value.exit_code == 7
    assert "tumbler up" in raised.value.hint
    assert 2 < sum(rest.clock.slept) < 5
    assert not rest.client().ready()


def test_pages_are_fetched_when_they_are_needed(rest: FakeRest) -> None:
    pages = [
        {"runs": [run_json("a"), run_json("b")], "next_cursor": "more"},
        {"runs": [run_json("c")], "next_cursor": None},
    ]
    rest.on("GET", "/runs", *pages)
    runs = rest.client().runs(status=["RUNNING"], label=["team=nlp"])
    assert next(runs).name == "a"
    assert len(rest.requests) == 1
    assert [run.name for run in runs] == ["b", "c"]
    assert dict(rest.requests[1].url.params)["cursor"] == "more"
    assert dict(rest.requests[1].url.params)["label"] == "team=nlp"


def test_no_more_runs_come_than_were_asked_for(rest: FakeRest) -> None:
    rest.on("GET", "/runs", {"runs": [run_json("a"), run_json("b")], "next_cursor": "more"})
    assert [run.name for run in rest.client().runs(limit=2)] == ["a", "b"]
    assert len(rest.requests) == 1


def test_events_are_read_page_by_page(rest: FakeRest) -> None:
    many = [event_json(seq, "evaluated", "a") for seq in range(1, 60)] * 9
    rest.on("GET", "/runs/x/events", {"events": many[:500], "next_after": 500}, {"events": many[500:]})
    assert len(list(rest.client().events("x"))) == len(many)
    assert [request.url.params["after"] for request in rest.requests] == ["0", "500"]


def test_columns_become_points_without_what_a_step_does_not_have() -> None:
    columns = {"step": [1, 2], "loss": [2.5, 2.0], "val_loss": [None, 1.5]}
    assert points_of(columns) == [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.0, "val_loss": 1.5}]


def test_a_package_that_is_known_is_not_sent_again(rest: FakeRest) -> None:
    rest.on("HEAD", "/packages/abc", httpx2.Response(404), httpx2.Response(200))
    rest.on("PUT", "/packages/abc", httpx2.Response(201, json={}))
    assert rest.client().upload("abc", b"zip")
    assert not rest.client().upload("abc", b"zip")
    assert rest.asked() == ["HEAD /packages/abc", "PUT /packages/abc", "HEAD /packages/abc"]
    assert rest.requests[1].headers["Content-Type"] == "application/zip"


def streamed(client: Client, **options: Any) -> list[tuple[str, Any]]:
    return [(item.kind, item.data) for item in client.stream("x", **options)]


def test_a_stream_that_breaks_goes_on_where_it_was(rest: FakeRest) -> None:
    rest.streams = [
        [message("event", {"seq": 1}, "1.0"), b": keep\n\n", message("event", {"seq": 2}, "2.0"), LOST],
        [REFUSED],
        [],
        [message("event", {"seq": 3}, "3.0"), message("end", {"status": "SUCCEEDED"}, "3.0")],
    ]
    troubles: list[str] = []
    found = streamed(rest.client(), on_trouble=troubles.append)
    assert [data.get("seq") for _, data in found] == [1, 2, 3, None]
    assert [request.headers.get("Last-Event-ID") for request in rest.requests] == [None, "2.0", "2.0", "2.0"]
    assert len(troubles) == 1
    assert "training is not affected" in troubles[0]


def test_a_stream_may_begin_later_and_carry_logs(rest: FakeRest) -> None:
    rest.streams = [[message("end", {}, "9.9")]]
    assert streamed(rest.client(), last_id="5.0", logs=True) == [("end", {})]
    assert rest.requests[0].headers["Last-Event-ID"] == "5.0"
    assert rest.requests[0].url.params["logs"] == "true"


def test_a_stream_that_is_refused_is_not_tried_again(rest: FakeRest) -> None:
    with pytest.raises(RunNotFound):
        streamed(rest.client())
    assert len(rest.requests) == 1


def test_a_stream_waits_out_a_restart_of_a_minute_and_gives_up_after_two(rest: FakeRest) -> None:
    rest.on("GET", "/runs/x/stream", REFUSED)
    with pytest.raises(ServiceUnreachable, match="not heard of for 120 s"):
        streamed(rest.client())
    assert 60 < rest.clock.now_s < 130


def test_no_secret_proxy_stands_before_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:1")
    for url in ("http://127.0.0.1:8700", "http://localhost:8700", "http://[::1]:8700"):
        with Client(url) as client:
            assert client._wire._http.trust_env is False


def test_an_export_that_is_refused_raises_what_the_refusal_says(rest: FakeRest, tmp_path: Path) -> None:
    rest.on("GET", "/runs/x/checkpoints/5/export", problem(404, "checkpoint-not-found", "no step 5"))
    with pytest.raises(CheckpointNotFound, match="no step 5"):
        rest.client().export_checkpoint("x", 5, tmp_path)


@pytest.mark.parametrize("trouble", [LOST, REFUSED])
def test_an_export_whose_connection_breaks_is_a_sentence(
    trouble: httpx2.TransportError, rest: FakeRest, tmp_path: Path
) -> None:
    rest.on("GET", "/runs/x/checkpoints/5/export", trouble)
    with pytest.raises(ServiceUnreachable):
        rest.client().export_checkpoint("x", 5, tmp_path)


def test_a_checkpoint_is_verified_and_deleted_by_its_step(rest: FakeRest) -> None:
    rest.on("POST", "/runs/x/checkpoints/5/verify", LOST, {"ok": True, "problem": None})
    rest.on("DELETE", "/runs/x/checkpoints/5", httpx2.Response(204))
    assert rest.client().verify_checkpoint("x", 5)["ok"] is True
    rest.client().delete_checkpoint("x", 5)
    assert rest.asked()[-1] == "DELETE /runs/x/checkpoints/5"


def test_an_upload_goes_in_pieces_and_somebody_is_told() -> None:
    rest = FakeRest()
    rest.on("PUT", "/packages/abc", {})
    content, gone = b"x" * 1_000_001, list[int]()
    with rest.client() as service:
        assert service.upload("abc", content, went=gone.append)
    sent = next(request for request in rest.requests if request.method == "PUT")
    assert sent.headers["Content-Length"] == "1000001"
    assert "Transfer-Encoding" not in sent.headers
    assert sent.read() == content
    assert (sum(gone), len(gone)) == (1_000_001, 4)
