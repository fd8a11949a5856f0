"""TensorBoard's events in bytes: protocol buffers (tensorflow/core/util/event.proto) in TFRecord frames.

Written here, since the packages that could do it import torch: three seconds and 200 MB for thirty lines.
"""

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

_HEAD: Final = struct.Struct("<Q")
_CHECKSUM: Final = struct.Struct("<I")
_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
_START: Final = 1
"""SessionLog.START: what has this step or a later one is dropped."""


def scalars(step: int, time_s: float, numbers: Mapping[str, float]) -> bytes:
    """An event with the values of one step by tag."""
    values = b"".join(
        _message(1, _message(1, tag.encode()) + _key(2, _FLOAT) + _float(value))
        for tag, value in numbers.items()
    )
    return (
        _key(1, _DOUBLE) + struct.pack("<d", time_s) + _key(2, _VARINT) + _varint(step) + _message(5, values)
    )


def session_start(step: int) -> bytes:
    """An event that undoes what has this step or a later one."""
    return _key(2, _VARINT) + _varint(step) + _message(7, _key(1, _VARINT) + _varint(_START))


def framed(content: bytes) -> bytes:
    """As TFRecord files have it: length and content, each with its checksum."""
    head = _HEAD.pack(len(content))
    return head + _masked(head) + content + _masked(content)


def read_frames(path: Path) -> Iterator[tuple[bytes, int]]:
    """Each whole event of a file, with where it ends; what is torn or broken ends it."""
    content, at = path.read_bytes(), 0
    while at + _HEAD.size + _CHECKSUM.size <= len(content):
        head = content[at : at + _HEAD.size]
        begin = at + _HEAD.size + _CHECKSUM.size
        end = begin + int(_HEAD.unpack(head)[0])
        if content[at + _HEAD.size : begin] != _masked(head) or end + _CHECKSUM.size > len(content):
            return
        if content[end : end + _CHECKSUM.size] != _masked(content[begin:end]):
            return
        at = end + _CHECKSUM.size
        yield content[begin:end], at


def _key(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _message(field: int, content: bytes) -> bytes:
    return _key(field, _BYTES) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _float(value: float) -> bytes:
    try:
        return struct.pack("<f", value)
    except OverflowError:  # more than 32 bits can hold
        return struct.pack("<f", float("inf") if value > 0 else float("-inf"))


FILE_VERSION: Final = _message(3, b"brain.Event:2")
"""The first event of every file."""


def _table() -> tuple[int, ...]:
    """CRC-32C (Castagnoli), a byte at a time."""
    found = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
        found.append(number)
    return tuple(found)


_TABLE: Final = _table()


def _masked(content: bytes) -> bytes:
    checksum = 0xFFFFFFFF
    for byte in content:
        checksum = _TABLE[(checksum ^ byte) & 0xFF] ^ checksum >> 8
    checksum ^= 0xFFFFFFFF
    return _CHECKSUM.pack(((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF)
