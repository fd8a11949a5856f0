"""`tumbler up` and `down`: what is decided, on a machine in memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

from api.cli import checkup, lifting, machine
from api.cli.doctor import Verdict
from api.cli.errors import CannotStart, StillNeeded
from api.cli.lifting import Standing, bring_up, take_down
from api.cli.machine import HeadInfo, ThisMachine
from api.cli.main import main
from api.cli.places import ServiceRecord
from api.settings import Settings
from orchestrator.domain.status import EndReason, RunStatus
from tests.unit.fake_rest import Clock, FakeRest, run_json
from tests.unit.recorded_run import RecordedRun, finished_run

URL = "http://127.0.0.1:8700"
HEAD = HeadInfo("http://127.0.0.1:8265", "127.0.0.1:6379", {"RAY_AUTH_MODE": "token"})


class FakeMachine:
    """Remembers what was done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.environment: Mapping[str, str] = {}
        self.running: ServiceRecord | None = None
        self.ray: HeadInfo | None = None
        self.ray_died = False
        self.port_taken = False
        self.comes_up = True
        self.dies_at_once = False
        self.stubborn = False
        self.active: list[str] = []
        self.clock = Clock()

    def service(self) -> ServiceRecord | None:
        return self.running

    def head(self) -> HeadInfo | None:
        return self.ray

    def head_is_gone(self) -> bool:
        return self.ray_died

    def port_is_free(self, host: str, port: int) -> bool:
        return not self.port_taken

    def start_head(self, num_cpus: int | None) -> HeadInfo:
        self.done.append(f"head {num_cpus}")
        self.ray, self.ray_died = HEAD, False
        return HEAD

    def start_service(self, environment: Mapping[str, str]) -> int:
        self.done.append("service")
        self.environment = environment
        return 42

    def become_service(self, environment: Mapping[str, str]) -> NoReturn:
        self.environment = environment
        raise SystemExit("serves")

    def lives(self, pid: int) -> bool:
        return not self.dies_at_once

    def stop_process(self, pid: int) -> None:
        self.done.append(f"kill {pid}")

    def answers(self, url: str) -> bool:
        return self.comes_up

    def last_words(self) -> str:
        return "it was the disk"

    def active_runs(self, service: ServiceRecord | None) -> list[str]:
        return self.active

    def stop_service(self, service: ServiceRecord) -> bool:
        self.done.append("stop service")
        return not self.stubborn

    def stop_head(self) -> bool:
        self.done.append("stop head")
        self.ray, self.ray_died = None, False
        return True

    def remove_home(self) -> None:
        self.done.append("remove home")

    def sleep(self, seconds: float) -> None:
        self.clock.sleep(seconds)
        if self.clock.now_s > 1 and self.comes_up and not self.dies_at_once:
            self.running = ServiceRecord(42, URL, "auto")

    def monotonic(self) -> float:
        return self.clock()


@pytest.fixture
def here() -> FakeMachine:
    return FakeMachine()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("URL", "STORAGE", "HOME"):
        monkeypatch.delenv(f"TUMBLER_{name}", raising=False)
    return Settings.load(home=tmp_path / "home")


def test_up_starts_a_head_and_then_the_service(here: FakeMachine, settings: Settings) -> None:
    standing = bring_up(here, settings, num_cpus=4)
    assert here.done == ["head 4", "service"]
    assert standing == Standing(URL, f"{URL}/docs", HEAD.dashboard_url, str(settings.home), 42, False)
    assert here.environment["RAY_AUTH_MODE"] == "token"
    assert here.environment["TUMBLER_HOME"] == str(settings.home)
    assert here.environment["TUMBLER_PORT"] == "8700"


def test_what_is_up_is_left_alone(here: FakeMachine, settings: Settings) -> None:
    here.running, here.ray = ServiceRecord(42, URL, "auto"), HEAD
    here.port_taken = True  # by itself
    assert bring_up(here, settings).already
    assert here.done == []


def test_a_service_that_died_is_started_again_beside_its_head(here: FakeMachine, settings: Settings) -> None:
    here.ray = HEAD
    assert not bring_up(here, settings).already
    assert here.done == ["service"]


def test_a_head_that_died_is_started_again_under_its_service(here: FakeMachine, settings: Settings) -> None:
    here.running, here.ray_died = ServiceRecord(42, URL, "auto"), True
    assert not bring_up(here, settings).already
    assert here.done == ["head None"]


def test_no_head_is_started_where_a_cluster_is_given(here: FakeMachine, tmp_path: Path) -> None:
    joined = Settings.load(home=tmp_path, ray_address="http://10.0.0.5:8265")
    assert bring_up(here, joined).ray_dashboard == "http://10.0.0.5:8265"
    assert here.done == ["service"]
    assert here.environment["TUMBLER_RAY_ADDRESS"] == "http://10.0.0.5:8265"


def test_a_port_in_use_is_one_sentence_and_nothing_is_started(here: FakeMachine, settings: Settings) -> None:
    here.port_taken = True
    with pytest.raises(StillNeeded, match=r"^port 8700 of 127.0.0.1 is in use by another program$"):
        bring_up(here, settings)
    assert here.done == []


def test_a_service_that_ends_at_once_leaves_nothing_and_its_last_words(
    here: FakeMachine, settings: Settings
) -> None:
    here.dies_at_once = True
    with pytest.raises(CannotStart, match="it was the disk"):
        bring_up(here, settings)
    assert here.done == ["head None", "service", "kill 42", "stop head"]


def test_a_service_that_is_never_ready_is_stopped_and_an_older_head_stays(
    here: FakeMachine, settings: Settings
) -> None:
    here.ray, here.comes_up = HEAD, False
    with pytest.raises(CannotStart, match="not ready after 60 s"):
        bring_up(here, settings)
    assert here.done == ["service", "kill 42"]


def test_in_the_foreground_this_process_serves(here: FakeMachine, settings: Settings) -> None:
    with pytest.raises(SystemExit, match="serves"):
        bring_up(here, settings, foreground=True)
    assert here.done == ["head None"]


def down(here: FakeMachine, settings: Settings, *, purge: bool = False, agree: bool = True) -> list[str]:
    return take_down(here, settings, purge=purge, agree=lambda question: agree)


def test_down_stops_the_service_before_the_head(here: FakeMachine, settings: Settings) -> None:
    here.running, here.ray = ServiceRecord(42, URL, "auto"), HEAD
    assert down(here, settings, agree=False) == ["stopped the service", "stopped the head"]
    assert here.done == ["stop service", "stop head"]


def test_down_refuses_while_runs_are_active(here: FakeMachine, settings: Settings) -> None:
    here.running, here.ray, here.active = ServiceRecord(42, URL, "auto"), HEAD, ["a", "b"]
    with pytest.raises(StillNeeded, match=r"^2 runs are still active \(a, b\)$") as raised:
        down(here, settings, agree=False)
    assert (raised.value.exit_code, here.done) == (6, [])
    assert "--force" in raised.value.hint
    down(here, settings, agree=True)
    assert here.done == ["stop service", "stop head"]


def test_a_head_whose_service_died_is_asked_about_its_runs_too(here: FakeMachine, settings: Settings) -> None:
    here.ray, here.active = HEAD, ["a"]
    with pytest.raises(StillNeeded, match="run a is still active"):
        down(here, settings, agree=False)


def test_purging_wants_a_word_and_takes_the_home(here: FakeMachine, settings: Settings) -> None:
    with pytest.raises(StillNeeded, match="would be removed"):
        down(here, settings, purge=True, agree=False)
    assert here.done == []
    assert down(here, settings, purge=True) == [f"removed {settings.home}"]


def test_what_a_dead_head_left_is_put_away(here: FakeMachine, settings: Settings) -> None:
    here.ray_died = True
    assert down(here, settings) == ["stopped the head"]
    assert down(here, settings) == ["nothing was up"]


def test_a_service_that_does_not_end_is_said(here: FakeMachine, settings: Settings) -> None:
    here.running, here.stubborn = ServiceRecord(42, URL, "auto"), True
    with pytest.raises(CannotStart, match="process 42"):
        down(here, settings)


def test_up_and_down_are_told_to_programs_and_people(
    here: FakeMachine, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lifting, "ThisMachine", lambda given: here)
    assert main(["up", "--home", str(settings.home)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"dashboard        {URL}\n")
    assert "tumbler submit -f run.yaml" in said.err
    assert main(["up", "--home", str(settings.home)]) == 0
    assert "it was up already" in capsys.readouterr().err
    here.active = ["a"]
    assert main(["down"]) == 6
    assert main(["down", "--force"]) == 0
    assert main(["up", "--host", "0.0.0.0"]) == 2


def test_active_runs_are_those_that_hold_workers(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    rest = FakeRest().on("GET", "/runs", {"runs": [run_json("a")], "next_cursor": None})
    monkeypatch.setattr(machine, "Client", lambda url, **more: rest.client())
    this: Any = ThisMachine(settings)
    assert this.active_runs(ServiceRecord(42, URL)) == ["a"]
    asked = rest.requests[0].url.params.get_list("status")
    assert asked == ["STARTING", "RUNNING", "PAUSING", "CANCELLING"]


def test_without_an_answer_the_run_directories_say_what_is_active(settings: Settings) -> None:
    finished_run(settings.storage)
    living = RecordedRun(settings.storage, "calm-owl")
    living.formed(1, "w1")
    RecordedRun(settings.storage, "dim-newt").ended(RunStatus.FAILED, EndReason.NO_PROGRESS)
    assert ThisMachine(settings).active_runs(None) == ["calm-owl"]


def test_the_doctor_says_whether_service_and_head_are_up(here: FakeMachine) -> None:
    assert checkup.service(here, None).found == "none runs here; `tumbler up` starts one"
    assert checkup.head(here).verdict is Verdict.OK
    here.running, here.ray = ServiceRecord(42, URL), HEAD
    assert checkup.service(here, None).found == f"{URL} answers (process 42)"
    assert HEAD.dashboard_url in checkup.head(here).found
    here.comes_up, here.ray, here.ray_died = False, None, True
    assert checkup.service(here, None).verdict is Verdict.PROBLEM
    assert checkup.service(here, "http://far:1").found == "http://far:1 does not answer"
    assert checkup.head(here).fix == "`tumbler up` starts another"
