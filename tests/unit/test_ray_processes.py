"""What Tumbler expects of Ray's processes, and what they may expect of ours."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError
from ray.train import TrainingFailedError

from orchestrator.domain.status import EndReason
from trainers.ray_train.controller import AttemptFailed

ROOT = Path(__file__).parents[2]


def test_a_controller_that_cannot_be_reached_for_a_moment_is_told_from_a_dead_one() -> None:
    assert issubclass(ActorUnavailableError, RayActorError)
    assert issubclass(ActorDiedError, RayActorError)
    assert not issubclass(ActorDiedError, ActorUnavailableError)


@pytest.mark.slow
def test_the_controller_needs_no_torch() -> None:
    """What it holds of the training function must load without; importing torch costs it 3 s and 200 MB."""
    code = (
        "import sys; import trainers.ray_train.controller, trainers.ray_train.worker; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_how_an_attempt_failed_crosses_processes_whole() -> None:
    error = AttemptFailed(EndReason.MAX_FAILURES_EXCEEDED, "the run failed 4 times", "Traceback ...")
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, TrainingFailedError)
    assert (copy.reason, copy.message, copy.traceback) == (error.reason, error.message, error.traceback)
    assert str(copy) == "MaxFailuresExceeded: the run failed 4 times"
