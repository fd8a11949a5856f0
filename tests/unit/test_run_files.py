import os
from pathlib import Path

import pytest

from orchestrator.domain.errors import RunExists, StorageError
from orchestrator.domain.events import EventKind, event
from orchestrator.domain.journal import JournalWriter
from orchestrator.domain.orders import Orders
from orchestrator.domain.run_directory import RunDirectory, RunState
from orchestrator.domain.runs import Run, claim_of
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import EndReason, RunStatus
from orchestrator.store.run_files import RunFolders

TIME = "2026-01-31T00:00:00.000Z"


def run(storage: Path, *, attempt: int = 1, id: str = "r1", workers: str = "1:4", steps: int = 9) -> Run:
    spec = RunSpec.parse(
        {"name": "brave-otter", "task": "language_model", "workers": workers, "train": {"steps": steps}}
    )
    return Run(
        id=id,
        name="brave-otter",
        spec_json=spec.canonical_json(),
        labels={},
        queue="default",
        priority=50,
        workers_min=1,
        workers_max=4,
        claim=claim_of(spec),
        storage=str(storage),
        created=TIME,
        queued=TIME,
        updated=TIME,
        status=RunStatus.STARTING,
        attempt=attempt,
        driver=1,
        target=2,
    )


def directory(storage: Path) -> RunDirectory:
    return RunDirectory(storage / "brave-otter")


def test_beginning_makes_the_directory_once_and_then_changes_nothing(tmp_path: Path) -> None:
    files = RunFolders()
    files.begin(run(tmp_path))
    before = directory(tmp_path).record()
    assert before.attempt == 1
    assert directory(tmp_path).spec() == run(tmp_path).spec
    files.begin(run(tmp_path))
    assert directory(tmp_path).record() == before


def test_beginning_the_next_attempt_keeps_how_far_the_run_came(tmp_path: Path) -> None:
    files = RunFolders()
    files.begin(run(tmp_path))
    lost = RunState(
        run="brave-otter",
        attempt=1,
        status=RunStatus.FAILED,
        reason=EndReason.CLUSTER_LOST,
        updated=TIME,
        step=7,
        checkpoint="here",
    )
    directory(tmp_path).write_status(lost)
    for _ in range(2):
        files.begin(run(tmp_path, attempt=2))
        state = directory(tmp_path).read_status()
        assert directory(tmp_path).record().attempt == state.attempt == 2
        assert (state.step, state.checkpoint, state.reason) == (7, "here", None)


def test_an_attempt_that_was_skipped_is_skipped_in_the_directory_too(tmp_path: Path) -> None:
    RunFolders().begin(run(tmp_path, attempt=3))
    assert directory(tmp_path).record().attempt == directory(tmp_path).read_status().attempt == 3


def test_a_run_that_was_scaled_is_still_the_same_run(tmp_path: Path) -> None:
    RunFolders().begin(run(tmp_path))
    RunFolders().begin(run(tmp_path, attempt=2, workers="2:3"))
    assert directory(tmp_path).record().attempt == 2


def test_a_directory_of_another_spec_is_refused(tmp_path: Path) -> None:
    RunFolders().begin(run(tmp_path))
    with pytest.raises(RunExists, match=r"another spec: train\.steps was 9 and is 10"):
        RunFolders().begin(run(tmp_path, attempt=2, steps=10))


def test_the_directory_of_another_run_of_the_same_spec_is_not_taken_over(tmp_path: Path) -> None:
    """Else a run would have ended before it began: the status of the other one says so."""
    RunFolders().begin(run(tmp_path))
    with pytest.raises(RunExists, match="the directory of another run 'brave-otter' is in") as caught:
        RunFolders().begin(run(tmp_path, id="r2"))
    assert "another name" in caught.value.hint


def test_a_directory_that_no_service_made_is_not_taken_over(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path, run(tmp_path).spec)
    with pytest.raises(RunExists, match="the directory of another run"):
        RunFolders().begin(run(tmp_path))


def test_orders_say_what_is_wanted_now(tmp_path: Path) -> None:
    files = RunFolders()
    files.begin(run(tmp_path))
    assert directory(tmp_path).read_orders() is None
    files.order(run(tmp_path))
    assert directory(tmp_path).read_orders() == Orders(attempt=1, workers_min=1, target=2)
    files.order(run(tmp_path).with_(checkpoint_wish=7))
    assert directory(tmp_path).read_orders() == Orders(attempt=1, workers_min=1, target=2, checkpoint=7)
    files.order(run(tmp_path).with_(stop=EndReason.USER_PAUSED, message="ada paused it", target=1))
    assert directory(tmp_path).read_orders() == Orders(
        attempt=1, workers_min=1, target=1, stop=EndReason.USER_PAUSED, stop_message="ada paused it"
    )


def test_a_run_that_was_scaled_beyond_its_target_may_train_on_with_it(tmp_path: Path) -> None:
    files = RunFolders()
    files.begin(run(tmp_path))
    files.order(run(tmp_path).with_(workers_min=4, workers_max=8, target=2))
    assert directory(tmp_path).read_orders() == Orders(attempt=1, workers_min=2, target=2)


def test_orders_that_did_not_change_are_not_written_again(tmp_path: Path) -> None:
    files = RunFolders()
    files.begin(run(tmp_path))
    files.order(run(tmp_path))
    before = directory(tmp_path).orders_path.stat()
    files.order(run(tmp_path))
    after = directory(tmp_path).orders_path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_broken_orders_are_named(tmp_path: Path) -> None:
    RunFolders().begin(run(tmp_path))
    directory(tmp_path).orders_path.write_text("{")
    with pytest.raises(StorageError, match=r"orders\.json is broken"):
        directory(tmp_path).read_orders()


def test_a_beat_shows_in_the_time_of_a_file(tmp_path: Path) -> None:
    files = RunFolders()
    files.begin(run(tmp_path))
    files.beat(run(tmp_path))
    os.utime(directory(tmp_path).beat_path, (0, 0))
    files.beat(run(tmp_path))
    assert directory(tmp_path).beat_path.stat().st_mtime > 0


def test_there_is_no_news_of_a_run_without_a_directory(tmp_path: Path) -> None:
    news = RunFolders().news(run(tmp_path))
    assert (news.state, list(news.events), news.over()) == (None, [], False)


def test_news_are_the_state_and_the_events_after_those_that_are_known(tmp_path: Path) -> None:
    files = RunFolders()
    files.begin(run(tmp_path))
    with JournalWriter(directory(tmp_path).outbox, "events") as journal:
        journal.append(event(EventKind.RUN_STARTED, "it starts", attempt=1))
        journal.append(event(EventKind.BAD_ROW, "a bad row", attempt=1))
    news = files.news(run(tmp_path))
    assert news.state == directory(tmp_path).read_status()
    assert [(found["seq"], found["kind"]) for found in news.events] == [(1, "run-started"), (2, "bad-row")]
    assert [found["seq"] for found in files.news(run(tmp_path).with_(outbox_seq=1)).events] == [2]
    assert files.news(run(tmp_path).with_(outbox_seq=2)).events == []


def test_a_status_that_was_replaced_is_news(tmp_path: Path) -> None:
    files = RunFolders()
    files.begin(run(tmp_path))
    files.news(run(tmp_path))
    over = RunState(
        run="brave-otter",
        attempt=1,
        status=RunStatus.SUCCEEDED,
        reason=EndReason.FINISHED,
        updated=TIME,
        step=9,
    )
    directory(tmp_path).write_status(over)
    assert files.news(run(tmp_path)).state == over
    assert files.news(run(tmp_path)).over()


def test_the_state_of_an_older_attempt_is_no_news(tmp_path: Path) -> None:
    files = RunFolders()
    files.begin(run(tmp_path))
    assert files.news(run(tmp_path, attempt=2)).state is None


def test_where_nothing_changed_nothing_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = RunFolders()
    files.begin(run(tmp_path))
    with JournalWriter(directory(tmp_path).outbox, "events") as journal:
        journal.append(event(EventKind.RUN_STARTED, "it starts", attempt=1))
    known = files.news(run(tmp_path))
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read again"))
    monkeypatch.setattr(Path, "open", lambda path, *_: pytest.fail(f"{path} was opened again"))
    assert files.news(run(tmp_path).with_(outbox_seq=1)).state == known.state
