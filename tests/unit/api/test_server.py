"""The service as a process, as far as that can be seen without a socket."""

import json
import socket
from pathlib import Path

import pytest

from api.head_watch import HeadWatch
from api.home_cluster import HomeCluster
from api.server import main, remove_service_file, url_of, write_service_file
from api.settings import Settings
from api.wiring import assemble
from cluster.fake import FakeCluster
from orchestrator.domain.errors import ClusterUnavailable
from orchestrator.store.memory import MemoryRecord


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("HOME", str(tmp_path))
    return Settings.load(
        home=tmp_path, host="127.0.0.1", port=0, ray_address="auto", storage=tmp_path / "runs"
    )


class Listener:
    def __init__(self, *name: object) -> None:
        self._name = name

    def getsockname(self) -> tuple[object, ...]:
        return self._name


@pytest.mark.parametrize(
    ("name", "url"),
    [
        (("127.0.0.1", 8700), "http://127.0.0.1:8700"),
        (("::1", 8700, 0, 0), "http://[::1]:8700"),
    ],
)
def test_the_address_is_the_one_that_was_really_taken(name: tuple[object, ...], url: str) -> None:
    assert url_of(Listener(*name)) == url  # type: ignore[arg-type]


def test_the_home_says_where_the_service_listens_until_it_ends(settings: Settings) -> None:
    write_service_file(settings, "http://127.0.0.1:1234")
    assert json.loads(settings.service_file.read_text())["url"] == "http://127.0.0.1:1234"
    remove_service_file(settings.service_file)
    remove_service_file(settings.service_file)
    assert not settings.service_file.exists()


def test_the_file_of_a_later_service_stays(settings: Settings) -> None:
    settings.service_file.write_text('{"pid": 1, "url": "http://127.0.0.1:1"}')
    remove_service_file(settings.service_file)
    assert settings.service_file.exists()


def test_a_wrong_setting_ends_it_with_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--host", "0.0.0.0"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("--host: expected a loopback address")
    assert said.count("\n") == 1


def test_a_port_that_is_taken_ends_it_with_one_sentence(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def taken(*args: object, **options: object) -> socket.socket:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(socket, "create_server", taken)
    assert main(["--home", str(settings.home), "--port", "8700"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("cannot listen on 127.0.0.1:8700: something listens there already")
    assert said.count("\n") == 1
    assert list(settings.home.iterdir()) == []


def test_without_a_head_the_cluster_is_away_and_nobody_is_looked_after(tmp_path: Path) -> None:
    cluster = HomeCluster("auto", tmp_path)
    with pytest.raises(ClusterUnavailable, match="has no Ray head"):
        cluster.view()
    assert HeadWatch(tmp_path).look() == []


def test_an_address_that_was_given_is_the_one_that_is_used(tmp_path: Path) -> None:
    assert HomeCluster("http://127.0.0.1:8265", tmp_path).address() == "http://127.0.0.1:8265"


async def test_the_parts_live_and_end_together(settings: Settings) -> None:
    cluster = FakeCluster(2)
    service = assemble(settings, MemoryRecord(), cluster, cluster)
    assert not service.reconciling
    async with service.life(service.app):
        assert service.reconciling
        with service.bulletin.reader("a run") as news:
            pass
    assert not service.reconciling
    assert service.bulletin.closed
    assert not news.is_set()
