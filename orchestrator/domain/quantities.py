"""Durations and sizes as people write them: `1h30m` -> 5400.0 seconds, `2Gi` -> 2147483648 bytes."""

import math
import re
from decimal import Decimal
from typing import Final

_SECONDS: Final = {"d": "86400", "h": "3600", "m": "60", "s": "1", "ms": "0.001"}
_BYTES: Final = {
    "": 1,
    "k": 10**3,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "Pi": 2**50,
}
_NUMBER: Final = r"[0-9]+(?:\.[0-9]+)?"
_DURATION: Final = re.compile("".join(rf"(?:(?P<{unit}>{_NUMBER}){unit})?" for unit in _SECONDS))
_SIZE: Final = re.compile(rf"({_NUMBER}) ?([A-Za-z]*)")
_LARGEST_SIZE: Final = 2**63 - 1


def parse_duration(text: str) -> float:
    """Seconds in `30s`, `10m`, `1h30m`, `1.5h`, `2d`, `250ms`, or in a bare number of seconds.

    Units go from large to small and appear once each.

    Raises:
        ValueError: with a sentence for the user.
    """
    stripped = text.strip()
    if re.fullmatch(_NUMBER, stripped):
        seconds = Decimal(stripped)
    else:
        match = _DURATION.fullmatch(stripped)
        if not stripped or match is None:
            raise ValueError(f"expected a duration such as '30s', '10m' or '1h30m', got {text!r}")
        parts = match.groupdict(default="0")
        seconds = sum((Decimal(parts[unit]) * Decimal(size) for unit, size in _SECONDS.items()), Decimal(0))
    if not math.isfinite(float(seconds)):
        raise ValueError(
            f"expected a duration such as '30s', '10m' or '1h30m', got {text!r}, which is too long"
        )
    return float(seconds)


def parse_size(text: str) -> int:
    """Bytes in `2Gi`, `512Mi` (powers of 1024), `1G`, `1.5GB` (powers of 1000) or a bare number of bytes.

    Raises:
        ValueError: with a sentence for the user.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a size such as '512Mi', '2Gi' or '1.5GB', got {text!r}")
    number, unit = match.groups()
    factor = _BYTES.get(unit.removesuffix("B"))
    if factor is None:
        raise ValueError(f"unknown unit {unit!r} in {text!r}, {_unit_hint(unit)}")
    size = int(Decimal(number) * factor)
    if size > _LARGEST_SIZE:
        raise ValueError(f"expected a size such as '512Mi' or '2Gi', got {text!r}, which is too large")
    return size


def _unit_hint(unit: str) -> str:
    bare = unit.lower().removesuffix("b")
    for known in _BYTES:
        if bare and known.lower() == bare:
            return f"did you mean {known!r}?"
    return "expected one of K, M, G, T, P (powers of 1000) or Ki, Mi, Gi, Ti, Pi (powers of 1024)"
