"""Runs of the service, in the words and columns that people see."""

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from api.cli.output import number
from api.client_types import RunInfo
from orchestrator.domain.status import RunStatus

LIST_COLUMNS = ("name", "status", "step", "loss", "workers", "age", "waits for")
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


def row_of(run: RunInfo, now: datetime | None = None) -> tuple[object, ...]:
    """One line of `tumbler ls`; see LIST_COLUMNS."""
    return (
        run.name,
        run.status,
        progress_of(run),
        number(run.metrics.get("loss")),
        workers_of(run),
        age(run.created, now),
        run.wait.why if run.wait else None,
    )


def lines_about(run: RunInfo) -> dict[str, object]:
    """What people want to see first about one run."""
    fields = {
        "run": run.name,
        "id": run.id,
        "status": run.status,
        "reason": run.reason,
        "message": run.message,
        "phase": run.phase,
        "waits for": _wait(run),
        "what": _what(run),
        "step": progress_of(run),
        "workers": f"{run.workers.now} now, {run.workers.target} granted, "
        f"{run.workers.min} to {run.workers.max} wanted",
        "generation": run.generation or None,
        "attempt": run.attempt or None,
        "metrics": ", ".join(f"{name} {number(value)}" for name, value in run.metrics.items()),
        "labels": ", ".join(f"{key}={value}" for key, value in run.labels.items()),
        "queue": f"{run.queue}, priority {run.priority}",
        "created": run.created,
        "started": run.started,
        "ended": run.ended,
        "checkpoint": run.checkpoint,
        "parameters": run.parameters_sha256,
        "path": run.path,
    }
    return {name: value for name, value in fields.items() if value not in (None, "")}


def progress_of(run: RunInfo) -> str:
    return f"{run.step}/{run.total_steps}" if run.total_steps else str(run.step)


def workers_of(run: RunInfo) -> str:
    """Such as `2/4`: in the newest generation, and granted; empty where nobody trains."""
    return (
        ""
        if run.over or not (run.workers.now or run.workers.target)
        else (f"{run.workers.now}/{run.workers.target}")
    )


def age(since: str | None, now: datetime | None = None) -> str:
    """Such as `42s`, `5m`, `3h` or `12d`."""
    if since is None:
        return ""
    seconds = max(0, int(((now or datetime.now(UTC)) - datetime.fromisoformat(since)).total_seconds()))
    if seconds < 2 * _MINUTE_S:
        return f"{seconds}s"
    if seconds < 2 * _HOUR_S:
        return f"{seconds // _MINUTE_S}m"
    return f"{seconds // _HOUR_S}h" if seconds < 2 * _DAY_S else f"{seconds // _DAY_S}d"


def next_commands(run: RunInfo) -> list[str]:
    """What is worth typing now, ready to be copied."""
    name = shlex.quote(run.name)
    words = [f"tumbler {one.format(name)}" for one in _NEXT.get(run.status, _NEXT[RunStatus.RUNNING])]
    if run.status == RunStatus.QUEUED and run.workers.min > 1:
        words.insert(1, f"tumbler scale {name} 1:{run.workers.max}")
    return words


_NEXT: dict[str, Sequence[str]] = {
    RunStatus.QUEUED: ("watch {}", "nodes ls", "cancel {}"),
    RunStatus.STARTING: ("watch {}", "logs {} -f", "cancel {}"),
    RunStatus.RUNNING: ("watch {}", "logs {} -f", "metrics {} --keys loss", "pause {}", "cancel {}"),
    RunStatus.PAUSING: ("watch {}", "cancel {}"),
    RunStatus.PAUSED: ("resume {}", "checkpoint ls {}", "cancel {}"),
    RunStatus.CANCELLING: ("wait {}",),
    RunStatus.SUCCEEDED: ("metrics {}", "audit {}", "checkpoint ls {}"),
    RunStatus.FAILED: ("events {}", "logs {} --tail 50", "retry {}"),
    RunStatus.CANCELLED: ("events {}", "retry {}", "rm {}"),
}


def _wait(run: RunInfo) -> str | None:
    if run.wait is None:
        return None
    place = f"place {run.wait.position} in the queue" if run.wait.position else ""
    return "; ".join(filter(None, (run.wait.why, place))) or None


def _what(run: RunInfo) -> Any:
    spec = run.spec or {}
    return spec.get("task") or spec.get("entrypoint") or spec.get("command")
