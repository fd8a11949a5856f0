"""The cluster in memory behaves as its ports say, so that what is proved on it means something."""

from pathlib import Path

import pytest

from cluster.fake import FakeCluster
from orchestrator.domain.errors import ClusterUnavailable, RunExists
from orchestrator.domain.lifecycle import new_run
from orchestrator.domain.lifecycle_attempts import granted
from orchestrator.domain.runs import Run, submission_id
from orchestrator.domain.status import EndReason, RunStatus
from orchestrator.ports.cluster import DriverOrder, DriverState
from tests.unit.service_world import NOW, spec_of


def order_of(run: Run, driver: int = 1) -> DriverOrder:
    name = submission_id(run, driver)
    return DriverOrder(name, Path(run.storage) / run.name, run.name, run.attempt, driver, None, {}, ())


def started(cluster: FakeCluster, name: str = "otter", target: int = 2, **content: object) -> Run:
    """A run that trains, as the service would have started it."""
    change = granted(new_run(spec_of(name, workers="1:4", **content), now=NOW).run, target, NOW)
    assert change is not None
    cluster.begin(change.run)
    cluster.order(change.run)
    cluster.launch(order_of(change.run))
    for _ in range(3):
        cluster.tick()
    return change.run


def test_a_launch_is_done_once() -> None:
    cluster = FakeCluster(4)
    run = started(cluster)
    cluster.launch(order_of(run))
    assert len(cluster.launched) == 1
    state = cluster.news(run).state
    assert state is not None
    assert (state.status, state.workers, state.generation) == (RunStatus.RUNNING, 2, 1)


def test_news_begin_after_what_is_known_and_are_of_one_attempt() -> None:
    cluster = FakeCluster(4)
    run = started(cluster)
    seqs = [happened["seq"] for happened in cluster.news(run).events]
    assert seqs == list(range(1, len(seqs) + 1))
    assert [happened["seq"] for happened in cluster.news(run.with_(outbox_seq=2)).events] == seqs[2:]
    assert cluster.news(run.with_(attempt=2)).state is None


def test_orders_of_another_attempt_are_not_heard() -> None:
    cluster = FakeCluster(4)
    run = started(cluster)
    cluster.order(run.with_(attempt=2, stop=EndReason.USER_CANCELLED))
    cluster.tick()
    assert cluster.workers_of("otter") == 2
    cluster.order(run.with_(target=4))
    cluster.tick()
    assert cluster.workers_of("otter") == 4
    cluster.order(run.with_(stop=EndReason.USER_PAUSED))
    cluster.tick(2)
    news = cluster.news(run)
    assert news.over()
    assert news.state is not None
    assert (news.state.status, news.state.reason) == (RunStatus.PAUSED, EndReason.USER_PAUSED)


def test_a_living_controller_is_adopted_and_a_dead_one_ends_the_attempt() -> None:
    cluster = FakeCluster(4)
    run = started(cluster)
    [controller] = cluster.living("otter")
    cluster.fail_driver(submission_id(run, 1))
    cluster.launch(order_of(run, 2))
    cluster.tick()
    cluster.tick()
    assert cluster.living("otter") == [controller]
    cluster.kill_controller("otter")
    cluster.tick()
    state = cluster.news(run).state
    assert state is not None
    assert state.reason is EndReason.CONTROLLER_LOST
    assert cluster.drivers()[submission_id(run, 2)].state is DriverState.FAILED


def test_workers_fit_the_nodes_and_survivors_go_on_without_a_lost_one() -> None:
    cluster = FakeCluster(1, 2)
    run = started(cluster, target=4)
    assert cluster.workers_of("otter") == 3
    cluster.remove_node("node-0")
    cluster.tick()
    assert cluster.workers_of("otter") == 2
    state = cluster.news(run).state
    assert state is not None
    assert (state.generation, state.reason) == (2, None)
    cluster.remove_node("node-1")
    state = cluster.news(run).state
    assert state is not None
    assert state.reason is EndReason.WORKER_LOST


def test_an_orphan_ends_itself_after_a_minute_unless_it_hears_a_beat() -> None:
    cluster = FakeCluster(4)
    run = started(cluster, train={"steps": 100_000})
    cluster.fail_driver(submission_id(run, 1))
    for _ in range(10):
        cluster.tick(10)
        cluster.beat(run)
    assert cluster.living("otter")
    cluster.tick(61)
    state = cluster.news(run).state
    assert state is not None
    assert state.reason is EndReason.ORPHANED


def test_ray_away_answers_nothing_and_training_goes_on() -> None:
    cluster = FakeCluster(4)
    run = started(cluster)
    before = cluster.news(run).state
    cluster.go_away()
    for ask in (cluster.view, cluster.drivers, lambda: cluster.launch(order_of(run))):
        with pytest.raises(ClusterUnavailable):
            ask()
    cluster.tick()
    after = cluster.news(run).state
    assert before is not None
    assert after is not None
    assert after.step > before.step


def test_a_run_directory_belongs_to_one_spec_and_goes_on_with_its_next_attempt() -> None:
    cluster = FakeCluster(4)
    run = started(cluster)
    cluster.begin(run)
    step = cluster.living("otter")[0].folder.state.step
    cluster.begin(run.with_(attempt=2))
    cluster.tick()
    state = cluster.news(run.with_(attempt=2)).state
    assert state is not None
    assert (state.status, state.step) == (RunStatus.QUEUED, step)
    assert cluster.living("otter") == [], "the controller of the attempt before goes on"
    with pytest.raises(RunExists):
        cluster.begin(run.with_(spec_json=spec_of("otter", train={"steps": 1}).canonical_json()))
