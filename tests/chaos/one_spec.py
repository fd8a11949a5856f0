"""The spec whose result must not depend on what happens to the run: two epochs of a small language model with
dropout, whose last batches have fewer rows than there are logical shards.
"""

import random
import time
from pathlib import Path
from typing import Any

from orchestrator.domain.audit import AuditReport, audit
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec

CONTEXT, BATCH, SHARDS = 128, 16, 8
ROWS = 149 * BATCH + 5
"""150 steps an epoch."""
STEPS = 300
CHECKPOINT_EVERY = 50
_DOCUMENTS = 40


def in_no_hurry(row: dict[str, Any]) -> dict[str, Any]:
    """A transform that leaves time to kill the feed in."""
    time.sleep(0.05)
    return row


def write_corpus(folder: Path) -> None:
    """Documents that are ROWS rows in all, a token that ends each of them included."""
    words = random.Random(1).choices(("tumble", "down", "and", "up", "again"), k=ROWS * CONTEXT)
    text = " ".join(words)[: ROWS * CONTEXT - _DOCUMENTS]
    folder.mkdir()
    for number in range(_DOCUMENTS):
        part = text[len(text) * number // _DOCUMENTS : len(text) * (number + 1) // _DOCUMENTS]
        (folder / f"{number:02d}.txt").write_text(part)


def spec_of(corpus: Path, storage: Path, name: str, workers: Any, **more: Any) -> RunSpec:
    """The spec; what is not said here has no influence on the result."""
    return RunSpec.parse(
        {
            "name": name,
            "task": "language_model",
            "model": {"preset": "gpt-nano", "dropout": 0.1},
            "workers": workers,
            "data": {
                "source": str(corpus),
                "transform": "tests.chaos.one_spec:in_no_hurry",
                "validation_fraction": 0,
            },
            "train": {"epochs": 2, "global_batch": BATCH, "logical_shards": SHARDS},
            "checkpoint": {"storage": str(storage), "every": CHECKPOINT_EVERY, "link_every": 10},
            **more,
        }
    )


def audited(run: RunDirectory) -> AuditReport:
    """The audit of a run that ended, which must find each row of each epoch used once."""
    report = audit(run)
    assert report.problems == ()
    assert [(epoch.expected, epoch.consumed) for epoch in report.epochs] == [(ROWS, ROWS)] * 2
    assert [(epoch.repeated, epoch.missed) for epoch in report.epochs] == [(0, 0)] * 2
    assert report.steps == STEPS
    return report


def must_be_the_same(report: AuditReport, undisturbed: AuditReport) -> None:
    assert report.chain == undisturbed.chain
    assert report.parameters_sha256 == undisturbed.parameters_sha256
    assert report.optimizer_sha256 == undisturbed.optimizer_sha256
