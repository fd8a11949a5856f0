"""One event as a message of the Standard Webhooks (https://www.standardwebhooks.com)."""

import base64
import hashlib
import hmac
from dataclasses import dataclass

from pydantic_core import to_json

from api.service.representations import event_dict, run_dict
from orchestrator.domain.runs import Run, RunEvent


@dataclass(frozen=True)
class Message:
    id: str
    """The same however often it is sent: by it a receiver knows that it had it."""
    body: bytes

    def headers(self, key: bytes, now_s: float) -> dict[str, str]:
        """Signed anew each time: an old message, sent again by somebody else, shows by its time."""
        sent = str(int(now_s))
        return {
            "Content-Type": "application/json",
            "User-Agent": "tumbler",
            "webhook-id": self.id,
            "webhook-timestamp": sent,
            "webhook-signature": signature(key, self.id, sent, self.body),
        }


def message_of(run: Run, event: RunEvent) -> Message:
    """`type` is `run.` and the kind of the event; `data` has the event, and the run as it is now."""
    content = {
        "type": f"run.{event.kind}",
        "timestamp": event.time,
        "data": {"event": event_dict(event), "run": run_dict(run)},
    }
    return Message(f"{event.run_id}.{event.seq}", to_json(content, inf_nan_mode="strings"))


def signature(key: bytes, message_id: str, sent: str, body: bytes) -> str:
    """HMAC-SHA256 over `id.timestamp.body`, in base64 behind `v1,`."""
    signed = hmac.new(key, f"{message_id}.{sent}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"
