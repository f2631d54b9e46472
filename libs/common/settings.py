"""Settings: environment `HAWK_*` and `.env`, one table, every fault reported at once.

An unknown `HAWK_*` key is an error, because a misspelt limit is a limit that does not hold; other
keys of `.env` belong to Compose, which reads the same file. There are no secrets here, only the
names of files that hold them. `HAWK_RECORDINGS` and `HAWK_ENGINE` are known and used by tests only.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import BeforeValidator, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from libs.common.checks import ConfigError

PREFIX = "HAWK_"


def _refuse_empty(value: object) -> object:
    """Refuse the empty text, which as a path would be the current folder."""
    if value == "":
        raise ValueError("it is empty: name a file, or leave the setting out")
    return value


def _none_if_empty(value: object) -> object:
    """Take the empty text, which Compose passes on for what is not set, for nothing."""
    return None if value == "" else value


KeyPath = Annotated[Path | None, BeforeValidator(_none_if_empty)]
KeyName = Annotated[str | None, BeforeValidator(_none_if_empty)]
OptionalPath = Annotated[Path | None, BeforeValidator(_refuse_empty)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """All settings, frozen. Money in USD, times in seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", frozen=True, extra="ignore"
    )

    data: Path = Field(Path("data"), description="data folder: archive, models, keys, ledger")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severe log line that is written to stderr"
    )
    stage: Literal["shadow", "paper", "live"] = Field(
        "paper", description="shadow decides only, paper fills against the recorded book"
    )
    bankroll_usd: Positive = Field(10_000.0, description="paper cash at the start of a ledger")
    stake_usd: Positive = Field(20.0, description="cash per order, fee included")
    latency_ms: Annotated[int, Field(ge=0, le=60_000)] = Field(
        250, description="delay between a decision and its arrival at the venue"
    )
    exposure_usd_max: Positive = Field(2_000.0, description="cost of all open positions together")
    exposure_market_usd_max: Positive = Field(60.0, description="cost of one market's positions")
    loss_day_usd_max: Positive = Field(
        300.0, description="realised loss of a UTC day that stops it"
    )
    source: str = Field(
        "live",
        description="what the collector records: live, recording:DIR@SPEED, simulated@SPEED",
    )
    series: str = Field(
        "KXBTC15M,btc-updown-15m,btc-updown-5m",
        description="markets to record live: NAME or NAME@SECONDS between samples, by commas",
    )
    simulator_url: str | None = Field(
        None, description="simulator that stands in for all venues: http://host:port"
    )
    simulator_url_file: OptionalPath = Field(
        None, description="file with that address, written by a simulator; no file: the venues"
    )
    kalshi_key_id: KeyName = Field(None, description="id of a Kalshi API key, for its WebSocket")
    kalshi_key_file: KeyPath = Field(
        None, description="file with that key, PEM; read rights are enough, it never trades"
    )
    capture: bool = Field(
        False, description="keep everything received under captures/ of the data folder"
    )
    capture_gb_max: Positive = Field(
        10.0, description="size of all captures beyond which the oldest are deleted, in 1e9 bytes"
    )
    rules_accepted: str = Field(
        "", description="fingerprints of changed settlement rules a person has read, by commas"
    )
    redis_url: str | None = Field(
        None, description="Redis of the streams, without password: redis://[user@]host:port/db"
    )
    redis_password_file: OptionalPath = Field(None, description="file that holds its password")
    http_host: str = Field("127.0.0.1", description="address of the health and forecast pages")
    port: Annotated[int, Field(ge=1, le=65_000)] = Field(
        8480, description="port of the predictor; the other services use the next five"
    )
    api_key_file: OptionalPath = Field(
        None, description="file with the key of the forecast page; needed beyond loopback"
    )
    http_docs: bool = Field(False, description="serve the forecast page's description: /v1/docs")
    service_host: str = Field(
        "",
        description="host of the other services' pages, {service} stands for its name; empty: "
        "HAWK_HTTP_HOST if that is this machine",
    )
    train_every_h: Positive = Field(
        24.0, description="stream hours after which the trainer looks again"
    )
    train_resolutions: Annotated[int, Field(ge=1)] = Field(
        500, description="new resolutions after which the trainer looks again"
    )
    train_workers: Annotated[int, Field(ge=1, le=8)] = Field(
        2, description="processes of a training run, each of up to 500 MB and a core"
    )
    alert_webhook_file: OptionalPath = Field(
        None, description="file with the address that Alertmanager posts alerts to; Compose only"
    )
    recordings: OptionalPath = Field(None, description="real recordings, for tests only")
    engine: str | None = Field(
        None, description="command that starts a container engine, tests only"
    )

    @field_validator("redis_url")
    @classmethod
    def refuse_password(cls, url: str | None) -> str | None:
        """Refuse a secret where every process list and log can show it."""
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("redis", "rediss", "unix"):
            raise ValueError("a Redis address starts with redis://, rediss:// or unix://")
        if parts.password or "password=" in parts.query:
            raise ValueError("no password in an address: name its file in HAWK_REDIS_PASSWORD_FILE")
        return url

    def simulator(self) -> str | None:
        """Return the address of a simulator that stands in for the venues; None: there is none.

        Raises `ConfigError` if the file that one has written is not an address.
        """
        path = self.simulator_url_file
        if self.simulator_url is not None or path is None or not path.exists():
            return self.simulator_url
        try:
            return refuse_other_schemes(path.read_text().strip())
        except (OSError, ValueError) as error:
            raise ConfigError(f"HAWK_SIMULATOR_URL_FILE {path}: {error}") from error

    @field_validator("simulator_url")
    @classmethod
    def refuse_other_addresses(cls, url: str | None) -> str | None:
        """Refuse an address that cannot be put before a venue's own."""
        return None if url is None else refuse_other_schemes(url)

    @field_validator("stage")
    @classmethod
    def refuse_live(cls, stage: str) -> str:
        """Refuse the stage that does not exist, beside all other faults."""
        if stage == "live":
            raise ValueError("live is not in this release: no code here can send an order")
        return stage


def refuse_other_schemes(url: str) -> str:
    """Return a simulator's address; raise `ValueError` if it is none."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError("a simulator's address is http://host:port, such as the one it prints")
    return url.rstrip("/")


def load_settings(env_file: Path | None = Path(".env")) -> Settings:
    """Read the settings; raise `ConfigError` with one line that names every fault."""
    faults = [f"{key} is not a known setting" for key in _unknown(os.environ)]
    settings: Settings | None = None
    try:
        in_file = dotenv_values(env_file) if env_file is not None else {}
        faults += [f"{key} in {env_file} is not a known setting" for key in _unknown(in_file)]
        settings = Settings(_env_file=env_file)  # type: ignore[call-arg]
    except ValidationError as error:
        faults += [_fault_text(fault) for fault in error.errors()]
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"cannot read {env_file}: {error}")
    if faults or settings is None:
        raise ConfigError("; ".join(faults) + "; `hawk config check` lists what is known")
    return settings


def describe() -> list[tuple[str, str, str]]:
    """Return (key, default, what it is) of every setting."""
    return [
        (f"{PREFIX}{name.upper()}", str(field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    ]


def _unknown(named: Iterable[str]) -> list[str]:
    known = {key for key, _, _ in describe()}
    # Upper case, because settings are read whatever their case.
    ours = (key for key in named if key.upper().startswith(PREFIX))
    return sorted(key for key in ours if key.upper() not in known)


def _fault_text(fault: ErrorDetails) -> str:
    key = ".".join(str(part) for part in fault["loc"]).upper()
    message = fault["msg"].removeprefix("Value error, ")
    return f"{PREFIX}{key}: {message[0].lower()}{message[1:]}"
