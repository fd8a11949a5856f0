"""A trace of real spot instances in fast motion, scaled down to a few nodes."""

import csv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Change:
    """From now on there are so many nodes."""

    at_s: float
    """Since the beginning, in fast motion."""
    nodes: int


def read_changes(path: Path, *, most: int, duration_s: float) -> list[Change]:
    """Lines `time_ms,add|remove,node`, as the traces of Bamboo have them (Thorpe et al., NSDI 2023).

    As many nodes as there were are brought to at most `most` in proportion, and never less than one; all of
    the time to `duration_s`.
    """
    there: set[str] = set()
    counts: list[tuple[float, int]] = []
    with path.open() as file:
        for time_ms, action, node in csv.reader(file):
            (there.add if action == "add" else there.discard)(node)
            counts.append((float(time_ms), len(there)))
    whole_ms, peak = counts[-1][0], max(count for _, count in counts)
    newest = {time_ms: max(1, round(count * most / peak)) for time_ms, count in counts}
    changes: list[Change] = []
    for time_ms, nodes in newest.items():
        if not changes or changes[-1].nodes != nodes:
            changes.append(Change(time_ms / whole_ms * duration_s, nodes))
    return changes
