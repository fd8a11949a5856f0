"""The process that puts parts of checkpoints into storage: `python -m trainers.checkpoints.writer_process`.

A process of its own, since a thread would take the interpreter's lock from training. It imports no torch, so
it is there in a moment, and gives way to whoever computes. Requests come as lines of JSON and are answered in
order; it ends with its input.
"""

import json
import mmap
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import xxhash

from orchestrator.checkpoints.places import Place, place_of
from orchestrator.domain.errors import TumblerError

_NICE: Final = 19
_CHUNK: Final = 4 << 20


def main() -> None:
    os.nice(_NICE)
    places: dict[str, Place] = {}
    for line in sys.stdin.buffer:
        request = json.loads(line)
        where = request["place"]
        answer: dict[str, Any]
        try:
            place = places[where] = places.get(where) or place_of(where)
            answer = {"files": [write_file(place, file) for file in request["files"]]}
        except (TumblerError, OSError) as error:
            answer = {"error": str(error)}
        print(json.dumps({"id": request["id"], **answer}), flush=True)


def write_file(place: Place, file: dict[str, Any]) -> dict[str, Any]:
    """Puts one file there: a text, then a piece of shared memory. Returns name, size and XXH3-128."""
    digest, size = xxhash.xxh3_128(), 0
    with place.open_write(file["name"]) as sink:
        for chunk in _content(file):
            digest.update(chunk)
            sink.write(chunk)
            size += len(chunk)
    return {"name": file["name"], "size": size, "xxh3": digest.hexdigest()}


def _content(file: dict[str, Any]) -> Iterator[memoryview]:
    text = file["text"].encode("latin-1")
    if text:
        with mmap.mmap(-1, len(text)) as aligned, memoryview(aligned) as whole:
            whole[:] = text
            yield whole
    if "memory" not in file or not file["size"]:
        return
    with Path(file["memory"]).open("rb") as memory:
        yield from _chunks(memory, file["start"], file["size"])


def _chunks(memory: BinaryIO, start: int, size: int) -> Iterator[memoryview]:
    with mmap.mmap(memory.fileno(), 0, prot=mmap.PROT_READ) as mapped, memoryview(mapped) as whole:
        for begin in range(start, start + size, _CHUNK):
            with whole[begin : min(begin + _CHUNK, start + size)] as chunk:
                yield chunk


if __name__ == "__main__":
    main()
