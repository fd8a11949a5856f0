"""Rows that come through the feed: the same whatever happens to it, made once, and never others."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray

from orchestrator.domain.audit import audit
from orchestrator.domain.errors import DataError, RunFailed
from orchestrator.domain.journal import read_journal
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.spec_training import DataSpec
from tests.integration.feed_cluster import segments
from tests.integration.feed_tasks import PADDING, write_jsonl, write_parquet
from tests.integration.saboteur import Watched, kill, sabotage
from trainers.feed.filling import local_blocks, store_folder
from trainers.feed.recipe import recipe_of
from trainers.feed.scan import scan
from trainers.feed.segments import SegmentStore
from trainers.feed.writing import fill
from trainers.main import train

ROOT = Path(__file__).parents[2]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def line_spec(tmp_path: Path, source: Path, *, storage: str = "runs", **overrides: Any) -> RunSpec:
    content: dict[str, Any] = {
        "task": "tests.integration.feed_tasks:Line",
        "workers": 2,
        "data": {"source": str(source), "format": "jsonl", "columns": ["x", "y"]},
        "train": {"steps": 30, "global_batch": 16, "optimizer": {"lr": 0.05}},
        "checkpoint": {"storage": str(tmp_path / storage), "every": 10},
    }
    for key, value in overrides.items():
        content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
    return RunSpec.parse(content)


def kinds(result: Any) -> list[str]:
    return [event["kind"] for event in Watched(result.run).events()]


def test_the_rows_are_the_same_with_2_and_with_300_logical_cpus(
    tmp_path: Path, source: Path, local_ray: None
) -> None:
    write_jsonl(source, files=12, rows=40, padding=PADDING)
    data = DataSpec(source=str(source), format="jsonl")
    command = [sys.executable, "-m", "tests.integration.feed_cluster", str(source), str(tmp_path / "many")]
    shown = subprocess.run(
        [*command, "300", "300"],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    few = segments(data, tmp_path / "few", 2, None)
    assert json.loads(shown.stdout.splitlines()[-1]) == few
    found = scan(recipe_of(data, None), tmp_path / "none")
    folder = store_folder(found, tmp_path / "none")
    fill(found, folder, local_blocks(found, folder))
    assert [entry.sha256 for entry in SegmentStore(folder).entries()] == few
    assert len(few) > 3


@pytest.mark.long
def test_a_feed_that_is_killed_goes_on_where_it_was_and_the_run_ends_with_the_same_bits(
    tmp_path: Path, source: Path, local_ray: None
) -> None:
    write_jsonl(source, files=10, rows=80, padding=PADDING)
    slow = {"columns": [], "transform": "tests.integration.feed_tasks:slowly", "shuffle": {"window": 50}}
    calm = train(line_spec(tmp_path, source, storage="calm", data=slow))
    left: list[int] = []

    def plan(run: Watched) -> None:
        run.wait(lambda: bool(run.events("feed-started")))
        run.wait(lambda: len(list((tmp_path / "stormy").glob(".datasets/*/segments/*.arrow"))) >= 1)
        kill(run.events("feed-started")[0]["pid"])
        run.wait(lambda: bool(run.events("feed-lost")))
        left.append(run.events("feed-lost")[0]["segments"])
        run.wait(lambda: len(run.events("feed-started")) == 2)

    spec = line_spec(tmp_path, source, storage="stormy", data=slow)
    with sabotage(plan) as saboteur:
        stormy = train(spec, on_start=saboteur.on_start)
    assert stormy.parameters_sha256 == calm.parameters_sha256
    watched = Watched(stormy.run)
    assert [event["segments"] for event in watched.events("feed-finished")] > left
    assert not watched.events("worker-lost")
    assert len(watched.events("generation-started")) == 1
    assert audit(stormy.run).ok


def test_a_second_run_starts_no_feed_and_every_run_says_what_waiting_for_rows_cost(
    tmp_path: Path, source: Path, local_ray: None
) -> None:
    write_jsonl(source, files=3, rows=200)
    first = train(line_spec(tmp_path, source, name="first"))
    second = train(line_spec(tmp_path, source, name="second"))
    assert "feed-finished" in kinds(first)
    assert not [kind for kind in kinds(second) if kind.startswith("feed")]
    assert second.parameters_sha256 == first.parameters_sha256
    for result in (first, second):
        steps = [record for record in read_journal(result.run.outbox, "metrics") if "loss" in record]
        assert all(record["input_wait_s"] >= 0 for record in steps)


def test_parquet_gives_what_the_same_rows_in_jsonl_give(
    tmp_path: Path, source: Path, local_ray: None
) -> None:
    write_jsonl(source, files=3, rows=100)
    as_parquet = tmp_path / "parquet"
    as_parquet.mkdir()
    write_parquet(as_parquet, files=3, rows=100)
    from_jsonl = train(line_spec(tmp_path, source, name="from-jsonl"))
    spec = line_spec(tmp_path, as_parquet, name="from-parquet", data={"format": "parquet"})
    assert train(spec).parameters_sha256 == from_jsonl.parameters_sha256


def test_a_file_that_changed_between_two_attempts_is_named(
    tmp_path: Path, source: Path, local_ray: None
) -> None:
    write_jsonl(source, files=3, rows=100)
    spec = line_spec(tmp_path, source, name="twice", stop={"max_duration": 600})
    train(spec)
    with (source / "part-001.jsonl").open("a") as file:
        file.write('{"x": [0, 0, 0, 0], "y": 1}\n')
    with pytest.raises(DataError, match=r"part-001\.jsonl changed"):
        train(spec, resume=True)


@pytest.mark.parametrize(("count", "padding"), [(2, 0), (12, PADDING)])
def test_a_row_that_turns_out_bad_in_the_feed_ends_the_run_with_its_place(
    tmp_path: Path, source: Path, local_ray: None, count: int, padding: int
) -> None:
    write_jsonl(source, files=count, rows=40, padding=padding)
    with (source / "part-zzz.jsonl").open("w") as file:
        file.write('{"x": [0, 0, 0, 0], "y": 100}\n')
    spec = line_spec(tmp_path, source, name="bad", data={"transform": "tests.integration.feed_tasks:picky"})
    with pytest.raises(RunFailed, match=r"SpecRefused.*part-zzz\.jsonl.*not to my taste"):
        train(spec)


@pytest.mark.long
def test_the_cpu_of_the_feed_is_free_again_when_it_is_finished(
    tmp_path: Path, source: Path, local_ray: None
) -> None:
    write_jsonl(source, files=2, rows=100)
    free: list[float] = []

    def plan(run: Watched) -> None:
        run.wait(lambda: bool(run.events("feed-finished")))
        run.wait(lambda: ray.available_resources().get("CPU") == 6.0)
        free.append(6.0)

    spec = line_spec(tmp_path, source, name="frees", train={"steps": 3000})
    with sabotage(plan) as saboteur:
        train(spec, on_start=saboteur.on_start)
    assert free
