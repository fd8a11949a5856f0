"""Who is warm asks to be let in: only workers that compute the same bits train together."""

from orchestrator.domain.events import EventKind
from orchestrator.domain.membership import WorkerPhase
from orchestrator.domain.numeric_platform import PlatformGate, refusal
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.status import EndReason
from trainers.elastic.job import WorkerJob
from trainers.elastic.messages import WorkerProfile
from trainers.ray_train.happenings import End, GoOn, Verdict
from trainers.ray_train.incidents import Incidents
from trainers.ray_train.muster import Muster
from trainers.recorder import Recorder


class Admission:
    """Compares a warm worker with the attempts before and with the group, and says so on the record."""

    def __init__(self, job: WorkerJob, recorder: Recorder, muster: Muster, incidents: Incidents):
        self._spec, self._feed = job.spec, job.feed
        self._recorder = recorder
        self._muster = muster
        self._incidents = incidents
        self._gate = PlatformGate(
            RunDirectory(job.run_folder),
            job.attempt,
            num_steps_done=recorder.step,
            bitwise=job.spec.train.consistency == "bitwise",
        )

    def of(self, profile: WorkerProfile) -> Verdict:
        """Raises StorageError where the platform of the run cannot be read or recorded."""
        changed = self._gate.differences(profile.fingerprint)
        if changed:
            self._muster.leave(profile.worker_id)
            return self._changed(profile, refusal(self._recorder.step, changed))
        differs = self._muster.warm(profile)
        if differs:
            reason = f"its {', '.join(differs)} differ from the group's, so its bits would too"
            self._refused(profile, reason)
            return GoOn()
        self._gate.admitted(profile.fingerprint)
        self._incidents.failed_starts = 0
        self._recorder.plan(
            profile.rows,
            profile.num_steps,
            validation_rows=profile.validation_rows,
            fingerprint=self._feed.folder.name if self._feed is not None else None,
            logical_shards=self._spec.train.logical_shards,
            seed=self._spec.shuffle_seed,
            window=self._spec.data.shuffle.window,
        )
        self._recorder.event(
            EventKind.WORKER_WARM,
            f"worker {profile.worker_id} is ready to train",
            worker=profile.worker_id,
            pid=profile.pid,
            fingerprint=dict(profile.fingerprint),
        )
        return GoOn()

    def _changed(self, profile: WorkerProfile, what: str) -> Verdict:
        """Where a whole gang is like that, nobody is waited for who is not."""
        self._refused(profile, f"it has {what}")
        roster = self._muster.roster
        nobody_fits = roster.generation.number == 0 and not roster.workers(WorkerPhase.WARM)
        if nobody_fits and self._incidents.failed_starts >= roster.minimum:
            return End(EndReason.SPEC_REFUSED, f"this attempt has {what}")
        return GoOn()

    def _refused(self, profile: WorkerProfile, reason: str) -> None:
        self._incidents.failed_starts += 1
        self._recorder.event(
            EventKind.WORKER_REFUSED,
            f"worker {profile.worker_id} was refused: {reason}",
            worker=profile.worker_id,
            fingerprint=dict(profile.fingerprint),
        )
