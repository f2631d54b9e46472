"""`hawk backfill`: its result, and the exit code that fits how it ended."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collector.history_server import VenueServer
from tests.console.conftest import Hawk

ORDER = ("backfill", "--venue", "kalshi", "--series", "KXBTC15M", "--days", "1")


@pytest.fixture(scope="module")
def shared() -> Iterator[VenueServer]:
    server = VenueServer()
    yield server
    server.close()


@pytest.fixture
def server(shared: VenueServer) -> VenueServer:
    """The server as new."""
    shared.asked.clear()
    shared.rules.clear()
    return shared


def env(server: VenueServer) -> dict[str, str]:
    return {"HAWK_SIMULATOR_URL": server.url}


def test_result_is_told_and_what_is_filled_can_be_verified(
    hawk: Hawk, tmp_path: Path, server: VenueServer
) -> None:
    code, result, _ = hawk(*ORDER, "--data", tmp_path, "--json", env=env(server))
    assert code == 0
    assert result.pop("requests") == len(server.asked)
    assert result.pop("new") > 100
    assert result == {
        "venue": "kalshi",
        "series": "KXBTC15M",
        "days": 1,
        "markets": 4,
        "quotes": 56,
        "spot": 236,
        "skipped_pieces": 0,
        "dropped": {},
        "flagged": {},
        "failures": [],
        "stopped": False,
    }
    assert hawk("verify", "--data", tmp_path, "--json")[0] == 0
    code, result, _ = hawk("evaluate", "--data", tmp_path, "--bundle", "base", "--json")
    assert (code, result["markets"]) == (0, 4)


def test_venue_that_is_given_up_is_one_line_and_exit_code_4(
    hawk: Hawk, tmp_path: Path, server: VenueServer
) -> None:
    server.fail("/candlesticks", (503, "down"), times=10_000)
    code, result, stderr = hawk(*ORDER, "--data", tmp_path, "--json", env=env(server))
    assert code == 4
    assert (result["markets"], result["spot"]) == (0, 236)
    assert "hawk: kalshi/KXBTC15M 2026-09-23: kalshi kalshi.rest, candles of" in stderr
    assert "the same command goes on from there" in stderr


def test_unknown_series_is_a_usage_error_that_lists_what_is_known(
    hawk: Hawk, tmp_path: Path
) -> None:
    order = ("backfill", "--venue", "kalshi", "--series", "nope", "--days", "1")
    code, _, stderr = hawk(*order, "--data", tmp_path)
    assert code == 2
    assert "KXBTC15M" in stderr
    assert not (tmp_path / "archive").exists()


def test_a_person_reads_what_came_of_it(hawk: Hawk, tmp_path: Path, server: VenueServer) -> None:
    order = ("backfill", "--venue", "polymarket", "--series", "btc-updown-15m", "--days", "1")
    code, text, stderr = hawk(*order, "--data", tmp_path, env=env(server))
    assert code == 0
    assert text.startswith("4 markets, 0 quotes, 236 spot rows")
    assert "polymarket tells no past book" in text
    assert "\x1b" not in stderr


def test_sigterm_ends_it_with_its_result_and_the_next_run_goes_on(
    hawk: Hawk, tmp_path: Path, server: VenueServer
) -> None:
    running: list[subprocess.Popen[str]] = []

    def stop(target: str) -> None:
        if "/candlesticks" in target and running:
            ending = running.pop()
            ending.send_signal(signal.SIGTERM)
            ending.wait(30)  # the answer must not be quicker than the signal

    server.rules.append(stop)
    process = subprocess.Popen(
        [sys.executable, "-m", "services.console", *ORDER, "--data", str(tmp_path), "--json"],
        env={"PATH": "/usr/bin:/bin", **env(server)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent.parent,
    )
    running.append(process)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert json.loads(stdout)["stopped"] is True
    assert "hawk: stopped: what is complete is kept" in stderr
    code, result, _ = hawk(*ORDER, "--data", tmp_path, "--json", env=env(server))
    assert (code, result["stopped"], result["markets"]) == (0, False, 4)
