"""Polymarket's WebSockets: the market channel, live data, and its successor."""

import json
from typing import Any

import pytest

from services.simulator.naming import NS_PER_S
from services.simulator.polymarket_feed import LiveDataSession, MarketSession, PolyBoltSession
from services.simulator.routing import Session
from services.simulator.wire import PING
from tests.simulator.running import START_S, Run, market_of


class Client:
    """A connected session and what it sent."""

    def __init__(self, run: Run, session: Session) -> None:
        self.run, self.session = run, session
        self.texts: list[str] = []
        run.client(session, lambda out: self.texts.append(out.text))

    def say(self, message: object) -> list[str]:
        """Send JSON (or a text); return what is answered at once."""
        before = len(self.texts)
        text = message if isinstance(message, str) else json.dumps(message)
        self.session.receive(text, self.run.now_ns)
        self.run.engine.flush(self.run.now_ns)
        return self.texts[before:]

    def heard(self) -> list[dict[str, Any]]:
        """Return single messages as JSON."""
        return [json.loads(t) for t in self.texts if t.startswith("{")]


@pytest.fixture
def market() -> Client:
    run = Run()
    return Client(run, MarketSession(run.engine.context, run.now_ns))


@pytest.fixture
def rtds() -> Client:
    run = Run()
    return Client(run, LiveDataSession(run.engine.context, run.now_ns))


@pytest.fixture
def bolt() -> Client:
    run = Run()
    return Client(run, PolyBoltSession(run.engine.context, run.now_ns))


def tokens(client: Client) -> list[str]:
    return list(market_of(client.run, "btc-updown-15m").tokens)


def test_a_subscription_is_answered_with_one_array_of_books(market: Client) -> None:
    (text,) = market.say({"assets_ids": tokens(market), "type": "market"})
    books = json.loads(text)
    assert [b["asset_id"] for b in books] == tokens(market)
    prices = [float(level["price"]) for level in books[0]["bids"]]
    assert prices == sorted(prices)
    asks = [float(level["price"]) for level in books[0]["asks"]]
    assert asks == sorted(asks, reverse=True)


def test_a_ping_is_answered_with_a_pong_that_is_no_json(market: Client) -> None:
    assert market.say("PING") == ["PONG"]


def test_without_an_initial_dump_nothing_is_said_at_once(market: Client) -> None:
    assert market.say({"assets_ids": tokens(market), "initial_dump": False}) == []


def test_a_token_can_be_added_and_left(market: Client) -> None:
    market.say({"assets_ids": [], "type": "market"})
    up = tokens(market)[:1]
    assert len(json.loads(market.say({"assets_ids": up, "operation": "subscribe"})[0])) == 1
    market.say({"assets_ids": up, "operation": "unsubscribe"})
    before = len(market.texts)
    market.run.until(START_S + 5)
    assert len(market.texts) == before


def test_a_price_change_tells_both_tokens_with_the_touch_after_it(market: Client) -> None:
    market.say({"assets_ids": tokens(market)})
    market.run.until(START_S + 10)
    changes = [c for m in market.heard() for c in m.get("price_changes", ())]
    up, down = changes[::2], changes[1::2]
    for one, other in zip(up, down, strict=True):
        assert float(one["price"]) + float(other["price"]) == pytest.approx(1)
        assert {one["side"], other["side"]} == {"BUY", "SELL"}
        assert one["size"] == other["size"]
        assert float(one["best_bid"]) + float(other["best_ask"]) == pytest.approx(1)


def test_best_prices_are_told_only_with_custom_features(market: Client) -> None:
    market.say({"assets_ids": tokens(market)})
    market.run.until(START_S + 20)
    assert "best_bid_ask" not in {m["event_type"] for m in market.heard()}
    market.say({"assets_ids": tokens(market), "custom_feature_enabled": True})
    market.run.until(START_S + 40)
    assert "best_bid_ask" in {m["event_type"] for m in market.heard()}


def test_a_resolution_and_a_new_market_are_told_with_custom_features(market: Client) -> None:
    pair = tokens(market)
    market.say({"assets_ids": pair, "custom_feature_enabled": True})
    market.run.until(START_S + 70 + 125, step_ns=NS_PER_S)
    told = {m["event_type"]: m for m in market.heard()}
    assert told["market_resolved"]["winning_asset_id"] in pair
    assert told["market_resolved"]["assets_ids"] == pair
    assert len(told["new_market"]["clob_token_ids"]) == 2


def test_a_tick_size_change_is_followed_by_the_book_of_each_token() -> None:
    world = Run().engine.world
    kind = next(k for k in world.kinds if k.name == "btc-updown-15m")
    found = (world.quotes(m) for m in world.markets(kind, START_S - 9_000, START_S))
    quotes = next(q for q in found if q.fine_s is not None)
    run = Run(start_s=(quotes.fine_s or 0) - 2)
    client = Client(run, MarketSession(run.engine.context, run.now_ns))
    client.say({"assets_ids": list(quotes.market.tokens)})
    run.until((quotes.fine_s or 0) + 3)
    kinds = [m["event_type"] for m in client.heard()]
    first = kinds.index("tick_size_change")
    assert kinds[first : first + 4] == ["tick_size_change", "tick_size_change", "book", "book"]
    assert client.heard()[first + 2]["tick_size"] == "0.001"


@pytest.mark.parametrize("text", ["{", "[]", '{"assets_ids":5}'])
def test_a_wrong_message_is_answered_not_fatal(market: Client, text: str) -> None:
    assert market.say(text) == ["INVALID OPERATION"]


def test_live_data_begins_with_two_minutes_and_goes_on_once_a_second(rtds: Client) -> None:
    topic = {"topic": "crypto_prices_chainlink", "type": "*", "filters": '{"symbol":"btc/usd"}'}
    (first,) = rtds.say({"action": "subscribe", "subscriptions": [topic]})
    told = json.loads(first)
    assert told["type"] == "subscribe"
    assert 119 <= len(told["payload"]["data"]) <= 120
    rtds.run.until(START_S + 5.5)
    updates = [m["payload"] for m in rtds.heard()[1:]]
    assert [u["timestamp"] // 1_000 for u in updates] == [START_S + i for i in range(6)]
    assert all(float(u["full_accuracy_value"]) == u["value"] for u in updates)


def test_a_filter_for_another_symbol_hears_nothing(rtds: Client) -> None:
    topic = {"topic": "crypto_prices_chainlink", "type": "*", "filters": '{"symbol":"eth/usd"}'}
    assert rtds.say({"action": "subscribe", "subscriptions": [topic]}) == []


def test_the_successor_wants_keys_first(bolt: Client) -> None:
    asked = {"channel": "price.crypto.twap", "filter": {"symbol": "btcusd"}}
    (error,) = bolt.say({"op": "subscribe", "rid": "s", "subscriptions": [asked]})
    assert json.loads(error)["code"] == "auth_required"
    bolt.say({"op": "auth", "rid": "a", "auth": {}})
    assert json.loads(bolt.texts[-1])["code"] == "auth_failed"


def test_the_successor_numbers_a_channel_from_its_snapshot_on(bolt: Client) -> None:
    keys = {"apiKey": "k", "secret": "s", "passphrase": "p"}
    (authed,) = bolt.say({"op": "auth", "rid": "a", "auth": keys})
    assert json.loads(authed) == {"op": "authed", "rid": "a"}
    asked = {"channel": "price.crypto.twap", "filter": {"symbol": "btcusd", "window_seconds": 60}}
    ack, snapshot = bolt.say({"op": "subscribe", "rid": "s", "subscriptions": [asked]})
    assert json.loads(ack) == {"op": "subscribed", "channel": "price.crypto.twap", "rid": "s"}
    assert json.loads(snapshot)["snapshot"] is True
    bolt.run.until(START_S + 4.5)
    told = [m for m in bolt.heard() if "seq" in m]
    assert [m["seq"] for m in told] == list(range(1, len(told) + 1))
    prices = bolt.run.engine.world.prices
    last = told[-1]["payload"]["data"][0]
    mean = prices.sum_e4(0, last["timestamp"] // 1_000) / 600_000
    assert float(last["full_accuracy_value"]) == pytest.approx(mean, abs=1e-7)


def test_the_successor_pings_every_25_seconds(bolt: Client) -> None:
    bolt.session.tick((START_S + 26) * NS_PER_S)
    assert [out.code for out in bolt.session.sent] == [PING]
