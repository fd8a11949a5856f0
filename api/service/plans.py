"""What would become of a submit: the answer to a dry run."""

import asyncio
from typing import Any

from api.service.door import Received
from api.service.parts import Parts
from api.service.shipping import check_uploaded
from orchestrator.domain.errors import Problem, SpecError
from orchestrator.domain.events import utc_now
from orchestrator.domain.lifecycle import new_run
from orchestrator.domain.runs import Run
from orchestrator.scheduling.planning import plan
from orchestrator.scheduling.sentences import never_fits


async def plan_of(parts: Parts, received: Received) -> dict[str, Any]:
    """As DryRun says. Raises SpecError for code that could not be shipped."""
    spec = received.spec
    if received.package is not None:
        check_uploaded(parts.packages, received.package)
    if received.working_dir is not None and not await asyncio.to_thread(received.working_dir.is_dir):
        raise SpecError([Problem("code.working_dir", f"{received.working_dir} is not a folder")])
    run = new_run(spec, now=utc_now()).run
    ahead = await parts.record.num_ahead(run)
    fits, why = await _fits(parts, run)
    if why is None and ahead:
        why = "1 run is ahead of it" if ahead == 1 else f"{ahead} runs are ahead of it"
    workers = {"min": spec.workers.min, "max": spec.workers.max}
    plan = {"workers": workers, "fits": fits, "why": why, "ahead": ahead}
    return {"spec": spec.model_dump(mode="json"), "plan": plan}


async def _fits(parts: Parts, run: Run) -> tuple[bool, str | None]:
    """Whether the cluster could hold it, and why it would not start at once."""
    view = parts.reconciler.last_view
    trouble = parts.reconciler.cluster_trouble
    if trouble is not None or view is None:
        return False, trouble or "the cluster was not seen yet"
    never = never_fits(run, view)
    if never is not None:
        return False, never
    queues = {queue.name: queue for queue in await parts.record.queues()}
    waits = plan([run], await parts.record.active(), view, utc_now(), queues=queues).waits
    return True, waits.get(run.id)
