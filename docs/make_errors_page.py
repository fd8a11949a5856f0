"""Writes docs/errors.md from the classes of errors: `python docs/make_errors_page.py`.

What an error means is the docstring of its class; what stands here is what to do about it. A test fails when
a class has no word here, and when the page is older than the classes.
"""

from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Final

import api.cli.errors
import api.client_errors
import api.server
import api.settings
import cluster.errors
import orchestrator.domain.errors
import trainers.ray_train.attendance
from api.service.problems import STATUS_OF, code_of, status_of
from orchestrator.domain.errors import TumblerError

PAGE: Final = Path(__file__).with_name("errors.md")
MODULES: Final = (
    orchestrator.domain.errors,
    cluster.errors,
    api.settings,
    api.server,
    api.client_errors,
    api.cli.errors,
    trainers.ray_train.attendance,
)
WHAT_TO_DO: Final = {
    "SpecError": "Mend the fields that it names; each problem has its line and column, and all are told at"
    " once. `tumbler validate -f run.yaml` checks without starting anything. The fields are "
    "in [run spec](spec.md).",
    "DataError": "It names the file and, where there is one, the row. Mend it, or set `data.on_bad_row: "
    "skip`. See [bad rows](data.md#bad-rows).",
    "RunNotFound": "`tumbler ls` lists the runs. Where a service runs, names are looked up there; a path "
    "with a `/` or `--storage FOLDER` reads a run directory instead.",
    "RunExists": "Choose another name, remove the old run (`tumbler rm RUN`), or go on with it: `tumbler "
    "run -f run.yaml --resume`.",
    "ClusterUnavailable": "`tumbler doctor` says what is missing. Runs that were submitted wait and start by "
    "themselves when Ray is back. Where `RAY_ADDRESS` names a cluster that is gone, unset it.",
    "StorageError": "Check that the folder or bucket is there, that this user may write to it, and that the "
    "credentials are set. What is broken is named; it is never guessed at.",
    "CheckpointError": "The one before is taken by itself where a run goes on. "
    "`tumbler checkpoint verify RUN` names what is damaged; see [damage](checkpoints.md#damage).",
    "WorkerNotFound": "`tumbler workers RUN` lists those that live. A drill needs one on this machine.",
    "NodeNotFound": "`tumbler nodes ls` lists them; type more of the id.",
    "CheckpointNotFound": "`tumbler checkpoint ls RUN` lists those that there are.",
    "DiskFull": "Free some space. Nothing that was acknowledged is lost, and it goes on by itself.",
    "WrongStatus": "The hint says what is possible now; what may follow what is in [life of a "
    "run](lifecycle.md#moves).",
    "Stale": "Read the run again and send its new ETag as `If-Match`, or `*` if it does not matter.",
    "KeyReused": "Use a new `Idempotency-Key` for each run, and the same only to send the same request "
    "again.",
    "BadCursor": "Leave the cursor out for the first page, and keep filters and sort for the next ones.",
    "LeaseLost": "Nothing: the service that acts now does the work. Stop the one you do not want.",
    "ServiceUnreachable": "`tumbler up` starts one; `TUMBLER_URL` names one elsewhere. "
    "Runs train on without it.",
    "NotFinished": "Wait longer (`--timeout`), or look with `tumbler describe RUN`.",
    "RunFailed": "The sentence says why; `tumbler logs RUN` has the traceback of your code. When it is "
    "mended: `tumbler retry RUN`, or `tumbler run -f run.yaml --resume` without a service.",
    "RunCancelled": "Somebody cancelled it. `tumbler retry RUN` does it again.",
    "HeadFailed": "`tumbler doctor` says what is missing; the log it names has Ray's own words.",
    "DriverRefused": "Read the sentence: the package of code or an environment that `code.pip` asks for "
    "cannot be made. Mend it and `tumbler retry RUN`.",
    "PackageRefused": "Name what is not needed in `code.exclude`, or give `code.working_dir` "
    "a smaller folder.",
    "SettingsError": "It names the flag, variable or line of the settings file; the settings are in "
    "[the service](service.md#up-and-down).",
    "PortTaken": "Choose another with `--port`, or stop what listens there.",
    "Unauthorised": "Ask by the name the service listens on (`127.0.0.1` or `localhost`), and not from "
    "another site's page.",
    "NotUnderstood": "Client and service may be of different versions: `tumbler version` on both sides.",
    "ServiceTrouble": "Look for the request id in `logs/service.log` of the home, and please report it.",
    "NotObeyed": "It was ended all the same. Look with `tumbler logs RUN` at what held the workers up; "
    "the run goes on from its newest checkpoint.",
    "Usage": "The sentence says what would make sense; `--help` shows all of it.",
    "FileExists": "Choose another place, or `--force` where the command has it.",
    "NothingToSay": "Give your task a `generate` method.",
    "DemoFailed": "`tumbler doctor` first; then run it again, with the output kept.",
    "StillNeeded": "Cancel or pause the runs first, or add `--force`.",
    "CannotStart": "Its last words are in the message; `tumbler doctor` says what is missing.",
}
_OF_COMMANDS: Final = (
    orchestrator.domain.errors.ServiceUnreachable,
    orchestrator.domain.errors.NotFinished,
    orchestrator.domain.errors.RunFailed,
    orchestrator.domain.errors.RunCancelled,
)
OF_REQUESTS: Final = {
    "bad-request": ("400 or 422", "Parameters or a small body that make no sense; `errors` names each."),
    "foreign-origin": (
        "403",
        "A page of another site asked. The service answers its own pages and programs only.",
    ),
    "not-found": ("404", "There is no such path."),
    "method-not-allowed": ("405", "The path is there, and does not take this method."),
    "body-too-large": ("413", "The body is larger than the detail says."),
    "unsupported-media-type": (
        "415",
        "Say what the body is: `application/json`, `application/yaml` or `application/zip`.",
    ),
    "misdirected-request": (
        "421",
        "The `Host` is not a name of this service. Use the address it listens on.",
    ),
    "precondition-required": ("428", "Send `If-Match` with the ETag of what was read, or `*`."),
    "unexpected": ("500", "A mistake of the service. Its log has more, under the `request_id`."),
}
"""Refusals of a request before anything looks at what it wants."""
_HEAD: Final = """\
# Errors

<!-- Written by docs/make_errors_page.py; edit the docstrings of the errors, or that script. -->

Every error is a sentence, and where there is one a hint on a line of its own. A command ends with the exit
code ([all of them](cli.md#exit-codes)); over REST the code stands in `code` of the problem document and
never changes, whatever the sentence says. From Python it is the class.
"""


def errors_page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_of_classes(), *_of_requests()])


def classes() -> list[type[TumblerError]]:
    """All that are raised on purpose, in the order of their modules."""
    found = []
    for module in MODULES:
        for value in vars(module).values():
            if (
                isinstance(value, type)
                and issubclass(value, TumblerError)
                and value.__module__ == module.__name__
            ):
                found.append(value)
    return [known for known in found if known is not TumblerError]


def _of_classes() -> Iterator[str]:
    for known in classes():
        error = known(()) if known is orchestrator.domain.errors.SpecError else known("")
        yield f"## {code_of(error)}\n"
        yield f"{' '.join((known.__doc__ or '').split())}\n"
        yield "| class | exit code | HTTP status |\n|---|---|---|"
        yield f"| `{known.__module__}.{known.__name__}` | {known.exit_code} | {_status(error)} |\n"
        yield f"What to do: {WHAT_TO_DO[known.__name__]}\n"


def _status(error: TumblerError) -> str:
    """Of those that the service knows; others end a command and never leave it."""
    known = next(known for known in type(error).__mro__ if known in STATUS_OF)
    if known is TumblerError or known in _OF_COMMANDS:
        return "none: commands only"
    status = status_of(error)
    return f"{status} {HTTPStatus(status).phrase}"


def _of_requests() -> Iterator[str]:
    yield "## Of requests\n"
    yield "What the service refuses before it looks at what is wanted.\n"
    for code, (status, meaning) in OF_REQUESTS.items():
        yield f"### {code}\n"
        yield f"HTTP status {status}. {meaning}\n"


if __name__ == "__main__":
    PAGE.write_text(errors_page(), encoding="utf-8")
