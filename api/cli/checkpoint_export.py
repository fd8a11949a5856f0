"""`tumbler checkpoint export`: the model of a checkpoint as a folder that anybody can load."""

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated
from uuid import uuid4

from cyclopts import Parameter

from api.checkpoints import BEST, NEWEST, choose_step
from api.cli.arguments import Folder, Reference
from api.cli.checkpoint_places import checkpoints_near
from api.cli.errors import FileExists, Usage
from api.cli.output import tell
from orchestrator.domain.disk import storage_errors, sync_path
from orchestrator.domain.errors import CheckpointError


def export(
    run: Reference,
    folder: Annotated[Path, Parameter(name="FOLDER")],
    /,
    *,
    step: str = NEWEST,
    storage: Folder = None,
) -> None:
    """Take the model of a checkpoint away: weights, config, tokenizer and network, loadable without Tumbler.

    Parameters
    ----------
    folder
        Where to; made if it is not there, and never one with something in it.
    step
        A number, `newest`, or `best`: by checkpoint.keep_best of the spec, else by the lowest val_loss.
    """
    if step not in (NEWEST, BEST) and not (step.isascii() and step.isdigit()):
        raise Usage(f"expected a step such as 100, `{NEWEST}` or `{BEST}`, got '{step}'")
    with checkpoints_near(run, storage) as found, new_folder(folder) as aside:
        known = [(row["step"], row.get("metrics") or {}) for row in found.rows()]
        chosen = choose_step(found.name, step, known, found.spec().checkpoint.keep_best)
        try:
            sentences = found.export(chosen, aside)
        except CheckpointError as error:
            hint = f"`tumbler checkpoint verify {found.name}` says which checkpoints are whole"
            raise CheckpointError(error.message, hint=error.hint or hint) from error
        for sentence in sentences:
            tell(sentence)
    tell(f"step {chosen} of {found.name} is in {folder}")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder beside it to be filled, which takes its place when the body has ended well.

    Raises FileExists where something is in the way, before the body and after it; StorageError.
    """
    target = folder.expanduser().absolute()
    _refuse_full(target, folder)
    aside = target.with_name(f".{target.name}.{uuid4().hex[:12]}")
    with _folder_errors("create", folder):
        target.parent.mkdir(parents=True, exist_ok=True)
        aside.mkdir()
    try:
        yield aside
        try:
            aside.rename(target)
        except OSError:
            _refuse_full(target, folder)  # somebody was faster
            with _folder_errors("create", folder):
                raise
        with _folder_errors("create", folder):
            sync_path(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _folder_errors(action: str, folder: Path) -> AbstractContextManager[None]:
    """No setting of the run changes where an export goes."""
    return storage_errors(action, folder, setting="FOLDER")


def _refuse_full(target: Path, folder: Path) -> None:
    with _folder_errors("look into", folder):
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            raise FileExists(f"{folder} is a file or a link", hint="choose another folder")
        if target.is_dir() and os.listdir(target):
            raise FileExists(
                f"{folder} has something in it, and an export overwrites nothing",
                hint="choose another folder",
            )
