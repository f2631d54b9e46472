"""Coinbase's WebSockets: subscriptions, one sequence a connection, deadlines, maker sides."""

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest

from services.simulator.coinbase_feed import AdvancedSession, ExchangeSession
from services.simulator.naming import NS_PER_S
from tests.simulator.running import START_S, Run


class Client:
    """A connected session and what it sent, as JSON."""

    def __init__(self, run: Run, session: AdvancedSession | ExchangeSession) -> None:
        self.run, self.session = run, session
        self.heard: list[dict[str, Any]] = []
        run.client(session, lambda out: self.heard.append(json.loads(out.text)))

    def say(self, **message: object) -> list[dict[str, Any]]:
        """Send a message; return what is answered at once."""
        before = len(self.heard)
        self.session.receive(json.dumps(message), self.run.now_ns)
        self.run.engine.flush(self.run.now_ns)
        return self.heard[before:]


@pytest.fixture
def advanced() -> Client:
    run = Run()
    return Client(run, AdvancedSession(run.engine.context, run.now_ns))


@pytest.fixture
def exchange() -> Client:
    run = Run()
    return Client(run, ExchangeSession(run.engine.context, run.now_ns))


def subscribe(client: Client, channel: str, **more: object) -> list[dict[str, Any]]:
    return client.say(type="subscribe", product_ids=["BTC-USD"], channel=channel, **more)


def test_level2_is_acknowledged_and_answered_as_l2_data_with_the_whole_book(
    advanced: Client,
) -> None:
    ack, snapshot = subscribe(advanced, "level2")
    assert ack["channel"] == "subscriptions"
    assert ack["events"] == [{"subscriptions": {"level2": ["BTC-USD"]}}]
    assert snapshot["channel"] == "l2_data"
    updates = snapshot["events"][0]["updates"]
    bids, asks = advanced.run.engine.live.books["BTC-USD"]
    assert len(updates) == len(bids) + len(asks) > 400
    assert {u["side"] for u in updates} == {"bid", "offer"}


def test_numbers_run_over_all_channels_from_zero(advanced: Client) -> None:
    for channel in ("level2", "market_trades", "ticker", "heartbeats"):
        subscribe(advanced, channel)
    advanced.run.until(START_S + 5)
    assert [m["sequence_num"] for m in advanced.heard] == list(range(len(advanced.heard)))


def test_a_side_of_a_trade_is_the_makers(advanced: Client) -> None:
    subscribe(advanced, "market_trades")
    advanced.run.until(START_S + 10)
    told = {
        t["trade_id"]: t["side"]
        for m in advanced.heard
        if m["channel"] == "market_trades"
        for e in m["events"]
        for t in e["trades"]
    }
    trades = [e.trade for e in advanced.run.engine.live.trades["BTC-USD"] if e.trade]
    assert {str(t.trade_id): "SELL" if t.is_buy else "BUY" for t in trades} == told
    assert len(set(told.values())) == 2


def test_trade_ids_have_no_gap_and_the_last_of_a_second_is_at_the_path(advanced: Client) -> None:
    advanced.run.until(START_S + 10)
    trades = list(advanced.run.engine.live.trades["BTC-USD"])
    ids = [e.trade.trade_id for e in trades if e.trade]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    for second in range(START_S, START_S + 9):
        last = [e.trade for e in trades if e.ns // NS_PER_S == second][-1]
        spot = int(advanced.run.engine.world.prices.spots_e4(0, second + 1, 1)[0])
        assert last is not None
        assert last.price == spot


def test_a_heartbeat_beats_once_a_second_with_a_counter_and_a_time_of_its_own_format(
    advanced: Client,
) -> None:
    advanced.say(type="subscribe", channel="heartbeats")
    advanced.run.until(START_S + 5.5)
    beats = [m["events"][0] for m in advanced.heard if m["channel"] == "heartbeats"]
    assert [b["heartbeat_counter"] for b in beats] == [1, 2, 3, 4, 5, 6]
    assert " +0000 UTC m=+" in beats[0]["current_time"]


def test_a_snapshot_can_have_five_million_characters(advanced: Client) -> None:
    advanced.run.engine.switch_on("big_snapshot", "coinbase", now_ns=advanced.run.now_ns, seconds=9)
    advanced.session.receive(
        json.dumps({"type": "subscribe", "product_ids": ["BTC-USD"], "channel": "level2"}),
        advanced.run.now_ns,
    )
    assert len(advanced.session.sent[1].text) > 5_000_000


def test_without_a_subscription_either_feed_closes_after_five_seconds(
    advanced: Client, exchange: Client
) -> None:
    for client in (advanced, exchange):
        client.session.tick((START_S + 5) * NS_PER_S)
        assert not client.session.sent
        client.session.tick((START_S + 5) * NS_PER_S + 1)
        assert client.session.sent[-1].code == 1008


def test_without_updates_a_connection_closes_after_75_seconds(advanced: Client) -> None:
    subscribe(advanced, "status")
    advanced.session.tick((START_S + 76) * NS_PER_S)
    assert advanced.session.sent[-1].code == 1000


@pytest.mark.parametrize("channel", ["l2_data", "", "user"])
def test_an_unknown_channel_is_an_error(advanced: Client, channel: str) -> None:
    (error,) = subscribe(advanced, channel)
    assert error["type"] == "error"


def test_an_unknown_product_is_an_error_and_a_usdc_product_is_its_usd_one(
    advanced: Client,
) -> None:
    error = advanced.say(type="subscribe", product_ids=["DOGE-USD"], channel="level2")[0]
    assert error["type"] == "error"
    told = advanced.say(type="subscribe", product_ids=["BTC-USDC"], channel="level2")
    assert told[1]["events"][0]["product_id"] == "BTC-USD"


def test_the_ninth_message_of_a_second_is_refused(advanced: Client) -> None:
    answers = [subscribe(advanced, "status")[0] for _ in range(9)]
    assert [a.get("type") for a in answers] == [None] * 8 + ["error"]


@pytest.mark.parametrize(
    ("expires_s", "is_good"), [(START_S + 100, True), (START_S - 1, False), (START_S + 900, False)]
)
def test_a_token_must_be_of_the_last_two_minutes(
    advanced: Client, expires_s: int, is_good: bool
) -> None:
    claims = urlsafe_b64encode(json.dumps({"exp": expires_s}).encode()).decode().rstrip("=")
    first = subscribe(advanced, "level2", jwt=f"e30.{claims}.c2ln")[0]
    assert (first.get("channel") == "subscriptions") == is_good


def test_exchange_acknowledges_then_sends_the_book_and_the_last_match(exchange: Client) -> None:
    exchange.run.until(START_S + 2)
    channels = ["level2_batch", "matches", "ticker", "heartbeat"]
    told = exchange.say(type="subscribe", product_ids=["BTC-USD"], channels=channels)
    assert [m["type"] for m in told] == ["subscriptions", "snapshot", "last_match"]
    assert told[0]["channels"][0] == {"name": "level2", "product_ids": ["BTC-USD"]}
    exchange.run.until(START_S + 6)
    kinds = {m["type"] for m in exchange.heard}
    assert kinds == {
        "subscriptions", "snapshot", "last_match", "l2update", "match", "ticker", "heartbeat",
    }  # fmt: skip


def test_exchange_wants_a_key_for_level2(exchange: Client) -> None:
    (error,) = exchange.say(type="subscribe", product_ids=["BTC-USD"], channels=["level2"])
    assert error["reason"] == "level2 requires authentication"


def test_exchange_takes_products_with_their_channel(exchange: Client) -> None:
    channel = {"name": "level2_batch", "product_ids": ["BTC-USD"]}
    told = exchange.say(type="subscribe", channels=[channel])
    assert [m["type"] for m in told] == ["subscriptions", "snapshot"]


def test_a_match_has_the_makers_side_and_its_ticker_the_takers(exchange: Client) -> None:
    exchange.say(type="subscribe", product_ids=["BTC-USD"], channels=["matches", "ticker"])
    exchange.run.until(START_S + 5)
    makers = {m["trade_id"]: m["side"] for m in exchange.heard if m["type"] == "match"}
    takers = {m["trade_id"]: m["side"] for m in exchange.heard if m["type"] == "ticker"}
    assert makers.keys() == takers.keys()
    assert all(makers[i] != takers[i] for i in makers)
