"""Benchmark `dashboard`: pages over a long record in a real browser, and how soon an event is on the page."""

import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.browser import browser
from benchmarks.dashboard_record import LIVE, LONG, History, fill
from benchmarks.report import Bar, Report, percentile
from benchmarks.service_process import HOST, ServiceProcess, running_service
from orchestrator.domain.events import EventKind, event
from orchestrator.domain.journal import JournalWriter
from orchestrator.domain.run_directory import RunDirectory

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HISTORY, QUICK_HISTORY = History(10_000, 1_000_000), History(1_000, 20_000)
LOADS, QUICK_LOADS = 10, 3
EVENTS, QUICK_EVENTS = 20, 5
PATIENCE_MS: Final = 60_000
PAINT_S, EVENT_MS = 1.0, 500.0
SHOWN: Final = {
    "run": (f"/runs/{LONG}", "#curves .uplot canvas"),
    "list": ("/", "[role=row] a[href^='/runs/']"),
}
"""Page -> its path, and what is there when it shows what it is for."""
_PAINTED: Final = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
_WATCH: Final = """() => {
    window.seenAt = {};
    new MutationObserver(() => {
        for (const [marker] of document.body.innerText.matchAll(/step-9\\d{7}/g)) {
            window.seenAt[marker] ??= Date.now();
        }
    }).observe(document.body, { childList: true, subtree: true, characterData: true });
}"""


def run(*, quick: bool = False) -> Report:
    history = QUICK_HISTORY if quick else HISTORY
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        fill(home, history)
        with running_service(Path(folder)) as service, browser() as opened:
            first_s = _points_are_read(service)
            loads = {name: _loads(opened, service, name, QUICK_LOADS if quick else LOADS) for name in SHOWN}
            delays = _event_delays_ms(opened, service, home, QUICK_EVENTS if quick else EVENTS)
    results: dict[str, Any] = {
        "num_runs": history.num_runs,
        "num_points": history.num_points,
        "first_answer_after_start_s": first_s,
        **{f"{name}: {what}": value for name, found in loads.items() for what, value in found.items()},
        "event_to_page: number, p50 ms, max ms": [len(delays), percentile(delays, 50), max(delays)],
    }
    bars = [
        Bar.at_most(f"first contentful paint of the {name}, max", found["paint_max_s"], PAINT_S, "s")
        for name, found in loads.items()
    ]
    bars.append(Bar.at_most("from an event to the page, max", max(delays), EVENT_MS, "ms"))
    return Report("dashboard", results, {}, bars)


def _points_are_read(service: ServiceProcess) -> float:
    """The service reads long journals once, in the background; seconds until it had."""
    begun = time.monotonic()
    service.get(f"runs/{LONG}/metrics", keys="loss", max_points=2000)
    return time.monotonic() - begun


def _loads(opened: "Browser", service: ServiceProcess, name: str, count: int) -> dict[str, float]:
    """Each in a browser context of its own, so with nothing cached."""
    path, shown = SHOWN[name]
    paints, contents = [], []
    for _ in range(count):
        context = opened.new_context(base_url=f"http://{HOST}:{service.port}")
        try:
            page = context.new_page()
            begun = time.monotonic()
            page.goto(path)
            page.wait_for_selector(shown, timeout=PATIENCE_MS)
            contents.append(time.monotonic() - begun)
            paints.append(page.evaluate(_PAINTED) / 1000)
        finally:
            context.close()
    return {
        "paint_p50_s": statistics.median(paints),
        "paint_max_s": max(paints),
        "content_p50_s": statistics.median(contents),
        "content_max_s": max(contents),
    }


def _event_delays_ms(opened: "Browser", service: ServiceProcess, home: Path, count: int) -> Sequence[float]:
    """From when a controller notes an event in its journal until it is in the page, by one clock."""
    context = opened.new_context(base_url=f"http://{HOST}:{service.port}")
    try:
        page = context.new_page()
        page.goto(f"/runs/{LIVE}")
        page.wait_for_selector("#curves .uplot canvas", timeout=PATIENCE_MS)
        page.evaluate(_WATCH)
        chance = random.Random(1)
        with JournalWriter(RunDirectory(home / "runs" / LIVE).outbox, "events") as journal:
            return [_delay_ms(page, journal, number, chance) for number in range(count)]
    finally:
        context.close()


def _delay_ms(page: "Page", journal: JournalWriter, number: int, chance: random.Random) -> float:
    marker = f"step-9{number:07d}"
    page.wait_for_timeout(500 + 500 * chance.random())
    noted = time.time()
    kind = EventKind.CHECKPOINT_COMMITTED
    journal.append(event(kind, f"checkpoint {marker} is committed", attempt=1, step=number, path=marker))
    journal.flush()
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while (seen := page.evaluate(f"window.seenAt['{marker}']")) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the event {marker} never came to the page")
        page.wait_for_timeout(50)
    return float(seen - 1000 * noted)
