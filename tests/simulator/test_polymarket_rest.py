"""Polymarket's REST answers."""

import json
from typing import Any

import pytest

from services.simulator.life import Market
from services.simulator.naming import DAY_S, NS_PER_S, rfc3339
from services.simulator.polymarket_rest import (
    respond_books,
    respond_clob,
    respond_gamma,
    respond_site,
)
from tests.simulator.running import START_S, Run, market_of


@pytest.fixture(scope="module")
def run() -> Run:
    run = Run()
    run.until(START_S + 5, step_ns=NS_PER_S)
    return run


ANSWERS = {"gamma": respond_gamma, "clob": respond_clob, "site": respond_site}


def asked(run: Run, where: str, path: str, code: int = 200, **query: str) -> Any:
    """Return the JSON of an answer with status `code`."""
    texts = {name: [value] for name, value in query.items()}
    found = ANSWERS[where](path, texts, run.engine.context, run.now_ns)
    assert found.status == code
    return json.loads(found.text)


def quarter(run: Run) -> Market:
    return market_of(run, "btc-updown-15m")


def ahead(run: Run) -> Market:
    """Return a window that is quoted but has not begun: its book has both sides."""
    live = run.engine.world.live_markets()
    return next(m for m in live if m.kind.venue == "polymarket" and m.open_ns > run.now_ns)


def test_a_slug_is_answered_with_an_array_whose_lists_are_texts(run: Run) -> None:
    (market,) = asked(run, "gamma", "/markets", slug=quarter(run).name)
    assert json.loads(market["outcomes"]) == ["Up", "Down"]
    assert json.loads(market["clobTokenIds"]) == list(quarter(run).tokens)
    assert sum(float(p) for p in json.loads(market["outcomePrices"])) == pytest.approx(1)
    assert market["cryptoMarketConfig"]["twapEnabled"] is True
    assert market["eventStartTime"] == rfc3339(quarter(run).open_ns, digits=0)


@pytest.mark.parametrize("slug", ["btc-updown-15m-1795367601", "btc-updown-15m-99999999999", "x"])
def test_an_unknown_slug_is_an_empty_array(run: Run, slug: str) -> None:
    assert asked(run, "gamma", "/markets", slug=slug) == []


def test_a_slug_in_the_path_wants_its_own_path(run: Run) -> None:
    asked(run, "gamma", f"/markets/{quarter(run).name}", 422)
    found = asked(run, "gamma", f"/markets/slug/{quarter(run).name}")
    assert asked(run, "gamma", f"/markets/{found['id']}")["slug"] == quarter(run).name


def test_a_market_is_found_by_condition_and_token(run: Run) -> None:
    market = quarter(run)
    by_condition = asked(run, "gamma", "/markets", condition_ids=market.condition)
    by_token = asked(run, "gamma", "/markets", clob_token_ids=market.tokens[1])
    assert [m["slug"] for m in by_condition + by_token] == [market.name] * 2


def test_windows_are_listed_a_day_ahead_and_not_later(run: Run) -> None:
    near = START_S // 300 * 300 + DAY_S - 600
    assert asked(run, "gamma", "/markets", slug=f"btc-updown-5m-{near}")
    assert not asked(run, "gamma", "/markets", slug=f"btc-updown-5m-{near + 1_200}")


def test_the_price_to_beat_is_the_close_of_the_window_before(run: Run) -> None:
    market = quarter(run)
    before = asked(run, "gamma", "/events", slug=f"btc-updown-15m-{market.open_s - 900}")[0]
    now = asked(run, "gamma", "/events", slug=market.name)[0]
    assert now["eventMetadata"]["priceToBeat"] == before["eventMetadata"]["finalPrice"]
    assert "finalPrice" not in now["eventMetadata"]


def test_a_closed_market_says_who_won(run: Run) -> None:
    closed = asked(run, "gamma", "/markets", closed="true", limit="40")
    assert len(closed) == 40
    for market in closed:
        beaten = market["events"][0]["eventMetadata"]
        is_up = beaten["finalPrice"] >= beaten["priceToBeat"]
        assert json.loads(market["outcomePrices"]) == (["1", "0"] if is_up else ["0", "1"])
        condition = asked(run, "clob", f"/markets/{market['conditionId']}")
        assert [t["winner"] for t in condition["tokens"]] == [is_up, not is_up]


def test_reversed_outcomes_turn_every_list_round() -> None:
    run = Run()
    before = asked(run, "gamma", "/markets", slug=quarter(run).name)[0]
    run.engine.switch_on("reversed_outcomes", "polymarket", now_ns=run.now_ns, seconds=None)
    after = asked(run, "gamma", "/markets", slug=quarter(run).name)[0]
    for field in ("outcomes", "outcomePrices", "clobTokenIds"):
        assert json.loads(after[field]) == json.loads(before[field])[::-1]


def test_the_book_is_that_of_the_feed_and_its_mirror(run: Run) -> None:
    market = ahead(run)
    bids, asks = run.engine.live.books[market.name]
    up, down = (asked(run, "clob", "/book", token_id=token) for token in market.tokens)
    assert [round(float(b["price"]) * 10_000) for b in up["bids"]] == sorted(bids)
    assert [round(float(a["price"]) * 10_000) for a in up["asks"]] == sorted(asks)[::-1]
    mirrored = [round(10_000 - float(a["price"]) * 10_000) for a in down["asks"]]
    assert mirrored == sorted(bids)
    assert [a["size"] for a in down["asks"]] == [b["size"] for b in up["bids"]]
    assert up["min_order_size"] == "5"
    together = respond_books(list(market.tokens), run.engine.context, run.now_ns)
    assert [b["asset_id"] for b in json.loads(together.text)] == list(market.tokens)


def test_prices_agree_with_the_book(run: Run) -> None:
    token = ahead(run).tokens[1]
    book = asked(run, "clob", "/book", token_id=token)
    bid = max(float(b["price"]) for b in book["bids"])
    ask = min(float(a["price"]) for a in book["asks"])
    assert float(asked(run, "clob", "/price", token_id=token, side="BUY")["price"]) == bid
    assert float(asked(run, "clob", "/price", token_id=token, side="SELL")["price"]) == ask
    middle = float(asked(run, "clob", "/midpoint", token_id=token)["mid"])
    assert middle == pytest.approx((bid + ask) / 2)


def test_a_ghost_book_is_only_in_book() -> None:
    run = Run()
    token = quarter(run).tokens[0]
    before = asked(run, "clob", "/midpoint", token_id=token)
    run.engine.switch_on("ghost_book", "polymarket", now_ns=run.now_ns, seconds=None)
    book = asked(run, "clob", "/book", token_id=token)
    assert [(b["price"]) for b in book["bids"] + book["asks"]] == ["0.01", "0.99"]
    assert asked(run, "clob", "/midpoint", token_id=token) == before


def test_an_unknown_or_resolved_token_has_no_book(run: Run) -> None:
    old = asked(run, "gamma", "/markets", closed="true", limit="1")[0]
    for token in ("7" * 77, json.loads(old["clobTokenIds"])[0]):
        asked(run, "clob", "/book", 404, token_id=token)


def test_history_of_a_token_three_days_back_is_there_minute_by_minute(run: Run) -> None:
    slug = f"btc-updown-15m-{(START_S - 3 * DAY_S) // 900 * 900}"
    market = asked(run, "gamma", "/markets", slug=slug)[0]
    up, down = (
        asked(run, "clob", "/prices-history", market=token, fidelity="1")["history"]
        for token in json.loads(market["clobTokenIds"])
    )
    assert len(up) == 45
    assert all(a["p"] + b["p"] == pytest.approx(1) for a, b in zip(up, down, strict=True))


def test_the_website_is_incomplete_until_the_strike_and_completes_after_the_close() -> None:
    run = Run()
    open_s = START_S + 70
    query = {
        "symbol": "BTC",
        "eventStartTime": rfc3339(open_s * NS_PER_S, digits=0),
        "variant": "fiveminute",
    }

    def price() -> Any:
        return asked(run, "site", "/api/crypto/crypto-price", **query)

    assert price()["openPrice"] is None
    run.until(open_s + 0.5)
    assert price()["incomplete"] is True
    run.until(open_s + 4)
    assert price()["incomplete"] is False
    run.until(open_s + 303, step_ns=NS_PER_S)
    query["eventStartTime"] = rfc3339((open_s + 300) * NS_PER_S, digits=0)
    following = price()["openPrice"]
    query["eventStartTime"] = rfc3339(open_s * NS_PER_S, digits=0)
    assert price()["completed"] is True
    assert price()["closePrice"] == following


def test_a_variant_it_does_not_know_is_the_window_of_the_full_hour(run: Run) -> None:
    market = market_of(run, "btc-updown-5m")
    query = {"symbol": "BTC", "eventStartTime": str(market.open_s)}
    good = asked(run, "site", "/api/crypto/crypto-price", variant="fiveminute", **query)
    wrong = asked(run, "site", "/api/crypto/crypto-price", variant="five", **query)
    assert wrong["openPrice"] != good["openPrice"]


def test_orders_are_blocked_here(run: Run) -> None:
    assert asked(run, "site", "/api/geoblock")["blocked"] is True
