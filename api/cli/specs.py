"""`tumbler init` and `validate`: run specs before anything starts."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from api.cli.arguments import Output, Overrides, SpecFile
from api.cli.errors import FileExists
from api.cli.output import Format, put, tell
from api.cli.spec_template import spec_template
from orchestrator.domain.disk import storage_errors
from orchestrator.domain.errors import Problem, SpecError
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.spec_file import SpecSource, load_source
from trainers.door import problems_at_the_door
from trainers.feed.absence import absence
from trainers.task_registry import BUILTIN_TASKS, check_model_config

_ELSEWHERE: Final = "a run of a service needs it on the machine of the head and not here"


def validate(file: SpecFile, *, overrides: Overrides = (), output: Output = Format.TABLE) -> int:
    """Check a run spec without starting anything: no Ray, no torch, and nothing is written.

    What is in the data, and a task of your own, are checked when the run starts. That files of `data.source`
    are there is checked here, as `tumbler run` does; a service looks where its runs start.
    """
    try:
        spec = _checked(load_source(file, overrides))
    except SpecError as error:
        if output is Format.TABLE:
            raise
        put({"ok": False, "errors": [asdict(problem) for problem in error.problems]}, {}, output)
        return error.exit_code
    content = {"ok": True, "fingerprint": spec.fingerprint(), "spec": spec.model_dump(mode="json")}
    put(content, _described(spec, file), output)
    return 0


def init(
    *,
    task: str = "language_model",
    file: Annotated[Path, Parameter(name=["--file", "-f"])] = Path("run.yaml"),
    force: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write a commented run spec to start from.

    Parameters
    ----------
    task
        A built-in task, or module:TaskClass of your own.
    file
        Where to write it.
    force
        Overwrite the file.
    """
    check_model_config(task, {})
    with storage_errors("write", file):
        try:
            with file.open("w" if force else "x", encoding="utf-8") as stream:
                stream.write(spec_template(task, str(file)))
        except FileExistsError:
            raise FileExists(
                f"{file} is there already", hint="choose another with -f, or overwrite it with --force"
            ) from None
    tell(f"wrote {file}; start it with `tumbler run -f {file}`")


def _checked(source: SpecSource) -> RunSpec:
    """Raises SpecError with all that can be found wrong without the data and the code of a run."""
    spec = source.spec
    problems = problems_at_the_door(spec)
    try:
        _check_model(spec)
    except SpecError as error:
        problems += error.problems
    hint = ""
    if spec.data.files is not None and (why := absence(spec.data.files)) is not None:
        if spec.task in BUILTIN_TASKS:
            problems.append(Problem("data.source", why))
            hint = _ELSEWHERE
        elif spec.task is not None:  # it may make something else of it
            tell(f"data.source {why}; {_ELSEWHERE}")
    if problems:
        raise source.placed(SpecError(problems, hint=hint))
    return spec


def _check_model(spec: RunSpec) -> None:
    if spec.task is not None:
        check_model_config(spec.task, spec.model)


def _described(spec: RunSpec, file: Path) -> dict[str, object]:
    lines: dict[str, object] = {
        "file": file,
        "verdict": "ok",
        "what": spec.task or spec.entrypoint or spec.command,
    }
    lines["workers"] = f"{spec.workers.min} to {spec.workers.max}, {spec.resources.cpu:g} CPU each"
    if spec.resources.gpu:
        lines["workers"] = f"{lines['workers']}, {spec.resources.gpu:g} GPU each"
    if spec.task is not None:
        length = f"{spec.train.epochs} epochs" if spec.train.epochs else f"{spec.train.steps} steps"
        lines["length"] = f"{length} of {spec.train.global_batch} rows"
        if spec.task in BUILTIN_TASKS or "source" in spec.data.model_fields_set:  # an own one may need none
            lines["data"] = spec.data.source
    return {**lines, "storage": spec.checkpoint.storage, "fingerprint": spec.fingerprint()}
