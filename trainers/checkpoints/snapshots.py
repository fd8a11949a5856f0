"""The state back from snapshots that writer processes hold, when no worker is left that has it.

Each member looks at its own node, all tell each other what is there, and so all choose the same step. Who
finds all of it at home fills its state from there; rank 0 is sent what it lacks, and whoever still lacks
something copies from it afterwards (`agree_on_newest`).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from trainers.checkpoints.held import Held, Holding, Piece, digest_of, held_in, is_there, opened
from trainers.checkpoints.image import DTYPES, StateImage
from trainers.checkpoints.structure import from_json
from trainers.elastic.group import ElasticGroup
from trainers.elastic.state import TrainState

_Key: TypeAlias = tuple[int, int, int]
"""Step, attempt, generation."""


@dataclass(frozen=True)
class _Claim:
    """A member's word for a piece that it found."""

    rank: int
    key: _Key
    num_shards: int
    first: int
    last: int


def restore_snapshot(
    group: ElasticGroup, state: TrainState, holding: Holding, *, after: int, newest: int
) -> tuple[str | None, list[tuple[str, str]]]:
    """Restore the newest step from `after` (exclusive) to `newest` that the nodes of the members hold whole,
    on rank 0 at least. Collective.

    Returns what was restored, and (snapshot, reason) of those that were damaged.
    """
    mine = [
        held
        for held in held_in(holding.folder)
        if held.fingerprint == holding.fingerprint and after < held.step <= newest
    ]
    claims = _all_claims(group, mine)
    passed_over: list[tuple[str, str]] = []
    for key in sorted({claim.key for claim in claims}, reverse=True):
        chosen = _cover([claim for claim in claims if claim.key == key])
        if chosen is None:
            continue
        where = f"snapshot of step {key[0]} in memory"
        if _restored(group, state, [held for held in mine if _key(held) == key], chosen):
            return where, passed_over
        passed_over.append((where, f"{where} is damaged: it does not match its checksum"))
    return None, passed_over


def _key(held: Held) -> _Key:
    return held.step, held.attempt, held.generation


def _all_claims(group: ElasticGroup, mine: Sequence[Held]) -> list[_Claim]:
    """Everybody's, the same list on all ranks."""
    own = [[*_key(held), held.num_shards, piece.first, piece.last] for held in mine for piece in held.pieces]
    return [
        _Claim(rank, (step, attempt, generation), num_shards, first, last)
        for rank, content in enumerate(_gather_bytes(group, json.dumps(own).encode()))
        for step, attempt, generation, num_shards, first, last in json.loads(content)
    ]


def _cover(claims: Sequence[_Claim]) -> list[_Claim] | None:
    """One claim for each logical shard, in order; None where some are not there."""
    chosen: list[_Claim] = []
    end = 0
    while end < claims[0].num_shards:
        found = next((claim for claim in claims if claim.first == end), None)
        if found is None:
            return None
        chosen.append(found)
        end = found.last
    return chosen


def _restored(group: ElasticGroup, state: TrainState, mine: Sequence[Held], chosen: Sequence[_Claim]) -> bool:
    """Whether it was good; nothing has changed where not."""
    with ExitStack() as stack:
        content = {
            piece.first: whole
            for held in mine
            for piece, whole in _good_pieces(stack, held)
            if any(claim.first == piece.first for claim in chosen)
        }
        good = all(claim.rank != group.rank or claim.first in content for claim in chosen)
        if not all(bool(answer) for answer in group.gather(torch.tensor([good]))):
            return False
        structure = _structure(group, mine, chosen[0].rank)
        if group.rank == 0:
            _fill(group, state, structure, chosen, content)
        else:
            for claim in chosen:
                if claim.rank == group.rank:
                    group.send([_as_tensor(content[claim.first])], 0)
            if all(claim.first in content for claim in chosen):
                _fill(group, state, structure, chosen, content)
    return True


def _good_pieces(stack: ExitStack, held: Held) -> Iterator[tuple[Piece, memoryview]]:
    try:
        whole = stack.enter_context(opened(held.memory))
    except OSError:
        return
    for piece in held.pieces:
        if is_there(held) and digest_of(whole, piece) == piece.xxh3:
            yield piece, whole[piece.start : piece.start + piece.size]


def _structure(group: ElasticGroup, mine: Sequence[Held], owner: int) -> bytes:
    """How the tensors nest, from whoever has the first piece."""
    own = mine[0].structure.encode() if group.rank == owner else b""
    return _gather_bytes(group, own)[owner]


def _fill(
    group: ElasticGroup,
    state: TrainState,
    structure: bytes,
    chosen: Sequence[_Claim],
    content: Mapping[int, memoryview],
) -> None:
    """Into new tensors, so that a group which breaks meanwhile leaves the state as it was."""
    tensors: dict[str, torch.Tensor] = {}

    def made(described: Mapping[str, Any]) -> torch.Tensor:
        name, dtype = described["tensor"], DTYPES[described["dtype"]]
        return tensors.setdefault(name, torch.empty(described["shape"], dtype=dtype))

    snapshot = from_json(structure, made)
    image = StateImage(snapshot, chosen[0].num_shards)
    for claim in chosen:
        start, stop = image.cut(claim.first), image.cut(claim.last)
        if claim.first in content:
            octets = _as_tensor(content[claim.first])
        else:
            octets = torch.empty(stop - start, dtype=torch.uint8)
            group.receive([octets], claim.rank)
        for piece in image.slices(claim.first, claim.last):
            begin = piece.at - start
            part = octets[begin : begin + piece.numbers.nbytes]
            piece.numbers.view(torch.uint8).copy_(part)
    state.restore(snapshot)


def _as_tensor(content: memoryview) -> torch.Tensor:
    if not len(content):
        return torch.empty(0, dtype=torch.uint8)
    return torch.from_numpy(np.frombuffer(content, np.uint8))


def _gather_bytes(group: ElasticGroup, own: bytes) -> list[bytes]:
    """Everybody's, by rank; they may differ in length."""
    sizes = [int(size) for size in group.gather(torch.tensor([len(own)]))]
    padded = torch.zeros(max(*sizes, 1), dtype=torch.uint8)
    padded[: len(own)] = torch.from_numpy(np.frombuffer(own, np.uint8).copy())
    return [row[:size].numpy().tobytes() for row, size in zip(group.gather(padded), sizes, strict=True)]
