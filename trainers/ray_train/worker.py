"""The worker actor: Ray Train's own, with a mailbox that stays reachable while the training thread works."""

import importlib
import itertools
import os
from collections.abc import Iterator
from typing import Any

import ray

from orchestrator.domain.vigil import Pulse
from trainers.elastic.faults import Fault
from trainers.elastic.link import WorkerLink
from trainers.elastic.mailbox import Mailbox
from trainers.elastic.messages import Offer, Outcome, Raised, Report, WorkerProfile
from trainers.ray_train.internals import (
    DistributedContext,
    ObjectRefWrapper,
    RayTrainWorker,
    get_train_context,
)
from trainers.ray_train.lifeline import Place, open_lifeline

CONCURRENCY_GROUPS = {"watch": 2, "control": 1}
"""`watch`: the two calls that return when the worker is warm and when it is over. `control`: the short
ones."""


_LIFE = "trainers.worker_life"


def train_loop_per_worker(config: dict[str, Any]) -> None:
    """What Ray Train runs in the training thread of each worker.

    It names the module and does not import it: the controller holds this function, and needs no torch.
    """
    importlib.import_module(_LIFE).train_loop_per_worker(config)


class ElasticWorker(RayTrainWorker):  # type: ignore[misc]
    """One worker process. Its never-returning calls are how its death is seen within milliseconds."""

    def __init__(self, worker_id: str) -> None:
        # torch looks up the name behind every address that its store connects to, for a log line. A name
        # server that drops the question must not hold up a recovery for the 5 s that glibc waits.
        os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:1")
        super().__init__()
        self._worker_id = worker_id
        self._mailbox = Mailbox()
        self._numbers = itertools.count(1)
        """Of what this worker says; calls may overtake each other on their way."""

    @ray.method(concurrency_group="watch")
    def wait_warm(self) -> WorkerProfile | Outcome:
        return self._mailbox.wait_warm()

    @ray.method(concurrency_group="watch")
    def wait_over(self) -> tuple[int, Outcome]:
        """How it ended, with a number as reports have one: it is the last that is said."""
        outcome = self._mailbox.wait_over()
        return next(self._numbers), outcome

    @ray.method(concurrency_group="control")
    def open_lifeline(self) -> Place:
        """Where the controller finds the end that closes with this process."""
        self._lifeline, place = open_lifeline(_address(ray.get_runtime_context().get_node_id()))
        return place

    @ray.method(concurrency_group="control")
    def offer(self, offer: Offer) -> None:
        self._mailbox.offer(offer)

    @ray.method(concurrency_group="control")
    def request_stop(self) -> None:
        self._mailbox.request_stop()

    @ray.method(concurrency_group="control")
    def ask_for_checkpoint(self, ask: int) -> None:
        self._mailbox.ask_for_checkpoint(ask)

    @ray.method(concurrency_group="control")
    def pulse(self) -> Pulse:
        return self._mailbox.progress.pulse()

    @ray.method(concurrency_group="control")
    def inject(self, fault: Fault) -> None:
        self._mailbox.progress.inject(fault)

    def run_train_fn(self, train_fn_ref: ObjectRefWrapper) -> None:
        context = get_train_context()
        context.tumbler_link = _link(self._worker_id, self._mailbox, self._numbers, context)
        try:
            importlib.import_module(_LIFE)  # here, where it is noticed if it cannot be
            super().run_train_fn(train_fn_ref)
        except Exception as error:
            # The code could not even be loaded on this node.
            self._mailbox.announce_over(
                Raised(step=0, error=f"{type(error).__name__}: {error}", traceback=str(error))
            )


def current_link() -> WorkerLink:
    """The link of the worker whose training thread calls this."""
    link: WorkerLink = get_train_context().tumbler_link
    return link


def _link(worker_id: str, mailbox: Mailbox, numbers: Iterator[int], context: Any) -> WorkerLink:
    controller = context.controller_actor

    def report(what: Report) -> None:
        controller.take_report.remote(next(numbers), what)

    def on_generation(offer: Offer, rank: int) -> None:
        peers = [r for r, node in enumerate(offer.nodes) if node == offer.nodes[rank]]
        nodes = list(dict.fromkeys(offer.nodes))
        context.distributed_context = DistributedContext(
            world_rank=rank,
            world_size=len(offer.members),
            local_rank=peers.index(rank),
            local_world_size=len(peers),
            node_rank=nodes.index(offer.nodes[rank]),
        )
        os.environ.update(
            RANK=str(rank),
            WORLD_SIZE=str(len(offer.members)),
            LOCAL_RANK=str(peers.index(rank)),
            LOCAL_WORLD_SIZE=str(len(peers)),
            MASTER_ADDR=offer.store_host,
            MASTER_PORT=str(offer.store_port),
            TUMBLER_GENERATION=str(offer.generation),
            TORCHELASTIC_RESTART_COUNT=str(offer.generation - 1),
        )

    node_id = ray.get_runtime_context().get_node_id()
    return WorkerLink(
        worker_id=worker_id,
        mailbox=mailbox,
        report=report,
        on_generation=on_generation,
        host=_address(node_id),
        pid=os.getpid(),
        node_id=node_id,
    )


def _address(node_id: str) -> str:
    """Under which Ray itself knows the node."""
    return next(str(node["NodeManagerAddress"]) for node in ray.nodes() if node["NodeID"] == node_id)
