"""One local Ray for all integration tests of a session: starting it is the slow part."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tests.local_ray
from orchestrator.domain.spec import RunSpec


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs take their time on a busy machine; what hangs is still ended."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    with tests.local_ray.local_ray():
        yield


@pytest.fixture
def paced(tmp_path: Path, local_ray: None) -> Any:
    """A spec of the paced task, stored in the test's own folder; keywords override."""

    def make(**overrides: Any) -> RunSpec:
        content: dict[str, Any] = {
            "task": "tests.integration.tasks:Paced",
            "workers": 2,
            "train": {"steps": 60, "global_batch": 16, "logical_shards": 8, "evaluate_rows": 64},
            "checkpoint": {"storage": str(tmp_path), "every": 20},
        }
        for key, value in overrides.items():
            content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
        return RunSpec.parse(content)

    return make
