import json
import subprocess
import sys
from pathlib import Path

import pytest

from api.cli import main as cli
from api.cli.main import main
from orchestrator.domain.errors import RunCancelled, RunFailed, SpecError
from orchestrator.domain.run_directory import RunDirectory
from tests.unit.checkpoint_files import commit_checkpoint
from tests.unit.recorded_run import finished_run

HEAVY = ("numpy", "pyarrow", "ray", "torch")
COMMANDS = tuple(name for _, name, _, _ in cli.COMMANDS)


def imported_by(*commands: list[str]) -> set[str]:
    """Top-level modules that commands leave imported, in a process of their own."""
    code = (
        "import sys\n"
        "from api.cli.main import main\n"
        f"codes = [main(words) for words in {list(commands)!r}]\n"
        "print('\\n' + ' '.join(sorted({name.partition('.')[0] for name in sys.modules})))\n"
        "sys.exit(max(codes))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_help_imports_nothing_that_takes_long() -> None:
    found = imported_by(["--help"])
    assert "rich" in found
    assert found.isdisjoint({*HEAVY, "pydantic", "ruamel"})


def test_commands_that_train_nothing_import_neither_ray_nor_torch(tmp_path: Path) -> None:
    run, file = str(finished_run(tmp_path).path), str(tmp_path / "run.yaml")
    reading = [[name, run] for name in ("get", "audit", "metrics", "events", "logs")]
    found = imported_by(*reading, ["init", "-f", file], ["validate", "-f", file], ["version"])
    assert found.isdisjoint(HEAVY)
    commit_checkpoint(RunDirectory(Path(run)), 8)
    checkpoints = [
        ["checkpoint", *words] for words in (["ls", run], ["verify", run], ["rm", run, "8", "--yes"])
    ]
    assert imported_by(*checkpoints).isdisjoint(HEAVY)
    # It looks into file systems, which are pyarrow's.
    assert imported_by(["datasets", "ls"]).isdisjoint({"ray", "torch"})


def test_asking_any_command_for_its_help_imports_nothing_that_takes_long() -> None:
    assert imported_by(*([name, "--help"] for name in COMMANDS)).isdisjoint(HEAVY)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert [name for name in COMMANDS if f" {name} " not in shown] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_of_its_own(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"tumbler {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence", "hint"),
    [
        (["evnts"], 'Did you mean "events"?', "see `tumbler --help`"),
        (["get"], "RUN", "see `tumbler get --help`"),
        (["get", "x", "--outptu", "json"], "--outptu", "see `tumbler get --help`"),
        (["get", "x", "-o", "jsn"], 'Did you mean "json"?', "see `tumbler get --help`"),
        (["chaos", "kill-worker", "x", "--rank", "-1"], "rank", "see `tumbler chaos kill-worker --help`"),
        (["completion", "tcsh"], "tcsh", "see `tumbler completion --help`"),
    ],
)
def test_a_mistake_in_usage_is_one_sentence_and_exit_code_2(
    words: list[str], sentence: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert sentence in said.err
    assert said.err.splitlines()[-1] == hint
    assert "Traceback" not in said.err


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr(cli, "build_app", lambda called: fail)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunFailed("run x failed", hint="try again"), 100),
        (RunCancelled("run x was cancelled", hint="try again"), 103),
        (SpecError((), hint="try again"), 3),
    ],
)
def test_an_error_of_ours_is_a_sentence_a_hint_and_its_exit_code(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(error, monkeypatch)
    assert main([]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [*filter(None, [str(error)]), "try again"]


def test_an_unexpected_error_shows_its_traceback_only_when_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(KeyError("oops"), monkeypatch)
    assert main([]) == 1
    quiet = capsys.readouterr().err
    assert quiet.splitlines() == [
        "unexpected KeyError: 'oops'",
        "run it again with --debug for the traceback",
    ]
    assert main(["--debug"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_ctrl_c_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(KeyboardInterrupt(), monkeypatch)
    assert main([]) == 130


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    run = finished_run(tmp_path).path
    shell = f"{sys.executable} -m api.cli.main metrics {run} -o json | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "kill-worker" in script
    assert "metrics" in script


def test_versions_are_told_to_programs_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ray"].startswith("2.60.")
    assert set(found) == {"tumbler", "ray", "torch", "pyarrow", "pydantic", "python"}
