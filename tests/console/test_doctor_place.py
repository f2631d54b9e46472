"""Settings, folder, space and secret files as the doctor sees them."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.common.settings import Settings
from services.console.doctor_place import (
    day_mb,
    judged_space,
    place_checks,
    secrets_of,
    setting_checks,
)
from services.console.doctor_report import Check, exit_code
from services.monitor.disk import Space

GB = 1_000_000_000


def settings(**others: object) -> Settings:
    chosen = {"simulator_url": "http://127.0.0.1:1", "source": "simulated@1", **others}
    return Settings(_env_file=None, **chosen)  # type: ignore[call-arg, arg-type]


def checked(root: Path, **others: object) -> dict[str, Check]:
    return {one.name: one for one in place_checks(root, settings(**others))}


@pytest.fixture
def unwritable() -> Iterator[Path]:
    """A folder that this process cannot write, whoever runs the tests."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        was = os.geteuid()
        if was == 0:
            os.seteuid(65_534)  # permissions do not hold for root
        try:
            yield folder
        finally:
            os.seteuid(was)
            folder.chmod(0o755)


def test_a_folder_that_can_be_written_is_well_and_left_as_it_was(tmp_path: Path) -> None:
    found = checked(tmp_path)
    assert found["folder"].level == found["disk"].level == "ok"
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_fails_with_the_command(unwritable: Path) -> None:
    found = checked(unwritable)["folder"]
    assert found.level == "fail"
    assert "Permission denied" in found.found
    assert found.fix.startswith("`sudo chown -R ")


def test_an_archive_that_is_a_volume_of_its_own_is_what_counts(unwritable: Path) -> None:
    was = os.geteuid()
    if was != 0 and os.getuid() == 0:
        os.seteuid(0)
    unwritable.chmod(0o755)
    (unwritable / "archive").mkdir(mode=0o777)
    (unwritable / "archive").chmod(0o777)
    unwritable.chmod(0o555)
    os.seteuid(was)
    assert checked(unwritable)["folder"].level == "ok"


def test_a_folder_that_is_not_there_yet_is_a_warning(tmp_path: Path) -> None:
    found = checked(tmp_path / "deep/data")
    assert found["folder"].level == "warn"
    assert "mkdir -p" in found["folder"].fix
    assert found["disk"].level == "ok"


def test_a_file_in_place_of_the_folder_fails(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    found = checked(tmp_path / "data")["folder"]
    assert (found.level, found.found) == ("fail", f"{tmp_path}/data is a file")


@pytest.mark.parametrize(
    ("free", "needed_mb", "level"),
    [
        (100 * GB, 83.0, "ok"),
        (2 * GB + 5 * 83_000_000, 83.0, "warn"),
        (2 * GB + 83_000_000, 83.0, "fail"),
        (GB, 83.0, "fail"),
        (3 * GB, None, "ok"),
        (GB, None, "warn"),
    ],
)
def test_space_is_judged_by_the_days_that_it_lasts(
    free: int, needed_mb: float | None, level: str
) -> None:
    found = judged_space(Space(free, 200 * GB), needed_mb)
    assert found.level == level
    assert (found.fix == "") == (level == "ok")


def test_a_day_takes_what_was_measured_and_half_as_much_again() -> None:
    # The table of docs/operating.md: nine markets of three underlyings, 168 MB at 1 s, 26 at 10 s.
    assert day_mb(settings(source="simulated@1")) == pytest.approx(1.5 * 26, rel=0.05)
    assert day_mb(settings(source="simulated@1,interval=1")) == pytest.approx(1.5 * 168, rel=0.05)
    assert day_mb(settings(source="recording:somewhere@1")) is None
    slow = day_mb(settings(source="live", series="KXBTC15M@10"))
    fast = day_mb(settings(source="live", series="KXBTC15M"))
    ladder = day_mb(settings(source="live", series="KXBTCD"))
    assert slow is not None and fast is not None and ladder is not None
    assert slow < fast < ladder


@pytest.mark.parametrize(("mode", "level"), [(0o600, "ok"), (0o400, "ok"), (0o644, "warn")])
def test_secrets_that_others_may_read_are_warned_of(tmp_path: Path, mode: int, level: str) -> None:
    secret = tmp_path / "password"
    secret.write_text("canary-secret")
    secret.chmod(mode)
    found = checked(tmp_path, redis_password_file=secret)["secret redis_password"]
    assert found.level == level
    assert "canary" not in found.found
    assert found.fix == ("" if level == "ok" else f"`chmod 600 {secret}`")


def test_a_signing_key_that_others_may_read_fails_as_the_trainer_refuses_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "keys").mkdir()
    key = tmp_path / "keys/signing.key"
    key.write_bytes(bytes(range(32)))
    key.chmod(0o640)
    found = checked(tmp_path)["secret signing key"]
    assert found.level == "fail"
    assert exit_code([found]) == 3


def test_secrets_that_are_named_and_absent_or_empty_are_faults(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    for name in ("absent", "empty"):
        found = checked(tmp_path, api_key_file=tmp_path / name)["secret api_key"]
        assert found.level == "fail"
        assert exit_code([found]) == 3


def test_every_word_of_every_secret_is_known_for_striking_out(tmp_path: Path) -> None:
    secret = tmp_path / "key.pem"
    secret.write_text("-----BEGIN-----\ncanary-line\n-----END-----\n")
    words = secrets_of(tmp_path, settings(kalshi_key_file=secret, kalshi_key_id="canary-id"))
    assert {"canary-line", "canary-id"} <= set(words)


def test_every_fault_of_the_settings_is_told_at_once() -> None:
    wrong = settings(source="nowhere", series="NOSUCH", kalshi_key_id="canary-id")
    (found,) = setting_checks(wrong)
    assert found.level == "fail"
    for words in ("HAWK_SOURCE", "HAWK_SERIES", "HAWK_KALSHI_KEY_FILE"):
        assert words in found.found
    assert "canary-id" not in found.found


def test_settings_that_fit_together_say_what_they_mean() -> None:
    (found,) = setting_checks(settings(source="live", series="KXBTC15M,btc-updown-5m"))
    assert found.found == "source live, 2 series of kalshi, polymarket"
