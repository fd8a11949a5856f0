"""Ports for the daemons of a head."""

import random
import socket

_FIRST_PORT, _LAST_PORT = 20100, 29999
"""Outside the range from which Ray takes its workers' ports, and below that of outgoing connections."""


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on now."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randint(_FIRST_PORT, _LAST_PORT)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found
