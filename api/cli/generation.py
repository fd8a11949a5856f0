"""`tumbler generate`: what the model of a run has learned to say."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cyclopts.types import NonNegativeInt, PositiveInt

from api.checkpoints import checkpoints_of, none_yet
from api.cli.arguments import Folder, Output, Reference
from api.cli.errors import NothingToSay
from api.cli.output import Format, printable, put, tell
from api.cli.places import open_run
from orchestrator.domain.errors import CheckpointError
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from trainers.task_registry import load_task, trained_task

if TYPE_CHECKING:
    from torch import nn

    from trainers.task import Task


@dataclass(frozen=True)
class Trained:
    """The model of a run, as its newest good checkpoint has it."""

    task: "Task[Any]"
    model: "nn.Module"
    checkpoint: str
    """Path or URI."""
    step: int

    def generate(self, prompt: str, *, max_tokens: int, seed: int) -> str:
        """Raises NothingToSay where the task cannot generate text."""
        try:
            return self.task.generate(self.model, prompt, max_tokens=max_tokens, seed=seed)
        except NotImplementedError as error:
            raise NothingToSay(str(error), hint="give your task a `generate` method") from None


def generate(
    run: Reference,
    /,
    *,
    prompt: str,
    max_tokens: PositiveInt = 200,
    seed: NonNegativeInt = 1,
    storage: Folder = None,
    output: Output = Format.TABLE,
) -> None:
    """Let the trained model of a run go on from a prompt; the same seed says the same.

    Parameters
    ----------
    prompt
        What the text starts with.
    max_tokens
        How much to add at most.
    """
    found = open_run(run, storage)
    trained = load_trained(found)
    text = trained.generate(prompt, max_tokens=max_tokens, seed=seed)
    if output is Format.TABLE:
        print(printable(prompt + text))
        return
    where = {"run": found.name, "step": trained.step, "checkpoint": str(trained.checkpoint)}
    put({**where, "prompt": prompt, "seed": seed, "text": text}, {}, output)


def load_trained(run: RunDirectory) -> Trained:
    """The model of a run from its newest checkpoint that is whole; says on stderr which were not.

    Raises CheckpointError for a run that is no task and where no checkpoint is good, SpecError where the task
    cannot be loaded.
    """
    name, spec = trained_task(run), run.spec()
    # Three seconds, which a run that is not there need not wait for.
    from trainers.checkpoints.reading import read_model
    from trainers.feed.run_feed import feed_of

    catalog = checkpoints_of(run)
    candidates = catalog.committed()
    if not candidates:
        raise none_yet(run.name)
    for found in candidates:
        try:
            manifest = catalog.read(found)
            manifest.check_spec(spec.result_fingerprint(), spec.result_content(), f"checkpoint {found.name}")
            parameters = read_model(catalog.place, manifest)
        except CheckpointError as error:
            tell(f"passed over: {error}")
            continue
        task = _load_task(name, spec)
        task.feed = feed_of(run)
        model = task.build_model()
        model.load_state_dict(parameters)
        return Trained(task, model, catalog.place.describe(found.name), found.step)
    raise CheckpointError(f"none of the {len(candidates)} checkpoints of run '{run.name}' is whole")


def _load_task(name: str, spec: RunSpec) -> "Task[Any]":
    if spec.code.working_dir not in sys.path:
        sys.path.append(spec.code.working_dir)
    return load_task(name, spec.model)
