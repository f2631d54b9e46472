"""Back-fill against a server that answers as the venues do: the same archive, whatever happens."""

import os
import signal
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from libs.common import columns, durable, sealing
from libs.common.archive import Archive
from libs.common.checks import ArchiveError, UnavailableError, UsageError
from libs.common.events import Gap, Market, QuoteSnapshot, Resolution, SpotSnapshot
from libs.common.settings import Settings
from libs.common.venues.kalshi_market import fingerprint
from services.collector.backfill import Filled, Request, backfill
from services.collector.historian import TRIES_MAX
from tests.collector.history_server import (
    CLOSES_S,
    DAYS,
    NOW_S,
    START_S,
    TRADED_S,
    VenueServer,
)
from tests.common.venues.kalshi_texts import market as kalshi_market

S = 1_000_000_000
KALSHI = Request("kalshi", "KXBTC15M", 2)
POLYMARKET = Request("polymarket", "btc-updown-15m", 2)
SPOT_ROWS = 3 * (TRADED_S // 60 - 2)


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


def fill(root: Path, server: VenueServer, request: Request = KALSHI, **others: Any) -> Filled:
    settings = Settings(_env_file=None, simulator_url=server.url)  # type: ignore[call-arg]
    return backfill(root, request, settings, **others)


def contents(root: Path) -> dict[str, str]:
    """Return the hash of every file of the archive and of the notes about it."""
    files = sorted(p for top in ("archive", "backfill") for p in (root / top).rglob("*.*"))
    return {str(p.relative_to(root)): sha256(p.read_bytes()).hexdigest() for p in files}


def test_history_of_both_tiers_and_of_spot_is_in_the_archive(
    tmp_path: Path, server: VenueServer
) -> None:
    filled = fill(tmp_path, server)
    assert (filled.markets, filled.quotes, filled.spot) == (6, 6 * 14, SPOT_ROWS)
    assert (filled.dropped, filled.flagged, filled.failures) == ({}, {}, [])
    archive = Archive(tmp_path)
    markets = columns.from_table(Market, archive.table(Market))
    assert len(markets) == 12
    assert {m.settlement_rule for m in markets} == {"mean60"}  # type: ignore[attr-defined]
    told = kalshi_market()
    own = fingerprint(told["rules_primary"], told["rules_secondary"])
    # Else a collector that starts on this archive would find the rule of each market changed.
    assert {m.rule_fingerprint for m in markets} == {own}  # type: ignore[attr-defined]
    assert archive.table(Resolution).num_rows == 6
    assert archive.table(Gap).num_rows == 0
    last = columns.from_table(SpotSnapshot, archive.table(SpotSnapshot))[-1]
    assert last.ts_ns == (START_S + 2 * 86_400 + TRADED_S) * S
    quotes = archive.table(QuoteSnapshot)["ts_ns"].to_pylist()
    assert quotes[0] == (CLOSES_S[0] - 840) * S + 1


def test_nothing_is_later_than_now(tmp_path: Path, server: VenueServer) -> None:
    fill(tmp_path, server)
    span = Archive(tmp_path).span_ns()
    assert span is not None
    assert span[1] <= NOW_S * S + 60 * S  # the server's clock runs on while it is asked


def test_polymarket_tells_markets_strikes_and_results_and_no_quotes(
    tmp_path: Path, server: VenueServer
) -> None:
    filled = fill(tmp_path, server, POLYMARKET)
    assert (filled.markets, filled.quotes, filled.flagged) == (6, 0, {})
    assert server.targets("prices-history") == []
    archive = Archive(tmp_path)
    strikes = {
        m.strike_usd: m.ts_ns - m.open_ns  # type: ignore[attr-defined]
        for m in columns.from_table(Market, archive.table(Market))
    }
    assert strikes == {None: 0, 65_000.25: 30 * S}
    assert archive.table(Resolution).num_rows == 6
    assert archive.table(Gap).num_rows == 0


def test_second_run_asks_nothing_of_complete_days_and_adds_nothing(
    tmp_path: Path, server: VenueServer
) -> None:
    fill(tmp_path, server)
    before = contents(tmp_path)
    server.asked.clear()
    filled = fill(tmp_path, server)
    assert (filled.new, filled.skipped_pieces) == (0, 4)
    today_s = START_S + 2 * 86_400
    candles = server.targets("/candles?")
    assert all(f"start={today_s}" <= t.partition("?")[2] for t in candles)
    assert len(candles) == 3
    assert contents(tmp_path) == before


def test_days_that_were_filled_for_one_series_serve_another(
    tmp_path: Path, server: VenueServer
) -> None:
    fill(tmp_path, server)
    assert fill(tmp_path, server, POLYMARKET).skipped_pieces == len(DAYS)


def test_without_notes_everything_is_asked_again_and_nothing_is_new(
    tmp_path: Path, server: VenueServer
) -> None:
    fill(tmp_path, server)
    before = contents(tmp_path)
    for note in (tmp_path / "backfill").rglob("*.json"):
        note.unlink()
    filled = fill(tmp_path, server)
    assert (filled.new, filled.skipped_pieces) == (0, 0)
    assert contents(tmp_path) == before


def test_notes_without_an_archive_are_no_notes(tmp_path: Path, server: VenueServer) -> None:
    fill(tmp_path, server)
    (tmp_path / "archive").rename(tmp_path / "moved")
    assert fill(tmp_path, server).spot == SPOT_ROWS


def test_damaged_note_is_named(tmp_path: Path, server: VenueServer) -> None:
    fill(tmp_path, server)
    path = tmp_path / "backfill/kalshi/KXBTC15M.json"
    path.write_bytes(b"{")
    with pytest.raises(ArchiveError, match=r"KXBTC15M\.json is damaged"):
        fill(tmp_path, server)


class Died(BaseException):
    """A kill: nothing catches it."""


def test_kills_at_any_step_and_a_resume_give_the_archive_of_an_undisturbed_run(
    tmp_path: Path, server: VenueServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    monkeypatch.setattr(durable, "on_step", steps.append)
    fill(tmp_path / "whole", server)
    whole = contents(tmp_path / "whole")
    for nth in (1, 30, len(steps) // 3, len(steps) // 2, len(steps) - 2):
        left = [nth]

        def die(step: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Died(step)

        root = tmp_path / str(nth)
        monkeypatch.setattr(durable, "on_step", die)
        with pytest.raises(Died):
            fill(root, server)
        assert contents(root) != whole
        monkeypatch.setattr(durable, "on_step", lambda step: None)
        fill(root, server)
        assert contents(root) == whole


@pytest.mark.parametrize(
    "answer",
    [
        (429, '{"error":"too many requests"}'),
        (425, ""),
        (503, "<html>down</html>"),
        (200, "<html>a page</html>"),
    ],
)
def test_what_passes_is_waited_for(
    tmp_path: Path, server: VenueServer, answer: tuple[int, str]
) -> None:
    for part in ("/cutoff", "/historical/markets?", "/candlesticks", "/candles?"):
        server.fail(part, answer, times=2)
    filled = fill(tmp_path, server)
    assert (filled.markets, filled.quotes, filled.spot) == (6, 6 * 14, SPOT_ROWS)
    assert filled.failures == []


def test_target_that_stays_away_is_given_up_and_the_other_is_kept(
    tmp_path: Path, server: VenueServer
) -> None:
    server.fail("/candles?", (503, "down"), times=10_000)
    filled = fill(tmp_path, server)
    assert len(server.targets("/candles?")) <= TRIES_MAX * 5
    (failure,) = filled.failures
    assert failure.startswith("coinbase/BTC-USD 2026-09-23: ")
    assert f"no answer in {TRIES_MAX} tries" in failure
    assert (filled.markets, filled.spot) == (6, 0)
    server.rules.clear()
    assert fill(tmp_path, server).spot == SPOT_ROWS
    fill(tmp_path / "other", server)
    assert contents(tmp_path)["backfill/coinbase/BTC-USD.json"]


def test_refusal_is_not_asked_again(tmp_path: Path, server: VenueServer) -> None:
    server.fail("/cutoff", (403, "region"), times=10)
    filled = fill(tmp_path, server)
    assert len(server.targets("/cutoff")) == 1
    assert "refused" in filled.failures[0]


def test_day_with_an_answer_that_was_not_understood_is_not_complete(
    tmp_path: Path, server: VenueServer
) -> None:
    ticker = f"KXBTC15M-X{CLOSES_S[3]}-00"
    server.fail(f"{ticker}/candlesticks", (200, '{"candles":[]}'))
    filled = fill(tmp_path, server)
    assert (filled.quotes, filled.dropped) == (5 * 14, {"unexpected": 1})
    filled = fill(tmp_path, server)
    assert filled.skipped_pieces == 3
    assert Archive(tmp_path).table(QuoteSnapshot).num_rows == 6 * 14


def test_day_with_a_candle_that_was_not_understood_is_not_complete(
    tmp_path: Path, server: VenueServer
) -> None:
    ticker = f"KXBTC15M-X{CLOSES_S[3]}-00"
    server.fail(f"{ticker}/candlesticks", (200, '{"candlesticks":[{"end_period_ts":"x"}]}'))
    assert fill(tmp_path, server).dropped == {"wrong_shape": 1}
    assert fill(tmp_path, server).skipped_pieces == 3


def test_list_that_nobody_understands_is_given_up(tmp_path: Path, server: VenueServer) -> None:
    server.fail("/markets?series_ticker", (200, '{"other":1}'), times=100)
    filled = fill(tmp_path, server)
    assert filled.failures == ["kalshi/KXBTC15M 2026-09-23: no list of markets: unexpected"]
    assert filled.markets == 0


def test_market_that_was_recorded_live_is_left_alone(tmp_path: Path, server: VenueServer) -> None:
    fill(tmp_path, server)
    table = Archive(tmp_path).table(QuoteSnapshot)
    event = columns.from_table(QuoteSnapshot, table)[20]
    seen = msgspec.structs.replace(event, ts_ns=event.ts_ns + 5 * S, id="00" * 8)
    sealing.add_late_rows(tmp_path, QuoteSnapshot, columns.to_table(QuoteSnapshot, [seen]))
    for note in (tmp_path / "backfill").rglob("*.json"):
        note.unlink()
    filled = fill(tmp_path, server)
    assert (filled.markets, filled.dropped) == (5, {"market_recorded_already": 1})
    assert filled.new == 0


def test_signal_ends_the_run_between_two_pieces_and_the_rest_follows(
    tmp_path: Path, server: VenueServer
) -> None:
    shares: list[float] = []

    def stop(share: float) -> None:
        shares.append(share)
        if share >= 0.5 and not any(earlier >= 0.5 for earlier in shares[:-1]):
            os.kill(os.getpid(), signal.SIGTERM)

    filled = fill(tmp_path, server, on_progress=stop)
    assert filled.is_stopped
    assert 0 < filled.spot < SPOT_ROWS
    assert shares == sorted(shares)
    assert not fill(tmp_path, server).is_stopped
    fill(tmp_path / "whole", server)
    assert contents(tmp_path / "whole").items() <= contents(tmp_path).items()


def test_progress_ends_at_one(tmp_path: Path, server: VenueServer) -> None:
    shares: list[float] = []
    fill(tmp_path, server, on_progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_another_writer_is_not_written_beside(tmp_path: Path, server: VenueServer) -> None:
    with (
        durable.writer_lock(tmp_path, "collector"),
        pytest.raises(UnavailableError, match="another process is writing"),
    ):
        fill(tmp_path, server)
    assert server.asked == []


@pytest.mark.parametrize(
    "request_",
    [
        Request("kalshi", "btc-updown-15m", 2),
        Request("coinbase", "BTC-USD", 2),
        Request("nowhere", "KXBTC15M", 2),
        Request("kalshi", "KXBTC15M", -1),
        Request("kalshi", "KXBTC15M", 1_000_000),
    ],
)
def test_what_cannot_be_filled_is_a_usage_error(
    tmp_path: Path, server: VenueServer, request_: Request
) -> None:
    with pytest.raises(UsageError):
        fill(tmp_path, server, request_)
    assert server.asked == []


def test_clock_that_does_not_answer_is_named(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, simulator_url="http://127.0.0.1:1")  # type: ignore[call-arg]
    with pytest.raises(UnavailableError, match="/clock does not answer"):
        backfill(tmp_path, KALSHI, settings)
