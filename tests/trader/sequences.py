"""Random histories of several markets, from a seed: what a venue, a model and a person may do.

Harsh on purpose: books cross, lock, freeze and lose a side, sizes are missing, feeds have gaps,
forecasts are fallbacks or absurd, results come late, twice or never, operators kill and resume.
"""

from random import Random
from typing import NamedTuple

from libs.common.events import (
    Alert,
    Command,
    Event,
    Flag,
    Gap,
    Market,
    Side,
    Tick,
    event_id,
)
from services.trader.limits import TraderSettings
from services.trader.strategies import Strategy
from tests.trader import scene

TIGHT = TraderSettings(
    capital_e6=120_000_000,
    order_e6_max=26_000_000,
    market_e6_max=45_000_000,
    underlying_e6_max=70_000_000,
    venue_e6_max=60_000_000,
    total_e6_max=90_000_000,
    positions_max=3,
    orders_per_minute_max=3,
    cooldown_s=8,
    loss_day_e6_max=30_000_000,
    drawdown_e6_max=40_000_000,
    bracket_s_max=20,
    market_keep_s=120,
    traded_keep_s=240,
    unresolved_s=90,
)
"""Limits so tight that a random history meets every one of them."""

STRATEGIES = (
    Strategy(name="edge", margin_e6=10_000, stake_e6=25_000_000),
    Strategy(name="edge_wide", margin_e6=30_000, stake_e6=15_000_000),
)


class Place(NamedTuple):
    """Where a market trades."""

    venue: str
    series: str
    underlying: str


PLACES = (
    Place("kalshi", "KXBTC15M", "BTC-USD"),
    Place("kalshi", "KXBTCD", "BTC-USD"),
    Place("kalshi", "KXETH15M", "ETH-USD"),
    Place("polymarket", "btc-updown-5m", "BTC-USD"),
    Place("polymarket", "unknown-series", "BTC-USD"),
)


def history(seed: int, steps: int = 90) -> list[Event]:
    """Return a random history of about three events a step, in the order of the streams."""
    chance = Random(seed)
    events: list[Event] = []
    markets: list[Market] = []
    mids: dict[str, int] = {}
    second = 0.0
    for i in range(steps):
        second += chance.choice((1.0, 1.0, 1.0, 1.0, 2.0, 7.0, 30.0))
        if i % 12 == 0:
            markets.append(_market(chance, f"M{len(markets)}", second))
            events.append(markets[-1])
        events += _facts(chance, markets, second)
        for underlying in ("BTC-USD", "ETH-USD"):
            own = [m for m in markets if m.underlying == underlying]
            for market in own:
                # A mid mostly stays, so that orders fill; at times it jumps, so that some miss.
                if market.market not in mids or chance.random() < 0.15:
                    mids[market.market] = chance.choice((400, 2_000, 5_000, 5_200, 8_900))
            events += _quotes_and_forecasts(chance, own, second, mids)
            events.append(scene.tick(second, underlying))
        if chance.random() < 0.06:
            events.append(_control(chance, second))
    return events


def ends_of_ticks(events: list[Event]) -> list[int]:
    """Return the positions after each Tick."""
    return [i + 1 for i, event in enumerate(events) if isinstance(event, Tick)]


def _market(chance: Random, name: str, second: float) -> Market:
    place = chance.choice(PLACES)
    known = place.series != "unknown-series"
    base = scene.market(name, venue=place.venue, series=place.series) if known else None
    fields = {
        "underlying": place.underlying,
        "open_ns": scene.at(second),
        "close_ns": scene.at(second + chance.choice((60, 120, 300))),
        "ts_ns": scene.at(second),
        "strike_usd": None if chance.random() < 0.05 else 100_000.0,
    }
    if base is None:
        fields |= {"venue": place.venue, "series": "btc-updown-5m", "fee": None}
        return scene.market(name, **fields)
    return scene.market(name, venue=place.venue, series=place.series, **fields)


def _facts(chance: Random, markets: list[Market], second: float) -> list[Event]:
    facts: list[Event] = []
    for market in markets:
        if market.close_ns < scene.at(second) and chance.random() < 0.08:
            result: Side = chance.choice(("yes", "no"))
            source = "venue" if chance.random() < 0.8 else "rebuild"
            facts.append(_resolution(market, result, second, source))
        elif market.open_ns < scene.at(second) < market.close_ns and chance.random() < 0.02:
            facts.append(_gap(chance, market, second))
    return facts


def _resolution(market: Market, result: Side, second: float, source: str) -> Event:
    return scene.resolution(
        result,
        second,
        venue=market.venue,
        market=market.market,
        underlying=market.underlying,
        about_ns=market.close_ns,
        source=source,
    )


def _gap(chance: Random, market: Market, second: float) -> Gap:
    is_own = chance.random() < 0.5
    return Gap(
        ts_ns=scene.at(second),
        id=event_id("Gap", market.market, second),
        underlying=market.underlying,
        feed="quotes",
        start_ns=scene.at(second - 1),
        end_ns=scene.at(second),
        reason="test",
        venue=market.venue if is_own else None,
        market=market.market if is_own else None,
    )


def _quotes_and_forecasts(
    chance: Random, markets: list[Market], second: float, mids: dict[str, int]
) -> list[Event]:
    quotes: list[Event] = []
    forecasts: list[Event] = []
    for market in markets:
        if scene.at(second) >= market.close_ns or chance.random() < 0.1:
            continue
        mid_e4 = mids[market.market]
        half_e4 = chance.choice((50, 50, 100))
        bids = [(p, chance.choice((0, 90, 700, 5_000))) for p in _ladder(mid_e4 - half_e4, -100)]
        asks = [(p, chance.choice((0, 90, 700, 5_000))) for p in _ladder(mid_e4 + half_e4, 100)]
        flags = 0
        odd = chance.random()
        if odd < 0.03:
            bids, asks, flags = asks, bids, int(Flag.CROSSED)
        elif odd < 0.06:
            bids, flags = asks, int(Flag.LOCKED | Flag.COARSE)
        elif odd < 0.08:
            bids = []
        elif odd < 0.10:
            flags = int(chance.choice((Flag.STALE, Flag.GAP)))
        shown = scene.quote(
            second,
            bids,
            asks,
            venue=market.venue,
            market=market.market,
            underlying=market.underlying,
            flags=flags,
            age_ns=chance.choice((0, 0, 0, -5, 900_000_000, 4 * scene.S)),
        )
        if chance.random() < 0.03:
            shown = scene.quote(
                second, bids, asks, venue=market.venue, market=market.market,
                underlying=market.underlying, yes_asks_size_e2=(), yes_bids_size_e2=(),
            )  # fmt: skip
        quotes.append(shown)
        p = mid_e4 / 10_000 + chance.uniform(-0.14, 0.14)
        p = chance.choice((p, p, p, p, p, float("nan"), 1.5)) if chance.random() < 0.1 else p
        forecasts.append(
            scene.forecast(
                shown,
                p,
                is_fallback=chance.random() < 0.1,
                role="shadow" if chance.random() < 0.05 else "champion",
                close_ns=market.close_ns,
            )
        )
    return quotes + forecasts


def _ladder(best_e4: int, step_e4: int) -> list[int]:
    return [p for p in range(best_e4, best_e4 + 5 * step_e4, step_e4) if 0 < p < 10_000][:5]


def _control(chance: Random, second: float) -> Event:
    identity = event_id("control", second)
    if chance.random() < 0.5:
        verb = "kill" if chance.random() < 0.3 else "resume"
        argument = chance.choice((None, None, "kalshi", "polymarket"))
        return Command(
            ts_ns=scene.at(second), id=identity, command=verb, who="alice", argument=argument
        )
    return Alert(
        ts_ns=scene.at(second),
        id=identity,
        rule=chance.choice(("calibration_decay", "feed_silent")),
        severity=chance.choice(("page", "warn")),
        state="firing" if chance.random() < 0.4 else "resolved",
        evidence="test",
        runbook="#",
        underlying=chance.choice((None, "BTC-USD", "ETH-USD")),
    )
