"""Drills that are about this machine and not about one run: the service and the head of the home."""

import os
import signal
from contextlib import suppress
from typing import Any

from api.cli.places import living_service
from api.settings import Settings
from cluster.errors import HeadFailed
from cluster.head import Head
from orchestrator.domain.errors import ServiceUnreachable


def kill_service_here() -> dict[str, Any]:
    """Raises ServiceUnreachable where none runs on this machine."""
    settings = Settings.load()
    service = living_service(settings.service_file)
    if service is None:
        raise ServiceUnreachable(
            f"no service of {settings.home} runs on this machine", hint="start one with `tumbler up`"
        )
    os.kill(service.pid, signal.SIGKILL)
    return {"pid": service.pid, "url": service.url}


def kill_head_here() -> dict[str, Any]:
    """Raises HeadFailed where no head of the home lives on this machine."""
    settings = Settings.load()
    head = Head.load(settings.home)
    if head is None:
        raise HeadFailed(
            f"{settings.home} has no Ray head that lives on this machine",
            hint="only a head that `tumbler up` started here can be killed from here",
        )
    household = head.household()
    # What starts others first, so that nobody is started meanwhile.
    living = sorted(household.look(), key=lambda daemon: daemon.program != "raylet")
    for daemon in living:
        with suppress(ProcessLookupError):
            os.kill(daemon.pid, signal.SIGKILL)
    return {"address": head.address, "processes": len(living), "pids": [daemon.pid for daemon in living]}
