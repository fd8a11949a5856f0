"""`tumbler queues`: what the runs of a queue may hold together, and how much of the rest it deserves."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cyclopts import App

from api.cli.arguments import Output
from api.cli.errors import Usage
from api.cli.output import Columns, Format, put, size
from api.cli.places import need_service
from orchestrator.domain.quantities import parse_size
from orchestrator.domain.queues import QUOTA_KINDS

queues = App(name="queues", help="The queues that runs wait in.")
_KINDS: Final = {kind.lower(): kind for kind in QUOTA_KINDS}
_COLUMNS: Final = ("queue", "weight", "quota", "holds", "running", "waiting")


@queues.command
def ls(*, output: Output = Format.TABLE) -> None:
    """List the queues: their quotas and weights, what their runs hold, and how many wait."""
    with need_service() as service:
        found = service.queues()
    rows = [_row(queue) for queue in found]
    put(found, Columns(_COLUMNS, rows, empty="no queue has a quota, a weight or a run"), output)


@queues.command(name="set")
def set_(name: str, /, *changes: str, output: Output = Format.TABLE) -> None:
    """Change the quota or weight of a queue, as KEY=VALUE; KEY- takes a limit away.

    The keys are workers, cpu, gpu, memory and weight.
    For example: tumbler queues set nlp cpu=16 gpu=4 memory=64Gi workers- weight=2
    """
    if not changes:
        raise Usage("expected what to change, such as cpu=16, memory=64Gi, workers- or weight=2")
    with need_service() as service:
        known = {queue["name"]: queue for queue in service.queues()}
        wish = changed(known.get(name, {}), changes)
        queue = service.put_queue(name, wish)
    put(queue, Columns(_COLUMNS, [_row(queue)], empty=""), output)


def changed(queue: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Quota and weight after the changes. Raises Usage."""
    quota, weight = dict(queue.get("quota", {})), float(queue.get("weight", 1.0))
    for change in changes:
        key, equals, value = change.partition("=")
        kind = _KINDS.get(key.removesuffix("-").lower())
        if key == "weight" and equals:
            weight = _number(change, value)
        elif kind is not None and not equals and key.endswith("-"):
            quota.pop(kind, None)
        elif kind is not None and equals:
            quota[kind] = _bytes(value) if kind == "memory" else _number(change, value)
        else:
            raise Usage(
                f"expected KEY=VALUE or KEY-, with a key of {', '.join(_KINDS)} or weight, got '{change}'"
            )
    return {"quota": quota, "weight": weight}


def _number(change: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise Usage(f"expected a number in '{change}'") from None


def _bytes(value: str) -> float:
    try:
        return float(parse_size(value))
    except ValueError as error:
        raise Usage(str(error)) from None


def _row(queue: Mapping[str, Any]) -> tuple[object, ...]:
    return (
        queue["name"],
        f"{queue['weight']:g}",
        amounts(queue["quota"]),
        amounts(queue["held"]),
        queue["running"],
        queue["waiting"],
    )


def amounts(amounts: Mapping[str, float]) -> str:
    """Such as `4 workers, 4 CPU, 2.0 GiB`."""
    return ", ".join(_amount(kind, amounts[kind]) for kind in QUOTA_KINDS if kind in amounts)


def _amount(kind: str, number: float) -> str:
    if kind == "memory":
        return size(number)
    return f"{number:g} {'worker' if kind == 'workers' and number == 1 else kind}"
