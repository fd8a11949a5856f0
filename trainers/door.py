"""What is checked before anything starts: all that can be known without a cluster."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.checkpoints.settling import settle
from orchestrator.domain.checkpoint_reference import CheckpointReference
from orchestrator.domain.errors import DataError, Problem, SpecError
from orchestrator.domain.run_directory import storage_path
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.spec_parts import absolute_location
from trainers.task_registry import check_model_config, load_task
from trainers.tracking.tracker import PACKAGES

if TYPE_CHECKING:
    from trainers.feed.scan import Scan

OUR_PACKAGES = ("api", "cluster", "orchestrator", "trainers")


@dataclass(frozen=True)
class Admitted:
    """A run that may start."""

    spec: RunSpec
    """With its paths made absolute, and pinned to the checkpoint that it starts from."""
    scan: "Scan | None"
    """What is in its files; None where its rows do not come through the feed."""


def at_the_door(spec: RunSpec, *, served: bool = False) -> Admitted:
    """The run, after everything that can be refused here has been.

    `served` says that a service has set up the environment: what the spec wants of it is there.
    Raises SpecError with all problems of the spec, DataError where its data cannot be used, StorageError
    where what is found in them cannot be written down.
    """
    problems = problems_at_the_door(spec, served=served)
    spec = with_absolute_paths(spec)
    spec, found = settle(spec, storage_path(spec.checkpoint.storage))
    if problems or found:
        raise SpecError([*problems, *found])
    _offer_working_directory(spec)
    if spec.entrypoint is not None:
        load_entrypoint(spec)
    return Admitted(spec, None if spec.task is None else _scanned(spec, spec.task))


def problems_at_the_door(spec: RunSpec, *, served: bool = False) -> list[Problem]:
    """What is refused whatever kind of run it is; imports nothing and writes nothing."""
    return [*_not_in_this_version(spec, served), *_working_directory(spec)]


def with_absolute_paths(spec: RunSpec) -> RunSpec:
    """A relative path counts from where the run is submitted, and workers start elsewhere."""
    checkpoint = spec.checkpoint.model_copy(
        update={
            "storage": str(storage_path(spec.checkpoint.storage).absolute()),
            "location": spec.checkpoint.location and absolute_location(spec.checkpoint.location),
        }
    )
    train = spec.train
    if train.from_checkpoint is not None:
        reference = CheckpointReference.parse(train.from_checkpoint).absolute()
        train = train.model_copy(update={"from_checkpoint": str(reference)})
    code = spec.code.model_copy(
        update={"working_dir": str(Path(spec.code.working_dir).expanduser().absolute())}
    )
    data = spec.data
    if data.files is not None:
        data = data.model_copy(update={"source": str(Path(data.files).expanduser().absolute())})
    if data.tokenizer_file is not None:
        data = data.model_copy(update={"tokenizer": str(Path(data.tokenizer_file).expanduser().absolute())})
    return spec.model_copy(update={"checkpoint": checkpoint, "code": code, "data": data, "train": train})


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
    yield from _missing_trackers(spec, served)
    if not served and (spec.code.pip or spec.code.env or spec.code.exclude):
        yield Problem(
            "code",
            "a run without a service uses the environment it is started in; leave out pip, env, exclude",
        )


def _missing_trackers(spec: RunSpec, served: bool) -> Iterator[Problem]:
    for name in spec.log.trackers:
        package = PACKAGES.get(name)
        if package is not None and find_spec(package.module) is None:
            how = f"`pip install {package.wanted}`" + (f", or code.pip: [{package.wanted}]" if served else "")
            yield Problem(f"log.{name}", f"the package {package.module} is not installed here: {how}")


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


def _scanned(spec: RunSpec, task: str) -> "Scan | None":
    """What is in the files of a task whose rows come through the feed, so that mistakes show now."""
    config = check_model_config(task, spec.model)
    # Here and not above: a wrong spec is refused before any of it is imported.
    from trainers.feed.recipe import recipe_of
    from trainers.feed.scan import scan

    if config is None:
        recipe = load_task(task, spec.model).recipe(spec.data)  # the user's own: importing it is a check
    else:
        recipe = recipe_of(spec.data, getattr(config, "context", None))
    if recipe is None:
        return None
    found = scan(recipe, storage_path(spec.checkpoint.storage))
    _check_fits(spec, found, getattr(config, "vocabulary", None))
    return found


def _check_fits(spec: RunSpec, found: "Scan", vocabulary: int | None) -> None:
    from trainers.feed.rows import split

    if vocabulary is not None and found.recipe.vocabulary > vocabulary:
        message = f"data.vocabulary has {found.recipe.vocabulary} token ids, model.vocabulary {vocabulary}"
        raise SpecError([Problem("model.vocabulary", f"{message}; give both the same number")])
    if found.num_rows is None:
        return
    num_train, _ = split(found.num_rows, spec.data.validation_fraction)
    if num_train < spec.train.global_batch:
        raise DataError(
            f"data.source {spec.data.source} has {num_train} training rows, fewer than one global batch of "
            f"{spec.train.global_batch}",
            hint="give it more data, or lower train.global_batch",
        )
