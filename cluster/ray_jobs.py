"""A Ray cluster through its HTTP interface: drivers are Ray Jobs.

Never a Ray connection of its own: a process that holds one ends with its raylet, and the service must not.
Ray is imported inside the calls, for a service has to be up before that second is over.
"""

import os
import shlex
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from orchestrator.domain.errors import ClusterUnavailable
from orchestrator.ports.cluster import ClusterView, DriverOrder, DriverState, DriverStatus, Node

_PATIENCE_S: Final = 5
_VIEW_LASTS_S: Final = 1.0
_SHIPPED: Final = ("orchestrator", "trainers")
_ON_THE_HEAD: Final = {"node:__internal_head__": 0.001}


class RayCluster:
    """Implements orchestrator.ports.cluster.Cluster for the dashboard at `address`, such as
    `http://127.0.0.1:8265`.

    `env` is what lets one in (RAY_AUTH_MODE, RAY_AUTH_TOKEN_PATH); Ray reads it from this process's
    environment, so it is put there.
    """

    def __init__(self, address: str, *, home: Path, env: Mapping[str, str] | None = None) -> None:
        self._address = address
        self._home = home
        # Before Ray is imported, which looks once.
        os.environ.update(env or {})
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        self._lock = threading.Lock()
        self._jobs: Any = None
        self._seen: tuple[float, ClusterView] | None = None

    def address(self) -> str:
        return self._address

    def view(self) -> ClusterView:
        """At most a second old."""
        if self._seen is not None and time.monotonic() - self._seen[0] < _VIEW_LASTS_S:
            return self._seen[1]
        from ray.util.state import list_nodes

        with self._answering():
            states = list_nodes(address=self._address, detail=True, timeout=_PATIENCE_S, limit=10_000)
        view = ClusterView(
            nodes=tuple(_node(state) for state in states),
            autoscaled=any("ray.io/autoscaled" in (state.labels or {}) for state in states),
        )
        self._seen = (time.monotonic(), view)
        return view

    def launch(self, order: DriverOrder) -> None:
        environment = dict(order.env)
        runtime_env: dict[str, Any] = {
            "env_vars": environment,
            "py_modules": [str(_our_folder() / name) for name in _SHIPPED],
            "excludes": ["__pycache__/"],
        }
        if order.package is not None:
            runtime_env["working_dir"] = str(order.package)
        if order.pip:
            runtime_env["pip"] = list(order.pip)
        words = ["python", "-m", "trainers.driver", str(order.run_folder)]
        numbers = ["--attempt", str(order.attempt), "--driver", str(order.driver)]
        with self._answering() as jobs:
            if order.submission_id in {job.submission_id for job in jobs.list_jobs()}:
                return
            jobs.submit_job(
                entrypoint=shlex.join([*words, *numbers]),
                submission_id=order.submission_id,
                runtime_env=runtime_env,
                metadata={"run": order.run_name, "attempt": str(order.attempt), "driver": str(order.driver)},
                entrypoint_num_cpus=0,
                entrypoint_resources=_ON_THE_HEAD,
            )

    def drivers(self) -> Mapping[str, DriverStatus]:
        with self._answering() as jobs:
            return {
                job.submission_id: DriverStatus(DriverState(str(job.status.value)), job.message or "")
                for job in jobs.list_jobs()
                if job.submission_id
            }

    def stop(self, submission_id: str) -> None:
        with self._answering() as jobs:
            known = {job.submission_id: job for job in jobs.list_jobs()}
            if submission_id in known and not known[submission_id].status.is_terminal():
                jobs.stop_job(submission_id)

    @contextmanager
    def _answering(self) -> Iterator[Any]:
        """The client of Ray Jobs. Raises ClusterUnavailable for whatever goes wrong with it."""
        try:
            yield self._client()
        except Exception as error:  # Ray raises RuntimeError, ConnectionError, requests' own, and more
            self._jobs = None
            raise ClusterUnavailable(
                f"Ray does not answer at {self._address}: {_first_line(error)}",
                hint="`tumbler up` starts a head; a cluster of your own is checked with `ray status`",
            ) from error

    def _client(self) -> Any:
        with self._lock:
            if self._jobs is None:
                from ray.job_submission import JobSubmissionClient

                self._jobs = JobSubmissionClient(self._address)
            return self._jobs


def _node(state: Any) -> Node:
    resources = {
        name: float(amount) for name, amount in (state.resources_total or {}).items() if ":" not in name
    }
    return Node(
        id=state.node_id,
        address=state.node_ip,
        hostname=state.node_name or state.node_ip,
        alive=state.state == "ALIVE",
        head=bool(state.is_head_node),
        resources=resources,
        labels=dict(state.labels or {}),
    )


def _our_folder() -> Path:
    """Where our packages lie, installed or not."""
    return Path(__file__).resolve().parent.parent


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
