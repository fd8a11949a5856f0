"""A browser of this machine, by Playwright: nothing is downloaded."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.peers.processes import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
DASHBOARD: Final = ROOT / "api" / "ui_dist" / "index.html"


def browser_path() -> Path | None:
    return next((Path(found) for name in NAMES if (found := shutil.which(name))), None)


def what_is_missing() -> str | None:
    """Why no page of the dashboard can be opened here; None where one can."""
    if browser_path() is None:
        return f"no browser here: expected one of {', '.join(NAMES)} on the PATH"
    if not DASHBOARD.is_file():
        return "the dashboard is not built: run `make ui`"
    if find_spec("playwright") is None:
        return "no Playwright here: run `pip install playwright`"
    return None


@contextmanager
def browser() -> Iterator["Browser"]:
    """Raises RuntimeError where something is missing."""
    missing = what_is_missing()
    if missing is not None:
        raise RuntimeError(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=browser_path(), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield opened
        finally:
            opened.close()
