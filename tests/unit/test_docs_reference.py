"""The pages of the reference are what the code says, made anew."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from orchestrator.domain.errors import TumblerError
from tests.documents import ROOT


def maker(name: str) -> ModuleType:
    path = ROOT / "docs" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["cli", "rest", "errors"])
def test_a_page_of_the_reference_is_what_the_code_says(page: str) -> None:
    module = maker(f"make_{page}_page")
    made = getattr(module, f"{page}_page")()
    kept: Path = module.PAGE
    assert kept.read_text() == made, f"it is old: run `python docs/make_{page}_page.py`"


def every(root: type[TumblerError]) -> set[type[TumblerError]]:
    return {one for known in root.__subclasses__() for one in {known, *every(known)}}


def test_every_error_has_an_anchor_and_a_way_out() -> None:
    module = maker("make_errors_page")
    found = module.classes()
    others = (
        "tests",
        "benchmarks",
        "trainers.feed.bad_rows",
    )  # the last becomes a DataError before it is seen
    ours = {known for known in every(TumblerError) if not known.__module__.startswith(others)}
    assert ours - set(found) == set()
    assert {known.__name__ for known in found} == module.WHAT_TO_DO.keys()
    anchors = [line for line in module.errors_page().splitlines() if line.startswith("##")]
    assert len(anchors) == len(set(anchors)) == len(found) + len(module.OF_REQUESTS) + 1
