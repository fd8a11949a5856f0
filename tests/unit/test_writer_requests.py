"""A writer process takes its time as long as nobody waits for it."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.saving import SHARDS, SPEC, after
from trainers.checkpoints import shelf as shelf_module
from trainers.checkpoints.arena import Arena
from trainers.checkpoints.held import Held, Piece, digest_of, held_in, opened
from trainers.checkpoints.image import StateImage
from trainers.checkpoints.requests import Requests
from trainers.checkpoints.shelf import Shelf

LONG_S = 30.0


def ask(file: int, *requests: Any) -> None:
    for request in requests:
        os.write(file, json.dumps(request).encode() + b"\n")


def rested_s(requests: Requests, seconds: float) -> float:
    begun = time.monotonic()
    requests.rest(seconds)
    return time.monotonic() - begun


def test_requests_come_in_order_however_they_are_cut() -> None:
    asked, wishes = os.pipe()
    ask(wishes, {"id": 1}, {"id": 2})
    os.write(wishes, b'{"id": 3}\n{"i')
    taken = iter(Requests(asked))
    assert [next(taken)["id"] for _ in range(3)] == [1, 2, 3]
    os.write(wishes, b'd": 4}\n')
    os.close(wishes)
    assert [request["id"] for request in taken] == [4]
    os.close(asked)


def test_nobody_rests_while_a_request_waits_or_the_worker_is_gone() -> None:
    asked, wishes = os.pipe()
    requests = Requests(asked)
    assert rested_s(requests, 0.05) >= 0.05
    ask(wishes, {"id": 1}, {"id": 2})
    assert rested_s(requests, LONG_S) < LONG_S / 2  # in the pipe
    assert next(iter(requests)) == {"id": 1}
    assert rested_s(requests, LONG_S) < LONG_S / 2  # read already
    assert next(iter(requests)) == {"id": 2}
    os.close(wishes)
    assert rested_s(requests, LONG_S) < LONG_S / 2
    os.close(asked)


@pytest.fixture
def filled() -> tuple[Arena, StateImage]:
    image = StateImage(after(2).snapshot(), SHARDS)
    arena = Arena(image.num_bytes)
    slot = arena.take(0.0)
    assert slot == 0
    arena.fill(slot, image.slices(0, SHARDS))
    return arena, image


def test_checksums_are_made_chunk_by_chunk_with_pauses_between(
    filled: tuple[Arena, StateImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arena, image = filled
    monkeypatch.setattr(shelf_module, "_CHUNK", 1000)
    pauses: list[float] = []
    shelf = Shelf(pauses.append)
    half, run = image.cut(SHARDS // 2), tmp_path / "run"
    pieces = (Piece(0, SHARDS // 2, 0, half), Piece(SHARDS // 2, SHARDS, half, image.num_bytes - half))
    held = Held(SPEC, 1, 1, 2, SHARDS, 0, arena.path, arena.name, image.structure, pieces)
    folder = tmp_path / "own" / "snapshots"
    shelf.hold(
        {"held": held.__dict__ | {"pieces": [piece.__dict__ for piece in pieces]}}
        | {
            "folder": str(folder),
            "run_folder": str(run),
        }
    )
    assert len(pauses) == sum(-(-piece.size // 1000) for piece in pieces)
    assert all(pause > 0 for pause in pauses)
    (found,) = held_in(folder)
    with opened(arena.path) as whole:
        assert [piece.xxh3 for piece in found.pieces] == [digest_of(whole, piece) for piece in pieces]
    shelf.close()
