"""Pages of the dashboard as a user sees them: what they show, what is pressed, and how they look to axe."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from playwright.sync_api import Browser, Locator, Page, expect

from benchmarks.peers.processes import ROOT

AXE: Final = ROOT / "api" / "ui" / "node_modules" / "axe-core" / "axe.min.js"
GRAVE: Final = ("serious", "critical")
PATIENCE_MS: Final = 60_000
SETTLE_MS: Final = 700

expect.set_options(timeout=PATIENCE_MS)


@dataclass(frozen=True)
class Look:
    """How a page is looked at."""

    width: int
    theme: Literal["light", "dark"]

    def __str__(self) -> str:
        return f"{self.width}-{self.theme}"


def screenshots(otherwise: Path) -> Path:
    """Where they are kept: the folder that TUMBLER_SCREENSHOTS names."""
    folder = Path(os.environ.get("TUMBLER_SCREENSHOTS") or otherwise)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def opened(browser: Browser, url: str, look: Look) -> Iterator[Page]:
    """A page of its own; an error that no code caught fails the test."""
    context = browser.new_context(
        base_url=url,
        viewport={"width": look.width, "height": 900},
        color_scheme=look.theme,
        reduced_motion="reduce",
    )
    context.set_default_timeout(PATIENCE_MS)
    errors: list[str] = []
    try:
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
        assert errors == []
    finally:
        context.close()


def figure(page: Page, name: str) -> Locator:
    """One of the figures at the head of a run's page."""
    return page.locator(".figure", has=page.get_by_text(name, exact=True)).locator("b")


def status(page: Page) -> Locator:
    """The one word, without the reason beside it."""
    return page.locator(".run-head .badge")


def press(page: Page, button: str, then: str) -> None:
    """A button, and the one that confirms it."""
    page.get_by_role("button", name=button, exact=True).first.click()
    confirm(page, then)


def confirm(page: Page, button: str) -> None:
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name=button, exact=True).click()
    expect(dialog).to_have_count(0)


def grave_faults(page: Page) -> list[dict[str, Any]]:
    """What axe finds of serious and critical faults: rule, and where."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run()")["violations"]
    return [
        {"rule": fault["id"], "places": [node["target"] for node in fault["nodes"]]}
        for fault in found
        if fault["impact"] in GRAVE
    ]


def is_as_wide_as_the_screen(page: Page) -> bool:
    """Nothing is to be scrolled sideways but tables in their own frames."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))
