"""`tumbler demo`: train for a minute, kill a worker on the way, and show that nothing was lost."""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from api.cli.arguments import DEFAULT_STORAGE, Storage
from api.cli.demo_drill import Drill, Recovery, measure_recovery
from api.cli.errors import DemoFailed
from api.cli.generation import load_trained
from api.cli.lifting import bring_up, take_down
from api.cli.machine import ThisMachine
from api.cli.main import EXIT_INTERRUPTED
from api.cli.output import printable, put_table, tell
from api.cli.progress import Progress
from api.client import Client
from api.history import Point, read_points
from api.settings import Settings
from cluster.faults import Killed
from orchestrator.domain.audit import AuditReport, audit
from orchestrator.domain.errors import RunFailed
from orchestrator.domain.journal import read_journal
from orchestrator.domain.names import generate_name
from orchestrator.domain.run_directory import RunDirectory, RunState
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import RunStatus

WORKERS = 2
STEPS = 400
_PROMPT = "def "


def demo(*, storage: Storage = DEFAULT_STORAGE) -> int:
    """Train a small language model for about a minute, kill one of its two workers on the way, and sum up.

    Everything is real and goes the way of a user: a Ray head and the service are started in a home of their
    own, the run is submitted and watched, one worker is killed (SIGKILL), the run directory is audited, and
    all is taken down again. The parameters end with the same SHA-256 each time on one machine, whoever is
    killed and when.
    """
    if os.environ.get("RAY_ADDRESS"):
        tell("RAY_ADDRESS is set; the demo starts a Ray of its own all the same")
    began_s = time.monotonic()
    drill = Drill(at_step=STEPS // 3, full=WORKERS)
    try:
        run = _train(demo_spec(f"demo-{generate_name()}", storage.absolute()), drill)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    finally:
        drill.end()
    killed, report = drill.killed(), audit(run)
    points, state = read_points(run), run.read_status()
    recovery = measure_recovery(points, read_journal(run.outbox, "events"), killed, WORKERS)
    sample = load_trained(run).generate(_PROMPT, max_tokens=160, seed=1)
    facts = demo_facts(points, state, recovery, report)
    _show(run, facts, killed, sample, time.monotonic() - began_s)
    print(f"DEMO {json.dumps(facts)}", flush=True)
    if not report.ok:
        raise DemoFailed(
            f"the audit found {'; '.join(report.problems)}", hint=f"see `tumbler audit {run.path}`"
        )
    return 0


def demo_spec(name: str, storage: Path) -> RunSpec:
    """What the demo trains: about a minute on two cores."""
    return RunSpec.parse(
        {
            "name": name,
            "task": "language_model",
            "model": {"preset": "gpt-nano"},
            "workers": {"min": 1, "max": WORKERS},
            # So small a corpus is shuffled as a whole.
            "data": {"source": "dataset://stdlib", "shuffle": {"window": None}},
            "train": {
                "steps": STEPS,
                "global_batch": 16,
                "seed": 1,
                "optimizer": {"name": "adamw", "lr": 3e-3},
                "schedule": {"name": "cosine", "warmup_steps": 40},
                "clip_grad_norm": 1.0,
            },
            "checkpoint": {"storage": str(storage.expanduser()), "every": 100},
        }
    )


def demo_facts(
    points: list[Point], state: RunState, recovery: Recovery, report: AuditReport
) -> dict[str, object]:
    """What the last line of the demo says. Raises DemoFailed where the loss did not fall."""
    steps = [point for point in points if "step_s" in point]
    first, last = steps[0]["loss"], steps[-1]["loss"]
    if not last < first:
        raise DemoFailed(f"the loss did not fall: {first:.4g} at the first step, {last:.4g} at the last")
    elapsed_s = steps[-1]["time"] - steps[0]["time"] + steps[0]["step_s"]
    return {
        "steps": report.steps,
        "loss_first": round(first, 4),
        "loss_last": round(last, 4),
        "val_perplexity": round(state.metrics["val_perplexity"], 4),
        "kill_to_next_step_s": round(recovery.next_step_s, 3),
        "kill_to_full_strength_s": round(recovery.full_strength_s, 3),
        "steps_repeated": recovery.steps_repeated,
        "tokens_per_s": round(sum(point["count"] for point in steps) / elapsed_s),
        "parameters_sha256": state.parameters_sha256,
        "audit_ok": report.ok,
    }


def _train(spec: RunSpec, drill: Drill) -> RunDirectory:
    """Through the service, as a user does; nothing but the run directory is left of it."""
    with Progress() as progress, demo_service(progress.note) as service:
        progress.note(
            f"training a small language model on Python's own library with {WORKERS} workers;\n"
            f"after about a third of its {STEPS} steps one of them, chosen at random, is killed (SIGKILL)"
        )
        submitted = service.submit(spec.model_dump(mode="json", exclude_unset=True))
        run = RunDirectory(Path(str(submitted.path)))
        progress.update("preparing data")
        for seen in service.stream(submitted.name):
            if seen.kind == "status" and run.status_path.exists() and not drill.began:
                progress.follow(run)
                drill.begin(run)
        ended = service.run(submitted.name)
        if ended.status != RunStatus.SUCCEEDED:
            raise RunFailed(f"run {ended.name} failed: {ended.reason}, {ended.message}")
    return run


@contextmanager
def demo_service(say: Callable[[str], None]) -> Iterator[Client]:
    """A head and a service on a free port, in a home that is removed at the end."""
    home = Path(tempfile.mkdtemp(prefix="tumbler-demo-"))
    settings = Settings.load(home=home, port=0, ray_address="local")
    machine = ThisMachine(settings)
    try:
        # Logical CPUs: on one core the two workers share it.
        standing = bring_up(machine, settings, num_cpus=max(WORKERS, os.cpu_count() or 1), say=say)
        say(f"the service is up at {standing.url} (as `tumbler up` starts it)")
        with Client(standing.url) as service:
            yield service
    finally:
        take_down(machine, settings, purge=True, agree=lambda question: True)


def _show(
    run: RunDirectory, facts: Mapping[str, object], killed: Killed, sample: str, elapsed_s: float
) -> None:
    path = _short(run.path)
    print()
    put_table(
        {
            "steps": f"{facts['steps']} in {elapsed_s:.0f} s all in all, {facts['tokens_per_s']:,} tokens/s",
            "loss": f"{facts['loss_first']:.3f} -> {facts['loss_last']:.3f}",
            "validation": f"perplexity {facts['val_perplexity']:.2f} per byte",
            "killed": f"worker {killed.worker} (rank {killed.rank}, process {killed.pid})",
            "next step": f"{facts['kill_to_next_step_s']:.3f} s after the kill, by the survivor",
            "steps repeated": facts["steps_repeated"],
            "full strength": f"{facts['kill_to_full_strength_s']:.1f} s after the kill, both step again",
            "parameters": f"SHA-256 {facts['parameters_sha256']}",
            "checkpoint": _short(Path(run.read_status().checkpoint or run.checkpoints)),
            "audit": "ok, every row was used exactly once" if facts["audit_ok"] else "problem",
        }
    )
    print(f"\nIt writes:\n{_indented(printable(_PROMPT + sample))}\n\nTry next:")
    command = _command()
    for words in (
        f"audit {path}",
        f"metrics {path} --keys loss,workers,step_s",
        f"generate {path} --prompt 'import '",
    ):
        print(f"  {command} {words}")
    print()


def _indented(text: str) -> str:
    return "\n".join(f"  | {line}" for line in text.splitlines())


def _short(path: Path) -> str:
    """From here, where that is shorter."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _command() -> str:
    """How this program was called, such that it can be called again."""
    called = Path(sys.argv[0])
    found = shutil.which("tumbler")
    if not called.exists() or (found and Path(found).samefile(called)):
        return "tumbler"
    return _short(called)
