import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from api.cli.main import main
from orchestrator.domain.run_directory import RunDirectory
from tests.unit.recorded_run import RecordedRun, finished_run
from trainers.feed.recipe import recipe_of
from trainers.feed.run_feed import pin
from trainers.feed.scan import scan


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUMBLER_HOME", str(tmp_path / "home"))


def compared(capsys: pytest.CaptureFixture[str], *words: str, code: int) -> tuple[Any, list[str]]:
    """What programs and people are told."""
    assert main(["audit", *words, "-o", "json"]) == code
    said = capsys.readouterr()
    return json.loads(said.out), said.err.splitlines()


def run_with_links(name: str, links: dict[int, str], **spec: Any) -> RunDirectory:
    train = {"steps": 8, "global_batch": 4, **spec.pop("train", {})}
    recorded = RecordedRun(Path("runs"), name, links=links, train=train, checkpoint={"every": 4})
    recorded.formed(1, "w1")
    recorded.steps(1, max(links))
    recorded.recorder.close()
    return recorded.run


def test_two_runs_that_went_the_same_way_have_equal_chains(capsys: pytest.CaptureFixture[str]) -> None:
    run_with_links("brave-otter", {4: "a", 8: "b"})
    run_with_links("calm-owl", {4: "a", 8: "b"})
    content, said = compared(capsys, "brave-otter", "runs/calm-owl", code=0)
    assert (content["equal"], content["last_equal_step"], content["parted_at"]) == (True, 8, None)
    assert [report["run"] for report in content["runs"]] == ["brave-otter", "calm-owl"]
    assert said == ["the chains are equal, to their end at step 8"]


def test_the_first_step_is_named_at_which_two_runs_part(capsys: pytest.CaptureFixture[str]) -> None:
    run_with_links("brave-otter", {4: "a", 8: "b"})
    run_with_links("calm-owl", {4: "a", 8: "c"}, train={"seed": 2})
    content, said = compared(capsys, "brave-otter", "calm-owl", code=1)
    assert (content["equal"], content["last_equal_step"], content["parted_at"]) == (False, 4, 8)
    assert said == [
        "the chains part at step 8; they were equal at step 4",
        "the specs differ: train.seed was 1 and is 2",
    ]
    assert main(["audit", "brave-otter", "calm-owl"]) == 1
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table] == ["STEP", "4", "8"]
    assert [line.endswith("differs") for line in table] == [False, False, True]


def test_a_chain_that_ends_earlier_is_not_the_same_chain(capsys: pytest.CaptureFixture[str]) -> None:
    run_with_links("brave-otter", {4: "a", 8: "b"})
    run_with_links("calm-owl", {4: "a"})
    content, said = compared(capsys, "brave-otter", "calm-owl", code=1)
    assert (content["equal"], content["last_equal_step"], content["parted_at"]) == (False, 4, None)
    assert said == ["the chains are equal up to step 4, where that of calm-owl ends"]


def test_chains_with_links_at_other_steps_cannot_be_compared(capsys: pytest.CaptureFixture[str]) -> None:
    run_with_links("brave-otter", {4: "a", 8: "b"})
    finished_run(Path("runs"), "calm-owl")
    _, said = compared(capsys, "brave-otter", "calm-owl", code=1)
    assert said[0].startswith("the chains cannot be compared after step 0: brave-otter has its next link at")


def test_a_run_without_links_cannot_be_compared(capsys: pytest.CaptureFixture[str]) -> None:
    run_with_links("brave-otter", {4: "a"})
    RecordedRun(Path("runs"), "calm-owl").recorder.close()
    _, said = compared(capsys, "brave-otter", "calm-owl", code=1)
    assert said[0] == "calm-owl: there is no ledger yet: the run is STARTING and has done no step"
    assert said[1] == "nothing can be compared: one of the chains has no link yet"


@pytest.fixture
def scanned() -> RunDirectory:
    """A run of two files, which were scanned as they are."""
    corpus = Path("corpus").absolute()
    corpus.mkdir()
    for name, text in {"a.txt": "alpha", "b.txt": "beta"}.items():
        (corpus / name).write_text(text)
    run = finished_run(Path("runs"), data={"source": str(corpus)})
    pin(run, scan(recipe_of(run.spec().data, 2), Path("runs")), Path("runs"))
    # The recorded run says that it had a hundred rows.
    content = json.loads(run.data_path.read_text())
    content |= {"num_rows": 104, "num_train_rows": 100, "num_validation_rows": 4}
    run.data_path.write_text(json.dumps(content))
    return run


def test_sources_that_are_as_they_were_pass_a_second_scan(scanned: RunDirectory) -> None:
    assert main(["audit", str(scanned.path), "--scan"]) == 0


def test_a_second_scan_names_each_file_that_changed_went_or_came(
    scanned: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = Path("corpus")
    (corpus / "a.txt").write_text("ALPHA")
    (corpus / "b.txt").unlink()
    (corpus / "c.txt").write_text("gamma")
    content, said = compared(capsys, str(scanned.path), "--scan", code=1)
    assert (
        said
        == content["problems"]
        == [
            "b.txt was read by the run and is gone",
            "c.txt was not there when the run began",
            "a.txt was changed since the run began",
        ]
    )
    assert main(["audit", str(scanned.path)]) == 0  # the run itself is as good as it was


def test_sources_that_are_gone_altogether_are_a_problem(
    scanned: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree("corpus")
    _, said = compared(capsys, str(scanned.path), "--scan", code=1)
    assert said[0].startswith("the sources cannot be read again: data.source")
