"""Where the next page of a listing begins: after one run, in the order of one query."""

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.domain.errors import BadCursor
from orchestrator.domain.runs import Run
from orchestrator.ports.record import RunQuery

SORTS: Final = ("created", "name", "priority", "updated")


@dataclass(frozen=True)
class Order:
    field: str
    """A field of Run; runs that are alike in it come by id."""
    descending: bool

    def place(self, run: Run) -> tuple[Any, str]:
        """What runs are sorted by."""
        return getattr(run, self.field), run.id


def order_of(query: RunQuery) -> Order:
    """Raises ValueError for a sort that there is not."""
    field = query.sort.removeprefix("-")
    if field not in SORTS:
        raise ValueError(
            f"expected a sort of {', '.join(SORTS)} or one of them after a dash, got {query.sort!r}"
        )
    return Order(field, descending=field != query.sort)


def cursor_after(query: RunQuery, run: Run) -> str:
    """The cursor of the page that begins after `run`."""
    content = json.dumps([_digest(query), *order_of(query).place(run)])
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def place_of(query: RunQuery) -> tuple[Any, str] | None:
    """The place after which the page begins; None for the first page. Raises BadCursor."""
    if query.cursor is None:
        return None
    try:
        padded = query.cursor.encode() + b"=" * (-len(query.cursor) % 4)
        digest, value, run_id = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, TypeError):
        digest = value = run_id = None
    kind = int if order_of(query).field == "priority" else str
    if digest != _digest(query) or type(value) is not kind or type(run_id) is not str or not _binds(value):
        raise BadCursor(
            "the cursor is not from a page of this listing",
            hint="leave it out for the first page, and keep filters and sort for the next ones",
        )
    return value, run_id


def _binds(value: int | str) -> bool:
    """A cursor that somebody made up may hold what no database takes."""
    return abs(value) < 1 << 63 if isinstance(value, int) else value.isascii()


def _digest(query: RunQuery) -> str:
    conditions = [
        sorted(query.statuses),
        sorted((query.labels or {}).items()),
        query.queue,
        query.name,
        query.part,
        query.since,
        query.sort,
    ]
    return hashlib.sha256(json.dumps(conditions).encode()).hexdigest()[:16]
