"""A Ray in this process for many tests: to start one is the slow part."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray


@contextmanager
def local_ray() -> Iterator[None]:
    """A local Ray; it leaves no trace in the environment."""
    environment = {
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        ray.init(
            address="local",
            num_cpus=8,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            _node_ip_address="127.0.0.1",
        )
        yield
        ray.shutdown()
