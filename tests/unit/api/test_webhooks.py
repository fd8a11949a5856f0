"""Webhooks against a real HTTP server: signed, in order, again until they are taken, whatever dies."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.service.prometheus import Gauges, Seen
from api.settings import Settings, SettingsError, check_keys
from api.webhooks.announcer import Announcer
from api.webhooks.delivery import Delivery
from api.webhooks.standing import Standing, read_standing, standing_path
from api.webhooks.wish import Webhook
from orchestrator.domain.events import EventKind, event, timestamp
from orchestrator.domain.runs import Change, Run, RunEvent
from orchestrator.domain.status import RunStatus
from orchestrator.store.memory import MemoryRecord
from tests.unit.test_lifecycle import run_in

SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()


@dataclass
class Receiver:
    """What a receiver got, and how it answers."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    """The next statuses; 204 from then on. 0 hangs up without a word."""
    slow_s: float = 0.0
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
                body = await reader.readexactly(int(headers["content-length"]))
                self.got.append((headers, body))
                await asyncio.sleep(self.slow_s)
                status = self.answers.pop(0) if self.answers else 204
                if status == 0:
                    break
                if status < 300:
                    self.taken.append(headers["webhook-id"])
                location = "Location: http://127.0.0.1:9/\r\n" if status == 302 else ""
                writer.write(f"HTTP/1.1 {status} X\r\n{location}Content-Length: 0\r\n\r\n".encode())
                await writer.drain()
        writer.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    yield found
    server.close()


class World:
    """A record, and services on it that come and go."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.record = MemoryRecord()
        self.gauges = Gauges()
        self.pauses: list[float] = []

    async def begin(self, name: str = "otter", **changes: Any) -> Run:
        now = timestamp()
        run = run_in(RunStatus.RUNNING, id=f"id-{name}", name=name, created=now, updated=now, **changes)
        return (await self.record.add(Change(run))).run

    async def happens(self, run: Run, *kinds: EventKind, **facts: Any) -> None:
        events = tuple(event(kind, f"{kind} happened", **facts) for kind in kinds)
        await self.record.change(run.id, lambda old: Change(old.with_(updated=timestamp()), events))

    @contextlib.asynccontextmanager
    async def service(self, *wishes: Webhook) -> AsyncIterator[Announcer]:
        announcer = Announcer(wishes, self.record, self.home, self.gauges, lambda: True)
        task = asyncio.create_task(announcer.run())
        await eventually(lambda: all(standing_path(self.home, one.name).is_file() for one in wishes))
        try:
            yield announcer
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def text(self) -> str:
        return self.gauges.text(Seen()).decode()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("api.webhooks.delivery._PAUSES_S", (0.02,))
    return World(tmp_path)


async def eventually(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not look():
            await asyncio.sleep(0.01)


def hook(receiver: Receiver, *events: str, **changes: Any) -> Webhook:
    return Webhook.model_validate(
        {"url": receiver.url, "secret": SECRET, "events": events or ("*",), **changes}
    )


async def test_an_event_is_told_signed_as_the_standard_says(world: World, receiver: Receiver) -> None:
    async with world.service(hook(receiver)) as service:
        run = await world.begin()
        await world.happens(run, EventKind.WORKER_LOST, worker="w2")
        service.changed(run.id)
        await eventually(lambda: receiver.taken == ["id-otter.1"])
    headers, body = receiver.got[0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mac = base64.b64encode(hmac.new(b"k" * 24, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{mac}"
    content = json.loads(body)
    assert content["type"] == "run.worker-lost"
    assert content["data"]["event"]["facts"] == {"worker": "w2"}
    assert (content["data"]["run"]["name"], content["data"]["run"]["status"]) == ("otter", "RUNNING")
    assert SECRET not in body.decode()


async def test_what_is_refused_is_told_again_under_its_id_and_in_order(
    world: World, receiver: Receiver
) -> None:
    receiver.answers = [500, 0, 429, 302, 404]
    async with world.service(hook(receiver)) as service:
        run = await world.begin()
        await world.happens(run, EventKind.WORKER_LOST, EventKind.WORKER_WARM, worker="w2")
        service.changed(run.id)
        await eventually(lambda: "tumbler_webhook_failing" in world.text() and len(receiver.got) >= 2)
        await eventually(lambda: receiver.taken == ["id-otter.1", "id-otter.2"])
        await eventually(lambda: 'tumbler_webhook_failing{webhook="default"} 0.0' in world.text())
        delivered = 'tumbler_webhook_deliveries_total{outcome="delivered",webhook="default"} 2.0'
        await eventually(lambda: delivered in world.text())
    assert [headers["webhook-id"] for headers, _ in receiver.got] == ["id-otter.1"] * 6 + ["id-otter.2"]
    assert 'tumbler_webhook_deliveries_total{outcome="failed",webhook="default"} 5.0' in world.text()


def told(world: World) -> Mapping[str, int]:
    """Run id -> the newest event that was told, on the disk."""
    standing = read_standing(standing_path(world.home, "default"))
    return standing.done if standing is not None else {}


async def test_a_service_that_dies_loses_nothing_and_what_happens_meanwhile_is_told(
    world: World, receiver: Receiver
) -> None:
    receiver.answers = [500] * 1000
    async with world.service(hook(receiver)) as service:
        run = await world.begin()
        await world.happens(run, EventKind.WORKER_LOST, worker="w2")
        service.changed(run.id)
        await eventually(lambda: len(receiver.got) > 2)
        known = read_standing(standing_path(world.home, "default"))
        assert known is not None
        assert known.failing is not None
        assert "500" in known.failing.why
    receiver.answers.clear()
    await world.happens(run, EventKind.WORKER_WARM, worker="w3")
    other = await world.begin("owl")
    await world.happens(other, EventKind.RUN_SUBMITTED)
    async with world.service(hook(receiver)):
        await eventually(lambda: len(receiver.taken) == 3)
        # A service that ends before it has written down what was taken tells it again.
        await eventually(lambda: told(world) == {run.id: 2, other.id: 1})
    assert sorted(receiver.taken) == ["id-otter.1", "id-otter.2", "id-owl.1"]
    async with world.service(hook(receiver)):  # and nothing twice
        await asyncio.sleep(0.3)
    assert len(receiver.taken) == 3


async def test_a_new_webhook_is_not_told_the_past(world: World, receiver: Receiver) -> None:
    run = await world.begin()
    await world.happens(run, EventKind.WORKER_LOST, worker="w1")
    async with world.service(hook(receiver)) as service:
        await world.happens(run, EventKind.WORKER_LOST, worker="w2")
        service.changed(run.id)
        await eventually(lambda: receiver.taken == ["id-otter.2"])


async def test_only_what_was_asked_for_is_told(world: World, receiver: Receiver) -> None:
    wish = hook(receiver, "FAILED", "worker-lost", queues=("nlp",), labels={"team": "a"})
    async with world.service(wish) as service:
        run = await world.begin(queue="nlp", labels={"team": "a"})
        elsewhere = await world.begin("owl", queue="vision", labels={"team": "a"})
        theirs = await world.begin("elk", queue="nlp", labels={"team": "b"})
        for one in (elsewhere, theirs, run):
            await world.happens(one, EventKind.WORKER_WARM, EventKind.WORKER_LOST, worker="w1")
            await world.happens(one, EventKind.STATUS_MOVED, **{"from": "RUNNING", "to": "QUEUED"})
            await world.happens(one, EventKind.STATUS_MOVED, **{"from": "RUNNING", "to": "FAILED"})
        service.changed(run.id)
        await eventually(lambda: len(receiver.taken) == 2)
    assert receiver.taken == ["id-otter.2", "id-otter.4"]


async def test_a_slow_receiver_holds_up_no_other_and_no_change(world: World, receiver: Receiver) -> None:
    slow = Receiver(slow_s=3.0)
    server = await asyncio.start_server(slow.serve, "127.0.0.1", 0)
    slow.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with world.service(hook(receiver), hook(slow, name="slow")) as service:
        run = await world.begin()
        async with asyncio.timeout(2.5):
            for _ in range(5):
                await world.happens(run, EventKind.WORKER_LOST, worker="w1")
                service.changed(run.id)
            await eventually(lambda: len(receiver.taken) == 5)
        assert slow.taken == []
    server.close()


async def test_a_run_that_was_removed_holds_up_nothing(world: World, receiver: Receiver) -> None:
    receiver.answers = [500] * 3
    async with world.service(hook(receiver)) as service:
        run, other = await world.begin(), await world.begin("owl")
        await world.happens(run, EventKind.WORKER_LOST, worker="w1")
        service.changed(run.id)
        await eventually(lambda: len(receiver.got) > 0)
        await world.record.remove(run.id, lambda run: None)
        await world.happens(other, EventKind.WORKER_LOST, worker="w1")
        service.changed(other.id)
        await eventually(lambda: receiver.taken[-1:] == ["id-owl.1"])


async def test_an_event_that_is_never_taken_is_passed_over_after_days(
    world: World, receiver: Receiver
) -> None:
    receiver.answers = [400] * 3
    run = await world.begin()
    days = iter(range(100))
    async with httpx2.AsyncClient() as client:
        path = standing_path(world.home, "default")
        one = Delivery(
            hook(receiver),
            b"k" * 24,
            world.record,
            client,
            path,
            world.gauges,
            clock=lambda: 86400.0 * next(days),
        )
        await one.load([run], timestamp())
        await world.happens(run, EventKind.WORKER_LOST, EventKind.WORKER_WARM, worker="w1")
        one.due([await world.record.find(run.id)])
        task = asyncio.create_task(one.work())
        await eventually(lambda: receiver.taken == ["id-otter.2"])
        task.cancel()
    assert 'tumbler_webhook_deliveries_total{outcome="dropped",webhook="default"} 1.0' in world.text()


def test_runs_that_ended_long_ago_are_forgotten_and_not_told_again() -> None:
    ended = run_in(RunStatus.SUCCEEDED, id="a", created="2026-01-01", updated="2026-01-02")
    living = run_in(RunStatus.RUNNING, id="b", created="2026-01-01", updated="2026-01-02")
    standing = Standing(floor="2026-01-01", done={"a": 5, "b": 7}).raised("2026-02-01", [ended, living])
    assert standing == Standing(floor="2026-02-01", done={"b": 7})
    old, new = (
        RunEvent("a", n, time, "run-changed", "") for n, time in ((5, "2026-01-02"), (6, "2026-03-01"))
    )
    assert [standing.is_due(ended, one) for one in (old, new)] == [False, True]


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ('url = "file:///etc/passwd"\nsecret = "%s"', "url: expected an address"),
        ('url = "http://a:b@c/"\nsecret = "%s"', "no user and password"),
        ('url = "http://c/"', "either secret or secret_env"),
        ('url = "http://c/"\nsecret = "%s"\nevents = ["worker-lots"]', "got worker-lots"),
        ('url = "http://c/"\nsecret = "%s"\nevent = ["FAILED"]', "0.event"),
        ('url = "http://c/"\nsecret = "short-secret"', "shorter than 16 bytes"),
        ('url = "http://c/"\nsecret_env = "NOT_THERE"', "NOT_THERE is not set"),
    ],
)
def test_what_is_wrong_is_said_without_the_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toml: str, sentence: str
) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[[webhooks]]\n" + toml.replace("%s", SECRET))
    monkeypatch.setattr("api.settings.config_file", lambda: path)
    with pytest.raises(SettingsError) as caught:
        check_keys(Settings.load(home=str(tmp_path)))
    assert sentence in caught.value.message
    assert "whsec_" not in caught.value.message
    assert "short-secret" not in caught.value.message
