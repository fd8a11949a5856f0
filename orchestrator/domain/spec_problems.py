"""Turns pydantic's findings into sentences for the person who wrote the spec, all of them at once."""

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.domain.errors import Problem
from orchestrator.domain.spec_fields import Conflict, Conflicts, describe, suggestion

_ELSEWHERE: Final = {
    "batch_size": "train.global_batch",
    "dataset": "data.source",
    "learning_rate": "train.optimizer.lr",
    "max_steps": "train.steps",
    "num_epochs": "train.epochs",
    "num_gpus": "resources.gpu",
    "num_cpus": "resources.cpu",
    "num_steps": "train.steps",
    "num_workers": "workers",
}
"""Words of other tools, and where their meaning lives here."""

_BOUNDS: Final = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}
_EXPECTED: Final = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "invalid_key": "text as key",
    "mapping_type": "a mapping",
    "model_attributes_type": "a mapping of fields",
    "model_type": "a mapping of fields",
    "string_too_short": "text that is not empty",
    "string_type": "text",
    "tuple_type": "a list",
}
Model = TypeVar("Model", bound=BaseModel)


def examine(model: type[Model], values: Any) -> tuple[Model | None, tuple[Problem, ...]]:
    """Validates, and on failure looks on past the first layer of problems.

    pydantic compares fields with each other only where each is right by itself. So what is wrong is taken out
    and the rest is looked at again, until nothing new turns up; what only follows from that is not reported.

    Returns:
        The model and no problems, or None and at least one problem.
    """
    rest = _copied(values)
    problems: list[Problem] = []
    suspects: set[str] = set()
    while True:
        try:
            found = model.model_validate(rest)
        except ValidationError as error:
            conflicts = [
                item for details in error.errors(include_url=False) for item in _conflicts(model, details)
            ]
        else:
            return (None, tuple(problems)) if problems else (found, ())
        fresh = [conflict for conflict in conflicts if not _follows_from(conflict, suspects)]
        problems += [Problem(conflict.pointers[0], conflict.message) for conflict in fresh]
        suspects.update(pointer for conflict in fresh for pointer in conflict.pointers)
        removed = [_remove(rest, conflict.pointers[0].split(".")) for conflict in conflicts]
        if not any(removed):
            return None, tuple(problems)


def nearest_field(
    model: type[BaseModel], section: tuple[str | int, ...], word: str
) -> tuple[str, str | None]:
    """What to tell about an unknown field `word` of a section.

    Returns:
        The end of a sentence, and the dotted path from the root of the field that was probably meant, if any.
    """
    owner = _annotation(model, section)
    known = list(owner.model_fields) if isinstance(owner, type) and issubclass(owner, BaseModel) else []
    elsewhere = [_ELSEWHERE[word]] if word in _ELSEWHERE else list(_paths_of(model, word))
    if elsewhere and word not in known:
        return f"did you mean {' or '.join(map(repr, elsewhere))}?", elsewhere[0]
    near = suggestion(word, known)
    if near:
        return f"did you mean {near!r}?", ".".join((*map(str, section), near))
    return f"expected one of: {', '.join(known)}", None


def _conflicts(model: type[BaseModel], details: ErrorDetails) -> Iterator[Conflict]:
    path = tuple(part for part in details["loc"] if part != "[key]")
    pointer = ".".join(map(str, path))
    kind = details["type"]
    cause = details.get("ctx", {}).get("error")
    if kind == "default_factory_not_called":
        return
    if kind == "extra_forbidden" and path:
        fix, meant = nearest_field(model, path[:-1], str(path[-1]))
        pointers = (pointer,) if meant is None else (pointer, meant)
        yield Conflict(pointers, f"unknown field, {fix}")
    elif isinstance(cause, Conflicts):
        for inner in cause.conflicts:
            yield Conflict(tuple(_joined(pointer, each) for each in inner.pointers), inner.message)
    elif cause is not None:
        yield Conflict((pointer,), str(cause))
    elif kind == "missing" and isinstance(path[-1], int):
        expected = len(get_args(_annotation(model, path[:-1])))
        message = f"expected {expected} values, got {len(details['input'])}"
        yield Conflict((".".join(map(str, path[:-1])),), message)
    elif details["loc"][-1:] == ("[key]",):
        yield Conflict((pointer,), f"expected text as key, got {describe(details['input'])}")
    else:
        yield Conflict((pointer,), _sentence(kind, details, _annotation(model, path)))


def _joined(outer: str, inner: str) -> str:
    return f"{outer}.{inner}" if outer and inner else outer or inner


def _sentence(kind: str, details: ErrorDetails, annotation: Any) -> str:
    value, context = details["input"], details.get("ctx", {})
    if kind == "missing":
        return "is required but missing"
    if kind == "literal_error":
        return _unknown_value(value, [item for item in get_args(annotation) if item is not None])
    if kind == "too_long":
        return f"expected {context['max_length']} values, got {context['actual_length']}"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"expected {words} {context[key]:g}, got {value}"
    expected = _EXPECTED.get(kind)
    if expected is None:
        return f"{details['msg'][:1].lower()}{details['msg'][1:]}, got {describe(value)}"
    return f"expected {expected}, got {describe(value)}{_fix(kind, value)}"


def _fix(kind: str, value: Any) -> str:
    if kind == "string_type" and isinstance(value, bool | int | float):
        return "; put it in quotes"
    if kind == "bool_type" and str(value).lower() in ("true", "yes", "on", "1"):
        return "; write true"
    if kind == "bool_type" and str(value).lower() in ("false", "no", "off", "0"):
        return "; write false"
    return ""


def _unknown_value(value: Any, known: list[Any]) -> str:
    near = suggestion(value, [str(item) for item in known]) if isinstance(value, str) else None
    if near:
        return f"unknown value {value!r}, did you mean {near!r}?"
    return f"expected {' or '.join(map(repr, known))}, got {describe(value)}"


def _annotation(model: type[BaseModel], path: tuple[str | int, ...]) -> Any:
    """The type that is declared at a path, without Annotated and None; None where nothing is declared."""
    here: Any = model
    for part in path:
        if isinstance(here, type) and issubclass(here, BaseModel):
            field = here.model_fields.get(str(part))
            here = _bare(field.annotation) if field else None
        else:
            inner = get_args(here)
            here = _bare(inner[-1 if get_origin(here) is dict else 0]) if inner else None
    return here


def _bare(annotation: Any) -> Any:
    while get_origin(annotation) in (Annotated, Union, types.UnionType):
        annotation = next(item for item in get_args(annotation) if item is not type(None))
    return annotation


def _paths_of(model: type[BaseModel], name: str, outer: str = "") -> Iterator[str]:
    for field_name, field in model.model_fields.items():
        path = _joined(outer, field_name)
        if field_name == name:
            yield path
        inner = _bare(field.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _paths_of(inner, name, path)


def _follows_from(conflict: Conflict, suspects: set[str]) -> bool:
    return any(
        pointer == suspect or pointer.startswith(f"{suspect}.") or suspect.startswith(f"{pointer}.")
        for pointer in conflict.pointers
        for suspect in suspects
    )


def _copied(values: Any) -> Any:
    return {key: _copied(item) for key, item in values.items()} if isinstance(values, Mapping) else values


def _remove(values: Any, path: list[str]) -> bool:
    """Takes out the deepest field on the path that is there; False if even the first is not."""
    trail: list[tuple[dict[Any, Any], Any]] = []
    for part in path:
        key = next((key for key in values if str(key) == part), None) if isinstance(values, dict) else None
        if key is None:
            break
        trail.append((values, key))
        values = values[key]
    if trail:
        owner, key = trail[-1]
        del owner[key]
    return bool(trail)
