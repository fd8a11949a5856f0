import threading
import time
from datetime import timedelta

import pytest
import torch

from tests.unit.gang import gang
from trainers.elastic import transport as module
from trainers.elastic.group import ElasticGroup, GroupBrokenError


@pytest.mark.slow
def test_a_slow_peer_is_waited_for_as_long_as_patience_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_TIMEOUT", timedelta(seconds=0.3))
    tired = threading.Event()

    def work(group: ElasticGroup) -> float:
        if group.rank == 0:
            tired.wait(1.0)  # far longer than a connection may take, far less than patience
        return float(sum(group.gather(torch.ones(()))))

    assert gang(2, work, timeout_s=20.0) == [2.0, 2.0]


def test_a_peer_that_keeps_the_others_waiting_too_long_breaks_the_group_when_patience_ends() -> None:
    done = threading.Event()

    def work(group: ElasticGroup) -> float:
        if group.rank == 0:
            done.wait(20.0)
            return 0.0
        begun = time.monotonic()
        with pytest.raises(GroupBrokenError):
            group.gather(torch.ones(1))
        done.set()
        return time.monotonic() - begun

    assert 0.2 < max(gang(2, work, timeout_s=0.3)) < 1.5
