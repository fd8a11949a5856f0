"""Large copies that go past the caches of a CPU: half the memory traffic, and what training has in the caches
stays there.

The C library decides by the size of a copy, and takes the size from the cache that the CPU says it has: on a
virtual machine that may be one of a whole host, so that no copy is ever large enough. It reads its settings
when a process starts, so whoever starts a Ray gives them to it. Source:
https://sourceware.org/glibc/manual/latest/html_node/Hardware-Capability-Tunables.html.
"""

from collections.abc import Mapping
from typing import Final

TUNABLES: Final = "GLIBC_TUNABLES"
_LARGE: Final = 2 << 20
"""Bytes; about what a core has for itself."""


def streaming_copies(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to the environment; nothing where it has settings of its own."""
    if TUNABLES in environment:
        return {}
    return {TUNABLES: f"glibc.cpu.x86_non_temporal_threshold={_LARGE}"}
