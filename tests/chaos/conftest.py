"""Chaos tests repeat a fault at moments that a seed decides; they take minutes."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import tests.local_ray
from benchmarks.service_process import NO_RAY, ServiceProcess

REPEATS = "TUMBLER_CHAOS_REPEATS"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def repeats() -> int:
    """How often each fault strikes."""
    return int(os.environ.get(REPEATS, "50"))


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """For the tests of one module."""
    with tests.local_ray.local_ray():
        yield


@pytest.fixture
def make_service(tmp_path: Path) -> Iterator[Callable[..., ServiceProcess]]:
    """Services in folders of the test's own, by name; none outlives the test."""
    with ExitStack() as stack:

        def make(name: str = "service", ray_address: str = NO_RAY) -> ServiceProcess:
            service = ServiceProcess(tmp_path / name, ray_address)
            stack.callback(service.end)
            return service

        yield make
