"""One decision: forecast, book, strategy and account become an order, or a reason for none.

Pure functions of values; the engine keeps the state and emits. The order of the questions is the
order of cost: what makes a row unusable, then whether anything is cheap, then the limits, then the
size, then the limits again on the finished order.
"""

from typing import NamedTuple

import msgspec

from libs.common.events import (
    FeeSchedule,
    Flag,
    Forecast,
    Market,
    Order,
    QuoteSnapshot,
    event_id,
)
from libs.common.pricing import Terms
from services.trader.limits import Exposure, Situation, TraderSettings, breach, headroom, veto
from services.trader.paper import Level, is_sound, reachable_e2
from services.trader.sizing import contracts_e2, fee_e6_max, is_tradable
from services.trader.state import MarketState
from services.trader.strategies import (
    ONE_E6,
    Offer,
    Strategy,
    cheap_side,
    earns_margin,
    price_limit_e4,
)

STATUSES = ("open", "active")
"""Market statuses in which the venue takes orders (Kalshi says active, the import says open)."""

COARSE = "coarse"
"""The reason of a row that only a recorder's rounding spoils; the next one may be sound."""

_COARSE = int(Flag.COARSE)


class Chance(NamedTuple):
    """What one forecast offers: the cheap side, the depth displayed on it, and its terms."""

    forecast: Forecast
    market: Market
    quote: QuoteSnapshot
    fee: FeeSchedule
    terms: Terms
    offer: Offer
    book: list[Level]


def unusable(forecast: Forecast, market: Market, quote: QuoteSnapshot | None) -> str | None:
    """Return why no order may follow from `forecast`, whatever it says, or None."""
    if forecast.is_fallback:
        return "fallback"
    if market.status not in STATUSES:
        return "closed"
    if market.fee is None:
        return "no_fee_schedule"
    if market.strike_usd is None:
        return "no_strike"
    if quote is None:
        return "no_quote"
    bids, asks = quote.yes_bids_price_e4, quote.yes_asks_price_e4
    if not bids or not asks:
        return "one_sided"
    if not is_sound(quote):
        return COARSE if quote.flags & _COARSE else "unsound_book"
    if len(bids) != len(quote.yes_bids_size_e2) or len(asks) != len(quote.yes_asks_size_e2):
        return "unknown_sizes"
    if forecast.bid_e4 != bids[0] or forecast.ask_e4 != asks[0]:
        return "other_quote"
    if not 0.0 <= forecast.p <= 1.0:
        return "bad_forecast"
    return None


def situation_of(
    chance: Chance, state: MarketState, *, account: Exposure, halted: str | None, strategy: str
) -> Situation:
    """Return what the limits judge an order of `strategy` by."""
    forecast, market, quote = chance.forecast, chance.market, chance.quote
    return Situation(
        account=account,
        open_ns=market.open_ns,
        close_ns=market.close_ns,
        # Recorders' clocks drift, so a message age can be negative; that is no age at all.
        quote_age_ns=forecast.ts_ns - quote.ts_ns + max(quote.age_ns, 0),
        interval_ns=state.sample_ns,
        clean=state.clean,
        best_e4=chance.offer.best_e4,
        distance_e6=distance_e6(forecast, quote),
        halted=halted,
        order_ns_last=state.ordered_ns.get(strategy),
    )


def best_offer(forecast: Forecast, quote: QuoteSnapshot, fee: FeeSchedule) -> Offer:
    """Return the cheap side of a usable row."""
    bid_e4, ask_e4 = quote.yes_bids_price_e4[0], quote.yes_asks_price_e4[0]
    return cheap_side(forecast.p, bid_e4=bid_e4, ask_e4=ask_e4, fee=fee)


def distance_e6(forecast: Forecast, quote: QuoteSnapshot) -> int:
    """Return |p - mid| in 1e-6, for a two-sided quote."""
    mid_e6 = 50 * (quote.yes_bids_price_e4[0] + quote.yes_asks_price_e4[0])
    return abs(round(forecast.p * ONE_E6) - mid_e6)


def decide(
    chance: Chance, strategy: Strategy, situation: Situation, settings: TraderSettings
) -> Order | str:
    """Return the order that `strategy` makes of `chance`, or the reason why it makes none."""
    limit_e4 = price_limit_e4(
        chance.offer,
        strategy.margin_e6,
        collar_e4=settings.collar_e4,
        fee=chance.fee,
        ticks=chance.market.tick_ranges,
    )
    if limit_e4 is None:
        return "off_grid"
    draft = _draft(chance, strategy, limit_e4, settings.latency_ns(chance.market.venue))
    reason = veto(draft, situation, settings)
    if reason is not None:
        return reason
    budget_e6, bound = headroom(situation, settings)
    if strategy.stake_e6 <= budget_e6:
        budget_e6, bound = strategy.stake_e6, "stake"
    order = _sized(chance, draft, budget_e6, bound)
    if order is None:
        return "size_min" if bound == "stake" else bound
    if not _earns(chance, strategy, order):
        # What a limit leaves may be too small to earn its fee; then the limit is the reason.
        return "no_edge_after_rounding" if bound == "stake" else bound
    return breach(order, situation, settings) or order


def _draft(chance: Chance, strategy: Strategy, limit_e4: int, latency_ns: int) -> Order:
    """Return the order without its size and id, which only a finished one needs."""
    forecast, offer = chance.forecast, chance.offer
    return Order(
        ts_ns=forecast.ts_ns,
        id="",
        strategy=strategy.name,
        venue=forecast.venue,
        market=forecast.market,
        underlying=chance.market.underlying,
        side=offer.side,
        forecast_id=forecast.id,
        price_limit_e4=limit_e4,
        size_e2=0,
        stake_e6=0,
        fee_e6_max=0,
        p=forecast.p,
        edge=offer.edge_e6 / ONE_E6,
        arrival_ns=forecast.ts_ns + latency_ns,
    )


def _sized(chance: Chance, draft: Order, budget_e6: int, bound: str) -> Order | None:
    """Return `draft` with the size that `budget_e6` and the depth allow, None if below minimum."""
    fee, terms, limit_e4 = chance.fee, chance.terms, draft.price_limit_e4
    size_e2 = contracts_e2(budget_e6, price_limit_e4=limit_e4, fee=fee, terms=terms)
    visible_e2 = reachable_e2(chance.book, limit_e4)
    if visible_e2 < size_e2:
        size_e2, bound = visible_e2 // terms.size_e2_step * terms.size_e2_step, "depth"
    if not is_tradable(size_e2, limit_e4, terms):
        return None
    # What is decided: this strategy, this market, this instant, this side; never the price.
    decision = (draft.strategy, draft.venue, draft.market, draft.ts_ns, draft.side)
    return msgspec.structs.replace(
        draft,
        id=event_id("Order", *decision),
        size_e2=size_e2,
        stake_e6=size_e2 * limit_e4,
        fee_e6_max=fee_e6_max(fee, price_limit_e4=limit_e4, size_e2=size_e2),
        bounds=(bound,),
    )


def _earns(chance: Chance, strategy: Strategy, order: Order) -> bool:
    return earns_margin(
        chance.offer,
        strategy.margin_e6,
        size_e2=order.size_e2,
        price_e4=chance.offer.best_e4,
        fee=chance.fee,
    )
