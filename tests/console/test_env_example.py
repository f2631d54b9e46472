"""`.env.example` is the code's own account, and a copy of it changes nothing."""

import os
import re
from pathlib import Path

import pytest

from libs.common.settings import describe, load_settings
from services.console.env_example import COMPOSE, FIXED, FOR_TESTS, page

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in [key for key in os.environ if key.upper().startswith("HAWK_")]:
        monkeypatch.delenv(key)


def uncommented(text: str) -> str:
    """Return the file with every setting in force."""
    return re.sub(r"(?m)^#(?=[A-Z])", "", text)


def test_the_committed_file_is_up_to_date() -> None:
    assert (ROOT / ".env.example").read_text() == page(), (
        "run `python -m services.console.env_example > .env.example`"
    )


def test_every_setting_stands_there_once_in_its_section() -> None:
    found = re.findall(r"(?m)^#([A-Z][A-Z_]*)(?:=|$)", page())
    known = [key for key, _, _ in describe()]
    assert sorted(found) == sorted([*known, *(key for key, _, _ in COMPOSE)])
    assert found[-len(FOR_TESTS) :] == list(FOR_TESTS)
    assert set(FIXED) == set(found[-len(FOR_TESTS) - len(FIXED) : -len(FOR_TESTS)])


def test_each_setting_is_explained() -> None:
    lines = page().splitlines()
    for place, line in enumerate(lines):
        if re.match(r"#[A-Z]", line):
            assert re.match(r"# [a-z]\w+|# Redis", lines[place - 1]), line
        else:
            assert line == "" or line.startswith("# ")


def test_a_copy_sets_nothing(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(page())
    assert load_settings(tmp_path / ".env") == load_settings(None)


def test_with_everything_uncommented_the_defaults_hold(tmp_path: Path) -> None:
    text = uncommented(page())
    assert "\nHAWK_STAKE_USD=20.0\n" in text
    (tmp_path / ".env").write_text(text)
    assert load_settings(tmp_path / ".env") == load_settings(None)


def test_one_line_uncommented_is_in_force(tmp_path: Path) -> None:
    text = page().replace("#HAWK_STAKE_USD=20.0", "HAWK_STAKE_USD=5")
    (tmp_path / ".env").write_text(text)
    assert load_settings(tmp_path / ".env").stake_usd == 5.0
