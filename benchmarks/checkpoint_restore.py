"""One restore, or one reading of the same bytes, in a fresh process: `python -m benchmarks.checkpoint_restore
save|read|restore FOLDER`. Prints seconds, or the size in bytes of what was saved.

The state has the tensors of GPT-2 (124 million parameters, fp32) and AdamW: 1.5 GB.
"""

import sys
import time
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import nn

from orchestrator.checkpoints.catalog import Catalog
from orchestrator.checkpoints.manifest import Manifest, PartFile
from orchestrator.checkpoints.places import place_of
from trainers.checkpoints.copying import Origin
from trainers.checkpoints.reading import restore_newest
from trainers.checkpoints.saver import Saved, Saver
from trainers.elastic.messages import PartsWritten
from trainers.elastic.state import TrainState

_MEMBERS: Final = 2
_VOCABULARY, _CONTEXT, _WIDTH, _LAYERS = 50257, 1024, 768, 12
_SPEC: Final = "f" * 64


class Gpt2Sized(nn.Module):
    """For the sizes of its tensors alone."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(_VOCABULARY, _WIDTH)
        self.positions = nn.Embedding(_CONTEXT, _WIDTH)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    nn.LayerNorm(_WIDTH),
                    nn.Linear(_WIDTH, 3 * _WIDTH),
                    nn.Linear(_WIDTH, _WIDTH),
                    nn.LayerNorm(_WIDTH),
                    nn.Linear(_WIDTH, 4 * _WIDTH),
                    nn.Linear(4 * _WIDTH, _WIDTH),
                ]
            )
            for _ in range(_LAYERS)
        )


def fresh() -> TrainState:
    model = Gpt2Sized()
    return TrainState(model, torch.optim.AdamW(model.parameters(), lr=1e-4), None)


def save(folder: Path) -> int:
    """A checkpoint of two members after one step; its size in bytes."""
    state = fresh()
    for parameter in state.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    state.optimizer.step()
    state.step = 1
    reports: list[Saved] = []
    for rank in range(_MEMBERS):
        saver = Saver(state, str(folder), 8, reports.append)
        saver.finish(Origin(f"w{rank}", 1, 1, rank, _MEMBERS))
        saver.close()
    files = [file for report in reports if isinstance(report, PartsWritten) for file in report.files]
    manifest = Manifest(
        step=1,
        attempt=1,
        generation=1,
        fingerprint=_SPEC,
        committed="2030-01-01T00:00:00Z",
        parts=tuple(PartFile(name=name, size=size, xxh3=xxh3) for name, size, xxh3 in files),
    )
    Catalog(place_of(folder)).commit(manifest)
    return manifest.size


def read(folder: Path) -> float:
    """Seconds to read every byte into memory, with NumPy and nothing else."""
    begun = time.perf_counter()
    held = [np.fromfile(path, dtype=np.uint8) for path in sorted(folder.glob("step-*/a*/*"))]
    took = time.perf_counter() - begun
    assert held
    return took


def restore(folder: Path) -> float:
    state, catalog = fresh(), Catalog(place_of(folder))
    begun = time.perf_counter()
    found, passed_over = restore_newest(state, catalog, catalog.committed(), fingerprint=_SPEC)
    took = time.perf_counter() - begun
    assert found is not None, passed_over
    return took


if __name__ == "__main__":
    torch.set_num_threads(1)
    print({"save": save, "read": read, "restore": restore}[sys.argv[1]](Path(sys.argv[2])))
