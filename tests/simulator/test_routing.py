"""Hosts, limits and refusals."""

import json

import pytest

from services.simulator.coinbase_feed import AdvancedSession, ExchangeSession
from services.simulator.coinbase_rest import respond_advanced, respond_exchange
from services.simulator.kalshi_feed import KalshiSession
from services.simulator.naming import NS_PER_S
from services.simulator.polymarket_feed import LiveDataSession, MarketSession, PolyBoltSession
from services.simulator.routing import Gate, Refused
from services.simulator.signature import KEY, SIGNATURE, STAMP
from services.simulator.wire import Answer
from tests.simulator.running import Run


@pytest.fixture(scope="module")
def run() -> Run:
    return Run()


def signed(run: Run) -> dict[str, str]:
    return {KEY: "k", STAMP: str(run.now_ns // 1_000_000), SIGNATURE: "eA=="}


def get(gate: Gate, run: Run, host: str, path: str, *, later_s: float = 0.0) -> Answer:
    now_ns = run.now_ns + round(later_s * NS_PER_S)
    return gate.answer("GET", (host, path), {}, headers={}, body="", now_ns=now_ns)


@pytest.mark.parametrize(
    ("host", "path", "kind"),
    [
        ("advanced-trade-ws.coinbase.com", "/", AdvancedSession),
        ("ws-feed.exchange.coinbase.com", "/", ExchangeSession),
        ("external-api-ws.kalshi.com", "/trade-api/ws/v2", KalshiSession),
        ("api.elections.kalshi.com", "/trade-api/ws/v2", KalshiSession),
        ("ws-subscriptions-clob.polymarket.com", "/ws/market", MarketSession),
        ("ws-live-data.polymarket.com", "/", LiveDataSession),
        ("ws-live-v2.polymarket.com", "/ws", PolyBoltSession),
    ],
)
def test_each_real_address_opens_its_own_feed(
    run: Run, host: str, path: str, kind: type[object]
) -> None:
    opened = Gate(run.engine.context, None).opened(host, path, signed(run), run.now_ns)
    assert isinstance(opened, kind)


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("stream.example.com", "/"),
        ("advanced-trade-ws.coinbase.com", "/ws"),
        ("ws-subscriptions-clob.polymarket.com", "/ws/user"),
    ],
)
def test_any_other_address_is_not_found(run: Run, host: str, path: str) -> None:
    opened = Gate(run.engine.context, None).opened(host, path, {}, run.now_ns)
    assert isinstance(opened, Refused)
    assert opened.answer_status == 404


def test_kalshi_refuses_a_socket_without_a_signature(run: Run) -> None:
    opened = Gate(run.engine.context, None).opened(
        "external-api-ws.kalshi.com", "/trade-api/ws/v2", {}, run.now_ns
    )
    assert isinstance(opened, Refused)
    assert opened.answer_status == 401


def test_kalshi_takes_twenty_requests_a_second_and_more_a_second_later(run: Run) -> None:
    gate = Gate(run.engine.context, None)
    path = "/trade-api/v2/exchange/status"
    told = [get(gate, run, "external-api.kalshi.com", path).status for _ in range(21)]
    assert told == [200] * 20 + [429]
    assert get(gate, run, "api.elections.kalshi.com", path).status == 429
    assert get(gate, run, "external-api.kalshi.com", path, later_s=0.05).status == 200


@pytest.mark.parametrize(
    ("fault", "host", "path", "status"),
    [
        ("throttle", "api.coinbase.com", "/api/v3/brokerage/time", 429),
        ("throttle", "external-api.kalshi.com", "/trade-api/v2/exchange/status", 429),
        ("restart", "clob.polymarket.com", "/time", 425),
        ("html", "gamma-api.polymarket.com", "/markets", 200),
    ],
)
def test_a_fault_answers_before_the_venue_does(
    fault: str, host: str, path: str, status: int
) -> None:
    run = Run()
    gate = Gate(run.engine.context, None)
    run.engine.switch_on(fault, "all", now_ns=run.now_ns, seconds=None)
    told = get(gate, run, host, path)
    assert told.status == status
    assert (told.media == "text/html") == (fault == "html")


def test_a_server_error_has_any_of_three_statuses() -> None:
    run = Run()
    gate = Gate(run.engine.context, None)
    run.engine.switch_on("server_error", "all", now_ns=run.now_ns, seconds=None)
    told = {get(gate, run, "clob.polymarket.com", "/time", later_s=s).status for s in range(6)}
    assert told == {500, 502, 503}


def test_a_drop_breaks_a_new_socket_off() -> None:
    run = Run()
    run.engine.switch_on("drop", "coinbase", now_ns=run.now_ns, seconds=None)
    opened = Gate(run.engine.context, None).opened(
        "advanced-trade-ws.coinbase.com", "/", {}, run.now_ns
    )
    assert isinstance(opened, Refused)
    assert opened.breaks


def test_the_time_that_coinbase_tells_is_its_own_clock_too() -> None:
    run = Run()
    before = [respond_advanced("/time", {}, run.engine.context, run.now_ns).text]
    before += [respond_exchange("/time", {}, run.engine.context, run.now_ns).text]
    run.engine.switch_on("wrong_clock", "coinbase", now_ns=run.now_ns, seconds=None)
    after = [respond_advanced("/time", {}, run.engine.context, run.now_ns).text]
    after += [respond_exchange("/time", {}, run.engine.context, run.now_ns).text]
    told = [json.loads(text) for text in (*before, *after)]
    assert int(told[2]["epochMillis"]) - int(told[0]["epochMillis"]) == 7_000
    assert int(told[2]["epochSeconds"]) - int(told[0]["epochSeconds"]) == 7
    assert told[3]["epoch"] - told[1]["epoch"] == pytest.approx(7.0)


def test_the_date_is_the_venues_own_clock() -> None:
    run = Run()
    gate = Gate(run.engine.context, None)
    assert gate.date("api.coinbase.com", run.now_ns) == "Sun, 22 Nov 2026 17:13:50 GMT"
    run.engine.switch_on("wrong_clock", "coinbase", now_ns=run.now_ns, seconds=None)
    assert gate.date("api.coinbase.com", run.now_ns) == "Sun, 22 Nov 2026 17:13:57 GMT"
    assert gate.date("clob.polymarket.com", run.now_ns) == "Sun, 22 Nov 2026 17:13:50 GMT"
