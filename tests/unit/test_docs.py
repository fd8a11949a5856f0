"""The documents say what the code does: links, commands, specs, tables and examples in them are checked."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from orchestrator.domain.events import EventKind
from orchestrator.domain.run_directory import RunRecord, RunState
from orchestrator.domain.spec import DataSpec, RunSpec
from orchestrator.domain.spec_file import load_spec, parse_spec
from orchestrator.domain.status import ENDINGS, LEGAL_MOVES
from trainers.task import ShardLoss, Task
from trainers.task_registry import check_model_config, load_task

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
README = (ROOT / "README.md").read_text()
SPECS = sorted((ROOT / "examples").glob("*.yaml"))
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
BLOCK = re.compile(r"(?:<!-- file: (\S+) -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
ROW = re.compile(r"^\| (.+) \|$", re.MULTILINE)


def blocks(language: str) -> list[tuple[str, str]]:
    """(file name or "", content) of each block of the README in a language."""
    return [(name, text) for name, kind, text in BLOCK.findall(README) if kind == language]


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in HEADING.findall(prose)}


def table(page: Path, heading: str) -> list[list[str]]:
    """The rows of the first table under a heading, without its head."""
    _, _, rest = page.read_text().partition(f"# {heading}\n")
    section = rest.partition("\n#")[0]
    rows = [re.split(r"(?<!\\) \| ", row) for row in ROW.findall(section)]
    return rows[1:]


def module_at(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def learn_a_little(task: Task[object], storage: Path) -> tuple[ShardLoss, ShardLoss]:
    """The loss of one batch before and after some steps on it."""
    torch.manual_seed(1)
    rows = task.build_dataset(DataSpec(validation_fraction=0.2), storage)
    assert rows.validation is not None
    model = task.build_model()
    batch = task.collate([rows.train[index] for index in range(16)])
    optimizer = task.build_optimizer(model, RunSpec(command="true").train.optimizer)
    before = task.evaluate(model, batch)
    for _ in range(20):
        optimizer.zero_grad()
        task.loss(model, batch).total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return before, task.evaluate(model, batch)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(page.read_text()):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if "://" in link:
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop()
        reached.add(page)
        links = (link.partition("#")[0] for link in LINK.findall(page.read_text()) if "://" not in link)
        targets = {(page.parent / link).resolve() for link in links if link.endswith(".md")}
        left += sorted(targets - reached)
    assert set(PAGES) - reached == set()


def test_every_target_of_make_in_the_documents_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    wanted = {
        target for page in PAGES for target in re.findall(r"(?:^    |`)make ([a-z-]+)", page.read_text())
    }
    wanted |= set(re.findall(r"^    make ([a-z-]+)", README, flags=re.MULTILINE))
    assert {"demo", "test"} <= wanted
    assert [target for target in sorted(wanted) if f"\n{target}:" not in makefile] == []


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_every_spec_of_the_examples_is_valid(path: Path) -> None:
    spec = load_spec(path)
    if spec.task is not None:
        check_model_config(spec.task, spec.model)
    folder = ROOT / spec.code.working_dir
    for reference in filter(None, (spec.entrypoint, spec.task)):
        module, _, name = reference.partition(":")
        if name:
            source = (folder / f"{module.replace('.', '/')}.py").read_text()
            assert re.search(rf"^(?:class|def) {name}\b", source, re.MULTILINE)
    for script in re.findall(r"\S+\.py", spec.command or ""):
        assert (folder / script).is_file()


def test_every_spec_of_the_readme_is_valid() -> None:
    specs = [parse_spec(text, "README.md") for _, text in blocks("yaml")]
    assert {bool(spec.task) for spec in specs} == {True, False}
    assert any(spec.entrypoint for spec in specs)
    assert any(spec.command for spec in specs)


@pytest.mark.slow
def test_the_task_of_the_readme_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (*blocks("python"), *blocks("yaml")):
        if name:
            (tmp_path / name).write_text(text)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])  # last, as a run does
    spec = load_spec(tmp_path / "sine.yaml")
    assert spec.task is not None
    before, after = learn_a_little(load_task(spec.task, spec.model), tmp_path)
    assert after.total < before.total
    assert after.sums["abs_error"] < before.sums["abs_error"]


def test_the_task_of_the_how_to_is_that_of_the_readme() -> None:
    page = (ROOT / "docs" / "how-to" / "own-task.md").read_text()
    named = [(name, text) for name, _, text in BLOCK.findall(page) if name]
    assert named == [block for kind in ("python", "yaml") for block in blocks(kind) if block[0]]


@pytest.mark.slow
def test_the_task_of_the_examples_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT / "examples")])
    spec = load_spec(ROOT / "examples" / "digits.yaml")
    assert spec.task is not None
    before, after = learn_a_little(load_task(spec.task, spec.model), tmp_path)
    assert after.total < before.total
    assert 0 <= after.sums["accuracy"] <= after.count == 16


def test_the_library_example_of_the_readme_is_the_one_that_can_be_run() -> None:
    example = (ROOT / "examples" / "library.py").read_text()
    assert example.partition('"""\n\n')[2] in [text for _, text in blocks("python")]


def test_the_page_of_the_spec_is_what_the_models_say() -> None:
    maker = module_at(ROOT / "docs" / "make_spec_page.py")
    assert maker.PAGE.read_text() == maker.spec_page(), "it is old: run `python docs/make_spec_page.py`"


def test_every_field_of_the_spec_is_described_once() -> None:
    maker = module_at(ROOT / "docs" / "make_spec_page.py")
    described = {pointer for pointer, text in maker.fields().items() if text}
    assert described & maker.OBVIOUS.keys() == set()
    assert described | maker.OBVIOUS.keys() == maker.fields().keys()
    assert maker.NOTES.keys() <= maker.fields().keys()


def test_the_moves_on_the_page_of_the_life_cycle_are_the_legal_ones() -> None:
    page = ROOT / "docs" / "lifecycle.md"
    moves = [[old, new, cause] for old, found in LEGAL_MOVES.items() for new, cause in found.items()]
    assert table(page, "Moves") == moves


def test_the_endings_on_the_page_of_the_life_cycle_are_those_of_the_code() -> None:
    page = ROOT / "docs" / "lifecycle.md"
    endings = [[reason, end.status, end.budget or "nobody"] for reason, end in ENDINGS.items()]
    assert table(page, "Why an attempt ends") == endings


def test_the_page_of_the_run_directory_names_every_field_and_no_unknown_event() -> None:
    page = ROOT / "docs" / "run-directory.md"
    for heading, model in (("run.json", RunRecord), ("status.json", RunState)):
        named = [name for row in table(page, heading) for name in re.findall(r"`(\w+)`", row[0])]
        assert named == list(model.model_fields)
    kinds = [kind for row in table(page, "events") for kind in re.findall(r"`([\w-]+)`", row[0])]
    assert kinds
    assert set(kinds) <= set(EventKind)
    assert len(kinds) == len(set(kinds))


def test_every_event_that_the_code_writes_is_on_the_page_of_the_run_directory() -> None:
    sources = subprocess.run(
        ["git", "ls-files", "-z", "trainers/*.py"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    written = {
        EventKind[name]
        for source in filter(None, sources)
        for name in re.findall(r"EventKind\.([A-Z_]+)", (ROOT / source).read_text())
    }
    page = (ROOT / "docs" / "run-directory.md").read_text()
    assert written
    assert [kind for kind in sorted(written) if f"`{kind}`" not in page] == []


def test_the_glossary_gives_each_word_one_meaning() -> None:
    rows = table(ROOT / "docs" / "glossary.md", "Glossary")
    words = [word for row in rows for word in row[0].split(", ")]
    assert len(words) == len(set(words))
    assert all(len(row) == 2 and row[1].endswith(".") for row in rows)
    assert {"attempt", "generation", "logical shard", "replica", "run", "spec", "step", "worker"} <= set(
        words
    )


def test_every_decision_is_a_page_with_a_row() -> None:
    folder = ROOT / "docs" / "adr"
    pages = sorted(path for path in folder.glob("*.md") if path.name != "README.md")
    rows = []
    for page in pages:
        number, _, title = page.read_text().partition("\n")[0].removeprefix("# ").partition(". ")
        assert page.name.startswith(f"{number}-")
        status = re.search(r"^Status: (.+)$", page.read_text(), re.MULTILINE)
        assert status is not None, page.name
        assert HEADING.findall(page.read_text())[1:] == ["Context", "Decision", "Cost"]
        rows.append([f"[{number}]({page.name})", title, status[1]])
    assert table(folder / "README.md", "Decisions") == rows
