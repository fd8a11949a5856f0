"""The dashboard in a real browser, on a real service and a real run: seen, steered, broken and mended."""

import json
import re
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.browser import browser, what_is_missing
from benchmarks.deployment import Deployment, deployment
from tests.integration.shipped import paced_code

if (missing := what_is_missing()) is not None:
    pytest.skip(missing, allow_module_level=True)

from playwright.sync_api import Browser, Page, expect

from tests.integration.pages import (
    AXE,
    PATIENCE_MS,
    SETTLE_MS,
    Look,
    confirm,
    figure,
    grave_faults,
    is_as_wide_as_the_screen,
    opened,
    press,
    screenshots,
    status,
)

pytestmark = pytest.mark.long

RUN = "seen"
WIDE, DARK = Look(1440, "light"), Look(1440, "dark")
LOOKS = (WIDE, DARK, Look(390, "light"), Look(390, "dark"))
PAGES = {
    "runs": "/",
    "run": f"/runs/{RUN}",
    "ended": f"/runs/{RUN}-again",
    "missing": "/runs/nobody",
    "compare": f"/compare?runs={RUN},{RUN}-again",
    "cluster": "/cluster",
    "submit": "/submit",
}
STEP = "parseInt(document.querySelector('.figure b').textContent.replace(/\\D/g, ''))"
TALKING = '''"""The paced task, which prints what it sees."""
from paced import Paced

class Talking(Paced):
    def loss(self, model, batch):
        print("rows", *batch[2].tolist())
        return super().loss(model, batch)
'''
CURVE = "document.querySelector('#curves canvas').toDataURL()"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployment(tmp_path_factory.mktemp("service"), num_cpus=4) as deployed:
        yield deployed


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened_browser:
        yield opened_browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return screenshots(tmp_path_factory.mktemp("screenshots"))


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    """As a user types it."""
    code = paced_code(tmp_path_factory.mktemp("code"))
    (code / "talking.py").write_text(TALKING)
    return f"""name: {RUN}
task: talking:Talking
workers: {{min: 1, max: 2}}
model: {{pause_s: 0.02}}
code: {{working_dir: {json.dumps(str(code))}}}
train: {{steps: 100000, global_batch: 16, logical_shards: 8, evaluate_rows: 16}}
checkpoint: {{every: 20}}
"""


def test_a_run_is_submitted_watched_broken_steered_and_ended_on_one_page_that_is_never_loaded_again(
    service: Deployment, chromium: Browser, spec: str, folder: Path
) -> None:
    with opened(chromium, service.url, WIDE) as page:
        page.goto("/")
        page.evaluate("window.neverLoadedAgain = true")
        submit(page, spec)
        expect(status(page)).to_have_text("Running", timeout=2 * PATIENCE_MS)
        expect(figure(page, "Workers")).to_have_text("2")
        the_curve_moves(page)
        the_log_moves(page)

        kill_a_worker(page)
        page.screenshot(path=folder / "recovered.png", full_page=True)
        the_curve_moves(page)
        outlive_a_restart(page, service)

        press_scale(page, at_most=3)
        expect(figure(page, "Workers")).to_have_text("3")
        press(page, "Pause", "Pause")
        expect(status(page)).to_have_text("Paused")
        run_it_again_shorter(page, service)
        press(page, "Resume", "Resume")
        expect(status(page)).to_have_text("Running", timeout=2 * PATIENCE_MS)
        the_curve_moves(page)
        press(page, "Cancel", "Cancel the run")
        expect(status(page)).to_have_text("Cancelled")
        assert page.evaluate("window.neverLoadedAgain"), "the page was loaded again"
    assert service.run(RUN)["status"] == "CANCELLED"


def submit(page: Page, spec: str) -> None:
    page.get_by_role("link", name="Submit", exact=True).click()
    editor = page.get_by_label("Spec of the run, as YAML")
    editor.fill(spec.replace("global_batch", "globl_batch"))
    expect(page.get_by_text("globl_batch", exact=False).last).to_be_visible()
    expect(page.locator(".problems li").first).to_be_visible()
    editor.fill(spec)
    expect(page.get_by_text("It would start at once.")).to_be_visible()
    press(page, "Submit", "Submit")
    page.wait_for_url(f"**/runs/{RUN}")


def the_curve_moves(page: Page) -> None:
    """By ten steps and more, and is painted anew."""
    page.wait_for_selector("#curves canvas")
    step, painted = page.evaluate(STEP), page.evaluate(CURVE)
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not (page.evaluate(STEP) > step + 10 and page.evaluate(CURVE) != painted):
        assert time.monotonic() < deadline, f"the curve stands still at step {page.evaluate(STEP)}"
        page.wait_for_timeout(100)


def the_log_moves(page: Page) -> None:
    """By the stream of the run: for longer than a second nothing is asked for."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    last = page.get_by_role("log", name="Logs").locator(".log-text").last
    for _ in range(4):
        expect(last).not_to_have_text(last.inner_text())
    assert [url for url in asked if "/logs" in url] == []


def kill_a_worker(page: Page) -> None:
    page.get_by_role("button", name="as a drill").first.click()
    title = page.get_by_role("dialog").get_by_role("heading").inner_text()
    worker = title.removeprefix("Kill worker ").partition(",")[0]
    confirm(page, "Kill it")
    expect(page.get_by_role("list", name="What went wrong")).to_contain_text("worker-lost")
    expect(page.get_by_role("img", name=f"Worker {worker}, attempt 1: lost")).to_be_visible()
    expect(page.get_by_role("img", name="attempt 1: training")).to_have_count(2)
    expect(page.get_by_role("log", name="Events")).to_contain_text("generation-started")
    expect(figure(page, "Workers")).to_have_text("2")


def outlive_a_restart(page: Page, service: Deployment) -> None:
    lost = page.get_by_text("Connection lost, trying again.")
    service.kill_service()
    expect(lost).to_be_visible()
    service.tumbler("up", "--num-cpus", "4")
    expect(lost).to_have_count(0)
    expect(page.get_by_label("Live updates: live")).to_be_visible()
    the_curve_moves(page)


def press_scale(page: Page, at_most: int) -> None:
    page.get_by_role("button", name="Scale", exact=True).click()
    page.get_by_label("At most").fill(str(at_most))
    confirm(page, "Scale")


def run_it_again_shorter(page: Page, service: Deployment) -> None:
    """Beside the paused run, which is then shown again."""
    page.get_by_role("button", name="Clone", exact=True).click()
    page.get_by_label("Name").fill(f"{RUN}-again")
    page.get_by_label("Other values").fill("train.steps=40")
    confirm(page, "Clone")
    page.wait_for_url(f"**/runs/{RUN}-again")
    expect(status(page)).to_have_text("Succeeded", timeout=2 * PATIENCE_MS)
    expect(page.locator("#audit")).to_contain_text("Every row was used once")
    page.go_back()
    expect(page.get_by_role("heading", name=RUN, exact=True)).to_be_visible()


@pytest.fixture(scope="module")
def seen(service: Deployment, spec: str) -> None:
    """The runs that the pages show: cancelled and finished, also where the first test did not make them."""
    kept = {run["name"] for run in service.get("runs")["runs"]}
    for name in {RUN, f"{RUN}-again"} - kept:
        path = service.home / f"{name}.yaml"
        steps = "100000" if name == RUN else "40"
        path.write_text(spec.replace(f"name: {RUN}", f"name: {name}").replace("100000", steps))
        service.tumbler("submit", "-f", str(path), "--detach")
        if name == RUN:
            service.wait_until(lambda: service.run(RUN)["checkpoint"] is not None)
            service.tumbler("cancel", RUN)
        service.tumbler("wait", name, check=False)


@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core here: run `npm --prefix api/ui ci`")
@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_no_page_has_a_serious_fault_of_accessibility_or_is_wider_than_its_screen(
    service: Deployment, chromium: Browser, seen: None, folder: Path, look: Look
) -> None:
    faults = {}
    with opened(chromium, service.url, look) as page:
        for name, path in PAGES.items():
            page.goto(path)
            page.wait_for_load_state("load")
            page.wait_for_timeout(SETTLE_MS)
            page.screenshot(path=folder / f"{name}-{look}.png", full_page=True)
            if grave := grave_faults(page):
                faults[name] = grave
            if not is_as_wide_as_the_screen(page):
                faults[f"{name}, sideways"] = []
    assert faults == {}


def test_a_cancelled_run_is_verified_exported_tried_again_and_the_new_one_forgotten(
    service: Deployment, chromium: Browser, seen: None, tmp_path: Path
) -> None:
    """While the node takes no workers, so that whoever looks at the list is told why the new one waits."""
    again = f"{RUN}-r1"
    with opened(chromium, service.url, WIDE) as page, opened(chromium, service.url, WIDE) as listing:
        listing.goto("/")
        row = listing.get_by_role("row").filter(has=listing.get_by_role("link", name=again, exact=True))
        page.goto("/cluster")
        press_on_the_node(page, "Cordon", "cordoned")
        page.goto(f"/runs/{RUN}")
        verify(page)
        assert {"config.json", "model.safetensors"} <= set(exported(page, tmp_path))

        press(page, "Retry", "Retry")
        page.wait_for_url(f"**/runs/{again}")
        expect(page.locator(".told")).to_contain_text("takes no new workers now")
        expect(row).to_contain_text("takes no new workers now")
        page.get_by_role("link", name="Cluster", exact=True).click()
        press_on_the_node(page, "Uncordon", "open")
        page.go_back()
        expect(status(page)).to_have_text("Running", timeout=2 * PATIENCE_MS)
        expect(row).to_contain_text("Running")
        expect(row).not_to_contain_text("takes no new workers now")

        press(page, "Cancel", "Cancel the run")
        expect(status(page)).to_have_text("Cancelled")
        press(page, "Delete", "Delete the run")
        expect(row).to_have_count(0)
        for one in (page, listing):
            expect(one.get_by_role("link", name=RUN, exact=True)).to_be_visible()
            expect(one.get_by_role("link", name=again, exact=True)).to_have_count(0)
    assert again not in {run["name"] for run in service.get("runs")["runs"]}
    assert not service.run_directory(again).path.exists()


def press_on_the_node(page: Page, verb: str, then: str) -> None:
    page.get_by_role("button", name=re.compile(f"^{verb.lower()} ")).click()
    confirm(page, verb)
    expect(page.get_by_role("region", name="Nodes, a table").locator(".status")).to_have_text(then)


def verify(page: Page) -> None:
    page.get_by_role("button", name="Verify the checkpoint of step").first.click()
    expect(page.locator("#checkpoints .seen").first).to_have_text("whole: every byte was read")


def exported(page: Page, folder: Path) -> list[str]:
    """The names of the files in the archive."""
    with page.expect_download() as download:
        page.get_by_role("link", name="Export the model of step").first.click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    with tarfile.open(path) as archive:
        return archive.getnames()
