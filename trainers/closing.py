"""How an attempt is ended on record where no controller did it or can: by its driver, or in a last breath."""

from contextlib import suppress

from orchestrator.domain.errors import DataError, SpecError, StorageError
from orchestrator.domain.events import timestamp
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.sealed_journal import newest_tip
from orchestrator.domain.status import ENDINGS, EndReason, RunStatus
from trainers.recorder import newest_step

_OBEYED = {RunStatus.PAUSING: EndReason.USER_PAUSED, RunStatus.CANCELLING: EndReason.USER_CANCELLED}
"""Who died between these and the end had nothing left to do."""


def close_record(
    run: RunDirectory, attempt: int, reason: EndReason, message: str, *, status: RunStatus | None = None
) -> None:
    """End an attempt that nobody leads any more; one that is over, or not the newest, is left alone.

    `status` is what follows, by default what ENDINGS says. Raises StorageError.
    """
    state = run.read_status()
    if state.attempt != attempt or state.reason is not None:
        return
    reason = _OBEYED.get(state.status, reason)
    step, tips = state.step, state.tips
    with suppress(StorageError):  # the status is written now and then only, the journals have each step
        step = newest_step(run)
        tips = {name: newest_tip(run.outbox, name) for name in tips}
    now = timestamp()
    status = status or ENDINGS[reason].status
    ended = {
        "status": status,
        "reason": reason,
        "message": message,
        "phase": "",
        "workers": 0,
        "step": step,
        "tips": tips,
        "updated": now,
        "ended": now if status.terminal else None,
    }
    run.write_status(state.model_copy(update=ended))


def reason_for(error: BaseException) -> EndReason:
    """Why an attempt ended that this error ended."""
    match error:
        case KeyboardInterrupt() | SystemExit():
            return EndReason.USER_CANCELLED
        case SpecError() | DataError():
            return EndReason.SPEC_REFUSED
        case StorageError():
            return EndReason.STORAGE_FAILED
        case _:
            return EndReason.CONTROLLER_LOST


def sentence_for(error: BaseException) -> str:
    return str(error) or type(error).__name__
