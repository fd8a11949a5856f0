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

from cluster.drains import tell_drain
from cluster.errors import DriverRefused
from cluster.shipping import our_archive, ray_name
from orchestrator.domain.disk import storage_errors
from orchestrator.domain.errors import ClusterUnavailable, TumblerError
from orchestrator.ports.cluster import ClusterView, DriverOrder, DriverState, DriverStatus, Node

_VIEW_LASTS_S: Final = 1.0
_STOPS_WITHIN_S: Final = 30
"""How long a driver may take after SIGTERM; its workers may have a checkpoint to write. Ray's own: 3."""


class RayCluster:
    """Implements orchestrator.ports.cluster.Cluster for the dashboard at `address`, such as
    `http://127.0.0.1:8265`. Thread-safe.

    `env` is what lets one in (RAY_AUTH_TOKEN_PATH); unless given, Ray looks into the environment of this
    process.
    """

    def __init__(
        self, address: str, *, home: Path, env: Mapping[str, str] | None = None, gcs: str | None = None
    ) -> None:
        """`gcs` is the address of the GCS, without which Ray cannot be told of a drain."""
        self._address = address
        self._gcs = gcs
        self._home = home
        self._env = dict(env or {})
        # Before Ray is imported, which looks once and would write a token file into HOME.
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        self._lock = threading.Lock()
        self._jobs: Any = None
        self._seen: tuple[float, ClusterView] | None = None
        self._names: dict[Path, str] = {}
        """What Ray calls the packages; a file's name is its SHA-256, so its content stays."""

    def address(self) -> str:
        return self._address

    def view(self) -> ClusterView:
        """At most a second old."""
        seen = self._seen
        if seen is not None and time.monotonic() - seen[0] < _VIEW_LASTS_S:
            return seen[1]
        with self._answering() as jobs:
            states = jobs.nodes()
        view = ClusterView(
            nodes=tuple(_node(state) for state in states),
            autoscaled=any("ray.io/autoscaled" in (state.get("labels") or {}) for state in states),
        )
        self._seen = (time.monotonic(), view)
        return view

    def launch(self, order: DriverOrder) -> None:
        """Raises DriverRefused for an order that Ray can make nothing of, StorageError for a package that
        cannot be read.

        Ray runs a job that asks for no resources on its head node. Asking for a bit of that node instead
        would do the same and more: workers would run at the driver's priority instead of Ray's lower one.
        """
        with self._answering() as jobs:
            runtime_env = self._runtime_env(order, jobs)
            try:
                jobs.submit_job(
                    entrypoint=entrypoint(order),
                    submission_id=order.submission_id,
                    runtime_env=runtime_env,
                    metadata={
                        "run": order.run_name,
                        "attempt": str(order.attempt),
                        "driver": str(order.driver),
                    },
                    entrypoint_num_cpus=0,
                )
            except (TypeError, ValueError) as error:
                raise DriverRefused(f"Ray refused to start a driver: {_last_line(error)}") from error
            except RuntimeError as error:
                if "already exists" in str(error):
                    return
                if "status code 400" in str(error):
                    raise DriverRefused(f"Ray refused to start a driver: {_last_line(error)}") from error
                raise

    def drivers(self) -> Mapping[str, DriverStatus]:
        with self._answering() as jobs:
            return {job.submission_id: _status(job) for job in jobs.list_jobs() if job.submission_id}

    def stop(self, submission_id: str) -> None:
        with self._answering() as jobs:
            try:
                jobs.stop_job(submission_id)
            except RuntimeError as error:
                if "does not exist" not in str(error):
                    raise

    def drain(self, node_id: str, deadline_s: float | None, reason: str) -> bool:
        """Through Ray's own command: there is no HTTP for it. Raises ClusterUnavailable."""
        if self._gcs is None:
            return False
        tell_drain(self._gcs, self._env, node_id, deadline_s, reason)
        return True

    def _runtime_env(self, order: DriverOrder, jobs: Any) -> dict[str, Any]:
        """Ray puts `py_modules` before `working_dir` on the import path, and both before what is there."""
        content = our_archive()
        found: dict[str, Any] = {
            "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOPS_WITHIN_S), **order.env},
            "py_modules": [_sent(jobs, ray_name(content), content)],
        }
        if order.package is not None:
            found["working_dir"] = self._send_package(jobs, order.package)
        if order.pip:
            found["pip"] = list(order.pip)
        return found

    def _send_package(self, jobs: Any, package: Path) -> str:
        name = self._names.get(package)
        if name is not None and jobs.has_package(name):
            return f"gcs://{name}"
        with storage_errors("read", package):
            content = package.read_bytes()
        self._names[package] = ray_name(content)
        return _sent(jobs, self._names[package], content)

    @contextmanager
    def _answering(self) -> Iterator[Any]:
        """The client of Ray Jobs. Raises ClusterUnavailable for whatever goes wrong between it and Ray."""
        try:
            yield self._client()
        except TumblerError:
            raise
        except Exception as error:  # Ray raises RuntimeError, ConnectionError, requests' own, and more
            self._jobs = None
            raise ClusterUnavailable(
                f"Ray does not answer at {self._address}: {_cause(error)}",
                hint="`tumbler up` starts a head; a cluster of your own is checked with `ray status`",
            ) from error

    def _client(self) -> Any:
        with self._lock:
            if self._jobs is None:
                from cluster.jobs_client import JobsClient

                self._jobs = JobsClient(self._address, headers=self._headers())
            return self._jobs

    def _headers(self) -> dict[str, str]:
        """Said outright: Ray reads the token of its environment once in the life of a process."""
        path = self._env.get("RAY_AUTH_TOKEN_PATH")
        if self._env.get("RAY_AUTH_MODE") != "token" or path is None:
            return {}
        return {"Authorization": f"Bearer {Path(path).read_text().strip()}"}


def entrypoint(order: DriverOrder) -> str:
    """`-P`: the folder that it starts in is the user's, and must not come before our modules."""
    words = ["python", "-P", "-m", "trainers.driver", str(order.run_folder)]
    return shlex.join([*words, "--attempt", str(order.attempt), "--driver", str(order.driver)])


def _sent(jobs: Any, name: str, content: bytes) -> str:
    """Asked for at each launch: a new GCS has no packages, and an old one forgets those it did not need."""
    if not jobs.has_package(name):
        jobs.put_package(name, content)
    return f"gcs://{name}"


def _node(state: Mapping[str, Any]) -> Node:
    resources = {
        name: float(amount)
        for name, amount in (state.get("resources_total") or {}).items()
        if ":" not in name  # Ray's marks of single nodes
    }
    return Node(
        id=state["node_id"],
        address=state["node_ip"],
        hostname=state.get("node_name") or state["node_ip"],
        alive=state["state"] == "ALIVE",
        head=bool(state["is_head_node"]),
        resources=resources,
        labels=dict(state.get("labels") or {}),
    )


def _status(job: Any) -> DriverStatus:
    """Ray's message of a driver that failed carries the end of its log; its last line says why."""
    message = job.message or ""
    if job.driver_exit_code:
        lines = [line.strip() for line in message.splitlines() if line.strip()]
        message = f"the driver ended with exit code {job.driver_exit_code}: {lines[-1] if lines else ''}"
    return DriverStatus(DriverState(str(job.status.value)), message[:1000])


def _cause(error: Exception) -> str:
    kind = type(error).__name__  # of requests, which is not imported here
    if "Timeout" in kind:
        return "no answer in time"
    if kind == "ConnectionError":
        return "nobody listens there"
    return _last_line(error)


def _last_line(error: Exception) -> str:
    """Ray tells of errors by their tracebacks, and adds a full stop on a line of its own."""
    lines = [line.strip() for line in str(error).splitlines() if len(line.strip()) > 1]
    return lines[-1][:300] if lines else type(error).__name__
