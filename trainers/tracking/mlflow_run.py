"""One MLflow run for a run of ours, found again by a tag however often it is begun."""

import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from orchestrator.domain.spec import RunSpec
from orchestrator.domain.spec_parts import MlflowSpec
from orchestrator.domain.status import RunStatus
from trainers.tracking.memory import Memory, news, recall, remember
from trainers.tracking.tracker import Metrics

_TAG: Final = "tumbler.run"
_AT_ONCE: Final = 1000
"""The most that MLflow takes in one request."""
_MOST_PARAMS: Final = 100
_LONGEST_PARAM: Final = 500
_ENDINGS: Final = {
    RunStatus.SUCCEEDED: "FINISHED",
    RunStatus.FAILED: "FAILED",
    RunStatus.CANCELLED: "KILLED",
}


class MlflowRun:
    def __init__(self, wish: MlflowSpec, spec: RunSpec, tracker_id: str, path: Path) -> None:
        """`path` is where it remembers how far it came."""
        self._wish = wish
        self._spec = spec
        self._tracker_id = tracker_id
        self._path = path
        self._client: Any = None
        self._memory = Memory()

    def open(self) -> int:
        # We try again ourselves, and a server that is down must not hold us for minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(tracking_uri=self._wish.tracking_uri)
        self._memory = recall(self._path)
        run_id = self._find(self._experiment())
        self._client.update_run(run_id, status="RUNNING")
        self._memory = self._memory.model_copy(update={"id": run_id})
        remember(self._path, self._memory)
        return self._memory.seq

    def tell(self, records: Metrics) -> None:
        from mlflow.entities import Metric

        points, memory = news(self._memory, records)
        found = [
            Metric(name, value, int(1000 * point.time_s), point.step)
            for point in points
            for name, value in point.numbers.items()
        ]
        for some in _parts(found, _AT_ONCE):
            self._client.log_batch(memory.id, metrics=some)
        self._memory = memory
        remember(self._path, memory)

    def finish(self, status: RunStatus) -> None:
        if status in _ENDINGS:
            self._client.set_terminated(self._memory.id, status=_ENDINGS[status])

    def close(self) -> None:
        self._client = None

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._wish.experiment)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(self._wish.experiment))

    def _find(self, experiment: str) -> str:
        """The tag decides, for what we remember may be of another server or be lost."""
        known = self._client.search_runs([experiment], f"tags.`{_TAG}` = '{self._tracker_id}'", max_results=1)
        if known:
            return str(known[0].info.run_id)
        self._memory = Memory()  # a server that knows nothing of it is told all
        made = self._client.create_run(experiment, run_name=self._spec.name, tags={_TAG: self._tracker_id})
        self._describe(str(made.info.run_id))
        return str(made.info.run_id)

    def _describe(self, run_id: str) -> None:
        from mlflow.entities import Param, RunTag

        params = list(itertools.islice(_flat(self._spec.model_dump(mode="json")), _MOST_PARAMS))
        tags = [RunTag(f"tumbler.label.{name}", value) for name, value in self._spec.labels.items()]
        self._client.log_batch(run_id, params=[Param(name, value) for name, value in params], tags=tags)


def _flat(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Such as `train.steps` and `500`."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        elif value not in (None, [], ""):
            yield f"{path}{name}", str(value)[:_LONGEST_PARAM]


def _parts(items: list[Any], size: int) -> Iterator[list[Any]]:
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]
