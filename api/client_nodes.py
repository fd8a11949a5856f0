"""What the client asks of nodes and of single workers; a part of `api.client.Client`."""

import json
from typing import Any
from urllib.parse import quote

from api.client_types import NodeInfo, Nodes, RunInfo
from api.client_wire import Wire

_JSON = {"Content-Type": "application/json"}


class NodeCalls:
    """Each may be said again without harm. Raises NodeNotFound, WorkerNotFound, WrongStatus."""

    _wire: Wire

    def nodes(self) -> Nodes:
        return Nodes.model_validate_json(self._wire.send("GET", "/cluster/nodes").content)

    def cordon(self, node: str) -> NodeInfo:
        """By id or a prefix of one, host name or address."""
        return self._said_of(node, "cordon")

    def uncordon(self, node: str) -> NodeInfo:
        return self._said_of(node, "uncordon")

    def drain(self, node: str, *, deadline_s: float | None = None, reason: str = "") -> NodeInfo:
        wish: dict[str, Any] = {"reason": reason}
        if deadline_s is not None:
            wish["deadline_s"] = deadline_s
        return self._said_of(node, "drain", json.dumps(wish).encode())

    def drain_worker(self, reference: str, worker: str) -> RunInfo:
        answer = self._wire.send("POST", f"{_worker(reference, worker)}/drain", repeatable=True)
        return RunInfo.model_validate_json(answer.content)

    def kill_worker(self, reference: str, worker: str) -> RunInfo:
        answer = self._wire.send("DELETE", _worker(reference, worker))
        return RunInfo.model_validate_json(answer.content)

    def _said_of(self, node: str, verb: str, content: bytes = b"{}") -> NodeInfo:
        path = f"/cluster/nodes/{quote(node, safe='')}/{verb}"
        # Ray is told by a command of its own, which takes seconds.
        answer = self._wire.send("POST", path, content=content, headers=_JSON, repeatable=True, timeout=60.0)
        return NodeInfo.model_validate_json(answer.content)


def _worker(reference: str, worker: str) -> str:
    return f"/runs/{quote(reference, safe='')}/workers/{quote(worker, safe='')}"
