"""Members of an elastic group as threads of one process, connected by real gloo over loopback."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from torch.distributed import HashStore

from trainers.elastic.group import ElasticGroup

HOST = "127.0.0.1"
Found = TypeVar("Found")


def gang(size: int, work: Callable[[ElasticGroup], Found], *, timeout_s: float = 20.0) -> list[Found]:
    """What `work` returns on each of `size` connected members, by rank; raises the first error there was."""
    store = HashStore()

    def live(rank: int) -> Found:
        with ElasticGroup(store, rank, size, backend="gloo", host=HOST, timeout_s=timeout_s) as group:
            return work(group)

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(live, range(size)))
