"""For measurements: TUMBLER_STEP_LOG names a folder in which every worker logs every step it applies."""

import json
import os
from pathlib import Path

from trainers.elastic.messages import StepPoint


class StepLog:
    def __init__(self) -> None:
        folder = os.environ.get("TUMBLER_STEP_LOG")
        self._path = Path(folder, f"{os.getpid()}.jsonl") if folder else None

    def write(self, point: StepPoint, rank: int) -> None:
        if self._path is None:
            return
        applied = {"t": point.time_s, "step": point.step, "rank": rank, "world": point.world_size}
        with self._path.open("a") as file:
            file.write(json.dumps({**applied, "pid": os.getpid()}) + "\n")
