"""What docker-compose.yml says of settings and versions is what the code says; read as text."""

import re
import tomllib
from pathlib import Path

from libs.common.settings import describe
from libs.common.streams import SERVICES

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()

FIXED = {
    "HAWK_DATA",
    "HAWK_HTTP_HOST",
    "HAWK_PORT",
    "HAWK_SERVICE_HOST",
    "HAWK_REDIS_PASSWORD_FILE",
    "HAWK_SIMULATOR_URL_FILE",
}
"""What Compose says itself, the same for all services."""

ELSEWHERE = {
    "HAWK_REDIS_URL": "one per service",
    "HAWK_API_KEY_FILE": "the predictor's",
    "HAWK_KALSHI_KEY_ID": "of the collector alone",
    "HAWK_KALSHI_KEY_FILE": "of the collector alone, a copy that init makes of the host's",
    "HAWK_ALERT_WEBHOOK_FILE": "of the host, mounted into init",
    "HAWK_RECORDINGS": "tests only",
    "HAWK_ENGINE": "tests only",
}


def settings_block() -> dict[str, str]:
    block = COMPOSE.split("x-settings: &settings\n")[1].split("\nx-")[0]
    return dict(re.findall(r"^  (HAWK_\w+):[ ]*(.*)$", block, re.MULTILINE))


def test_every_setting_reaches_the_services() -> None:
    known = {key for key, _, _ in describe()}
    assert set(settings_block()) == known - set(ELSEWHERE)


def test_a_setting_has_its_default_in_the_code_alone() -> None:
    valued = {key for key, value in settings_block().items() if value}
    assert valued == FIXED


def test_images_carry_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert set(re.findall(r"\$\{TAG:-([^}]*)\}", COMPOSE)) == {version}


def test_each_image_has_a_lock_of_what_it_imports() -> None:
    locks = {path.stem for path in (ROOT / "deploy/locks").glob("*.lock")}
    assert locks == {*SERVICES, "console", "common", "build"}


def packages(name: str) -> set[str]:
    text = (ROOT / f"deploy/locks/{name}.lock").read_text()
    return set(re.findall(r"^([a-z0-9][\w.-]*==\S+)", text, re.MULTILINE))


def test_images_take_the_versions_that_were_tested() -> None:
    tested = set(
        re.findall(
            r"^([a-z0-9][\w.-]*==\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE
        )
    )
    for name in (*SERVICES, "console", "common"):
        assert packages(name) <= tested
        assert packages("common") <= packages(name)


def test_the_predictor_goes_without_what_it_does_not_need() -> None:
    names = {package.partition("==")[0] for package in packages("predictor")}
    assert not names & {"scikit-learn", "pandas", "typer", "pytest"}


def test_no_image_is_built_of_more_than_it_needs() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert {line for line in ignored if line.startswith("!")} == {
        "!pyproject.toml",
        "!README.md",
        "!LICENSE",
        "!libs",
        "!services",
        "!deploy/locks",
        "!deploy/healthcheck",
    }
