"""Which peers there are."""

import importlib
from functools import partial
from typing import Final, cast

from benchmarks.drill import Launch

PEERS: Final = ("stock_ray", "torchrun", "torchft")


def launch_of(peer: str, **settings: int) -> Launch:
    """How to start a peer, with settings of its `launch`; its libraries are imported here and not before."""
    launch = importlib.import_module(f"benchmarks.peers.{peer}").launch
    return cast("Launch", partial(launch, **settings) if settings else launch)
