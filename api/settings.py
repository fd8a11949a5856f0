"""How the service and the commands are set up: a flag wins over TUMBLER_*, that over the settings file."""

import difflib
import ipaddress
import os
import tomllib
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from api.webhooks.wish import Webhook
from orchestrator.domain.errors import SpecError, TumblerError
from orchestrator.domain.run_directory import storage_path
from orchestrator.scheduling.policy import Policy, Surplus

DEFAULT_PORT: Final = 8700
_PREFIX: Final = "TUMBLER_"
_HOME: Final = "~/.local/share/tumbler"


class SettingsError(TumblerError):
    """A setting has a value that it cannot have; the message names the flag, variable or file."""

    exit_code: ClassVar[int] = 2


def config_file() -> Path:
    """The user's settings file, there or not."""
    return Path("~/.config/tumbler/config.toml").expanduser()


class Settings(BaseSettings):
    """All paths are absolute once it is made. `load` tells what is wrong in one sentence."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=True,
    )

    home: Path = Path(_HOME)
    """Where the service keeps its record, packages and logs."""
    url: str | None = None
    """Address of the service that commands talk to; None: the one that runs in the home."""
    host: str = "127.0.0.1"
    """Where the service listens; this version has no tokens, so a loopback address only."""
    port: int = Field(DEFAULT_PORT, ge=0, le=65535)
    """0 takes one that is free."""
    storage: Path = Path()
    """Where run directories are made unless a spec says otherwise; `HOME/runs` by default."""
    db: str = ""
    """URL of the record; SQLite in the home by default."""
    ray_address: str = "auto"
    """`auto`: the head that `tumbler up` started; `local`: the same; or the URL of a Ray dashboard."""
    retention_days: float = Field(90.0, gt=0, le=36500)
    """For how long an ended run stays in the record."""
    policy: Surplus = Surplus.GOODPUT
    """Who gets the workers that nobody needs: `goodput`, `fair` or `fifo`."""
    preemption: bool = True
    """Whether a run of higher priority may take all workers of others."""
    ageing_minutes: float = Field(5.0, ge=0, le=1e6)
    """A run that waits goes up by one point of priority in so many minutes; 0 for never."""
    settle_s: float = Field(60.0, ge=0, le=1e6)
    """For so long after its number of workers changed, a run keeps its surplus unless it is worth twice as
    much elsewhere."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    webhooks: tuple[Webhook, ...] = ()
    """Who is told of events: `[[webhooks]]` tables of the settings file. Secrets are never passed on."""

    @classmethod
    def load(cls, **flags: Any) -> Self:
        """Flags that are None count as not given. Raises SettingsError."""
        given = {name: value for name, value in flags.items() if value is not None}
        path = config_file()
        try:
            return cls(**given)
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{path} is no valid TOML: {error}") from None
        except OSError as error:
            raise SettingsError(f"cannot read {path}: {error.strerror or error}") from None
        except ValidationError as error:
            raise SettingsError(_sentence(error, given)) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, InitSettingsSource(settings_cls, _file_values())

    @field_validator("webhooks")
    @classmethod
    def _apart(cls, webhooks: tuple[Webhook, ...]) -> tuple[Webhook, ...]:
        names = [webhook.name for webhook in webhooks]
        if len(set(names)) < len(names):
            raise ValueError("expected another name for each webhook")
        return webhooks

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @field_validator("storage", mode="before")
    @classmethod
    def _folder(cls, storage: Any, info: ValidationInfo) -> Any:
        if storage == Path():
            return info.data.get("home", Path(_HOME)) / "runs"
        try:
            return storage_path(str(storage)).absolute()
        except SpecError as error:
            raise ValueError(error.problems[0].message) from None

    @field_validator("db")
    @classmethod
    def _database(cls, url: str, info: ValidationInfo) -> str:
        if not url:
            return f"sqlite:///{info.data.get('home', Path(_HOME)) / 'tumbler.db'}"
        if not url.startswith("sqlite:///"):
            raise ValueError("expected a URL such as 'sqlite:////data/tumbler.db'; this version keeps SQLite")
        return url

    @field_validator("host")
    @classmethod
    def _loopback(cls, host: str) -> str:
        if not is_loopback(host):
            raise ValueError(
                "expected a loopback address such as 127.0.0.1: this version has no tokens, so it serves "
                "this machine only"
            )
        return host

    @field_validator("url")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        if url is not None:
            _check_url(url)
        return url

    @field_validator("ray_address")
    @classmethod
    def _ray(cls, address: str) -> str:
        if address not in ("auto", "local"):
            _check_url(address)
        return address

    @property
    def scheduling(self) -> Policy:
        return Policy(
            surplus=self.policy,
            ageing_s=60 * self.ageing_minutes,
            preemption=self.preemption,
            settle_s=self.settle_s,
        )

    @property
    def packages(self) -> Path:
        return self.home / "packages"

    @property
    def service_file(self) -> Path:
        """Says where the service of this home listens, while it does."""
        return self.home / "service.json"


def check_keys(settings: Settings) -> None:
    """Whether each webhook can be signed for, in this process. Raises SettingsError."""
    for webhook in settings.webhooks:
        try:
            webhook.key()
        except ValueError as error:
            raise SettingsError(f"webhook {webhook.name}: {error}") from None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it; names are not looked up."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _file_values() -> dict[str, Any]:
    path = config_file()
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        return tomllib.load(file)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        good = False
    if not good:
        raise ValueError("expected a URL such as http://127.0.0.1:8700")


def _sentence(error: ValidationError, flags: dict[str, Any]) -> str:
    found = error.errors(include_url=False)[0]
    name, value = str(found["loc"][0]), found["input"]
    if name == "webhooks":  # whose values may be secrets
        where = ".".join(str(part) for part in found["loc"][1:])
        return f"{_source(name, flags)}: {where + ': ' if where else ''}{found['msg']}"
    cause = found.get("ctx", {}).get("error")
    why = str(cause) if cause is not None else found["msg"][:1].lower() + found["msg"][1:]
    if found["type"] == "extra_forbidden":
        close = difflib.get_close_matches(name, Settings.model_fields, n=1)
        fix = (
            f"did you mean '{close[0]}'?" if close else f"expected one of {', '.join(Settings.model_fields)}"
        )
        return f"{_source(name, flags)}: unknown setting, {fix}"
    return f"{_source(name, flags)}: {why}, got {value!r}"


def _source(name: str, flags: dict[str, Any]) -> str:
    """Where a value came from, by the order in which they win."""
    variable = f"{_PREFIX}{name.upper()}"
    if name in flags:
        return f"--{name.replace('_', '-')}"
    return variable if os.environ.get(variable) else f"{name} in {config_file()}"
