"""Tells Ray that a node will be gone, by `ray drain-node`: only the GCS hears that, and the service has no
connection to it."""

import math
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

from orchestrator.domain.errors import ClusterUnavailable

_TOLD_WITHIN_S: Final = 20.0
_COMMAND: Final = "from ray.scripts.scripts import main; main()"


def tell_drain(gcs: str, env: Mapping[str, str], node_id: str, deadline_s: float | None, reason: str) -> None:
    """`gcs` is `IP:PORT`, `env` lets one in. Raises ClusterUnavailable where Ray does not take it."""
    words = [
        *(sys.executable, "-c", _COMMAND, "drain-node", "--address", gcs, "--node-id", node_id),
        *("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", reason or "drained by a user"),
    ]
    if deadline_s is not None:
        words += ["--deadline-remaining-seconds", str(math.ceil(deadline_s))]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    try:
        done = subprocess.run(
            words,
            env={**inherited, "RAY_AUTH_MODE": "disabled", **env},
            capture_output=True,
            text=True,
            timeout=_TOLD_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterUnavailable(f"Ray at {gcs} could not be told of a drain: {error}") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ClusterUnavailable(f"Ray at {gcs} did not take a drain: {lines[-1]}")
