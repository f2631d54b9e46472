"""The running world: what sessions hear is what the truth says."""

import json
from typing import Any

import pytest

from services.simulator.coinbase_feed import AdvancedSession
from services.simulator.kalshi_feed import KalshiSession
from services.simulator.naming import NS_PER_S
from services.simulator.polymarket_feed import LiveDataSession, MarketSession
from services.simulator.truth import book_hash
from services.simulator.wire import Out
from tests.simulator.rebuilt import Rebuilt
from tests.simulator.running import START_S, Run, tickers


def test_a_kalshi_book_rebuilt_from_its_deltas_is_the_true_one_at_every_second() -> None:
    run, rebuilt = Run(), Rebuilt()
    session = KalshiSession(run.engine.context, run.now_ns)
    run.client(session, lambda out: rebuilt.kalshi(out.text))
    asked = {"channels": ["orderbook_delta"], "market_tickers": tickers(run)}
    session.receive(json.dumps({"id": 1, "cmd": "subscribe", "params": asked}), run.now_ns)
    for second in range(START_S + 1, START_S + 40):
        run.until(second, step_ns=NS_PER_S)
        run.until(second + 0.001, step_ns=1_000_000)
        books = run.ticks()[-1]["books"]
        for name in tickers(run):
            assert rebuilt.top(name) == (books[name]["bids"], books[name]["asks"])
    assert rebuilt.sequences == list(range(1, len(rebuilt.sequences) + 1))


def test_both_polymarket_tokens_rebuilt_mirror_each_other_and_the_truth() -> None:
    run, rebuilt = Run(), Rebuilt()
    live = run.engine.world.live_markets()
    markets = [market for market in live if market.kind.venue == "polymarket"]
    names = {token: (m.name, i) for m in markets for i, token in enumerate(m.tokens)}
    session = MarketSession(run.engine.context, run.now_ns)
    run.client(session, lambda out: rebuilt.polymarket(out.text, names))
    session.receive(json.dumps({"assets_ids": list(names), "type": "market"}), run.now_ns)
    for second in range(START_S + 1, START_S + 40):
        run.until(second, step_ns=NS_PER_S)
        run.until(second + 0.001, step_ns=1_000_000)
        books = run.ticks()[-1]["books"]
        for market in markets:
            truth = books[market.name]
            up = rebuilt.top(f"{market.name} 0", cut=10_000)
            bids, asks = rebuilt.top(f"{market.name} 1", cut=10_000)
            assert up == (truth["bids"], truth["asks"])
            assert ([[10_000 - p, s] for p, s in asks], [[10_000 - p, s] for p, s in bids]) == up


def test_a_spot_book_rebuilt_is_the_true_one_and_numbers_have_no_gap() -> None:
    run, rebuilt = Run(), Rebuilt()
    session = AdvancedSession(run.engine.context, run.now_ns)
    run.client(session, lambda out: rebuilt.coinbase(out.text))
    for channel in ("level2", "market_trades", "heartbeats"):
        asked = {"type": "subscribe", "product_ids": ["BTC-USD"], "channel": channel}
        session.receive(json.dumps(asked), run.now_ns)
    for second in range(START_S + 1, START_S + 30):
        run.until(second, step_ns=NS_PER_S)
        run.until(second + 0.001, step_ns=1_000_000)
        truth = run.ticks()[-1]["books"]["BTC-USD"]
        bids, asks = rebuilt.top("BTC-USD")
        assert [[p / 1e4, s / 1e8] for p, s in bids] == truth["bids"]
        assert [[p / 1e4, s / 1e8] for p, s in asks] == truth["asks"]
    assert rebuilt.sequences == list(range(len(rebuilt.sequences)))


def test_every_version_of_a_book_between_two_seconds_is_in_the_truth() -> None:
    run, rebuilt = Run(), Rebuilt()
    session = KalshiSession(run.engine.context, run.now_ns)
    seen: list[tuple[int, str]] = []

    def hear(out: Out) -> None:
        rebuilt.kalshi(out.text)
        told = json.loads(out.text)
        if told["type"] == "orderbook_delta":
            seen.append((told["msg"]["ts_ms"], book_hash(*rebuilt.top(name))))

    run.client(session, hear)
    name = next(n for n in tickers(run) if "15M" in n)
    asked = {"channels": ["orderbook_delta"], "market_tickers": [name]}
    session.receive(json.dumps({"id": 1, "cmd": "subscribe", "params": asked}), run.now_ns)
    run.until(START_S + 20)
    versions = {
        (line["ts_ns"] // NS_PER_S - 1, told)
        for line in run.ticks()
        for _, told in line["books"].get(name, {"versions": []})["versions"]
    }
    inside = [(ms // 1_000, told) for ms, told in seen if ms < (START_S + 19) * 1_000]
    assert len(inside) > 100
    # Changes of one instant are several messages, and the book after each is one that was told.
    assert len({ms for ms, _ in seen}) < len(seen)
    assert [one for one in inside if one not in versions] == []


def test_a_seed_and_a_start_make_the_same_truth_whoever_listens() -> None:
    alone, heard = Run(), Run()
    session = LiveDataSession(heard.engine.context, heard.now_ns)
    heard.client(session, lambda out: None)
    alone.until(START_S + 20)
    heard.until(START_S + 20, step_ns=300_000_000)
    # How late a tick was written is not the world's.
    one, other = ([{**tick, "late_ns": 0} for tick in run.ticks()] for run in (alone, heard))
    assert one == other[: len(one)]


def test_another_seed_is_another_world() -> None:
    one, two = Run(5), Run(6)
    one.until(START_S + 3)
    two.until(START_S + 3)
    assert one.ticks()[-1] != two.ticks()[-1]


def test_a_window_settles_on_published_prints_and_the_next_is_struck_there() -> None:
    run, prints = Run(), {}
    session = KalshiSession(run.engine.context, run.now_ns)
    life: list[dict[str, Any]] = []

    def hear(out: Out) -> None:
        told = json.loads(out.text)
        if told["type"] == "cfbenchmarks_value":
            value = json.loads(told["msg"]["data"])
            prints[value["time"] // 1_000] = float(value["value"])
        elif told["type"] == "market_lifecycle_v2":
            life.append(told["msg"])

    run.client(session, hear)
    for channel in ("cfbenchmarks_value", "market_lifecycle_v2"):
        params = {"channels": [channel], "index_ids": ["BRTI"]}
        session.receive(json.dumps({"id": 1, "cmd": "subscribe", "params": params}), run.now_ns)
    run.until(START_S + 140, step_ns=NS_PER_S)
    close_s = START_S + 70
    mean = sum(prints[s] for s in range(close_s - 59, close_s + 1)) / 60
    closed = next(
        line for line in run.lines if line["kind"] == "determined" and "15M" in line["market"]
    )
    struck = [
        m for m in life if m["event_type"] == "metadata_updated" and "15M" in m["market_ticker"]
    ]
    assert closed["settlement_usd"] == pytest.approx(mean, abs=0.005_001)
    assert struck[0]["floor_strike"] == closed["settlement_usd"]
    determined = next(m for m in life if m["event_type"] == "determined")
    assert determined["result"] == closed["result"]


def test_a_tie_settles_exactly_at_the_strike_and_as_yes() -> None:
    run = Run()
    run.engine.switch_on("tie", "kalshi", now_ns=run.now_ns, seconds=None)
    run.until(START_S + 140, step_ns=NS_PER_S)
    line = next(x for x in run.lines if x["kind"] == "determined" and "15M" in x["market"])
    assert line["settlement_usd"] == line["strike_usd"]
    assert line["result"] == "yes"


def test_a_missing_strike_is_never_announced() -> None:
    run = Run(start_s=START_S + 60)
    run.engine.switch_on("missing_strike", "kalshi", now_ns=run.now_ns, seconds=30)
    run.until(START_S + 180, step_ns=NS_PER_S)
    opened = next(x for x in run.lines if x["kind"] == "opened" and "15M" in x["market"])
    struck = [x["market"] for x in run.lines if x["kind"] == "struck"]
    assert opened["market"] not in struck
    assert struck


def test_a_late_strike_is_announced_ninety_seconds_later() -> None:
    run = Run(start_s=START_S + 60)
    run.engine.switch_on("late_strike", "kalshi", now_ns=run.now_ns, seconds=30)
    run.until(START_S + 180, step_ns=NS_PER_S)
    line = next(x for x in run.lines if x["kind"] == "struck" and "15M" in x["market"])
    assert 90 < (line["ts_ns"] - line["open_ns"]) / NS_PER_S < 91


def test_a_crossed_book_and_a_missing_side_are_what_the_truth_says() -> None:
    run = Run()
    run.engine.switch_on("crossed_book", "kalshi", now_ns=run.now_ns, seconds=20)
    run.engine.switch_on("empty_side", "polymarket", now_ns=run.now_ns, seconds=20)
    run.until(START_S + 10)
    books = run.ticks()[-1]["books"]
    kalshi = next(book for name, book in books.items() if name.startswith("KX") and book["asks"])
    assert kalshi["bids"][0][0] > kalshi["asks"][0][0]
    polymarket = books[next(name for name in books if "updown" in name)]
    assert bool(polymarket["bids"]) != bool(polymarket["asks"])
    run.until(START_S + 30)
    assert all(
        not book["bids"] or not book["asks"] or book["bids"][0][0] < book["asks"][0][0]
        for book in run.ticks()[-1]["books"].values()
    )


def test_a_frozen_polymarket_client_gets_its_books_again_when_data_returns() -> None:
    run, kinds = Run(), []
    market = next(m for m in run.engine.world.live_markets() if m.kind.venue == "polymarket")
    session = MarketSession(run.engine.context, run.now_ns)
    run.client(session, lambda out: kinds.append(json.loads(out.text)))
    session.receive(json.dumps({"assets_ids": [market.tokens[0]]}), run.now_ns)
    run.until(START_S + 2)
    run.engine.switch_on("freeze", "polymarket", now_ns=run.now_ns, seconds=10)
    before = len(kinds)
    run.until(START_S + 11)
    assert len(kinds) == before
    run.until(START_S + 14)
    assert kinds[before][0]["event_type"] == "book"


def test_maintenance_ends_connections_and_books_stand_still() -> None:
    run = Run()
    run.client(KalshiSession(run.engine.context, run.now_ns), lambda out: None)
    run.engine.switch_on("maintenance", "kalshi", now_ns=run.now_ns, seconds=20)
    assert not run.engine.clients
    run.until(START_S + 15)
    name = next(n for n in tickers(run) if "15M" in n)
    first, last = run.ticks()[5]["books"][name], run.ticks()[-1]["books"][name]
    assert first == last
    assert run.ticks()[-1]["up"] == {"coinbase": True, "kalshi": False, "polymarket": True}


def test_a_cycle_goes_through_faults_and_the_truth_notes_them_on_and_off() -> None:
    run = Run(every_s=20.0)
    run.until(START_S + 200, step_ns=NS_PER_S)
    kinds = [line["kind"] for line in run.lines if line["kind"].startswith("fault")]
    assert kinds.count("fault_on") == 10
    assert "fault_off" in kinds
    assert len(run.reported) == len(kinds)
