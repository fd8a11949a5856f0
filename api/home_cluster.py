"""The Ray cluster of a service, found when it is needed: a head may come, go and come back elsewhere."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cluster.head import Head
from cluster.ray_jobs import RayCluster
from orchestrator.domain.errors import ClusterUnavailable
from orchestrator.ports.cluster import ClusterView, DriverOrder, DriverStatus

OF_THE_HOME: Final = ("auto", "local")
"""Addresses that mean the head which `tumbler up` started."""


class HomeCluster:
    """Implements orchestrator.ports.cluster.Cluster."""

    def __init__(self, address: str, home: Path) -> None:
        self._address = address
        self._home = home
        self._lock = threading.Lock()
        self._found: RayCluster | None = None

    def view(self) -> ClusterView:
        return self._cluster().view()

    def launch(self, order: DriverOrder) -> None:
        self._cluster().launch(order)

    def drivers(self) -> Mapping[str, DriverStatus]:
        return self._cluster().drivers()

    def stop(self, submission_id: str) -> None:
        self._cluster().stop(submission_id)

    def drain(self, node_id: str, deadline_s: float | None, reason: str) -> bool:
        return self._cluster().drain(node_id, deadline_s, reason)

    def address(self) -> str:
        """URL of the dashboard. Raises ClusterUnavailable where there is no head."""
        return self._where()[0]

    def _cluster(self) -> RayCluster:
        url, gcs, env = self._where()
        with self._lock:
            if self._found is None or self._found.address() != url:
                self._found = RayCluster(url, home=self._home, env=env, gcs=gcs)
            return self._found

    def _where(self) -> tuple[str, str | None, Mapping[str, str]]:
        """URL of the dashboard, address of the GCS where that is known, and what lets one in. Whether it
        lives shows when it is asked."""
        if self._address not in OF_THE_HOME:
            return self._address, None, {}
        head = Head.recorded(self._home)
        if head is None:
            raise ClusterUnavailable(f"{self._home} has no Ray head", hint="`tumbler up` starts one")
        return head.dashboard_url, head.address, head.env
