"""Peer: torchft, replica groups of one process each on gloo, under one lighthouse.

A replica that is killed is started again by a supervisor, as torchft leaves that to others.
"""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import distributed, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torchft import Manager, Optimizer, ProcessGroupGloo

from benchmarks.drill import IsAlive, Plan
from benchmarks.peers.processes import python_module, running, start, stop
from benchmarks.steps import StepLog
from benchmarks.workload import load_workload

HOST = "localhost"
SUPERVISE_S = 0.05
HEARTBEAT_TIMEOUT_MS = 5000
"""After which the lighthouse holds a replica for dead: its own default."""


@contextmanager
def launch(plan: Plan, *, heartbeat_timeout_ms: int = HEARTBEAT_TIMEOUT_MS) -> Iterator[IsAlive]:
    """See `benchmarks.drill.Launch`. The lighthouse is set up as torchft's README does it."""
    port = _free_port()
    with (
        running(lighthouse_command(port, heartbeat_timeout_ms), Path(plan.folder, "lighthouse.log")),
        _supervised(plan, f"http://{HOST}:{port}") as is_alive,
    ):
        yield is_alive


def lighthouse_command(port: int, heartbeat_timeout_ms: int = HEARTBEAT_TIMEOUT_MS) -> list[str]:
    program = str(Path(sys.executable).with_name("torchft_lighthouse"))
    flags = ["--min_replicas", "1", "--quorum_tick_ms", "100", "--join_timeout_ms", "10000"]
    heartbeat = ["--heartbeat_timeout_ms", str(heartbeat_timeout_ms)]
    return [program, "--bind", f"[::]:{port}", *flags, *heartbeat]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _supervised(plan: Plan, lighthouse: str) -> Iterator[IsAlive]:
    def start_replica(replica: int) -> subprocess.Popen[bytes]:
        command = python_module("benchmarks.peers.torchft", plan.to_json(), str(replica), lighthouse)
        return start(command, Path(plan.folder, f"replica-{replica}.log"))

    def supervise() -> None:
        while not stopping.wait(SUPERVISE_S):
            for replica, process in enumerate(replicas):
                if process.poll() == -signal.SIGKILL:
                    replicas[replica] = start_replica(replica)

    stopping = threading.Event()
    replicas = [start_replica(replica) for replica in range(plan.num_workers)]
    supervisor = threading.Thread(target=supervise, name="supervisor")
    supervisor.start()
    try:
        yield lambda: all(process.poll() in (None, -signal.SIGKILL) for process in replicas)
    finally:
        stopping.set()
        supervisor.join()
        for process in replicas:
            stop(process)


def work(plan: Plan, replica: int, lighthouse: str) -> None:
    """One replica. Its part of the batch is fixed: while another is away, the other's samples are lost."""
    workload = load_workload(plan.workload, plan.seed, Path(plan.storage))

    def state() -> dict[str, Any]:
        return {"model": workload.model.state_dict(), "optimizer": workload.optimizer.state_dict()}

    def load(state: dict[str, Any]) -> None:
        workload.model.load_state_dict(state["model"])
        workload.optimizer.load_state_dict(state["optimizer"])

    store = distributed.TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    manager = Manager(
        pg=ProcessGroupGloo(),
        min_replica_size=1,
        load_state_dict=load,
        state_dict=state,
        replica_id=f"replica_{replica}",
        store_addr=HOST,
        store_port=store.port,
        rank=0,
        world_size=1,
        lighthouse_addr=lighthouse,
    )
    optimizer = Optimizer(manager, workload.optimizer)
    log = StepLog(plan.log)
    while True:
        optimizer.zero_grad()
        step = manager.current_step() + 1
        workload.batch_loss(workload.model, step, replica, plan.num_workers).backward()
        _average_gradients(manager, workload.model)
        num_committed = manager.current_step()
        optimizer.step()
        if manager.current_step() > num_committed:
            log.write(manager.current_step(), rank=replica, world=manager.num_participants())


def _average_gradients(manager: Manager, model: nn.Module) -> None:
    # Not by torchft's DistributedDataParallel: in 0.2.0 its hook fails an assertion in the survivors when
    # gloo loses a peer. The manager's own allreduce reports the loss and lets the step go uncommitted.
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    flat = parameters_to_vector(gradients)
    manager.allreduce(flat).wait()
    vector_to_parameters(flat, gradients)


if __name__ == "__main__":
    work(Plan.from_json(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
