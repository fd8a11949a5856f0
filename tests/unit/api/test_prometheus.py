"""What Prometheus is told of runs."""

from api.service.prometheus import Gauges
from orchestrator.domain.runs import Progress
from orchestrator.domain.status import RunStatus
from tests.unit.test_lifecycle import run_in


def test_the_newest_checkpoint_and_those_that_were_skipped_are_told() -> None:
    progress = Progress(step=430, checkpoint="s3://bucket/prefix/otter/step-00000400")
    run = run_in(RunStatus.RUNNING, progress=progress, skipped_checkpoints=2)
    gauges = Gauges()
    text = gauges.text({}, [run]).decode()
    labels = f'{{run="{run.name}",run_id="{run.id}"}}'
    assert f"tumbler_run_checkpoint_step{labels} 400.0" in text
    assert f"tumbler_run_skipped_checkpoints{labels} 2.0" in text
    assert f"tumbler_run_checkpoint_step{labels} 0.0" in gauges.text({}, [run_in(RunStatus.RUNNING)]).decode()
    assert labels not in gauges.text({}, []).decode()
