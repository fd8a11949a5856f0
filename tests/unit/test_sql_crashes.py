"""kill -9 at any moment: what was acknowledged is there, once, and the next process goes on."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.domain import failpoints
from orchestrator.domain.status import RunStatus
from orchestrator.ports.record import IdempotencyKey
from orchestrator.store.sql import SqlRecord
from tests.unit.records import new, url

ROOT = Path(__file__).resolve().parents[2]
ADD = """
import asyncio, itertools, sys
from orchestrator.ports.record import IdempotencyKey
from orchestrator.store.sql import SqlRecord
from tests.unit.records import new

async def client(record, numbers):
    for number in numbers:
        added = await record.add(new(number), IdempotencyKey(f"key-{number}", "a" * 64))
        print(added.run.name, flush=True)

async def main():
    record = SqlRecord.open(sys.argv[1])
    print("open", flush=True)
    numbers = itertools.count(1)
    await asyncio.gather(*(client(record, numbers) for _ in range(int(sys.argv[2]))))

asyncio.run(main())
"""


def adding(folder: Path, *, num_clients: int = 1, armed: str = "") -> subprocess.Popen[str]:
    """A process that adds run-1, run-2 and so on for ever, and prints each name that is acknowledged."""
    return subprocess.Popen(
        [sys.executable, "-c", ADD, url(folder), str(num_clients)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, failpoints.VARIABLE: armed},
    )


@pytest.mark.slow
async def test_every_run_that_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    with adding(tmp_path, num_clients=20) as process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline().strip() for _ in range(301)][1:]
        process.kill()
        acknowledged += process.stdout.read().split()
    record = SqlRecord.open(url(tmp_path))
    for name in acknowledged:
        run = await record.find(name)
        assert [event.seq for event in await record.events(run.id)] == [1]
    assert (await record.counts())[RunStatus.QUEUED] >= len(set(acknowledged)) >= 300
    await record.close()


@pytest.mark.parametrize(("armed", "num_runs"), [("before-commit:1:0", 0), ("after-commit:1:0", 1)])
async def test_a_submit_that_was_never_answered_can_be_sent_again(
    tmp_path: Path, armed: str, num_runs: int
) -> None:
    process = adding(tmp_path, armed=armed)
    assert process.communicate()[0].split() == ["open"]
    assert process.returncode == -signal.SIGKILL
    record = SqlRecord.open(url(tmp_path))
    assert (await record.counts())[RunStatus.QUEUED] == num_runs
    again = await record.add(new(1), IdempotencyKey("key-1", "a" * 64))
    assert again.replayed == (num_runs == 1)
    assert (await record.counts())[RunStatus.QUEUED] == 1
    await record.close()


async def test_a_migration_that_was_killed_is_done_by_the_next_process(tmp_path: Path) -> None:
    process = adding(tmp_path, armed="mid-migration:1:0")
    assert process.communicate()[0] == ""
    assert process.returncode == -signal.SIGKILL
    with sqlite3.connect(tmp_path / "tumbler.db") as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    record = SqlRecord.open(url(tmp_path))
    assert not (await record.add(new())).replayed
    await record.close()
