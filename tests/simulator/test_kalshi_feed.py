"""Kalshi's WebSocket: commands, sequence numbers, errors, what is left out."""

import json
from typing import Any

import pytest

from services.simulator.kalshi_feed import KalshiSession
from services.simulator.naming import NS_PER_S
from services.simulator.wire import PING
from tests.simulator.running import START_S, Run, market_of, tickers


class Client:
    """A connected session and what it sent, as JSON."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.heard: list[dict[str, Any]] = []
        self.session = KalshiSession(run.engine.context, run.now_ns)
        run.client(self.session, lambda out: self.heard.append(json.loads(out.text)))

    def say(self, **command: object) -> list[dict[str, Any]]:
        """Send a command; return what is answered at once."""
        before = len(self.heard)
        self.session.receive(json.dumps(command), self.run.now_ns)
        self.run.engine.flush(self.run.now_ns)
        return self.heard[before:]

    def subscribe(self, channel: str, **params: object) -> list[dict[str, Any]]:
        """Subscribe to one channel."""
        return self.say(id=1, cmd="subscribe", params={"channels": [channel], **params})


@pytest.fixture
def client() -> Client:
    return Client(Run())


def test_each_channel_is_acknowledged_with_a_sid_of_its_own(client: Client) -> None:
    ticker = tickers(client.run)[0]
    channels = ["orderbook_delta", "ticker", "trade"]
    params = {"channels": channels, "market_tickers": [ticker]}
    said = client.say(id=7, cmd="subscribe", params=params)
    told = [m for m in said if m["type"] == "subscribed"]
    assert [m["msg"] for m in told] == [
        {"channel": channel, "sid": i} for i, channel in enumerate(channels, start=1)
    ]
    assert {m["id"] for m in told} == {7}


def test_a_snapshot_follows_the_acknowledgement_and_begins_the_sequence(client: Client) -> None:
    ticker = market_of(client.run, "KXBTC15M").name
    ack, snapshot = client.subscribe("orderbook_delta", market_tickers=[ticker])
    assert ack["type"] == "subscribed"
    assert (snapshot["type"], snapshot["sid"], snapshot["seq"]) == ("orderbook_snapshot", 1, 1)
    assert snapshot["msg"]["market_ticker"] == ticker


def test_an_empty_side_has_no_key_in_a_snapshot(client: Client) -> None:
    ticker = market_of(client.run, "KXBTC15M").name
    _bids, asks = client.run.engine.live.books[ticker]
    asks.clear()
    snapshot = client.subscribe("orderbook_delta", market_tickers=[ticker])[1]
    assert "yes_dollars_fp" in snapshot["msg"]
    assert "no_dollars_fp" not in snapshot["msg"]


def test_no_bids_are_at_one_less_the_ask_or_at_yes_prices_if_asked(client: Client) -> None:
    ticker = next(t for t in tickers(client.run) if client.run.engine.live.books[t][1])
    best = min(client.run.engine.live.books[ticker][1])
    usual = client.subscribe("orderbook_delta", market_tickers=[ticker])[1]
    in_yes = client.subscribe("orderbook_delta", market_tickers=[ticker], use_yes_price=True)[1]
    assert usual["msg"]["no_dollars_fp"][-1][0] == f"{1 - best / 10_000:.4f}"
    assert in_yes["msg"]["no_dollars_fp"][-1][0] == f"{best / 10_000:.4f}"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({"id": 1, "cmd": "sing"}, 5),
        ({"id": 1, "cmd": "subscribe"}, 2),
        ({"id": 1, "cmd": "subscribe", "params": {}}, 3),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": ["books"]}}, 8),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": ["orderbook_delta"]}}, 14),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": ["cfbenchmarks_value"]}}, 24),
        ({"id": 1, "cmd": "unsubscribe", "params": {}}, 4),
        ({"id": 1, "cmd": "unsubscribe", "params": {"sids": [9]}}, 7),
        ({"id": 1, "cmd": "update_subscription", "params": {"sids": [1, 2]}}, 12),
        ({"id": 1, "cmd": "update_subscription", "params": {"sids": [9]}}, 7),
        ({"id": 1, "cmd": 5}, 1),
    ],
)
def test_a_wrong_command_is_answered_with_its_code(
    client: Client, command: dict[str, object], code: int
) -> None:
    (error,) = client.say(**command)
    assert error["type"] == "error"
    assert error["msg"]["code"] == code


def test_text_that_is_no_json_is_an_error_not_an_end(client: Client) -> None:
    client.session.receive("{", client.run.now_ns)
    assert json.loads(client.session.sent[0].text)["msg"]["code"] == 1


def test_adding_markets_consumes_a_number_and_brings_their_snapshots(client: Client) -> None:
    first, second, *_ = tickers(client.run)
    client.subscribe("orderbook_delta", market_tickers=[first])
    params = {"sids": [1], "market_tickers": [first, second], "action": "add_markets"}
    ok, snapshot = client.say(id=2, cmd="update_subscription", params=params)
    assert (ok["type"], ok["seq"]) == ("ok", 2)
    assert ok["msg"]["market_tickers"] == sorted([first, second])
    assert (snapshot["seq"], snapshot["msg"]["market_ticker"]) == (3, second)


def test_get_snapshot_resends_a_book_with_the_next_number(client: Client) -> None:
    ticker = market_of(client.run, "KXBTC15M").name
    client.subscribe("orderbook_delta", market_tickers=[ticker])
    params = {"sids": [1], "market_tickers": [ticker], "action": "get_snapshot"}
    (snapshot,) = client.say(id=2, cmd="update_subscription", params=params)
    assert (snapshot["type"], snapshot["seq"]) == ("orderbook_snapshot", 2)


def test_unsubscribing_is_numbered_and_ends_the_messages(client: Client) -> None:
    ticker = market_of(client.run, "KXBTC15M").name
    client.subscribe("orderbook_delta", market_tickers=[ticker])
    (told,) = client.say(id=3, cmd="unsubscribe", params={"sids": [1]})
    assert told == {"id": 3, "sid": 1, "seq": 2, "type": "unsubscribed"}
    before = len(client.heard)
    client.run.until(START_S + 5)
    assert len(client.heard) == before


def test_a_market_that_is_not_asked_for_is_not_told(client: Client) -> None:
    ticker = market_of(client.run, "KXBTC15M").name
    client.subscribe("ticker", market_tickers=[ticker])
    client.run.until(START_S + 5)
    assert {m["msg"]["market_ticker"] for m in client.heard if m["type"] == "ticker"} == {ticker}


def test_tickers_come_once_a_second_at_most_and_have_no_sequence(client: Client) -> None:
    client.subscribe("ticker", market_tickers=[market_of(client.run, "KXBTC15M").name])
    client.run.until(START_S + 20)
    told = [m for m in client.heard if m["type"] == "ticker"]
    seconds = [m["msg"]["ts_ms"] // 1_000 for m in told]
    assert len(seconds) == len(set(seconds)) > 5
    assert all("seq" not in m for m in told)


def test_a_ping_comes_every_ten_seconds(client: Client) -> None:
    pings = 0
    for second in range(1, 31):
        client.session.tick((START_S + second) * NS_PER_S)
        pings += sum(out.code == PING and out.text == "heartbeat" for out in client.session.sent)
        client.session.sent.clear()
    assert pings == 3


def test_the_index_comes_once_a_second_with_the_running_average_of_the_last_minute(
    client: Client,
) -> None:
    client.subscribe("cfbenchmarks_value", index_ids=["BRTI"])
    client.run.until(START_S + 75, step_ns=NS_PER_S)
    told = [m["msg"] for m in client.heard if m["type"] == "cfbenchmarks_value"]
    times = [json.loads(m["data"])["time"] // 1_000 for m in told]
    assert times == list(range(START_S, START_S + len(times)))
    windows = {
        t: m.get("last_60s_windowed_average_15min") for t, m in zip(times, told, strict=True)
    }
    close_s = START_S + 70
    assert windows[close_s - 60] is None
    assert windows[close_s - 59]["window_size"] == 1
    assert windows[close_s]["window_size"] == 60
    assert windows[close_s]["value"] == told[times.index(close_s)]["avg_60s_data"]["value"]
    assert windows[close_s + 1] is None


def test_a_life_cycle_is_told_to_all_in_order(client: Client) -> None:
    client.subscribe("market_lifecycle_v2")
    client.run.until(START_S + 150, step_ns=NS_PER_S)
    told = [m["msg"] for m in client.heard if m["type"] == "market_lifecycle_v2"]
    fifteen = [m for m in told if m["market_ticker"].startswith("KXBTC15M")]
    assert {"created", "activated", "metadata_updated", "determined", "settled"} == {
        m["event_type"] for m in fifteen
    }
    created = next(m for m in fifteen if m["event_type"] == "created")
    assert "floor_strike" not in created["additional_metadata"]
    determined = next(m for m in fifteen if m["event_type"] == "determined")
    assert determined["settlement_value"] == (
        "1.0000" if determined["result"] == "yes" else "0.0000"
    )
