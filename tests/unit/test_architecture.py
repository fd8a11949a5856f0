"""Rules about the shape of the project that no linter here can express."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("api", "cluster", "orchestrator", "trainers")
MAX_LINES = 300
FORBIDDEN_NAMES = frozenset({"utils", "util", "helpers", "base", "common", "misc"})
RAY_INTERNALS = "ray.train.v2._internal"
MAY_USE_RAY_INTERNALS = ("trainers/ray_train/", "benchmarks/", "tests/")
MACHINE_PATH = re.compile(r"(?<![\w.:}])/(?:farm|mnt|root|tmp|work)/")
"""Where checkouts and scratch files live; a made-up home directory in an example is fine."""


def project_files() -> list[Path]:
    """Every file that git tracks or would track, relative to the root."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    names = sorted(set(listing.stdout.split("\0")) - {""})
    return [Path(name) for name in names if (ROOT / name).is_file()]


FILES = project_files()
MODULES = [path for path in FILES if path.suffix == ".py"]


def imported_names(tree: ast.AST) -> Iterator[str]:
    """Full dotted name of everything a module imports, wherever in the file it does so."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def uses_ray_internals(source: str) -> bool:
    return any(f"{name}.".startswith(f"{RAY_INTERNALS}.") for name in imported_names(ast.parse(source)))


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in MODULES}
    assert MODULES
    assert {path: lines for path, lines in lengths.items() if lines > MAX_LINES} == {}


def test_every_init_file_is_empty() -> None:
    inits = [path for path in MODULES if path.name == "__init__.py"]
    assert inits
    assert [str(path) for path in inits if (ROOT / path).read_text()] == []


def test_every_folder_of_a_package_is_a_package() -> None:
    folders = {path.parent for path in MODULES if path.parts[0] in PACKAGES}
    missing = sorted(str(folder) for folder in folders if folder / "__init__.py" not in MODULES)
    assert missing == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = [str(path) for path in MODULES if FORBIDDEN_NAMES & {path.stem, *path.parent.parts}]
    assert vague == []


def test_ray_internals_are_used_in_one_sub_package_only() -> None:
    outside = [path for path in MODULES if not path.as_posix().startswith(MAY_USE_RAY_INTERNALS)]
    assert [str(path) for path in outside if uses_ray_internals((ROOT / path).read_text())] == []


@pytest.mark.parametrize(
    "source",
    [
        "import ray.train.v2._internal.constants",
        "from ray.train.v2 import _internal",
        "from ray.train.v2._internal.execution import controller as c",
        "def f():\n    from ray.train.v2._internal import util",
    ],
)
def test_any_way_to_import_ray_internals_is_seen(source: str) -> None:
    assert uses_ray_internals(source)


def test_the_public_part_of_ray_train_may_be_imported_anywhere() -> None:
    assert not uses_ray_internals("from ray.train.v2 import api\nimport ray.train.torch")


def machine_paths(text: str) -> list[str]:
    """The lines that name an absolute path of one machine."""
    return [line for line in text.splitlines() if MACHINE_PATH.search(line)]


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    found = {str(path): machine_paths((ROOT / path).read_text(errors="replace")) for path in FILES}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize("top", ["root", "tmp", "mnt"])
def test_a_path_of_the_machine_is_seen_in_quotes_and_in_urls(top: str) -> None:
    assert machine_paths(f'open("/{top}/someone/file")')
    assert machine_paths(f"storage: file:///{top}/someone/runs")


def test_a_relative_path_and_a_web_address_are_no_machine_paths() -> None:
    assert machine_paths("./tmp/x ../root/x https://example.com/mnt/x ${HOME}/work/x") == []
