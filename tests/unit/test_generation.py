"""`tumbler generate` finds what a run has learned, wherever its checkpoints lie."""

from pathlib import Path
from typing import Any

import pytest
import torch

from api.checkpoints import checkpoints_of
from api.cli.generation import load_trained
from orchestrator.domain.errors import CheckpointError
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from tests.unit.checkpoint_files import commit_checkpoint
from tests.unit.test_export import a_model, a_run, fed


def learned(tmp_path: Path, **spec: Any) -> RunDirectory:
    """A run of which the checkpoints of steps 4 and 8 are there."""
    run = a_run(tmp_path, **spec)
    fed(run)
    weights = a_model(run).state_dict()
    commit_checkpoint(run, 4, model={name: torch.zeros_like(tensor) for name, tensor in weights.items()})
    commit_checkpoint(run, 8, model=weights)
    return run


@pytest.mark.parametrize("elsewhere", [False, True], ids=["in-the-run-directory", "elsewhere"])
def test_the_newest_checkpoint_speaks_wherever_it_lies(tmp_path: Path, elsewhere: bool) -> None:
    more = {"checkpoint": {"location": str(tmp_path / "place")}} if elsewhere else {}
    run = learned(tmp_path, **more)
    assert (tmp_path / "place" / "otter" / "step-00000008").exists() is elsewhere
    trained = load_trained(run)
    assert (trained.step, Path(trained.checkpoint).name) == (8, "step-00000008")
    said = trained.generate("the text", max_tokens=8, seed=1)
    assert said
    assert said == load_trained(run).generate("the text", max_tokens=8, seed=1)


def test_a_damaged_one_is_named_and_the_one_before_speaks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = learned(tmp_path)
    (part,) = checkpoint_folder(run, 8).glob("a*/part-*.safetensors")
    part.write_bytes(part.read_bytes()[:-1])
    assert load_trained(run).step == 4
    assert "passed over: checkpoint file" in capsys.readouterr().err
    for path in checkpoint_folder(run, 4).glob("manifest-*"):
        path.write_text("{}")
    with pytest.raises(CheckpointError, match="none of the 2 checkpoints of run 'otter' is whole"):
        load_trained(run)


def checkpoint_folder(run: RunDirectory, step: int) -> Path:
    (found,) = (one for one in checkpoints_of(run).committed() if one.step == step)
    return run.checkpoints / found.name


def test_what_is_no_task_has_nothing_to_say(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="trains code of its own, not a Tumbler task"):
        load_trained(RunDirectory.create(tmp_path, RunSpec.parse({"name": "script", "command": "true"})))
