"""The same with nodes cordoned and drained, and workers drained and killed, at any moment."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from orchestrator.domain.errors import ClusterUnavailable, NodeNotFound, WrongStatus
from orchestrator.services.nodes import NodeService
from tests.unit.test_state_machine import RUNS, TURNS, Service

pytestmark = pytest.mark.slow


class ServiceWithNodes(Service):
    def __init__(self) -> None:
        super().__init__()
        cluster = self.world.cluster
        self.nodes = NodeService(self.record, cluster, lambda: None, clock=cluster.clock)

    @rule(
        node=st.sampled_from(["node-0", "node-1"]),
        verb=st.sampled_from(["cordon", "uncordon", "drain"]),
        ray_hears=st.booleans(),
        turns=TURNS,
    )
    def something_is_said_of_a_node(self, node: str, verb: str, ray_hears: bool, turns: int) -> None:
        self.world.cluster.can_be_told = ray_hears
        try:
            said = self.do(getattr(self.nodes, verb)(node))
        except WrongStatus:
            assert verb != "cordon"
        except (ClusterUnavailable, NodeNotFound):
            pass
        else:
            assert said.open is (verb == "uncordon")
            assert self.do(getattr(self.nodes, verb)(node)) == said, "said twice"
        self.turns(turns)

    @precondition(lambda self: self.runs())
    @rule(which=RUNS, number=st.integers(0, 9), verb=st.sampled_from(["drain_worker", "kill_worker"]))
    def a_worker_is_to_go(self, which: int, number: int, verb: str) -> None:
        self.verb(which, verb, f"w{number}")

    def drain(self) -> None:
        self.world.cluster.come_back()
        for node in ("node-0", "node-1"):
            self.do(self.record.drop_node_mark(node))
        super().drain()


TestServiceWithNodes = ServiceWithNodes.TestCase
TestServiceWithNodes.settings = settings(
    max_examples=30,
    stateful_step_count=30,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
