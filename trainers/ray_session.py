"""The Ray that an attempt runs on: the one it stands in, one by address, or one of its own on this
machine."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ray

from orchestrator.checkpoints.streaming import streaming_copies
from orchestrator.domain.errors import ClusterUnavailable, Problem, SpecError
from orchestrator.domain.spec import RunSpec

_LOOPBACK = "127.0.0.1"
"""Asked for; Ray 2.60 takes the machine's own address all the same, and listens there without a token."""


@contextmanager
def ray_session(spec: RunSpec, *, num_cpus: int | None = None) -> Iterator[None]:
    """Be connected to Ray: to the one already in use, to RAY_ADDRESS (as in a Ray Job), else to a local one.

    A local one ends with the session. `num_cpus` is what it is told to have; the default is what the machine
    has. Raises ClusterUnavailable, or SpecError where the run can never fit.
    """
    with ray_connection(num_cpus=num_cpus):
        check_fits(spec)
        yield


@contextmanager
def ray_connection(*, num_cpus: int | None = None) -> Iterator[None]:
    """Be connected to Ray, as in `ray_session`, whatever it has room for. Raises ClusterUnavailable."""
    if ray.is_initialized():
        yield
        return
    try:
        _connect(num_cpus)
    except Exception as error:
        raise _unavailable(error) from error
    try:
        yield
    finally:
        ray.shutdown()


def _unavailable(error: Exception) -> ClusterUnavailable:
    address = ray_address()
    if address is None:
        return ClusterUnavailable(
            f"could not start Ray here: {error}", hint="`tumbler doctor` says what is missing"
        )
    return ClusterUnavailable(
        f"could not reach Ray at {address}: {error}",
        hint="check it with `ray status`, or unset RAY_ADDRESS to use a Ray of your own on this machine",
    )


def ray_address() -> str | None:
    return os.environ.get("RAY_ADDRESS") or None


def check_fits(spec: RunSpec) -> None:
    """Raises SpecError where the nodes alive now can never hold the smallest group, or the data feed.

    A cluster that an autoscaler can grow is not judged.
    """
    if ray.nodes() and any(node.get("Labels", {}).get("ray.io/autoscaled") for node in ray.nodes()):
        return
    alive = [node for node in ray.nodes() if node["Alive"]]
    check_labels(spec, [node.get("Labels") or {} for node in alive])
    nodes = [node["Resources"] for node in alive]
    room = sum(
        workers_in(node["Resources"], spec) for node in alive if carries(node.get("Labels") or {}, spec)
    )
    if room >= spec.workers.min and _feed_fits_too(nodes, spec):
        return
    cpus = sum(node.get("CPU", 0.0) for node in nodes)
    gpus = sum(node.get("GPU", 0.0) for node in nodes)
    each = f"{spec.resources.cpu:g} CPU" + (f" and {spec.resources.gpu:g} GPU" if spec.resources.gpu else "")
    has = f"this Ray has {cpus:g} CPU and {gpus:g} GPU on {len(nodes)} nodes"
    more = "give Ray more (`tumbler run --num-cpus N` for a local one)"
    if room >= spec.workers.min:
        message = f"{spec.data.feed_cpus:g} CPU on one node can never fit: {has}; lower it, or {more}"
        raise SpecError([Problem("data.cpus", message)])
    message = (
        f"{spec.workers.min} workers of {each} can never fit: {has}, room for {room} workers; lower "
        f"workers.min or resources, or {more}"
    )
    raise SpecError([Problem("workers.min", message)])


def check_labels(spec: RunSpec, nodes: Sequence[Mapping[str, str]]) -> None:
    """Raises SpecError where no node carries what the spec asks for; `nodes` are their labels."""
    if any(carries(labels, spec) for labels in nodes) or not nodes:
        return
    wanted = ", ".join(f"{name}={value}" for name, value in spec.resources.labels.items())
    known = sorted({f"{n}={v}" for labels in nodes for n, v in labels.items() if not n.startswith("ray.io/")})
    has = f"there are {', '.join(known)}" if known else "they carry none"
    message = f"no node has the labels {wanted}: {has}; `ray start --labels` sets them"
    raise SpecError([Problem("resources.labels", message)])


def carries(labels: Mapping[str, str], spec: RunSpec) -> bool:
    """Whether a node with these labels is one for the workers; operators such as `!in(a,b)` are Ray's to
    judge."""
    plain = {n: v for n, v in spec.resources.labels.items() if not v.startswith(("!", "in("))}
    return all(labels.get(name) == value for name, value in plain.items())


def workers_in(node: dict[str, float], spec: RunSpec) -> int:
    """How many workers of the spec an empty node holds."""
    wanted = {
        "CPU": spec.resources.cpu,
        "GPU": spec.resources.gpu,
        "memory": float(spec.resources.memory or 0),
    }
    room = [int(node.get(name, 0.0) / amount) for name, amount in wanted.items() if amount]
    return min(room, default=spec.workers.max)


def _feed_fits_too(nodes: list[dict[str, float]], spec: RunSpec) -> bool:
    """Some node holds the feed; the gang need not fit beside it, since it is over some time."""
    return spec.task is None or any(node.get("CPU", 0.0) >= spec.data.feed_cpus for node in nodes)


def _connect(num_cpus: int | None) -> None:
    # Said explicitly: Ray would write a token file into HOME, and a later head would then demand it.
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.update(streaming_copies(os.environ))
    arguments: dict[str, Any] = {"log_to_driver": False, "logging_level": "WARNING"}
    if ray_address() is None:
        arguments |= {
            "address": "local",
            "num_cpus": num_cpus,
            "include_dashboard": False,
            "_node_ip_address": _LOOPBACK,
        }
    ray.init(**arguments)
