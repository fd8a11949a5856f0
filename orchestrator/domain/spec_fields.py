"""The field types of a run spec: what each accepts from YAML, JSON or Python, and how it refuses.

A refusal is a ValueError whose sentence says what was expected, what came and, where it helps, the fix.
"""

import difflib
import math
import numbers
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    WithJsonSchema,
    model_validator,
)

from orchestrator.domain.names import LONGEST_NAME, NAME_PATTERN, check_name
from orchestrator.domain.quantities import parse_duration, parse_size

LARGEST_SEED: Final = 2**63 - 1
_SMALLEST_MEMORY: Final = 2**20
LEAST_BETWEEN_SNAPSHOTS: Final = 2
"""Steps: then all members have finished one before the one before that is overwritten."""
_ENVIRONMENT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_JSON_DEPTH: Final = 32


@dataclass(frozen=True)
class Conflict:
    """Values that are each fine but do not go together."""

    pointers: tuple[str, ...]
    """Every field that takes part, relative to the section that checks; the first is the one to point at."""
    message: str


class Conflicts(ValueError):
    """What a section's own check found; pydantic carries it inside its ValidationError."""

    def __init__(self, conflicts: Iterable[Conflict]) -> None:
        self.conflicts = tuple(conflicts)
        super().__init__("; ".join(f"{found.pointers[0]}: {found.message}" for found in self.conflicts))


class SpecPart(BaseModel):
    """A section of the spec: immutable, refuses unknown fields, reads null as "take the default"."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _null_means_default(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {
            key: value for key, value in values.items() if value is not None or key not in cls.model_fields
        }

    @model_validator(mode="after")
    def _without_conflicts(self) -> Self:
        found = tuple(self.conflicts())
        if found:
            raise Conflicts(found)
        return self

    def conflicts(self) -> Iterator[Conflict]:
        """What in this section does not go together; sections with such rules override this."""
        return iter(())


def describe(value: Any) -> str:
    """A value in the words of the person who wrote it: `the text 'abc'`, `the number 5`, `a list`."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return f"the text {_shortened(value)!r}"
        case numbers.Number():
            return f"the number {value}"
        case Mapping():
            return "a mapping"
        case list() | tuple() | set():
            return "a list"
        case _:
            return f"a value of type {type(value).__name__}"


def suggestion(word: object, known: Iterable[str]) -> str | None:
    """The known word that `word` was most likely meant to be, None if none comes close."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(str(word).lower(), by_lower, n=1)
    return by_lower[close[0]] if close else None


def only_available(available: str | int) -> BeforeValidator:
    """Refuses every value but the one that this version can do."""

    def check(value: Any) -> Any:
        if value == available and type(value) is type(available):
            return value
        raise ValueError(f"only {available!r} is available in this version, got {describe(value)}")

    return BeforeValidator(check)


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _whole_number(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, bool) and isinstance(value, numbers.Integral):
        return int(value)
    raise ValueError(f"expected a whole number, got {describe(value)}{_unquote(value, int)}")


def _number(value: Any) -> float:
    if not isinstance(value, bool) and isinstance(value, numbers.Real):
        number = float(value)
        if math.isfinite(number):
            return number
        raise ValueError(f"expected a finite number, got {number}")
    raise ValueError(f"expected a number, got {describe(value)}{_unquote(value, float)}")


def _unquote(value: Any, read: Callable[[str], float]) -> str:
    if not isinstance(value, str):
        return ""
    try:
        read(value)
    except ValueError:
        return ""
    return "; remove the quotes"


def _seconds(value: Any) -> float:
    return parse_duration(value) if isinstance(value, str) else _number_or(value, "a duration such as '10m'")


def _seconds_or_auto(value: Any) -> float | None:
    if value is None or value == "auto":
        return None
    try:
        return _seconds(value)
    except ValueError as error:
        raise ValueError(str(error).replace("expected ", "expected 'auto' or ", 1)) from None


def _bytes(value: Any) -> int:
    size = parse_size(value) if isinstance(value, str) else int(_number_or(value, "a size such as '2Gi'"))
    if size < _SMALLEST_MEMORY:
        raise ValueError(f"expected at least 1Mi, got {size} bytes; add a unit, such as '2Gi'")
    return size


def _number_or(value: Any, expected: str) -> float:
    try:
        return _number(value)
    except ValueError:
        raise ValueError(f"expected {expected}, got {describe(value)}") from None


def _steps(value: Any) -> int:
    if not isinstance(value, str):
        return _whole_number(value)
    match = re.fullmatch(r"\s*([0-9]{1,18})\s*(?:steps?)?\s*", value)
    if match is None:
        raise ValueError(f"expected a number of steps such as 100 or '100 steps', got {value!r}")
    return int(match[1])


def _steps_or_word(value: Any) -> int | str:
    if value in ("auto", "never"):
        return str(value)
    try:
        steps = _steps(value)
    except ValueError as error:
        raise ValueError(str(error).replace("expected ", "expected 'auto', 'never' or ", 1)) from None
    if steps < LEAST_BETWEEN_SNAPSHOTS:
        raise ValueError(f"expected 'auto', 'never' or at least {LEAST_BETWEEN_SNAPSHOTS} steps, got {steps}")
    return steps


def default_section(section: type[SpecPart]) -> Any:
    """As the default of a field: one and the same immutable section for all specs that leave it out."""
    shared = cache(section)
    return Field(default_factory=lambda: shared())


def _environment_name(name: str) -> str:
    if not _ENVIRONMENT_NAME.fullmatch(name):
        raise ValueError(f"expected the name of an environment variable such as 'API_KEY', got {name!r}")
    return name


def _json_object(value: Any) -> Any:
    if isinstance(value, Mapping):
        found = tuple(_not_json(value, (), 0))
        if found:
            raise Conflicts(found)
    return value


def _not_json(value: Any, path: tuple[str, ...], depth: int) -> Iterator[Conflict]:
    pointer = (".".join(path),)
    if depth > _JSON_DEPTH:
        yield Conflict(pointer, f"expected at most {_JSON_DEPTH} levels, got more")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield Conflict((".".join((*path, str(key))),), f"expected text as key, got {describe(key)}")
            yield from _not_json(item, (*path, str(key)), depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _not_json(item, (*path, str(index)), depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        yield Conflict(pointer, f"expected a finite number, got {value}")
    elif not isinstance(value, str | int | float | None):
        yield Conflict(pointer, f"expected a value that JSON can hold, got {describe(value)}")


_DURATION_SCHEMA: Final = {"type": ["number", "string"], "examples": [30, "30s", "10m", "1h30m"]}

# Bounds stand before the validator that reads the value, so that the JSON Schema shows them.
Count = Annotated[int, Field(ge=1), BeforeValidator(_whole_number)]
"""A whole number of at least 1."""
Budget = Annotated[int, Field(ge=-1), BeforeValidator(_whole_number)]
"""A whole number of at least 0, or -1 for "without end"."""
Natural = Annotated[int, Field(ge=0), BeforeValidator(_whole_number)]
"""A whole number of at least 0."""
Priority = Annotated[int, Field(ge=0, le=100), BeforeValidator(_whole_number)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED), BeforeValidator(_whole_number)]
Amount = Annotated[float, Field(ge=0), BeforeValidator(_number)]
"""A finite number of at least 0."""
Positive = Annotated[float, Field(gt=0), BeforeValidator(_number)]
"""A finite number of more than 0."""
Fraction = Annotated[float, Field(ge=0, le=1), BeforeValidator(_number)]
Share = Annotated[float, Field(ge=0, lt=1), BeforeValidator(_number)]
"""A part that is never the whole: at least 0, less than 1."""
Flag = Annotated[bool, Strict()]
Words = Annotated[str, Field(min_length=1)]
"""Text that is not empty."""
Name = Annotated[
    str,
    AfterValidator(check_name),
    WithJsonSchema({"type": "string", "pattern": f"^{NAME_PATTERN}$", "maxLength": LONGEST_NAME}),
]
EnvironmentName = Annotated[str, AfterValidator(_environment_name)]
JsonObject = Annotated[dict[str, Any], BeforeValidator(_json_object)]
Seconds = Annotated[float, Field(ge=0), BeforeValidator(_seconds), WithJsonSchema(_DURATION_SCHEMA)]
"""A duration, perhaps of nothing."""
Patience = Annotated[float, Field(gt=0), BeforeValidator(_seconds), WithJsonSchema(_DURATION_SCHEMA)]
"""A duration of more than nothing."""
PatienceOrAuto = Annotated[
    Annotated[float, Field(gt=0)] | None, BeforeValidator(_seconds_or_auto), WithJsonSchema(_DURATION_SCHEMA)
]
"""A duration of more than nothing; `auto` becomes None."""
Bytes = Annotated[
    int,
    BeforeValidator(_bytes),
    WithJsonSchema({"type": ["integer", "string"], "examples": ["2Gi", "512Mi"]}),
]
Interval = Annotated[
    int,
    BeforeValidator(_steps),
    Field(ge=1),
    WithJsonSchema({"type": ["integer", "string"], "examples": [100, "100 steps"]}),
]
"""Steps between two events; also `100 steps`."""
IntervalOrWord = Annotated[
    int | Literal["auto", "never"],
    BeforeValidator(_steps_or_word),
    WithJsonSchema({"type": ["integer", "string"], "examples": ["auto", "never", "10 steps"]}),
]
"""Steps between two events, at least 2; or `auto`, or `never`."""
