"""A setting that is wrong stops `init`, and so everything behind it, by one line that names it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.stack import Stack, clone

pytestmark = pytest.mark.compose

CONFIG_ERROR = 3


@pytest.fixture
def fresh(stack: Stack, tmp_path: Path) -> Iterator[Stack]:
    """A second stack, of which only `init` is tried; its images are those of the first."""
    made = Stack(clone(tmp_path), f"hawktest-{os.getpid()}1")
    yield made
    made.remove()


def tried(stack: Stack) -> tuple[int, list[str]]:
    """Run `init`; return its exit code and the lines that it complains with."""
    done = stack.compose(
        "up", "--no-log-prefix", "--exit-code-from", "init", "init", is_checked=False
    )
    said = stack.container("init").logs(stdout=False).decode().splitlines()
    return done.returncode, said


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("HAWK_STAKE_USDD=5", "HAWK_STAKE_USDD is not a known setting"),
        ("HAWK_STAKE_USD=-5", "HAWK_STAKE_USD: "),
        ("HAWK_STAGE=live", "HAWK_STAGE: live is not in this release"),
        ("HAWK_REDIS_URL=redis://:secret@redis", "no password in an address"),
    ],
)
def test_a_setting_that_is_wrong_in_env_stops_init(fresh: Stack, line: str, named: str) -> None:
    (fresh.folder / ".env").write_text(f"{line}\n")
    code, said = tried(fresh)
    assert code == CONFIG_ERROR
    assert len(said) == 1 and named in said[0], said
    assert "secret@" not in said[0]


@pytest.mark.parametrize("content", ["no address", "https://a.example/x\nhttps://b.example/y"])
def test_a_webhook_that_is_no_address_stops_init(fresh: Stack, content: str) -> None:
    (fresh.folder / "webhook").write_text(content)
    fresh.settings["HAWK_ALERT_WEBHOOK_FILE"] = str(fresh.folder / "webhook")
    code, said = tried(fresh)
    assert code == CONFIG_ERROR
    assert len(said) == 1 and "no address" in said[0], said
    assert "example" not in said[0]


def test_settings_that_are_right_reach_a_service(fresh: Stack) -> None:
    (fresh.folder / ".env").write_text("HAWK_STAKE_USD=7\nTZ=UTC\n")
    assert tried(fresh) == (0, [])
    checked = fresh.hawk("config", "check").stdout.splitlines()
    assert [line.split()[1] for line in checked if line.startswith("HAWK_STAKE_USD ")] == ["7.0"]
