"""A head whose autoscaler starts raylets on this machine as they are wanted.

What AutoscalingCluster of Ray is; that one needs a file which the wheel lacks, and begins with a `ray stop`
that would end every Ray here.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray.util
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

from cluster.daemons import MARK, Household
from cluster.ports import free_ports
from tests.integration.processes import environment_without_ray

_COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
    "cluster_synced_files",
    "rsync_exclude",
    "rsync_filter",
)
ROOT = Path(__file__).parents[2]


@contextmanager
def autoscaled(worker_types: dict[str, Any], *, head_cpus: int = 0) -> Iterator[str]:
    """Address of the GCS of a cluster that grows by nodes of these types."""
    config = _config(worker_types, head_cpus)
    temp_dir = tempfile.mkdtemp(prefix="tumbler-", dir="/tmp")  # a socket's path must be short
    (Path(temp_dir) / "autoscaling.json").write_text(json.dumps(config))
    head_id, (port,) = secrets.token_hex(8), free_ports(1)
    household = Household(MARK, head_id)
    env = environment_without_ray() | {
        MARK: head_id,
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    }
    words = ["ray", "start", "--head", f"--autoscaling-config={temp_dir}/autoscaling.json", f"--port={port}"]
    words += [f"--num-cpus={head_cpus}", f"--temp-dir={temp_dir}", "--include-dashboard=false"]
    try:
        # Into a file: a pipe would stay open in the daemons, and never end.
        with (Path(temp_dir) / "start.log").open("wb") as log:
            subprocess.run(
                words, env=env, check=True, start_new_session=True, timeout=60, stdout=log, stderr=log
            )
        yield f"{_node_ip()}:{port}"
    finally:
        household.end(patience_s=5.0)
        time.sleep(0.5)
        shutil.rmtree(temp_dir, ignore_errors=True)


def _config(worker_types: dict[str, Any], head_cpus: int) -> dict[str, Any]:
    head = {"resources": {"CPU": head_cpus}, "node_config": {}, "max_workers": 0}
    return {
        "cluster_name": "fake_multinode",
        "provider": {
            "type": "fake_multinode",
            "launch_multiple": True,
            "head_node_id": FAKE_HEAD_NODE_ID,
        },
        "max_workers": 8,
        "head_node_type": "ray.head.default",
        "available_node_types": {"ray.head.default": head, **worker_types},
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 5,
        "auth": {},
        **{name: {} for name in ("docker", "file_mounts")},
        **{name: [] for name in _COMMANDS},
        "file_mounts_sync_continuously": False,
    }


def _node_ip() -> str:
    return str(ray.util.get_node_ip_address())
