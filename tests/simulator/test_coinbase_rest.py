"""Coinbase's REST answers."""

import json
from typing import Any

import pytest

from services.simulator.coinbase_rest import respond_advanced, respond_exchange
from services.simulator.naming import DAY_S, NS_PER_S
from services.simulator.wire import Query
from tests.simulator.running import START_S, Run


@pytest.fixture(scope="module")
def run() -> Run:
    run = Run()
    run.until(START_S + 5, step_ns=NS_PER_S)
    return run


def advanced(run: Run, path: str, status: int = 200, **query: str) -> Any:
    found = respond_advanced(path, lists(query), run.engine.context, run.now_ns)
    assert found.status == status
    return json.loads(found.text)


def exchange(run: Run, path: str, status: int = 200, **query: str) -> Any:
    found = respond_exchange(path, lists(query), run.engine.context, run.now_ns)
    assert found.status == status
    return json.loads(found.text)


def lists(query: dict[str, str]) -> Query:
    return {name: [value] for name, value in query.items()}


CANDLES = "/market/products/BTC-USD/candles"


def test_candles_are_newest_first_and_the_first_is_forming(run: Run) -> None:
    told = advanced(run, CANDLES, granularity="ONE_MINUTE", limit="5")["candles"]
    starts = [int(c["start"]) for c in told]
    assert starts == sorted(starts, reverse=True)
    assert starts[0] == (START_S + 5) // 60 * 60


def test_a_candle_is_made_of_the_last_trades_of_its_seconds(run: Run) -> None:
    start_s = START_S // 60 * 60 - 600
    (candle,) = advanced(
        run, CANDLES, granularity="ONE_MINUTE", start=str(start_s), end=str(start_s)
    )["candles"]
    spots = run.engine.world.prices.spots_e4(0, start_s + 1, 60) / 10_000
    assert [float(candle[k]) for k in ("open", "high", "low", "close")] == pytest.approx(
        [spots[0], spots.max(), spots.min(), spots[-1]]
    )


def test_some_minutes_are_missing(run: Run) -> None:
    starts: set[int] = set()
    for i in range(4):
        end_s = START_S - 300 * 60 * i
        query = {"start": str(end_s - 299 * 60), "end": str(end_s), "granularity": "60"}
        starts |= {row[0] for row in exchange(run, "/products/BTC-USD/candles", **query)}
    assert 1_150 < len(starts) < 1_200


def test_exchange_puts_low_before_high_before_open(run: Run) -> None:
    rows = exchange(run, "/products/BTC-USD/candles", granularity="300")
    assert all(low <= min(o, c) <= max(o, c) <= high for _, low, high, o, c, _ in rows)
    assert len(rows) in (300, 301)


def test_a_range_too_long_is_refused_by_both(run: Run) -> None:
    far = {"start": str(START_S - DAY_S), "end": str(START_S)}
    assert "350" in advanced(run, CANDLES, 400, granularity="ONE_MINUTE", **far)["message"]
    assert (
        "300" in exchange(run, "/products/BTC-USD/candles", 400, granularity="60", **far)["message"]
    )


def test_history_reaches_back_three_days(run: Run) -> None:
    start_s = START_S - 3 * DAY_S
    query = {"start": str(start_s), "end": str(start_s + 3_600), "granularity": "FIVE_MINUTE"}
    assert len(advanced(run, CANDLES, **query)["candles"]) == 12


def test_the_book_and_the_trades_are_those_of_the_feed(run: Run) -> None:
    book = advanced(run, "/market/product_book", product_id="BTC-USD", limit="2")["pricebook"]
    bids, asks = run.engine.live.tops["BTC-USD"]
    assert [float(b["price"]) for b in book["bids"]] == [p / 10_000 for p, _ in bids[:2]]
    assert [float(a["size"]) for a in book["asks"]] == [s / 1e8 for _, s in asks[:2]]
    trades = advanced(run, "/market/products/BTC-USD/ticker", limit="3")["trades"]
    last = run.engine.live.last_trade("BTC-USD")
    assert last is not None
    assert last.trade is not None
    assert trades[0]["trade_id"] == str(last.trade.trade_id)


@pytest.mark.parametrize("path", ["/market/products/DOGE-USD", "/market", "/orders"])
def test_what_does_not_exist_is_404(run: Run, path: str) -> None:
    advanced(run, path, 404)
    exchange(run, path, 404)
