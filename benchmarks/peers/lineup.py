"""Which peers there are."""

import importlib
from typing import Final, cast

from benchmarks.drill import Launch

PEERS: Final = ("stock_ray", "torchrun", "torchft")


def launch_of(peer: str) -> Launch:
    """How to start a peer; its libraries are imported here and not before."""
    return cast("Launch", importlib.import_module(f"benchmarks.peers.{peer}").launch)
