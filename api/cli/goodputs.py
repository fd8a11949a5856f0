"""`tumbler goodput`: where the time of the workers went."""

from typing import Annotated

from cyclopts import Parameter

from api.cli.arguments import Folder, Output, Reference
from api.cli.output import Columns, Format, put, tell
from api.cli.places import need_service, service_for, storage_or_default
from orchestrator.domain.goodput import Goodput, RunGoodput
from orchestrator.domain.goodput import goodput as goodput_of
from orchestrator.domain.run_directory import RunDirectory


def goodput(
    run: Annotated[str | None, Parameter(name="RUN")] = None,
    /,
    *,
    storage: Folder = None,
    output: Output = Format.TABLE,
) -> None:
    """Show where the granted worker-seconds of a run went; each is in one bucket, and they add up.

    Parameters
    ----------
    run
        Name or id of a run, or a unique prefix of one, or the path of a run directory. Left out: all queues
        of the service, and the cluster.
    """
    if run is None:
        _of_cluster(output)
        return
    report = _of_run(run, storage)
    put(report.model_dump(mode="json"), _buckets(report), output)
    if report.goodput is None:
        tell(f"no worker of run '{report.run}' has a place on record")
    elif output is Format.TABLE:
        tell(_summary(report))


def _of_run(reference: Reference, storage: Folder) -> RunGoodput:
    service = service_for(reference, storage)
    if service is None:
        return goodput_of(RunDirectory.open(reference, storage_or_default(storage)))
    with service:
        return service.goodput(reference)


def _of_cluster(output: Format) -> None:
    with need_service() as service:
        found = service.cluster_goodput()
    lines = [(queue.queue, queue.runs, queue) for queue in found.queues]
    rows = [
        (name, runs, *_figures(each)) for name, runs, each in (*lines, ("all", found.runs, found.cluster))
    ]
    names = ("queue", "runs", "worker-s", "goodput", *(bucket.value for bucket in found.cluster.buckets))
    put(found.model_dump(mode="json"), Columns(names, rows if found.runs else [], empty="no run yet"), output)
    for name in found.left_out:
        tell(f"the records of run '{name}' cannot be read, it is left out")


def _figures(of: Goodput) -> list[str]:
    return [f"{of.worker_s:.1f}", _share(of.goodput), *(f"{s:.1f}" for s in of.buckets.values())]


def _buckets(report: RunGoodput) -> Columns:
    total = report.worker_s or 1.0
    rows = [
        (bucket.value, f"{seconds:.3f}", _share(seconds / total))
        for bucket, seconds in report.buckets.items()
    ]
    return Columns(("bucket", "worker-s", "share"), [*rows, ("granted", f"{report.worker_s:.3f}", "")])


def _summary(report: RunGoodput) -> str:
    so_far = "" if report.over else " so far"
    return (
        f"goodput {_share(report.goodput)}{so_far}; {report.steps} steps, {report.steps_repeated} repeated, "
        f"{report.queue_s:.1f} s without a worker"
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f} %"
