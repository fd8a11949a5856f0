"""What is checked before anything starts: all that can be known without a cluster."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

from orchestrator.domain.errors import Problem, SpecError
from orchestrator.domain.run_directory import storage_path
from orchestrator.domain.spec import RunSpec
from trainers.task_registry import check_model_config, load_task

OUR_PACKAGES = ("api", "cluster", "orchestrator", "trainers")


def at_the_door(spec: RunSpec, *, served: bool = False) -> RunSpec:
    """The spec with its paths made absolute, after everything that can be refused here has been.

    `served` says that a service has set up the environment: what the spec wants of it is there.
    Raises SpecError with all problems of the spec, DataError where its data cannot be used, StorageError
    where the prepared data cannot be written.
    """
    problems = problems_at_the_door(spec, served=served)
    if problems:
        raise SpecError(problems)
    spec = with_absolute_paths(spec)
    _offer_working_directory(spec)
    if spec.entrypoint is not None:
        load_entrypoint(spec)
    if spec.task is None:
        return spec
    if check_model_config(spec.task, spec.model) is None:
        load_task(spec.task, spec.model)  # the user's own: importing it is the check
    else:
        _prepare_data(spec)
    return spec


def problems_at_the_door(spec: RunSpec, *, served: bool = False) -> list[Problem]:
    """What is refused whatever kind of run it is; imports nothing and writes nothing."""
    return [*_not_in_this_version(spec, served), *_working_directory(spec)]


def with_absolute_paths(spec: RunSpec) -> RunSpec:
    """A relative path counts from where the run is submitted, and workers start elsewhere."""
    storage = spec.checkpoint.model_copy(
        update={"storage": str(storage_path(spec.checkpoint.storage).absolute())}
    )
    code = spec.code.model_copy(
        update={"working_dir": str(Path(spec.code.working_dir).expanduser().absolute())}
    )
    data = spec.data
    if data.files is not None:
        data = data.model_copy(update={"source": str(Path(data.files).expanduser().absolute())})
    return spec.model_copy(update={"checkpoint": storage, "code": code, "data": data})


def load_entrypoint(spec: RunSpec) -> Callable[..., Any]:
    """The user's own function. Raises SpecError where it cannot be imported."""
    module_name, _, name = str(spec.entrypoint).partition(":")
    try:
        function: Callable[..., Any] = attrgetter(name)(importlib.import_module(module_name))
    except Exception as error:  # user code may raise anything when it is imported
        message = f"cannot load {spec.entrypoint!r}: {type(error).__name__}: {error}"
        raise SpecError([Problem("entrypoint", message)]) from error
    return function


def _not_in_this_version(spec: RunSpec, served: bool) -> Iterator[Problem]:
    if spec.secrets:
        yield Problem(
            "secrets", "a run without a service has no store of secrets; set them in the environment"
        )
    if spec.checkpoint.keep_best is not None:
        yield Problem("checkpoint.keep_best", "only keep_last is available in this version")
    if spec.log.tensorboard:
        yield Problem("log.tensorboard", "only false is available in this version")
    if not served and (spec.code.pip or spec.code.env or spec.code.exclude):
        yield Problem(
            "code",
            "a run without a service uses the environment it is started in; leave out pip, env, exclude",
        )


def _working_directory(spec: RunSpec) -> Iterator[Problem]:
    folder = Path(spec.code.working_dir).expanduser()
    if not folder.is_dir():
        yield Problem("code.working_dir", f"{folder} is not a folder")
        return
    ours = Path(__file__).resolve().parent.parent
    if folder.resolve() == ours:
        return
    for name in OUR_PACKAGES:
        if (folder / name).is_dir() and list((folder / name).glob("*.py")):
            yield Problem(
                "code.working_dir",
                f"{folder} has a folder named '{name}', which is the name of a package of Tumbler; rename it",
            )


def _offer_working_directory(spec: RunSpec) -> None:
    """Let the user's modules be found, after ours."""
    folder = spec.code.working_dir
    if folder not in sys.path:
        sys.path.append(folder)
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if folder not in known:
        os.environ["PYTHONPATH"] = os.pathsep.join([*filter(None, known), folder])


def _prepare_data(spec: RunSpec) -> None:
    """Prepare a built-in task's data once, so that the workers find it ready and mistakes show now."""
    # Needs numpy, no torch; a wrong spec is refused before either is imported.
    from orchestrator.domain.errors import DataError
    from trainers.data.packed_rows import text_rows

    config = check_model_config(str(spec.task), spec.model)
    rows, _ = text_rows(spec.data, storage_path(spec.checkpoint.storage), config.context)  # type: ignore[union-attr]
    if len(rows) < spec.train.global_batch:
        raise DataError(
            f"data.source {spec.data.source} has {len(rows)} training rows, fewer than one global batch of "
            f"{spec.train.global_batch}",
            hint="give it more text, or lower train.global_batch",
        )
