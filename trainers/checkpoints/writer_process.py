"""The process that puts parts of checkpoints into storage, and holds snapshots: `python -m
trainers.checkpoints.writer_process`.

A process of its own, since a thread would take the interpreter's lock from training. It imports no torch, so
it is there in a moment, and gives way to whoever computes. Requests come as lines of JSON and are answered in
order. It is nobody's child, for Ray ends those with a worker; when its input ends without a word of farewell
its worker was lost, and whoever takes that one's place may need what is held.
"""

import json
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import xxhash

from orchestrator.checkpoints.places import Place, place_of
from orchestrator.domain.errors import TumblerError
from trainers.checkpoints.requests import Requests
from trainers.checkpoints.shelf import Shelf

_NICE: Final = 19
_CHUNK: Final = 4 << 20


def main() -> None:
    if os.fork():
        os._exit(0)
    os.setsid()
    os.nice(_NICE)
    with suppress(OSError):  # Linux may weigh whole sessions, and this is one of its own
        Path("/proc/self/autogroup").write_text(str(_NICE))
    print(json.dumps({"pid": os.getpid()}), flush=True)
    requests = Requests()
    shelf, places, farewell = Shelf(requests.rest), dict[str, Place](), False
    for request in requests:
        farewell = "farewell" in request
        if not farewell:
            answer = _answer(request, shelf, places)
            with suppress(BrokenPipeError):  # its worker is gone; the rest is done nevertheless
                print(json.dumps({"id": request["id"], **answer}), flush=True)
    if not farewell:
        shelf.stay()
    shelf.close()
    os._exit(0)  # without flushing what nobody reads any more


def _answer(request: dict[str, Any], shelf: Shelf, places: dict[str, Place]) -> dict[str, Any]:
    try:
        if "held" in request:
            shelf.hold(request)
            return {"files": []}
        if "forget_after" in request:
            shelf.forget(request["forget_after"])
            return {"files": []}
        where = request["place"]
        place = places[where] = places.get(where) or place_of(where)
        return {"files": [write_file(place, file, shelf.memory) for file in request["files"]]}
    except (TumblerError, OSError) as error:
        return {"error": str(error)}


def write_file(
    place: Place, file: dict[str, Any], memory: Callable[[str, str], memoryview]
) -> dict[str, Any]:
    """Puts one file there: a text, then a piece of the memory that is found by its name and path. Returns
    name, size and XXH3-128."""
    digest, size = xxhash.xxh3_128(), 0
    with place.open_write(file["name"]) as sink:
        for chunk in _content(file, memory):
            digest.update(chunk)
            sink.write(chunk)
            size += len(chunk)
    return {"name": file["name"], "size": size, "xxh3": digest.hexdigest()}


def _content(file: dict[str, Any], memory: Callable[[str, str], memoryview]) -> Iterator[memoryview]:
    text = file["text"].encode("latin-1")
    if text:
        with mmap.mmap(-1, len(text)) as aligned, memoryview(aligned) as whole:
            whole[:] = text
            yield whole
    if "memory" not in file or not file["size"]:
        return
    whole, end = memory(file["memory_name"], file["memory"]), file["start"] + file["size"]
    for begin in range(file["start"], end, _CHUNK):
        with whole[begin : min(begin + _CHUNK, end)] as chunk:
            yield chunk


if __name__ == "__main__":
    main()
