"""How committed checkpoints are named and found; what is in them is the trainers' business."""

from pathlib import Path

MANIFEST = "manifest.json"
"""The file that makes a folder a committed checkpoint."""


def checkpoint_name(step: int) -> str:
    return f"step-{step:08d}"


def find_checkpoints(folder: Path) -> list[Path]:
    """Committed checkpoints in `folder`, newest first; whether they are good shows when they are read."""
    return sorted((manifest.parent for manifest in folder.glob(f"step-*[0-9]/{MANIFEST}")), reverse=True)
