"""The typed client of the service's REST interface. Imports neither ray nor torch."""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

import httpx2

from api.client_exports import Heard, Pieces, told, unheard, unpack
from api.client_goodput import GoodputCalls
from api.client_nodes import NodeCalls
from api.client_streams import StreamEvent, follow
from api.client_types import (
    Answer,
    AttemptInfo,
    EventInfo,
    GenerationInfo,
    LogPage,
    Plan,
    RunInfo,
    RunPage,
)
from api.client_wire import Wire, encoded
from orchestrator.domain.audit import AuditReport

_EVENTS: Final = 500
"""On a page."""
_UPLOAD_S: Final = 300.0
_WHOLE_CHECKPOINT_S: Final = 3600.0
"""Until the service has read one of a terabyte."""

_Answer = TypeVar("_Answer", bound=Answer)


class Client(GoodputCalls, NodeCalls):
    """One service. Every method raises the error that the service answered with, such as RunNotFound or
    SpecError, and ServiceUnreachable where nobody answers.

    A call is tried again when the connection breaks, as long as that cannot do anything twice.
    """

    def __init__(
        self,
        url: str,
        *,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wire = Wire(url, transport=transport, sleep=sleep, monotonic=monotonic)
        self.sleep = sleep
        self.monotonic = monotonic

    @property
    def url(self) -> str:
        return self._wire.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._wire.close()

    def submit(
        self, spec: str | Mapping[str, Any], *, content_type: str | None = None, key: str | None = None
    ) -> RunInfo:
        """A new run, from a mapping or the text of a spec (YAML unless `content_type` says otherwise).

        `key` is made up where it is not given: a reply that was lost never makes a second run.
        """
        body, kind = encoded(spec, content_type)
        headers = {"Content-Type": kind, "Idempotency-Key": key or uuid.uuid4().hex}
        response = self._wire.send("POST", "/runs", content=body, headers=headers, repeatable=True)
        return _parsed(RunInfo, response)

    def plan(self, spec: str | Mapping[str, Any], *, content_type: str | None = None) -> Plan:
        """What a submit would do; nothing is kept."""
        body, kind = encoded(spec, content_type)
        headers = {"Content-Type": kind}
        response = self._wire.send(
            "POST", "/runs", content=body, headers=headers, params={"dry_run": "true"}, repeatable=True
        )
        return _parsed(Plan, response)

    def runs(self, *, limit: int | None = None, **conditions: Any) -> Iterator[RunInfo]:
        """Runs, the newest first unless `sort` says otherwise; a page is fetched when it is needed.

        Conditions are those of GET /runs: status, label (`key=value`; both may be sequences), queue, name,
        since, sort. None is no condition.
        """
        cursor, left = None, limit
        while left is None or left > 0:
            params = {**conditions, "limit": min(left or 100, 500), "cursor": cursor}
            page = _parsed(RunPage, self._wire.send("GET", "/runs", params=params))
            yield from page.runs if left is None else page.runs[:left]
            left = None if left is None else left - len(page.runs)
            cursor = page.next_cursor
            if cursor is None:
                return

    def run(self, reference: str) -> RunInfo:
        """By id, name or unique prefix."""
        return _parsed(RunInfo, self._wire.send("GET", _of(reference)))

    def patch(self, reference: str, changes: Mapping[str, Any], *, version: int | None = None) -> RunInfo:
        """A merge patch of labels, priority and workers.

        Raises Stale where the run is no longer `version`; None changes it whatever it is.
        """
        seen = "*" if version is None else f'"{version}"'
        headers = {"If-Match": seen, "Content-Type": "application/json"}
        content = json.dumps(changes).encode()
        return _parsed(RunInfo, self._wire.send("PATCH", _of(reference), content=content, headers=headers))

    def pause(self, reference: str) -> RunInfo:
        return self._verb(reference, "pause")

    def resume(self, reference: str) -> RunInfo:
        return self._verb(reference, "resume")

    def cancel(self, reference: str) -> RunInfo:
        return self._verb(reference, "cancel")

    def take_checkpoint(self, reference: str) -> RunInfo:
        return self._verb(reference, "checkpoint")

    def scale(self, reference: str, workers: int | Mapping[str, int]) -> RunInfo:
        """To a number of workers, or to new bounds: `{"min": 2, "max": 4}`."""
        return self._verb(reference, "scale", {"workers": workers} if isinstance(workers, int) else workers)

    def retry(self, reference: str) -> RunInfo:
        """A new run that does again what a failed or cancelled one did."""
        return self._verb(reference, "retry", repeatable=False)

    def clone(
        self, reference: str, *, name: str | None = None, overrides: Mapping[str, Any] | None = None
    ) -> RunInfo:
        """A new run from the same spec, but for overrides such as `{"train.steps": 50}`."""
        wish: dict[str, Any] = {} if name is None else {"name": name}
        if overrides:
            wish["overrides"] = dict(overrides)
        return self._verb(reference, "clone", wish, repeatable=False)

    def delete(self, reference: str, *, keep_files: bool = False) -> None:
        """Forget an ended run and remove its directory."""
        self._wire.send("DELETE", _of(reference), params={"keep_files": "true"} if keep_files else None)

    def attempts(self, reference: str) -> list[AttemptInfo]:
        return self._list(AttemptInfo, reference, "attempts")

    def generations(self, reference: str) -> list[GenerationInfo]:
        return self._list(GenerationInfo, reference, "generations")

    def workers(self, reference: str) -> list[dict[str, Any]]:
        return self._rows(f"{_of(reference)}/workers", "workers")

    def checkpoints(self, reference: str) -> list[dict[str, Any]]:
        return self._rows(f"{_of(reference)}/checkpoints", "checkpoints")

    def verify_checkpoint(self, reference: str, step: int) -> dict[str, Any]:
        """Reads all of it; `problem` in the answer is None where it is whole."""
        path = f"{_of(reference)}/checkpoints/{step}/verify"
        response = self._wire.send("POST", path, repeatable=True, timeout=_WHOLE_CHECKPOINT_S)
        found: dict[str, Any] = response.json()
        return found

    def delete_checkpoint(self, reference: str, step: int) -> None:
        """Raises WrongStatus where the run, which is not over, would go on from it."""
        self._wire.send("DELETE", f"{_of(reference)}/checkpoints/{step}")

    def export_checkpoint(self, reference: str, step: int, folder: Path, *, came: Heard = unheard) -> None:
        """The files of its model into an empty folder; `came` is told of bytes as they come."""
        path = f"{_of(reference)}/checkpoints/{step}/export"
        with self._wire.download(path, timeout_s=_WHOLE_CHECKPOINT_S) as chunks:
            unpack(told(chunks, came), folder)

    def audit(self, reference: str) -> AuditReport:
        """Whether each row of each epoch was used once, and the hash chain; what is wrong is in it."""
        return AuditReport.model_validate_json(self._wire.send("GET", f"{_of(reference)}/audit").content)

    def metrics(
        self, reference: str, *, keys: Sequence[str] = (), max_points: int | None = None
    ) -> dict[str, Any]:
        """Columns of equal length by name, `step` among them; see `client_types.points_of`."""
        params = {"keys": ",".join(keys) or None, "max_points": max_points}
        found: dict[str, Any] = self._wire.send("GET", f"{_of(reference)}/metrics", params=params).json()
        return found

    def events(self, reference: str, *, after: int = 0) -> Iterator[EventInfo]:
        """All that there are now after a sequence number, page by page."""
        while True:
            params = {"after": after, "limit": _EVENTS}
            answer = self._wire.send("GET", f"{_of(reference)}/events", params=params).json()
            yield from (EventInfo.model_validate(one) for one in answer["events"])
            if len(answer["events"]) < _EVENTS:
                return
            after = answer["next_after"]

    def logs(
        self,
        reference: str,
        *,
        worker: str | None = None,
        attempt: int | None = None,
        tail: int | None = None,
        since: str | None = None,
    ) -> LogPage:
        """Lines of the workers; `since` is the `next` of the page before."""
        params = {"worker": worker, "attempt": attempt, "tail": tail, "since": since}
        return _parsed(LogPage, self._wire.send("GET", f"{_of(reference)}/logs", params=params))

    def stream(
        self,
        reference: str,
        *,
        logs: bool = False,
        last_id: str = "",
        on_trouble: Callable[[str], None] = lambda sentence: None,
    ) -> Iterator[StreamEvent]:
        """What happens to a run as it happens, until it has ended; survives a restart of the service."""

        def connect(after: str) -> AbstractContextManager[httpx2.Response]:
            params = {"logs": "true"} if logs else None
            return self._wire.open_stream(f"{_of(reference)}/stream", params=params, after=after)

        return follow(
            connect, last_id=last_id, on_trouble=on_trouble, sleep=self.sleep, monotonic=self.monotonic
        )

    def queues(self) -> list[dict[str, Any]]:
        """Those with a quota, a weight or a run that is not over."""
        return self._rows("/queues", "queues")

    def put_queue(self, name: str, queue: Mapping[str, Any]) -> dict[str, Any]:
        """Set all of `quota` and `weight`; what is left out has no limit, and the weight 1."""
        content, headers = json.dumps(queue).encode(), {"Content-Type": "application/json"}
        path = f"/queues/{quote(name, safe='')}"
        shown: dict[str, Any] = self._wire.send("PUT", path, content=content, headers=headers).json()
        return shown

    def datasets(self) -> list[dict[str, Any]]:
        return self._rows("/datasets", "datasets")

    def tasks(self) -> list[dict[str, Any]]:
        return self._rows("/tasks", "tasks")

    def version(self) -> dict[str, Any]:
        found: dict[str, Any] = self._wire.send("GET", "/version").json()
        return found

    def ready(self) -> bool:
        """Whether it takes submits; asks once and never raises."""
        return self._wire.answers("/readyz")

    def upload(self, sha256: str, content: bytes, *, went: Heard = unheard) -> bool:
        """Bring a package; False where the service had it. `went` is told of bytes as they go."""
        path = f"/packages/{sha256}"
        if self._wire.ask("HEAD", path).status_code < 300:
            return False
        headers = {"Content-Type": "application/zip", "Content-Length": str(len(content))}
        self._wire.send("PUT", path, content=Pieces(content, went), headers=headers, timeout=_UPLOAD_S)
        return True

    def _verb(
        self, reference: str, verb: str, wish: Mapping[str, Any] | None = None, *, repeatable: bool = True
    ) -> RunInfo:
        content = json.dumps(wish or {}).encode()
        headers = {"Content-Type": "application/json"}
        path = f"{_of(reference)}/{verb}"
        response = self._wire.send("POST", path, content=content, headers=headers, repeatable=repeatable)
        return _parsed(RunInfo, response)

    def _list(self, kind: type[_Answer], reference: str, what: str) -> list[_Answer]:
        return [kind.model_validate(one) for one in self._rows(f"{_of(reference)}/{what}", what)]

    def _rows(self, path: str, key: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._wire.send("GET", path).json()[key]
        return found


def _of(reference: str) -> str:
    return f"/runs/{quote(reference, safe='')}"


def _parsed(kind: type[_Answer], response: httpx2.Response) -> _Answer:
    return kind.model_validate_json(response.content)
