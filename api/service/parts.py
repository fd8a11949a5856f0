"""What the routes work with; `api.wiring` puts it together."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from api.service.bulletin import Bulletin
from api.service.folders import TakenNames
from api.service.goodputs import Goodputs
from api.service.overview import Overview
from api.service.pages import UI
from api.service.points import PointCache
from api.service.prometheus import Gauges
from api.service.waits import Waits
from orchestrator.ports.cluster import Cluster
from orchestrator.ports.record import Record
from orchestrator.services.nodes import NodeService
from orchestrator.services.runs import RunService


@dataclass(frozen=True)
class Parts:
    record: Record
    runs: RunService
    nodes: NodeService
    reconciler: Waits
    cluster: Cluster
    bulletin: Bulletin
    gauges: Gauges
    points: PointCache
    overview: Overview
    folders: TakenNames
    storage: Path
    """Where run directories are made unless a spec says otherwise."""
    packages: Path
    """The folder of uploaded and packed archives, SHA256.zip."""
    host: str
    """By which name the service may be reached, besides those of loopback."""
    reconciling: Callable[[], bool]
    """Whether the reconciler's loop runs."""
    ui: Path = UI
    """Where the pages of the dashboard are, if they were built."""
    goodputs: Goodputs = field(default_factory=Goodputs)


async def parts_of(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


Given = Annotated[Parts, Depends(parts_of)]
