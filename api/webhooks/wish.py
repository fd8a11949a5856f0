"""What an operator asks for: whom to tell of which events. A `[[webhooks]]` table of the settings file."""

import base64
import binascii
import os
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from orchestrator.domain.events import EventKind
from orchestrator.domain.runs import Run, RunEvent
from orchestrator.domain.status import RunStatus

_ENDINGS: Final = tuple(status.value for status in RunStatus if status.terminal)
_KNOWN: Final = frozenset([*(status.value for status in RunStatus), *(kind.value for kind in EventKind)])
_STANDARD: Final = "whsec_"
_SHORTEST_KEY: Final = 16


class Webhook(BaseModel):
    """One receiver. Frozen; the secret shows in no message and no log."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    url: str
    """http or https, as the operator says: nobody who submits a run can choose it."""
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")] = "default"
    """By what metrics, logs and `tumbler doctor` call it; where it stands is kept under this name."""
    secret: SecretStr | None = None
    """The key of its signatures, in base64 behind `whsec_` or as text of 16 characters at least."""
    secret_env: str | None = None
    """The environment variable of the service that holds it, instead."""
    events: tuple[str, ...] = _ENDINGS
    """Statuses, for a run that comes to it, and kinds of events; `*` for all."""
    queues: tuple[str, ...] = ()
    """Only of runs of these queues; of all where there is none."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Only of runs that carry all of these."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url: expected an address such as https://example.org/hook")
        if parts.username or parts.password:
            raise ValueError("url: expected no user and password in it; receivers check the signature")
        if (self.secret is None) == (self.secret_env is None):
            raise ValueError("expected either secret or secret_env")
        unknown = [one for one in self.events if one not in _KNOWN and one != "*"]
        if unknown:
            raise ValueError(f"events: expected statuses, kinds of events or *, got {', '.join(unknown)}")
        return self

    def key(self) -> bytes:
        """Raises ValueError where the secret is not there or is none."""
        text = (
            os.environ.get(self.secret_env or "", "")
            if self.secret is None
            else self.secret.get_secret_value()
        )
        if not text and self.secret_env:
            raise ValueError(f"the environment variable {self.secret_env} is not set")
        if text.startswith(_STANDARD):
            try:
                key = base64.b64decode(text.removeprefix(_STANDARD), validate=True)
            except binascii.Error:
                raise ValueError("the secret behind whsec_ is no base64") from None
        else:
            key = text.encode()
        if len(key) < _SHORTEST_KEY:
            raise ValueError(f"the secret is shorter than {_SHORTEST_KEY} bytes")
        return key

    def wants(self, run: Run, event: RunEvent) -> bool:
        if self.queues and run.queue not in self.queues:
            return False
        if any(run.labels.get(name) != value for name, value in self.labels.items()):
            return False
        moved = event.facts.get("to") if event.kind == EventKind.STATUS_MOVED else None
        return "*" in self.events or event.kind in self.events or moved in self.events
