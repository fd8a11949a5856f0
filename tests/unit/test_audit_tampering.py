"""Whatever is done to the ledger or the chain of a run that is over, the audit does not pass it as ok."""

import json
import random
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestrator.domain.audit import audit
from orchestrator.domain.errors import StorageError
from orchestrator.domain.journal import read_journal
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.sealed_journal import seal
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import EndReason, RunStatus
from tests.unit.test_recorder import LAST, SPEC, formed, open_recorder, points

Record = dict[str, Any]
NAMES = ("ledger", "chain")


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Three attempts, so three segments of each journal; the second undid two steps of the first."""
    run = RunDirectory.create(tmp_path_factory.mktemp("runs"), RunSpec.parse(SPEC))
    first = open_recorder(run)
    first.steps(points(*range(1, 9)))
    first.close()
    RunDirectory.create(run.path.parent, run.spec(), resume=True)
    second = open_recorder(run)
    second.formed(formed(1, 4), 2)
    second.steps(points(*range(5, 9)))
    second.close()
    RunDirectory.create(run.path.parent, run.spec(), resume=True)
    third = open_recorder(run)
    third.formed(formed(1, 8), 1)
    third.move(RunStatus.RUNNING)
    third.steps(points(*range(9, LAST + 1)))
    third.end(EndReason.FINISHED)
    assert audit(run).problems == ()
    return run


def copied(run: RunDirectory, folder: Path) -> RunDirectory:
    return RunDirectory(Path(shutil.copytree(run.path, folder / "otter")))


def content(run: RunDirectory) -> list[list[Record]] | None:
    """What both journals say; None where they cannot be read."""
    try:
        return [list(read_journal(run.outbox, name)) for name in NAMES]
    except StorageError:
        return None


def segments(run: RunDirectory) -> list[Path]:
    return sorted(path for name in NAMES for path in run.outbox.glob(f"{name}-*.jsonl"))


def flip(text: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        text[rng.randrange(len(text))] ^= 1 << rng.randrange(8)


def cut_out(text: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(text))
    del text[start : start + rng.randint(1, 200)]


def cut_off(text: bytearray, rng: random.Random) -> None:
    del text[rng.randrange(len(text)) :]


def double(text: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(text))
    text[start:start] = text[start : start + rng.randint(1, 200)]


def overwrite(text: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(text))
    text[start : start + rng.randint(1, 64)] = rng.randbytes(rng.randint(1, 64))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), damage=st.sampled_from([flip, cut_out, cut_off, double, overwrite, None]))
def test_damage_to_the_bytes_is_found(
    tmp_path_factory: pytest.TempPathFactory,
    ended: RunDirectory,
    seed: int,
    damage: Callable[[bytearray, random.Random], None] | None,
) -> None:
    rng = random.Random(seed)
    run = copied(ended, tmp_path_factory.mktemp("damaged"))
    path = rng.choice([path for path in segments(run) if path.stat().st_size])
    if damage is None:
        path.unlink()
    else:
        text = bytearray(path.read_bytes())
        damage(text, rng)
        path.write_bytes(text)
    assert audit(run).ok == (content(run) == content(ended))


def change(records: list[Record], rng: random.Random) -> None:
    record = rng.choice(records)
    name = rng.choice(sorted(record.keys() - {"seq", "seal"}))
    value = record[name]
    record[name] = value + rng.choice((-1, 1, 7)) if isinstance(value, int) else f"{value}x"


def drop(records: list[Record], rng: random.Random) -> None:
    start = rng.randrange(len(records))
    del records[start : start + rng.randint(1, 3)]


def drop_the_tail(records: list[Record], rng: random.Random) -> None:
    del records[-rng.randint(1, 3) :]


def duplicate(records: list[Record], rng: random.Random) -> None:
    place = rng.randrange(len(records))
    records.insert(rng.randint(place, len(records)), dict(records[place]))


def reorder(records: list[Record], rng: random.Random) -> None:
    one, other = rng.sample(range(len(records)), 2)
    records[one], records[other] = records[other], records[one]


def invent(records: list[Record], rng: random.Random) -> None:
    record = dict(rng.choice(records))
    for name in ("step", "first", "last"):
        record |= {name: record[name] + 8} if name in record else {}
    records.insert(rng.randint(0, len(records)), record)


FORGERIES = [change, drop, drop_the_tail, duplicate, reorder, invent]


def told(records: list[Record]) -> list[Record]:
    """What the records say, but for what a forger writes anew."""
    return [{key: record[key] for key in record.keys() - {"seq", "seal"}} for record in records]


def forge(run: RunDirectory, name: str, records: list[Record], *, seals_too: bool) -> None:
    """Writes a journal anew, with sequence numbers and checksums as they should be, and seals on request."""
    for path in run.outbox.glob(f"{name}-*.jsonl"):
        path.unlink()
    lines, previous = [], ""
    for seq, record in enumerate(records, start=1):
        facts = {key: value for key, value in record.items() if key != "seq"}
        if seals_too:
            previous = facts["seal"] = seal(previous, facts)
        text = json.dumps({"seq": seq, **facts}, separators=(",", ":"))
        cut = len(f'{{"seq":{seq}')
        lines.append(f'{text[:cut]},"crc":"{zlib.crc32(text.encode()):08x}"{text[cut:]}\n')
    (run.outbox / f"{name}-000001.jsonl").write_text("".join(lines))


@pytest.mark.parametrize("seals_too", [False, True])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), name=st.sampled_from(NAMES), forgery=st.sampled_from(FORGERIES))
def test_a_forger_who_puts_numbers_and_checksums_right_is_found(
    tmp_path_factory: pytest.TempPathFactory,
    ended: RunDirectory,
    seals_too: bool,
    seed: int,
    name: str,
    forgery: Callable[[list[Record], random.Random], None],
) -> None:
    """Even one who seals anew: the status names the seal of the newest record."""
    rng = random.Random(seed)
    run = copied(ended, tmp_path_factory.mktemp("forged"))
    records = list(read_journal(ended.outbox, name))
    before = told(records)
    forgery(records, rng)
    # Two steps that were done again say what they said the first time: to swap them is no forgery.
    assume(not seals_too or told(records) != before)
    forge(run, name, records, seals_too=seals_too)
    report = audit(run)
    assert not report.ok
    assert any(name in problem for problem in report.problems), report.problems


@pytest.mark.parametrize("name", NAMES)
def test_a_journal_that_is_written_anew_as_it_was_is_as_good(
    tmp_path: Path, ended: RunDirectory, name: str
) -> None:
    run = copied(ended, tmp_path)
    forge(run, name, list(read_journal(ended.outbox, name)), seals_too=True)
    assert audit(run).problems == ()


def test_a_segment_that_is_missing_in_the_middle_is_named(tmp_path: Path, ended: RunDirectory) -> None:
    run = copied(ended, tmp_path)
    (run.outbox / "ledger-000002.jsonl").unlink()
    problem = audit(run).problems[0]
    assert "the ledger is damaged" in problem
    assert "ledger-000003.jsonl:1: record 10 is missing, found record 15" in problem


def test_a_tail_that_the_status_had_acknowledged_is_missed(tmp_path: Path, ended: RunDirectory) -> None:
    run = copied(ended, tmp_path)
    path = run.outbox / "ledger-000003.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert audit(run).problems[0] == "the ledger lost its tail: it ends at record 15, the status names 16"


def test_what_was_added_after_the_end_is_found(tmp_path: Path, ended: RunDirectory) -> None:
    run = copied(ended, tmp_path)
    records = list(read_journal(run.outbox, "ledger"))
    rewind = {"kind": "rewind", "step": LAST}
    forge(run, "ledger", [*records, rewind], seals_too=True)
    assert audit(run).problems == ("the ledger goes on after the run had ended, from record 17 on",)


def test_one_changed_record_is_one_problem_that_names_it(tmp_path: Path, ended: RunDirectory) -> None:
    run = copied(ended, tmp_path)
    records = list(read_journal(run.outbox, "ledger"))
    records[3]["generation"] = 5
    forge(run, "ledger", records, seals_too=False)
    assert audit(run).problems == (
        "the ledger was tampered with: record 4 does not follow from those before it",
    )
