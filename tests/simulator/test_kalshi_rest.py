"""Kalshi's REST answers."""

import itertools
import json
from typing import Any

import pytest

from services.simulator.kalshi_rest import respond
from services.simulator.naming import DAY_S, NS_PER_S
from tests.simulator.running import START_S, Run, market_of


@pytest.fixture(scope="module")
def run() -> Run:
    run = Run()
    run.until(START_S + 10, step_ns=NS_PER_S)
    return run


def get(run: Run, path: str, **query: object) -> Any:
    """Return the JSON of a good answer."""
    return json.loads(asked(run, path, 200, **query))


def asked(run: Run, path: str, code: int, **query: object) -> str:
    """Return the text of an answer with status `code`."""
    texts = {name: [str(value)] for name, value in query.items()}
    found = respond(path, texts, run.engine.context, run.now_ns)
    assert found.status == code
    return found.text


def test_one_quarter_hour_is_open_and_seventeen_are_listed_without_a_strike(run: Run) -> None:
    opened = get(run, "/markets", series_ticker="KXBTC15M", status="open")["markets"]
    ahead = get(run, "/markets", series_ticker="KXBTC15M", status="unopened")["markets"]
    assert [m["status"] for m in opened] == ["active"]
    assert opened[0]["strike_type"] == "greater_or_equal"
    assert 15 <= len(ahead) <= 17
    assert all("floor_strike" not in m and "strike_type" not in m for m in ahead)
    assert all("TBD" in m["yes_sub_title"] for m in ahead)


def test_a_ladder_is_strict_and_says_its_strike(run: Run) -> None:
    rungs = get(run, "/markets", series_ticker="KXBTCD", status="open")["markets"]
    assert len(rungs) == 5
    assert {m["strike_type"] for m in rungs} == {"greater"}
    assert {m["price_level_structure"] for m in rungs} == {"linear_cent"}
    assert all(m["ticker"].endswith(f"T{m['floor_strike']:.2f}") for m in rungs)


def test_settled_windows_chain_strike_to_expiration_value(run: Run) -> None:
    settled = get(run, "/markets", series_ticker="KXBTC15M", status="settled", limit=50)["markets"]
    assert len(settled) == 50
    for later, earlier in itertools.pairwise(settled):
        assert f"{later['floor_strike']:.2f}" == earlier["expiration_value"]
    for market in settled:
        is_yes = float(market["expiration_value"]) >= market["floor_strike"]
        assert market["result"] == ("yes" if is_yes else "no")


def test_pages_follow_a_cursor_to_the_cutoff_and_history_goes_on_behind_it(run: Run) -> None:
    query = {"series_ticker": "KXBTC15M", "status": "settled", "limit": 100}
    names: list[str] = []
    cursor = ""
    while cursor or not names:
        page = get(run, "/markets", cursor=cursor, **query)
        names += [m["ticker"] for m in page["markets"]]
        cursor = page["cursor"]
    old = get(run, "/historical/markets", series_ticker="KXBTC15M", limit=1000)["markets"]
    assert len(names) == len(set(names))
    assert not set(names) & {m["ticker"] for m in old}
    assert len(names) + len(old) > 3 * 96


def test_a_market_is_on_one_side_of_the_cutoff(run: Run) -> None:
    old = get(run, "/historical/markets", series_ticker="KXBTC15M", limit=1)["markets"][0]
    asked(run, f"/markets/{old['ticker']}", 404)
    assert get(run, f"/historical/markets/{old['ticker']}")["market"] == old


def test_the_book_has_bids_on_both_sides_in_dollars(run: Run) -> None:
    ticker = market_of(run, "KXBTC15M").name
    book = get(run, f"/markets/{ticker}/orderbook", depth=3)["orderbook_fp"]
    bids, _ = run.engine.live.books[ticker]
    assert len(book["yes_dollars"]) == 3
    assert book["yes_dollars"][-1][0] == f"{max(bids) / 10_000:.4f}"


def test_trades_are_those_of_the_feed_newest_first(run: Run) -> None:
    ticker = market_of(run, "KXBTC15M").name
    told = get(run, "/markets/trades", ticker=ticker, min_ts=START_S, limit=100)["trades"]
    heard = [e for e in run.engine.live.trades[ticker] if e.ns >= START_S * NS_PER_S]
    assert [t["count_fp"] for t in told] == [
        f"{e.trade.size / 1e6:.2f}" for e in reversed(heard) if e.trade is not None
    ]
    assert [t["created_time"] for t in told] == sorted(t["created_time"] for t in told)[::-1]


def test_trades_page_through_a_whole_window_without_a_double(run: Run) -> None:
    ticker = get(run, "/markets", series_ticker="KXBTC15M", status="settled")["markets"][0][
        "ticker"
    ]
    ids: list[str] = []
    cursor = ""
    while cursor or not ids:
        page = get(run, "/markets/trades", ticker=ticker, cursor=cursor, limit=100)
        ids += [t["trade_id"] for t in page["trades"]]
        cursor = page["cursor"]
    assert len(ids) == len(set(ids)) > 300


def test_candles_end_on_minutes_within_life_and_none_is_forming(run: Run) -> None:
    ticker = market_of(run, "KXBTC15M").name
    path = f"/series/KXBTC15M/markets/{ticker}/candlesticks"
    candles = get(run, path, start_ts=0, end_ts=START_S + 900, period_interval=1)["candlesticks"]
    ends = [c["end_period_ts"] for c in candles]
    assert ends == list(range(START_S - 830 + 60, START_S + 11, 60))
    for candle in candles:
        assert candle["yes_bid"]["low_dollars"] <= candle["yes_bid"]["close_dollars"]
        assert candle["price"]["previous_dollars"] is None


def test_history_reaches_back_three_days(run: Run) -> None:
    early = START_S - 3 * DAY_S
    old = get(
        run,
        "/historical/markets",
        series_ticker="KXBTC15M",
        min_close_ts=early,
        max_close_ts=early + 1_800,
    )["markets"]
    assert len(old) == 2
    path = f"/historical/markets/{old[0]['ticker']}/candlesticks"
    assert len(get(run, path, period_interval=1)["candlesticks"]) == 15


def test_an_event_has_its_markets(run: Run) -> None:
    market = get(run, "/markets", series_ticker="KXBTCD", status="open")["markets"][0]
    found = get(run, f"/events/{market['event_ticker']}")
    assert len(found["markets"]) == 5
    assert found["event"]["series_ticker"] == "KXBTCD"


@pytest.mark.parametrize(
    "path", ["/markets/KXBTC15M-26NOV221246-46", "/markets/x", "/series/KXDOGE", "/nothing"]
)
def test_what_does_not_exist_is_404(run: Run, path: str) -> None:
    assert "error" in asked(run, path, 404)


def test_an_unknown_status_is_a_bad_request(run: Run) -> None:
    asked(run, "/markets", 400, status="sold")


def test_accounts_need_a_key(run: Run) -> None:
    asked(run, "/portfolio/balance", 401)


def test_a_pause_shows_in_the_status() -> None:
    run = Run()
    assert get(run, "/exchange/status")["trading_active"] is True
    run.engine.switch_on("maintenance", "kalshi", now_ns=run.now_ns, seconds=10)
    assert get(run, "/exchange/status")["trading_active"] is False
