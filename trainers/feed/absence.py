"""Whether there is anything at a path or glob, without what it takes to read it."""

import glob
import os


def absence(files: str) -> str | None:
    """Why there is nothing, as the end of a sentence about `data.source`; None where there is something."""
    path = os.path.abspath(os.path.expanduser(files))
    if os.path.lexists(path):
        return None
    if not glob.has_magic(path):
        return f"{path} does not exist"
    matches = (match for match in glob.iglob(path, recursive=True) if not os.path.isdir(match))
    return None if next(matches, None) is not None else f"{path} matches no file"
