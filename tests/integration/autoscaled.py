"""A head whose autoscaler starts raylets on this machine as they are wanted.

That of Ray's AutoscalingCluster, but for `ray stop`, which would end every Ray on the machine.
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

from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
from ray.cluster_utils import AutoscalingCluster

from cluster.daemons import MARK, Household
from cluster.ports import free_ports
from tests.integration.processes import environment_without_ray

ROOT = Path(__file__).parents[2]


@contextmanager
def autoscaled(worker_types: dict[str, Any], *, head_cpus: int = 0) -> Iterator[str]:
    """Address of the GCS of a cluster that grows by nodes of these types."""
    config = AutoscalingCluster({"CPU": head_cpus}, worker_types, autoscaler_v2=True)._config
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
        subprocess.run(words, env=env, check=True, start_new_session=True, timeout=60, capture_output=True)
        yield f"{_node_ip()}:{port}"
    finally:
        household.end(patience_s=5.0)
        time.sleep(0.5)
        shutil.rmtree(temp_dir, ignore_errors=True)


def _node_ip() -> str:
    import ray.util

    return str(ray.util.get_node_ip_address())
