"""From the name of a task in a spec to the task; knows the built-in ones without importing torch."""

import importlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from orchestrator.domain.errors import CheckpointError, Problem, SpecError
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec_fields import suggestion
from orchestrator.domain.spec_problems import examine, nearest_field

if TYPE_CHECKING:
    from trainers.task import Task


@dataclass(frozen=True)
class BuiltinTask:
    """Where a built-in task lives, both as `module:Class`."""

    task: str
    config: str
    """Importable without torch."""
    network: str
    """The class of its model, in a module that imports nothing but torch: its source goes with an export.
    It is built from an object that has the fields of the config."""


BUILTIN_TASKS: Final[Mapping[str, BuiltinTask]] = MappingProxyType(
    {
        "language_model": BuiltinTask(
            task="trainers.tasks.language_model:LanguageModel",
            config="trainers.tasks.language_model_config:LanguageModelConfig",
            network="trainers.tasks.transformer:Transformer",
        )
    }
)


def check_model_config(name: str, model: Mapping[str, Any]) -> BaseModel | None:
    """Checks `model:` of a spec against the config of a built-in task, without importing torch.

    Returns the config; None for a user's `module:Class`, whose code is imported only where it runs.

    Raises:
        SpecError: an unknown task (`task`), or what is wrong in the config (`model.FIELD`).
    """
    if ":" in name:
        return None
    # Many runs have few models.
    return _builtin_config(name, json.dumps(model, sort_keys=True))


@lru_cache(maxsize=256)
def _builtin_config(name: str, model: str) -> BaseModel:
    return _checked(_import(_builtin(name).config), json.loads(model))


def trained_task(run: RunDirectory) -> str:
    """The name of the task that reads the run's checkpoints. Raises CheckpointError where it has none."""
    task = run.spec().task
    if task is None:
        raise CheckpointError(
            f"run '{run.name}' trains code of its own, not a Tumbler task: only that code can read its "
            "checkpoints"
        )
    return task


def load_task(name: str, model: Mapping[str, Any]) -> "Task[Any]":
    """The task of that name, a built-in one or the user's `module:Class`, with its config checked.

    Raises:
        SpecError: an unknown task, one that cannot be imported or is no complete Task (`task`), or what is
        wrong in
            the config (`model.FIELD`).
    """
    # Here and not above: checking a spec must not wait for torch.
    from trainers.task import Task

    found = _import(name if ":" in name else _builtin(name).task)
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise _problem(f"{name!r} is not a subclass of trainers.task.Task")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise _problem(f"{name!r} does not implement {missing}")
    config = getattr(found, "Config", None)
    if not (isinstance(config, type) and issubclass(config, BaseModel)):
        raise _problem(f"{name!r} needs a class attribute Config, a subclass of pydantic.BaseModel")
    unknown = _unknown(config, model)
    if unknown:
        raise SpecError(unknown)
    return found(_checked(config, model))


def _unknown(config: type[BaseModel], model: Mapping[str, Any]) -> list[Problem]:
    """Fields that the config of a user would pass over in silence, as pydantic's models do by default."""
    if config.model_config.get("extra", "ignore") != "ignore":
        return []
    known = {
        name
        for key, field in config.model_fields.items()
        for name in (key, field.alias, field.validation_alias)
    }
    return [
        Problem(f"model.{word}", f"unknown field, {nearest_field(config, (), word)[0]}")
        for word in model
        if word not in known
    ]


def _builtin(name: str) -> BuiltinTask:
    if name in BUILTIN_TASKS:
        return BUILTIN_TASKS[name]
    near = suggestion(name, BUILTIN_TASKS)
    known = f"expected one of: {', '.join(BUILTIN_TASKS)}, or your own as 'module:TaskClass'"
    fix = f"did you mean {near!r}?" if near else known
    raise _problem(f"unknown task {name!r}, {fix}")


def _checked(config: type[BaseModel], model: Mapping[str, Any]) -> BaseModel:
    found, problems = examine(config, model)
    if found is None:
        raise SpecError(
            Problem(f"model.{problem.pointer}" if problem.pointer else "model", problem.message)
            for problem in problems
        )
    return found


def _import(reference: str) -> Any:
    module_name, _, class_name = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == module_name.partition(".")[0]
        where = "; it is looked for in code.working_dir" if missing else ""
        raise _problem(
            f"cannot import the module {module_name!r}: {type(error).__name__}: {error}{where}"
        ) from error
    try:
        return attrgetter(class_name)(module)
    except AttributeError:
        near = suggestion(
            class_name, [name for name, value in vars(module).items() if isinstance(value, type)]
        )
        fix = f", did you mean {near!r}?" if near else ""
        raise _problem(f"the module {module_name!r} has no {class_name!r}{fix}") from None


def _problem(message: str) -> SpecError:
    return SpecError((Problem("task", message),))
