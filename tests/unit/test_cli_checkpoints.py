import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from safetensors.torch import load_file

from api.checkpoints import choose_step, list_checkpoints
from api.cli import places
from api.cli.main import main
from orchestrator.domain.errors import CheckpointNotFound
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import KeepBest
from tests.unit.checkpoint_files import COMMITTED, commit_checkpoint, damage, damage_manifest
from tests.unit.fake_rest import FakeRest, problem, run_json
from tests.unit.recorded_run import RecordedRun, finished_run

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture
def run() -> RunDirectory:
    """Over, with the checkpoints of steps 4 and 8."""
    run = finished_run(Path("runs"))
    commit_checkpoint(run, 4, metrics={"val_loss": 1.0})
    commit_checkpoint(run, 8, metrics={"val_loss": 2.0}, generation=3)
    return run


@pytest.fixture
def live_run() -> RunDirectory:
    recorded = RecordedRun(Path("runs"), "live")
    recorded.formed(1, "w1")
    return recorded.run


@pytest.fixture
def rest(monkeypatch: pytest.MonkeyPatch) -> FakeRest:
    rest = FakeRest()
    monkeypatch.setattr(places, "find_service", rest.client)
    return rest


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main(["checkpoint", *words, "-o", "json"]) == code
    return json.loads(capsys.readouterr().out)


def shown(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> list[str]:
    assert main(["checkpoint", *words]) == code
    return capsys.readouterr().out.splitlines()


def refused(capsys: pytest.CaptureFixture[str], *words: str, code: int) -> str:
    assert main(["checkpoint", *words]) == code
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def test_checkpoints_are_listed_newest_first(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    newest, older = told(capsys, "ls", "brave-otter")
    assert (newest["step"], newest["attempt"], newest["generation"], newest["problem"]) == (8, 1, 3, None)
    assert (older["step"], older["metrics"], older["committed"]) == (4, {"val_loss": 1.0}, COMMITTED)
    assert older["path"] == str((run.checkpoints / "step-00000004").absolute())
    assert older["size"] == sum(path.stat().st_size for path in Path(older["path"]).glob("a*/*"))
    head, first, _ = shown(capsys, "ls", "runs/brave-otter")
    assert head.split("  ")[0] == "NAME"
    assert "PROBLEM" not in head
    assert [
        cell.strip() for cell in first.split("  ") if cell.strip() and not cell.strip().endswith("B")
    ] == ["step-00000008", "1", "val_loss 2", COMMITTED, "a" * 64]


def test_checkpoints_that_lie_elsewhere_are_found_by_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    run = finished_run(Path("runs"), checkpoint={"location": "elsewhere"})
    commit_checkpoint(run, 4)
    (found,) = told(capsys, "ls", "brave-otter")
    assert found["path"] == str(Path("elsewhere/brave-otter/step-00000004").absolute())
    assert main(["checkpoint", "export", "brave-otter", "out"]) == 0
    assert main(["checkpoint", "rm", "brave-otter", "4", "--yes"]) == 0
    assert list(Path("elsewhere/brave-otter").iterdir()) == []


def test_what_is_seen_to_be_wrong_is_listed_too(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    torn, broken = commit_checkpoint(run, 12), commit_checkpoint(run, 16)
    damage(run, torn, torn=True)
    damage_manifest(run, broken)
    assert [(one["step"], one["problem"] is None) for one in told(capsys, "ls", "brave-otter")] == [
        (16, False),
        (12, False),
        (8, True),
        (4, True),
    ]
    assert "PROBLEM" in shown(capsys, "ls", "brave-otter")[0]


def test_a_run_without_a_checkpoint_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    finished_run(Path("runs"))
    assert told(capsys, "ls", "brave-otter") == []
    for words in (["verify", "brave-otter"], ["export", "brave-otter", "out"]):
        assert "run 'brave-otter' has no checkpoint yet" in refused(capsys, *words, code=4)


def test_whole_checkpoints_are_verified(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "verify", "brave-otter") == ["step-00000008  ok", "step-00000004  ok"]
    assert [one["ok"] for one in told(capsys, "verify", "brave-otter")] == [True, True]


def test_one_other_bit_is_found_and_exits_with_1(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(run, commit_checkpoint(run, 12))
    assert all(row.problem is None for row in list_checkpoints(run))  # it is not seen without reading
    first, *others = shown(capsys, "verify", "brave-otter", code=1)
    assert first.startswith("step-00000012  ")
    assert "part-000-001.safetensors" in first
    assert others == ["step-00000008  ok", "step-00000004  ok"]
    assert shown(capsys, "verify", "brave-otter", "4") == ["step-00000004  ok"]
    assert told(capsys, "verify", "brave-otter", "12", code=1)[0]["ok"] is False


def test_a_step_that_has_no_checkpoint_is_exit_code_4(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ["verify", "brave-otter", "5"],
        ["rm", "brave-otter", "5", "--yes"],
        ["export", "brave-otter", "out", "--step", "5"],
    ):
        said = refused(capsys, *words, code=4)
        assert said == "run 'brave-otter' has no checkpoint of step 5\nit has 4, 8\n"
    assert not Path("out").exists()


def test_any_checkpoint_of_a_run_that_is_over_can_be_removed(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["checkpoint", "rm", "brave-otter", "8", "--yes"]) == 0
    assert capsys.readouterr().err == "removed the checkpoint of step 8 of brave-otter\n"
    assert [one["step"] for one in told(capsys, "ls", "brave-otter")] == [4]


def test_nothing_is_removed_unasked(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Nobody is there to ask" in refused(capsys, "rm", "brave-otter", "8", code=2)
    assert len(list_checkpoints(run)) == 2


def test_the_newest_checkpoint_of_a_live_run_is_not_removed(
    live_run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (4, 6, 8):
        commit_checkpoint(live_run, step)
    assert "would go on from it" in refused(capsys, "rm", "live", "8", "--yes", code=6)
    assert main(["checkpoint", "rm", "live", "4", "--yes"]) == 0
    assert [row.step for row in list_checkpoints(live_run)] == [8, 6]


def test_the_newest_whole_one_is_kept_too(live_run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    commit_checkpoint(live_run, 4)
    damage(live_run, commit_checkpoint(live_run, 8), torn=True)
    for step in ("4", "8"):
        assert "would go on from it" in refused(capsys, "rm", "live", step, "--yes", code=6)


@pytest.mark.parametrize(("wish", "steps"), [([], 8), (["--step", "newest"], 8), (["--step", "best"], 4)])
def test_the_step_that_was_wished_for_is_exported(
    wish: list[str], steps: int, run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["checkpoint", "export", "brave-otter", "new/out", *wish]) == 0
    assert capsys.readouterr().err == f"step {steps} of brave-otter is in new/out\n"
    assert json.loads(Path("new/out/config.json").read_text())["step"] == steps
    assert load_file("new/out/model.safetensors")["weight"].tolist() == [0, 1, 2, 3]
    assert [path.name for path in Path("new").iterdir()] == ["out"]


def test_an_export_overwrites_nothing(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    Path("file").write_text("mine")
    Path("empty").mkdir()
    assert "full has something in it" in refused(capsys, "export", "brave-otter", "full", code=6)
    assert "file is a file" in refused(capsys, "export", "brave-otter", "file", code=6)
    assert [path.name for path in Path("full").iterdir()] == ["mine.txt"]
    assert main(["checkpoint", "export", "brave-otter", "empty"]) == 0
    assert Path("empty/README.md").is_file()


def test_where_an_export_cannot_go_the_folder_is_to_be_changed(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").touch()
    said = refused(capsys, "export", "brave-otter", "file/deep/out", code=1)
    assert said.startswith("cannot ")
    assert "FOLDER" in said
    assert "checkpoint." not in said


def test_a_damaged_checkpoint_leaves_no_export(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    damage(run, commit_checkpoint(run, 12))
    before = sorted(Path().iterdir())
    said = refused(capsys, "export", "brave-otter", "out", code=1)
    assert "does not match its checksum" in said
    assert "`tumbler checkpoint verify brave-otter` says which" in said
    assert sorted(Path().iterdir()) == before


def test_a_step_that_makes_no_sense_is_a_mistake_in_usage(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "got 'last'" in refused(capsys, "export", "brave-otter", "out", "--step", "last", code=2)


BY_ACCURACY = KeepBest(metric="accuracy", mode="max")


@pytest.mark.parametrize(
    ("wish", "keep_best", "step"),
    [
        ("newest", None, 9),
        ("7", None, 7),
        ("best", None, 7),
        ("best", BY_ACCURACY, 8),
        ("best", KeepBest(metric="val_loss", mode="max"), 8),
    ],
)
def test_a_wish_means_one_step(wish: str, keep_best: KeepBest | None, step: int) -> None:
    known: list[tuple[int, Mapping[str, Any]]] = [
        (9, {"val_loss": "NaN"}),
        (8, {"val_loss": 3, "accuracy": 0.5}),
        (7, {"val_loss": 2.0}),
        (6, {"val_loss": 2.0, "accuracy": 0.5}),
        (5, {}),
    ]
    assert choose_step("otter", wish, known, keep_best) == step


def test_none_is_the_best_where_none_was_measured() -> None:
    with pytest.raises(CheckpointNotFound, match="has a finite accuracy"):
        choose_step("otter", "best", [(5, {})], BY_ACCURACY)


def test_checkpoints_that_only_the_service_sees_are_asked_of_it(
    rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"name": "step-00000040", "step": 40, "path": "s3://far/step-00000040", "metrics": {"loss": "NaN"}}
    checked = {"name": "step-00000040", "step": 40, "ok": False, "problem": "a file is gone"}
    rest.has(run_json("otter")).on("GET", "/runs/id-otter/checkpoints", {"checkpoints": [row]})
    rest.on("POST", "/runs/id-otter/checkpoints/40/verify", checked)
    rest.on("DELETE", "/runs/id-otter/checkpoints/40", httpx2.Response(204))
    assert told(capsys, "ls", "otter") == [row]
    assert shown(capsys, "verify", "otter", code=1) == ["step-00000040  a file is gone"]
    assert main(["checkpoint", "rm", "otter", "40", "--yes"]) == 0
    assert rest.asked()[-1] == "DELETE /runs/id-otter/checkpoints/40"


def test_the_service_decides_what_of_its_runs_is_removed(
    run: RunDirectory, rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    rest.has(run_json("brave-otter", path=str(run.path.absolute())))
    refusal = problem(409, "wrong-status", "the run would go on from it")
    rest.on("DELETE", "/runs/id-brave-otter/checkpoints/8", refusal)
    assert [one["step"] for one in told(capsys, "ls", "brave-otter")] == [8, 4]  # from its directory
    assert "would go on" in refused(capsys, "rm", "brave-otter", "8", "--yes", code=6)
    assert len(list_checkpoints(run)) == 2


def archive(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as found:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            found.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize("length", [None, 700])
def test_an_export_comes_from_the_service_whole_or_not_at_all(
    length: int | None, rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = {"task": "language_model", "name": "otter"}
    row = {"name": "step-00000040", "step": 40}
    rest.has(run_json("otter", spec=spec)).on("GET", "/runs/id-otter/checkpoints", {"checkpoints": [row]})
    content = archive(config=b"c" * 600, model=b"m" * 70_000)[:length]
    rest.on("GET", "/runs/id-otter/checkpoints/40/export", httpx2.Response(200, content=content))
    if length is None:
        assert main(["checkpoint", "export", "otter", "out"]) == 0
        assert Path("out/model").read_bytes() == b"m" * 70_000
    else:
        assert "did not come whole" in refused(capsys, "export", "otter", "out", code=7)
        assert not list(Path().glob("*out*"))
