"""User code as it is shipped to a cluster: the tasks of these tests under a name of their own."""

import shutil
from pathlib import Path
from typing import Any


def paced_code(folder: Path) -> Path:
    """A working directory from which `paced:Paced` can be loaded."""
    shutil.copy(Path(__file__).with_name("tasks.py"), folder / "paced.py")
    return folder


def paced_spec(
    name: str, code: Path, *, pause_s: float, steps: int, checkpoint: dict[str, Any]
) -> dict[str, Any]:
    """Of a run with that code; the pause decides how long it takes, and not what comes out."""
    return {
        "name": name,
        "task": "paced:Paced",
        "workers": 2,
        "model": {"pause_s": pause_s},
        "code": {"working_dir": str(code)},
        "train": {"steps": steps, "global_batch": 16, "logical_shards": 8, "evaluate_rows": 64},
        "checkpoint": checkpoint,
    }
