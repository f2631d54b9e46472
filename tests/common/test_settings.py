"""Settings: an unknown key or a limit that does not limit refuses to start, all faults at once."""

import os
from pathlib import Path

import pytest

from libs.common.checks import ConfigError
from libs.common.settings import describe, load_settings

LIMITS = [
    "HAWK_BANKROLL_USD",
    "HAWK_STAKE_USD",
    "HAWK_EXPOSURE_USD_MAX",
    "HAWK_EXPOSURE_MARKET_USD_MAX",
    "HAWK_LOSS_DAY_USD_MAX",
]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in [key for key in os.environ if key.upper().startswith("HAWK_")]:
        monkeypatch.delenv(key)


def fault(env_file: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(env_file)
    assert caught.value.exit_code == 3
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_defaults_are_paper_and_frozen() -> None:
    settings = load_settings(None)
    assert settings.stage == "paper"
    with pytest.raises(ValueError, match="frozen"):
        settings.stake_usd = 1e9


def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".env"
    file.write_text("HAWK_STAKE_USD=5\nHAWK_STAGE=shadow\n")
    monkeypatch.setenv("HAWK_STAKE_USD", "7")
    settings = load_settings(file)
    assert (settings.stake_usd, settings.stage) == (7.0, "shadow")


@pytest.mark.parametrize("key", LIMITS)
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "-inf", "1e999", "", "ten", "true"])
def test_a_limit_of_zero_or_less_or_no_number_is_refused(
    monkeypatch: pytest.MonkeyPatch, key: str, value: str
) -> None:
    monkeypatch.setenv(key, value)
    assert key in fault()


@pytest.mark.parametrize("value", ["-1", "2.5", "60001", "soon"])
def test_a_latency_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HAWK_LATENCY_MS", value)
    assert "HAWK_LATENCY_MS" in fault()


@pytest.mark.parametrize("key", ["HAWK_STAKE", "HAWK_", "hawk_stake", "Hawk_Stke_Usd"])
def test_an_unknown_key_is_refused_whatever_its_case(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv(key, "1")
    assert f"{key} is not a known setting" in fault()


@pytest.mark.parametrize("key", ["HAWK_STAKE", "hawk_stake", "Hawk_Stke_Usd"])
def test_an_unknown_key_in_the_file_is_refused_by_its_own_name(tmp_path: Path, key: str) -> None:
    file = tmp_path / ".env"
    file.write_text(f"{key}=5\nHAWK_STAGE=shadow\n")
    line = fault(file)
    assert f"{key} in {file} is not a known setting" in line
    assert "HAWK_STAGE" not in line


def test_keys_of_others_may_stand_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("COMPOSE_PROJECT_NAME=hawk\nGRAFANA_PORT=3001\nHAWK_STAGE=shadow\n")
    assert load_settings(file).stage == "shadow"


@pytest.mark.parametrize("key", ["HAWK_API_KEY_FILE", "HAWK_REDIS_PASSWORD_FILE"])
def test_an_empty_path_is_no_path(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv(key, "")
    assert f"{key}: it is empty" in fault()


def test_live_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAWK_STAGE", "live")
    assert "HAWK_STAGE: live is not in this release" in fault()


def test_every_fault_is_named_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("HAWK_LOSS_DAY_USD_MAX=-5\n")
    for key, value in {
        "HAWK_STAGE": "live",
        "HAWK_STAKE_USD": "0",
        "HAWK_LOG_LEVEL": "loud",
        "HAWK_TYPO": "1",
    }.items():
        monkeypatch.setenv(key, value)
    line = fault(file)
    for key in ("STAGE", "STAKE_USD", "LOG_LEVEL", "TYPO", "LOSS_DAY_USD_MAX"):
        assert f"HAWK_{key}" in line


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"HAWK_STAKE_USD=\xff"])
def test_a_file_that_is_no_text_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / ".env"
    file.write_bytes(content)
    assert str(file) in fault(file)


def test_keys_for_tests_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAWK_RECORDINGS", "somewhere")
    monkeypatch.setenv("HAWK_ENGINE", "podman")
    load_settings(None)


def test_every_setting_says_what_it_is() -> None:
    assert all(key.startswith("HAWK_") and text for key, _, text in describe())
