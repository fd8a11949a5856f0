"""The metric points of a run, from its journal: what was undone is left out."""

from typing import Any

from orchestrator.domain.journal import read_journal
from orchestrator.domain.run_directory import RunDirectory

Point = dict[str, Any]
"""One step: `step`, `time` (seconds since 1970), `step_s`, `workers`, `generation`, and the metrics; those
of an evaluation at that step are among them."""

_ABOUT_THE_STEP = ("seq", "step", "time", "step_s", "workers", "generation", "kind")


def read_points(run: RunDirectory) -> list[Point]:
    """All points in the order of their steps. Raises StorageError where the journal is broken."""
    points: dict[int, Point] = {}
    for record in read_journal(run.outbox, "metrics"):
        step = record["step"]
        match record.get("kind"):
            case None:
                points[step] = {key: value for key, value in record.items() if key != "seq"}
            case "rewind":
                points = {known: point for known, point in points.items() if known <= step}
            case "evaluation":
                points.setdefault(step, {"step": step}).update(metrics_of(record))
            case _:
                pass  # a note of a later version
    return [points[step] for step in sorted(points)]


def metrics_of(record: Point) -> dict[str, float]:
    """Only what was measured, without when and by how many."""
    return {key: value for key, value in record.items() if key not in _ABOUT_THE_STEP}


def thin_out(points: list[Point], max_points: int) -> list[Point]:
    """At most `max_points` of them, evenly spread, the first and the last among them."""
    if len(points) <= max_points:
        return points
    if max_points == 1:
        return points[-1:]
    last = len(points) - 1
    return [points[round(index * last / (max_points - 1))] for index in range(max_points)]
