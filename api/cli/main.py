"""The command `tumbler`: all its commands, and how each end becomes an exit code.

Commands are imported only when they are called, and ray and torch only inside those that need them.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from cyclopts import App, CycloptsError

from orchestrator.domain.errors import TumblerError

EXIT_UNEXPECTED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
_DEBUG = "--debug"

_TRAIN, _LOOK, _STEER, _MACHINE = "Training", "Runs", "Steering a run of the service", "This machine"
_EPILOGUE = (
    "Results go to stdout, all else to stderr. --debug shows the traceback of an unexpected error.\n\n"
    "Exit codes: 0 ok, 1 unexpected, 2 usage, 3 spec invalid, 4 not found, 5 not allowed, 6 conflict, "
    "7 service unreachable, 100 run failed, 101 not finished, 103 run cancelled, 130 Ctrl-C."
)
COMMANDS = (
    (_TRAIN, "demo", "demo:demo", "A real run with a kill in the middle: about a minute, and its summary."),
    (_TRAIN, "init", "specs:init", "Write a commented run spec to start from."),
    (_TRAIN, "validate", "specs:validate", "Check a run spec without starting anything."),
    (_TRAIN, "run", "training:run", "Train here until the run has ended, without a service."),
    (_TRAIN, "submit", "submitting:submit", "Give a run to the service and follow it."),
    (_LOOK, "ls", "runs:ls", "List runs, the newest first."),
    (_LOOK, "get", "runs:get", "Show where one run stands."),
    (_LOOK, "describe", "describing:describe", "Show everything about one run, and why it waits."),
    (_LOOK, "watch", "watching:watch", "Show a run live until it has ended."),
    (_LOOK, "top", "top:top", "Show the cluster and its runs live."),
    (_LOOK, "wait", "watching:wait", "Wait until a run has ended, and exit as it did."),
    (_LOOK, "events", "records:events", "Show what happened to a run."),
    (_LOOK, "metrics", "records:metrics", "Show the metrics of a run by step."),
    (_LOOK, "logs", "records:logs", "Show what the workers of a run printed."),
    (_LOOK, "workers", "describing:workers", "List the workers of a run, or let one of them go."),
    (_LOOK, "checkpoint", "checkpoints:checkpoint", "The checkpoints of a run."),
    (_LOOK, "audit", "audits:audit", "Prove that every row was used once, and show the hash chain."),
    (_LOOK, "goodput", "goodputs:goodput", "Show where the time of the workers went."),
    (_LOOK, "generate", "generation:generate", "Let the trained model of a run say something."),
    (_STEER, "scale", "verbs:scale", "Give a run another number of workers, while it trains."),
    (_STEER, "pause", "verbs:pause", "Stop a run with a last checkpoint, and keep it."),
    (_STEER, "resume", "verbs:resume", "Go on with a paused run."),
    (_STEER, "cancel", "verbs:cancel", "End a run for good, with a last checkpoint."),
    (_STEER, "retry", "verbs:retry", "Do again what a failed or cancelled run did."),
    (_STEER, "clone", "verbs:clone", "Start a new run from the spec of another."),
    (_STEER, "patch", "verbs:patch", "Change labels, priority or workers."),
    (_STEER, "rm", "verbs:rm", "Forget ended runs and remove their files."),
    (_MACHINE, "up", "lifting:up", "Start a Ray head and the service on this machine."),
    (_MACHINE, "down", "lifting:down", "Stop what `up` started."),
    (_MACHINE, "nodes", "nodes:nodes", "The nodes of the cluster, and whether new workers may go there."),
    (_MACHINE, "queues", "queues:queues", "The queues that runs wait in."),
    (_MACHINE, "datasets", "datasets:datasets", "The data sets that a spec can name."),
    (_MACHINE, "chaos", "drills:chaos", "Break something on purpose."),
    (_MACHINE, "doctor", "doctor:doctor", "Check this machine, and say what to fix."),
    (_MACHINE, "completion", "completion:completion", "Print the completion script for a shell."),
    (_MACHINE, "version", "versions:version", "Show the versions that matter."),
)

_NAMES = frozenset(name for _, name, _, _ in COMMANDS)


def build_app(called: str = "") -> App:
    """All commands; `called` is the one whose own help may be asked for, from its docstring.

    In the list of all, for which none is imported, each has one line here.
    """
    app = App(
        name="tumbler",
        help="Elastic training on Ray: push it over and it rights itself.",
        help_epilogue=None if called in _NAMES else _EPILOGUE,
        help_format="markdown" if called in _NAMES else "plaintext",
        version=_version,
        suppress_keyboard_interrupt=False,
    )
    for group, name, where, line in COMMANDS:
        app.command(f"api.cli.{where}", name=name, help=None if name == called else line, group=group)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code, and never raises but for SystemExit."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = _DEBUG in words
    words = [word for word in words if word != _DEBUG]
    app = build_app(words[0] if words else "")
    try:
        code: int = app(
            words, exit_on_error=False, print_error=False, result_action="return_int_as_exit_code_else_zero"
        )
        return code
    except CycloptsError as error:
        error.verbose = False
        return _end(EXIT_USAGE, str(error), f"see `tumbler {' '.join([*_command(app, words), '--help'])}`")
    except TumblerError as error:
        return _end(error.exit_code, str(error), error.hint)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough. What is still buffered must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            traceback.print_exc()
        hint = "" if debug else "run it again with --debug for the traceback"
        return _end(EXIT_UNEXPECTED, f"unexpected {type(error).__name__}: {error}", hint)


def _end(code: int, sentence: str, hint: str) -> int:
    for line in filter(None, (sentence, hint)):
        print(line, file=sys.stderr)
    return code


def _command(app: App, words: Sequence[str]) -> list[str]:
    """The leading words that name a command."""
    found: list[str] = []
    known = app
    for word in words:
        if word.startswith("-") or word not in known:
            break
        found.append(word)
        known = known[word]
    return found


def _version() -> str:
    from importlib.metadata import version

    return f"tumbler {version('tumbler')}"


def command() -> NoReturn:
    """What the shell starts."""
    code = main()
    if "torch" in sys.modules:
        from trainers.exit import leave

        leave(code)
    sys.exit(code)


if __name__ == "__main__":
    command()
