"""Where a setting comes from, and how a wrong one is told."""

from pathlib import Path

import pytest

from api.settings import Settings, SettingsError, config_file
from orchestrator.scheduling.policy import DEFAULT_POLICY, Policy, Surplus


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of whoever runs the tests."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TUMBLER_{name.upper()}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def write_file(text: str) -> None:
    config_file().parent.mkdir(parents=True)
    config_file().write_text(text)


def test_without_any_setting_all_is_in_one_home(tmp_path: Path) -> None:
    settings = Settings.load()
    home = tmp_path / ".local/share/tumbler"
    assert (settings.home, settings.storage) == (home, home / "runs")
    assert settings.db == f"sqlite:///{home}/tumbler.db"
    assert (settings.host, settings.port, settings.ray_address) == ("127.0.0.1", 8700, "auto")
    assert settings.url is None


def test_a_flag_wins_over_a_variable_and_that_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    write_file('port = 1\nlog_level = "debug"\nretention_days = 7\n')
    monkeypatch.setenv("TUMBLER_PORT", "2")
    monkeypatch.setenv("TUMBLER_RETENTION_DAYS", "8")
    settings = Settings.load(port=3, host=None)
    assert (settings.port, settings.retention_days, settings.log_level) == (3, 8.0, "debug")


def test_the_policy_of_the_scheduler_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.load().scheduling == DEFAULT_POLICY
    monkeypatch.setenv("TUMBLER_POLICY", "fair")
    monkeypatch.setenv("TUMBLER_PREEMPTION", "false")
    monkeypatch.setenv("TUMBLER_AGEING_MINUTES", "0")
    monkeypatch.setenv("TUMBLER_SETTLE_S", "5")
    wanted = Policy(surplus=Surplus.FAIR, preemption=False, ageing_s=0.0, settle_s=5.0)
    assert Settings.load().scheduling == wanted
    monkeypatch.setenv("TUMBLER_POLICY", "lottery")
    with pytest.raises(SettingsError, match=r"TUMBLER_POLICY: .*'goodput', 'fair' or 'fifo'"):
        Settings.load()


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUMBLER_PORT", "")
    assert Settings.load().port == 8700


def test_relative_paths_and_homes_of_users_become_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.load(home="~/tumbler", storage="file://./runs")
    assert (settings.home, settings.storage) == (tmp_path / "tumbler", tmp_path / "runs")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("TUMBLER_PORT", "many", "TUMBLER_PORT"),
        ("TUMBLER_PORT", "70000", "less than or equal to 65535"),
        ("TUMBLER_HOST", "0.0.0.0", "expected a loopback address"),
        ("TUMBLER_HOST", "tumbler.example", "expected a loopback address"),
        ("TUMBLER_STORAGE", "s3://bucket", "scheme 's3'"),
        ("TUMBLER_DB", "postgresql://db", "sqlite:///"),
        ("TUMBLER_URL", "somewhere", "expected a URL"),
        ("TUMBLER_URL", "http://a:b", "expected a URL"),
        ("TUMBLER_RAY_ADDRESS", "10.0.0.1", "expected a URL"),
        ("TUMBLER_LOG_LEVEL", "loud", "'debug'"),
        ("TUMBLER_RETENTION_DAYS", "0", "greater than 0"),
    ],
)
def test_a_wrong_value_is_one_sentence_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert caught.value.message.startswith(f"{variable}: ")
    assert said in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 2


def test_a_wrong_flag_is_named_as_it_was_typed() -> None:
    with pytest.raises(SettingsError, match=r"^--ray-address: expected a URL"):
        Settings.load(ray_address="x")


def test_a_wrong_value_in_the_file_names_the_file() -> None:
    write_file("port = 'x'\n")
    with pytest.raises(SettingsError, match=r"^port in .*config\.toml: "):
        Settings.load()


def test_an_unknown_setting_in_the_file_is_told_with_the_one_that_was_meant() -> None:
    write_file("prot = 1\n")
    with pytest.raises(SettingsError, match=r"config\.toml: unknown setting, did you mean 'port'\?"):
        Settings.load()


def test_a_file_that_is_no_toml_says_where(tmp_path: Path) -> None:
    write_file("port = \n")
    with pytest.raises(SettingsError, match=r"config\.toml is no valid TOML: .*line 1"):
        Settings.load()
