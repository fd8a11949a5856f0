"""When parts become a checkpoint, and which ones are kept."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from orchestrator.checkpoints.catalog import Catalog, Committed
from orchestrator.checkpoints.places import place_of
from orchestrator.domain.spec import RunSpec
from tests.unit.saving import SHARDS, after, save_parts
from trainers.elastic.job import WorkerJob
from trainers.elastic.messages import CheckpointFailed, PartsWritten
from trainers.ray_train.checkpoint_wish import CheckpointWish
from trainers.ray_train.commits import CommitDesk
from trainers.ray_train.happenings import CheckpointCommitted, CommitFailed, Happening


class Desk:
    """A desk, and what it tells; to be used inside an event loop."""

    def __init__(self, folder: Path, attempt: int = 1, **checkpoint: Any) -> None:
        spec = RunSpec.parse(
            {
                "name": "otter",
                "task": "language_model",
                "train": {"steps": 100, "global_batch": 8, "logical_shards": SHARDS},
                "checkpoint": {"every": 10, **checkpoint},
            }
        )
        self.told: list[Happening] = []
        self.recorded: list[Happening] = []
        self.wish = CheckpointWish()
        self.job = WorkerJob(spec, folder, folder, attempt)
        self.desk = CommitDesk(self.job, self, self.wish, self.told.append)
        self.catalog = Catalog(place_of(self.job.checkpoints))

    def parts(self, step: int, world_size: int = 2, generation: int = 1, ask: int = 0) -> list[PartsWritten]:
        state = after(1)
        state.step = step
        state.metrics = {"val_loss": abs(step - 30.0)}
        reports = save_parts(
            Path(self.job.checkpoints),
            state,
            world_size=world_size,
            attempt=self.job.attempt,
            generation=generation,
            ask=ask,
        )
        return [report for report in reports if isinstance(report, PartsWritten)]

    async def settle(self) -> list[Happening]:
        """What came of all commits that were under way."""
        while self.desk.busy:
            await asyncio.sleep(0.001)
            while self.told:
                news = self.told.pop(0)
                assert isinstance(news, CheckpointCommitted | CommitFailed)
                self.desk.handle(news)
        return self.recorded

    def checkpoint(self, news: CheckpointCommitted | CommitFailed) -> None:
        self.recorded.append(news)

    def steps(self) -> list[int]:
        return [found.step for found in self.catalog.committed()]


async def test_a_checkpoint_is_committed_when_the_last_part_is_there_and_not_before(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    first, second = desk.parts(10)
    desk.desk.take(second)
    desk.desk.take(second)
    assert not desk.desk.busy
    desk.desk.take(first)
    (news,) = await desk.settle()
    assert isinstance(news, CheckpointCommitted)
    assert (news.step, news.metrics, news.trouble) == (10, {"val_loss": 20.0}, "")
    assert desk.catalog.check(Committed(10, 1, 1)) is None
    assert desk.desk.lack_of(10) == ""
    assert "of step 20, could not be committed" in desk.desk.lack_of(20)
    desk.desk.take(first)
    desk.desk.take(second)
    assert not desk.desk.busy


async def test_parts_of_two_generations_make_no_checkpoint(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    first, _ = desk.parts(10)
    _, second = desk.parts(10, generation=2)
    desk.desk.take(first)
    desk.desk.take(second)
    assert not desk.desk.busy


async def test_an_older_attempt_is_not_heard_and_cannot_commit_after_a_newer_one(tmp_path: Path) -> None:
    old, new = Desk(tmp_path, attempt=1), Desk(tmp_path, attempt=2)
    for part in new.parts(10):
        new.desk.take(part)
    await new.settle()
    late = old.parts(10)
    for part in late:
        new.desk.take(part)
        old.desk.take(part)
    assert not new.desk.busy
    (news,) = await old.settle()
    assert isinstance(news, CommitFailed)
    assert "newer than attempt 1" in news.reason
    assert new.catalog.committed() == [Committed(10, 2, 1)]


@pytest.mark.parametrize(
    ("wish", "kept"),
    [
        ({"keep_last": 2}, [60, 50]),
        ({"keep_last": 1, "keep_every": 20}, [60, 40, 20]),
        ({"keep_last": 1, "keep_best": {"metric": "val_loss"}}, [60, 30]),
    ],
)
async def test_only_those_that_somebody_wants_are_kept(
    tmp_path: Path, wish: dict[str, Any], kept: list[int]
) -> None:
    desk = Desk(tmp_path, **wish)
    for step in range(10, 70, 10):
        for part in desk.parts(step):
            desk.desk.take(part)
        await desk.settle()
    assert desk.steps() == kept
    assert [found.step for found in desk.desk.committed] == kept
    again = Desk(tmp_path, attempt=2, **wish)
    assert [found.step for found in again.desk.committed] == kept


@pytest.mark.parametrize(
    ("metric", "remark"),
    [("val_loss", ""), ("vall_loss", "keep_best finds no vall_loss among its metrics, which are val_loss")],
)
async def test_a_metric_that_no_evaluation_has_is_told_with_each_checkpoint(
    tmp_path: Path, metric: str, remark: str
) -> None:
    desk = Desk(tmp_path, keep_best={"metric": metric})
    for part in desk.parts(10):
        desk.desk.take(part)
    (news,) = await desk.settle()
    assert isinstance(news, CheckpointCommitted)
    assert news.remark == remark


async def test_damaged_ones_of_later_steps_do_not_push_out_those_that_training_went_on_from(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path, keep_last=3)
    for step in (10, 20, 30):
        for part in desk.parts(step):
            desk.desk.take(part)
        await desk.settle()
    for folder in ("step-00000020", "step-00000030"):
        next(Path(desk.job.checkpoints, folder).glob("*/part-*")).write_bytes(b"torn")
    again = Desk(tmp_path, attempt=2, keep_last=2)
    left = []
    for step in (13, 16, 20, 25):
        for part in again.parts(step):
            again.desk.take(part)
        await again.settle()
        left.append(again.steps())
    assert left == [[30, 20, 13, 10], [30, 20, 16, 13], [30, 20, 16], [30, 25, 20]]
    assert again.catalog.check(Committed(20, 2, 1)) is None, "it was written anew"


async def test_parts_of_a_member_that_was_lost_are_swept_away_with_the_next_commit(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.desk.take(desk.parts(10)[0])
    for part in desk.parts(20, generation=2):
        desk.desk.take(part)
    await desk.settle()
    assert desk.steps() == [20]
    assert desk.catalog.place.names("") == ["step-00000020"]


async def test_the_checkpoint_that_answers_a_wish_says_so_and_no_other(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.wish.want(7)
    for part in (*desk.parts(10), *desk.parts(13, ask=1), *desk.parts(20, ask=1)):
        desk.desk.hear(part)
    told = await desk.settle()
    assert [(news.step, news.wish) for news in told if isinstance(news, CheckpointCommitted)] == [
        (10, 0),
        (13, 7),
        (20, 0),
    ]
    assert desk.wish.ask == 0


async def test_a_wish_that_a_member_could_not_write_is_over_with_its_reason(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    failed = CheckpointFailed("w1", 1, 13, "no space left", 1)
    desk.desk.hear(failed)
    assert desk.recorded == []
    desk.wish.want(7)
    desk.desk.hear(CheckpointFailed("w1", 1, 10, "no space left"))
    desk.desk.hear(failed)
    desk.desk.hear(failed)
    assert desk.recorded == [CommitFailed(13, "no space left", 7)]


async def test_a_wish_whose_commit_is_refused_is_over_too(tmp_path: Path) -> None:
    old, new = Desk(tmp_path, attempt=1), Desk(tmp_path, attempt=2)
    for part in new.parts(10):
        new.desk.take(part)
    await new.settle()
    old.wish.want(7)
    for part in old.parts(10, ask=1):
        old.desk.hear(part)
    (news,) = await old.settle()
    assert isinstance(news, CommitFailed)
    assert news.wish == 7
