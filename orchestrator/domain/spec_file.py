"""Reads a run spec from YAML 1.2 or JSON, with `--set` overrides; each problem names its place."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from orchestrator.domain.errors import Problem, SpecError
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.spec_fields import describe
from orchestrator.domain.spec_problems import examine
from orchestrator.domain.spec_text import Place, read_text

LARGEST_FILE: Final = 1 << 20
"""Bytes; a spec is a page or two."""


@dataclass(frozen=True)
class SpecSource:
    """A valid spec together with the text it came from."""

    spec: RunSpec
    file: str
    places: dict[str, Place]
    """Line and column of each pointer in the text."""
    overrides: dict[str, str]
    """What was set from outside: pointer -> the override as it was typed."""

    def placed(self, error: SpecError) -> SpecError:
        """The same error with file, line and column, for checks that only know pointers (a task's config)."""
        problems = (_placed(problem, self.file, self.places, self.overrides) for problem in error.problems)
        return SpecError(problems, hint=error.hint)


def load_spec(path: Path, overrides: Sequence[str] = ()) -> RunSpec:
    """Reads, overrides and checks a spec file.

    Args:
        path: a YAML or JSON file in UTF-8, at most 1 MiB.
        overrides: such as `train.steps=50` or `workers=1:4`; the value is read as YAML, the last one wins.

    Raises:
        SpecError: lists every problem at once, each with file, line and column.
    """
    return load_source(path, overrides).spec


def load_source(path: Path, overrides: Sequence[str] = ()) -> SpecSource:
    """Like `load_spec`, but keeps the places for later checks."""
    return parse_source(_text_of(path), str(path), overrides)


def parse_spec(text: str, file: str, overrides: Sequence[str] = ()) -> RunSpec:
    """Like `load_spec` for a text at hand; `file` is only what problems call it."""
    return parse_source(text, file, overrides).spec


def parse_source(text: str, file: str, overrides: Sequence[str] = ()) -> SpecSource:
    """Like `parse_spec`, but keeps the places for later checks."""
    document = read_text(text, file)
    problems = list(document.problems)
    typed: dict[str, str] = {}
    for override in overrides:
        problems += _apply(override, document.values, typed)
    spec, found = examine(RunSpec, document.values)
    problems += (_placed(problem, file, document.places, typed) for problem in found)
    if spec is None or problems:
        raise SpecError(sorted(problems, key=_reading_order))
    return SpecSource(spec, file, document.places, typed)


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        hint = "`tumbler init` writes a spec to start from"
        raise SpecError([Problem("", f"there is no file {path}")], hint=hint) from None
    except OSError as error:
        raise SpecError([Problem("", f"cannot be read: {error.strerror}", str(path))]) from error
    if len(content) > LARGEST_FILE:
        raise SpecError([Problem("", f"expected at most {LARGEST_FILE} bytes, got more", str(path))])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SpecError([Problem("", "expected text in UTF-8, got other bytes", str(path), line)]) from None


def _apply(override: str, values: dict[str, Any], typed: dict[str, str]) -> list[Problem]:
    """Writes one override into the values; what is wrong with it comes back as problems."""
    shown = f"--set {override}"
    pointer, equals, text = override.partition("=")
    keys = pointer.strip().split(".")
    if not equals or not all(keys):
        return [Problem("", f"expected KEY=VALUE such as train.steps=50, got {override!r}", "--set")]
    try:
        value = _value_of(text, shown)
    except SpecError as error:
        return [replace(problem, pointer="", line=None, column=None) for problem in error.problems]
    section: Any = values
    for depth, key in enumerate(keys[:-1], start=1):
        if section.get(key) is None:
            section[key] = {}
        section = section[key]
        if not isinstance(section, dict):
            outer = ".".join(keys[:depth])
            message = f"{outer} is {describe(section)} and has no fields, set {outer} as a whole"
            return [Problem(".".join(keys), message, shown)]
    section[keys[-1]] = value
    typed[".".join(keys)] = shown
    return []


def _value_of(text: str, shown: str) -> Any:
    """The value of an override, read by the rules of the file; nothing after `=` is the empty text."""
    if not text.strip():
        return ""
    document = read_text(f"value: {text}", shown)
    if document.problems:
        raise SpecError(document.problems)
    return document.values["value"]


def _placed(problem: Problem, file: str, places: dict[str, Place], typed: dict[str, str]) -> Problem:
    """Adds where the pointer, or the innermost section around it that is there, was written."""
    pointer = problem.pointer
    while pointer not in places and pointer not in typed and pointer:
        pointer = pointer.rpartition(".")[0]
    if pointer in typed:
        return replace(problem, file=typed[pointer])
    line, column = places.get(pointer, (1, 1))
    return replace(problem, file=file, line=line, column=column)


def _reading_order(problem: Problem) -> tuple[bool, int, int]:
    return problem.line is None, problem.line or 0, problem.column or 0
