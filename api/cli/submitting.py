"""`tumbler submit`: give a run to the service, and follow it."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from api.cli.arguments import Output, Overrides, SpecFile
from api.cli.bars import bytes_bar
from api.cli.following import LineView, conclude, follow_run
from api.cli.output import Format, put, size, tell
from api.cli.places import need_service
from api.cli.progress import LiveScreen, PlainScreen
from api.client import Client
from api.client_types import Plan, RunInfo
from cluster.errors import PackageRefused
from orchestrator.domain.checkpoint_reference import CheckpointReference
from orchestrator.domain.errors import Problem, SpecError
from orchestrator.domain.run_directory import storage_path
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.spec_file import SpecSource, load_source
from orchestrator.domain.spec_parts import absolute_location
from trainers.task_registry import check_model_config

_INTERRUPTED = 130


def submit(
    file: SpecFile,
    *,
    overrides: Overrides = (),
    detach: Annotated[bool, Parameter(name=["--detach"], alias="-d", negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    output: Output = Format.TABLE,
) -> int:
    """Give a run to the service and follow it to its end; Ctrl-C leaves it to train on.

    Relative paths count from here. Your own code (a task `module:Class`, an entrypoint, a command) is packed
    from code.working_dir and sent along.

    Parameters
    ----------
    detach
        Print the name of the run and return at once.
    dry_run
        Only say what would become of it.
    """
    source = load_source(file, overrides)
    _check_model(source)
    with need_service() as service:
        try:
            if dry_run:
                _show_plan(service.plan(wire_spec(source, service, upload=False)), output)
                return 0
            run = service.submit(wire_spec(source, service))
        except SpecError as error:
            raise source.placed(error) from error
        if run.wait is not None and run.wait.why:
            tell(f"run {run.name} waits: {run.wait.why}")
        if detach:
            print(run.name, flush=True) if output is Format.TABLE else put(run.content(), {}, output)
            return 0
        return follow_to_the_end(service, run, output)


def follow_to_the_end(service: Client, run: RunInfo, output: Format) -> int:
    """Show a run until it has ended. Raises RunFailed or RunCancelled where it did not succeed."""
    view = LineView(LiveScreen() if sys.stderr.isatty() else PlainScreen())
    view.note(f"run {run.name}" + (f" in {run.path}" if run.path else ""))
    try:
        final = follow_run(service, run, view)
    except KeyboardInterrupt:
        name = shlex.quote(run.name)
        tell(f"left run {run.name} to train on; see it with `tumbler watch {name}`")
        tell(f"cancel it with `tumbler cancel {name}`")
        return _INTERRUPTED
    conclude(service, final, output)
    return 0


def wire_spec(source: SpecSource, service: Client, *, upload: bool = True) -> dict[str, Any]:
    """What is sent: what was written, with paths that mean the same at the service, and the code as package.

    Raises SpecError where the code cannot be packed.
    """
    spec = source.spec
    content: dict[str, Any] = spec.model_dump(mode="json", exclude_unset=True)
    if "storage" in spec.checkpoint.model_fields_set:
        content["checkpoint"]["storage"] = str(storage_path(spec.checkpoint.storage).absolute())
    if spec.checkpoint.location is not None:
        content["checkpoint"]["location"] = absolute_location(spec.checkpoint.location)
    if spec.train.from_checkpoint is not None:
        reference = CheckpointReference.parse(spec.train.from_checkpoint).absolute()
        content["train"]["from_checkpoint"] = str(reference)
    if "source" in spec.data.model_fields_set and spec.data.files is not None:
        content["data"]["source"] = str(Path(spec.data.files).expanduser().absolute())
    content.get("code", {}).pop("working_dir", None)
    if _needs_code(spec) and upload:
        content.setdefault("code", {})["working_dir"] = f"package://{_upload(spec, service)}"
    return content


def _needs_code(spec: RunSpec) -> bool:
    """A built-in task brings all it needs."""
    return spec.task is None or ":" in spec.task


def _upload(spec: RunSpec, service: Client) -> str:
    from cluster.packages import pack  # only who sends code waits for it

    try:
        package = pack(Path(spec.code.working_dir).expanduser(), spec.code.exclude)
    except PackageRefused as error:
        raise SpecError([Problem("code.working_dir", str(error))], hint=error.hint) from error
    with bytes_bar("sending your code", package.num_bytes) as went:
        sent = service.upload(package.sha256, package.content, went=went)
    if sent:
        tell(f"sent {spec.code.working_dir} ({size(package.num_bytes)})")
    return package.sha256


def _check_model(source: SpecSource) -> None:
    """Before anything is sent; a task of the user's is only known where it runs."""
    try:
        if source.spec.task is not None:
            check_model_config(source.spec.task, source.spec.model)
    except SpecError as error:
        raise source.placed(error) from error


def _show_plan(plan: Plan, output: Format) -> None:
    workers = plan.plan.get("workers") or {}
    ahead = plan.plan.get("ahead")
    lines = {
        "run": plan.spec.get("name"),
        "workers": f"{workers.get('min')} to {workers.get('max')}",
        "starts": "later" if plan.plan.get("why") or ahead else "at once, as far as can be seen",
        "waits for": plan.plan.get("why"),
        "ahead": f"{ahead} other runs" if ahead else None,
    }
    put(plan.content(), {name: value for name, value in lines.items() if value is not None}, output)
