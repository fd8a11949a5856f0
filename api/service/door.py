"""The door of the service: from the body of a submit to a checked spec whose paths mean the same everywhere.

What only the run can find out (the user's own task, its data) is checked in the attempt: the service never
imports code of users.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json

from orchestrator.checkpoints.settling import asks_storage, settle
from orchestrator.domain.checkpoint_reference import CheckpointReference
from orchestrator.domain.errors import Problem, SpecError
from orchestrator.domain.run_directory import storage_path
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.spec_file import SpecSource, parse_source
from orchestrator.domain.spec_parts import CodeSpec, split_scheme
from trainers.task_registry import check_model_config

LARGE: Final = 32 << 10
"""Bytes; a body beyond is read in a thread, since thousands of problems take their time."""
_HERE: Final = "."
_FROM: Final = "train.from_checkpoint"
_POSITION: Final = re.compile(r"(.*) at line (\d+) column (\d+)")
_PACKAGE: Final = re.compile(r"[0-9a-f]{64}")
_RELATIVE: Final = (
    "a relative path counts from the client, which the service cannot see; give an absolute one, or submit "
    "with `tumbler submit`"
)


@dataclass(frozen=True)
class Received:
    """A spec that may be submitted."""

    spec: RunSpec
    """Storage absolute and filled in; its working directory is taken out."""
    named: bool
    """The client chose the name."""
    package: str | None = None
    """SHA-256 of the archive that the client uploaded."""
    working_dir: Path | None = None
    """A folder on this machine that is yet to be packed."""
    source: SpecSource | None = None
    """Where in a body of YAML things stand."""

    @property
    def asks_storage(self) -> bool:
        """It is to be settled before it is submitted."""
        return asks_storage(self.spec)

    def settled(self) -> "Received":
        """Pinned to the checkpoint that it starts from; takes as long as the storage does. Raises
        SpecError."""
        spec, problems = settle(self.spec, storage_path(self.spec.checkpoint.storage))
        if problems:
            refusal = SpecError(problems)
            raise refusal if self.source is None else self.source.placed(refusal)
        return replace(self, spec=spec)


def read_json(body: bytes, storage: Path) -> Received:
    """Raises SpecError, which lists every problem."""
    try:
        values = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise SpecError([_json_problem(str(error))]) from None
    if not isinstance(values, dict):
        raise SpecError([Problem("", "expected a JSON object, the run spec")])
    return _received(RunSpec.parse(values), storage, named="name" in values)


def read_yaml(body: bytes, storage: Path) -> Received:
    """The same, and each problem has its line and column; takes milliseconds."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise SpecError([Problem("", "expected text in UTF-8, got other bytes", None, line)]) from None
    source = parse_source(text, "body")
    try:
        return replace(_received(source.spec, storage, named="name" in source.places), source=source)
    except SpecError as error:
        raise source.placed(error) from None


def check(spec: RunSpec) -> None:
    """Refuses what the service cannot do for a spec that is right by itself. Raises SpecError."""
    problems = [*_not_in_this_version(spec), *_relative_paths(spec)]
    if spec.task is not None:
        try:
            check_model_config(spec.task, spec.model)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)


def check_clone(spec_json: str, overrides: Mapping[str, Any], name: str | None = None) -> dict[str, Any]:
    """What would be refused of a submit is refused of a clone with other values. Raises SpecError.

    Returns the overrides, pinned to the checkpoint that the clone starts from; takes as long as the storage
    does.
    """
    values = json.loads(spec_json)
    for key, value in overrides.items():
        _put(values, key.split("."), value)
    values["name"] = name
    spec = RunSpec.parse(values)
    if spec.code.working_dir != _HERE:
        message = "a clone ships the code of the run it is made from; submit other code as a new run"
        raise SpecError([Problem("code.working_dir", message)])
    code = spec.code.model_dump(exclude={"working_dir"})
    spec = spec.model_copy(update={"code": CodeSpec.model_validate(code)})
    check(spec)
    pinned, problems = settle(spec, storage_path(spec.checkpoint.storage))
    if problems:
        raise SpecError(problems)
    if pinned.train.from_checkpoint == spec.train.from_checkpoint:
        return dict(overrides)
    # Last, so that no override of the whole section comes after it.
    others = {key: value for key, value in overrides.items() if key != _FROM}
    return {**others, _FROM: pinned.train.from_checkpoint}


def check_retry(spec: RunSpec) -> None:
    """A run under a new name may find checkpoints of another at its location, and its source gone. Raises
    SpecError; takes as long as the storage does."""
    _, problems = settle(spec, storage_path(spec.checkpoint.storage))
    if problems:
        raise SpecError(problems)


def _put(values: Any, path: list[str], value: Any) -> None:
    """Sections are merged, anything else is replaced; what is no section becomes one."""
    *parents, last = path
    for parent in parents:
        if not isinstance(values.get(parent), dict):
            values[parent] = {}
        values = values[parent]
    if isinstance(values.get(last), dict) and isinstance(value, Mapping):
        for inner, content in value.items():
            _put(values[last], [inner], content)
    else:
        values[last] = value


def _received(spec: RunSpec, storage: Path, *, named: bool) -> Received:
    check(spec)
    checkpoint, code = spec.checkpoint, spec.code
    folder = storage if "storage" not in checkpoint.model_fields_set else storage_path(checkpoint.storage)
    filled: dict[str, Any] = {"checkpoint": checkpoint.model_copy(update={"storage": str(folder)})}
    scheme, rest = split_scheme(code.working_dir)
    if code.working_dir != _HERE:
        filled["code"] = code.model_copy(update={"working_dir": _HERE})
    if spec.data.files is not None:
        filled["data"] = spec.data.model_copy(update={"source": spec.data.files})
    return Received(
        spec.model_copy(update=filled),
        named,
        package=rest if scheme == "package" else None,
        working_dir=Path(code.working_dir) if scheme == "file" and code.working_dir != _HERE else None,
    )


def _not_in_this_version(spec: RunSpec) -> Iterator[Problem]:
    if spec.secrets:
        yield Problem("secrets", "this version has no store of secrets; leave them out")


def _relative_paths(spec: RunSpec) -> Iterator[Problem]:
    checkpoint, code, data = spec.checkpoint, spec.code, spec.data
    if "storage" in checkpoint.model_fields_set and not checkpoint.storage_path.is_absolute():
        yield Problem("checkpoint.storage", _RELATIVE)
    if data.files is not None and not Path(data.files).is_absolute():
        yield Problem("data.source", _RELATIVE)
    if checkpoint.location is not None and _is_relative(checkpoint.location):
        yield Problem("checkpoint.location", _RELATIVE)
    if spec.train.from_checkpoint is not None:
        reference = CheckpointReference.parse(spec.train.from_checkpoint)
        if not reference.is_name and _is_relative(reference.source):
            yield Problem(_FROM, _RELATIVE)
    scheme, rest = split_scheme(code.working_dir)
    if scheme == "package":
        if not _PACKAGE.fullmatch(rest):
            yield Problem("code.working_dir", "expected package:// and the SHA-256 of an uploaded archive")
    elif "working_dir" in code.model_fields_set and not Path(code.working_dir).is_absolute():
        yield Problem("code.working_dir", _RELATIVE)


def _is_relative(location: str) -> bool:
    scheme, path = split_scheme(location)
    return scheme == "file" and not Path(path).is_absolute()


def _json_problem(message: str) -> Problem:
    match = _POSITION.fullmatch(message)
    if match is None:
        return Problem("", f"not valid JSON: {message}")
    return Problem("", f"not valid JSON: {match[1]}", None, int(match[2]), int(match[3]))
