"""What paper trading earned, and how much of it to believe.

In go what the trader wrote, with the markets' facts and quotes; out comes one line per strategy.
Profit and loss stands beside two doubts. The *stress line*: the same trades at one tick worse and
half the size. And *closing-line value*, what the fill was worth against the market's own later mid:
it needs no outcome, so it says sooner than profit and loss whether there is skill. Its reference is
never the last quote, which is the outcome. Its interval resamples clock hours, not fills.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from libs.common.events import Event, Fill, Market, Order, QuoteSnapshot, Settlement
from libs.common.pricing import PRICE_ONE_E4, floor_to_tick, order_fee_e6, tick_above
from services.trader.ledger import PAYOUT_E4
from services.trader.limits import SECOND_NS

HOUR_NS = 3_600 * SECOND_NS
RESAMPLES = 2_000
"""Draws of the bootstrap: the 2.5 % points are steady to about a twentieth of the interval."""

AVERAGE_RULES = ("mean60", "chainlink_twap60")
"""Settlement rules that average the last 60 s: their mid is half an outcome before the close."""

AVERAGE_FROM_S, AVERAGE_TO_S = 120, 90
LIFE_FROM, LIFE_TO = 10, 20
"""Reference window: [close - 120 s, close - 90 s) for averages, else a tenth to a twentieth of the
life left."""


class Interval(NamedTuple):
    """Mean closing-line value in USD per contract, 95 % block-bootstrap bounds, blocks.

    The bounds are None with fewer than two blocks.
    """

    mean: float
    low: float | None
    high: float | None
    blocks: int


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy. Profit and loss, stressed or not, is of settled positions, after fees."""

    strategy: str
    orders: int = 0
    fills: int = 0
    contracts_e2: int = 0
    fees_e6: int = 0
    pnl_e6: int = 0
    stress_pnl_e6: int = 0
    wins: int = 0
    losses: int = 0
    open_positions: int = 0
    clv: Interval | None = None


class _Mean:
    """Time-mean of a market's mid over its reference window, fed snapshots in order."""

    def __init__(self, market: Market) -> None:
        self.from_ns, self.to_ns = reference_window(market)
        self._mid_e4: float | None = None
        self._since_ns = self.from_ns
        self._sum = 0.0
        self._weight_ns = 0

    def see(self, quote: QuoteSnapshot) -> None:
        if quote.ts_ns < self.from_ns:
            return
        self._hold(min(quote.ts_ns, self.to_ns))
        bids, asks = quote.yes_bids_price_e4, quote.yes_asks_price_e4
        has_mid = bool(bids and asks) and bids[0] <= asks[0] and quote.ts_ns < self.to_ns
        self._mid_e4 = (bids[0] + asks[0]) / 2 if has_mid else None

    def usd(self) -> float | None:
        self._hold(self.to_ns)
        return self._sum / self._weight_ns / PRICE_ONE_E4 if self._weight_ns else None

    def _hold(self, until_ns: int) -> None:
        if self._mid_e4 is not None:
            self._sum += self._mid_e4 * (until_ns - self._since_ns)
            self._weight_ns += until_ns - self._since_ns
        self._since_ns = until_ns


def reference_window(market: Market) -> tuple[int, int]:
    """Return the half-open window of the closing line's reference, in nanoseconds."""
    if market.settlement_rule in AVERAGE_RULES:
        return (
            market.close_ns - AVERAGE_FROM_S * SECOND_NS,
            market.close_ns - AVERAGE_TO_S * SECOND_NS,
        )
    life_ns = market.close_ns - market.open_ns
    return market.close_ns - life_ns // LIFE_FROM, market.close_ns - life_ns // LIFE_TO


def summarise(
    events: Iterable[Event], quotes: Iterable[QuoteSnapshot], *, rng: np.random.Generator
) -> dict[str, Line]:
    """Return a line per strategy, in order of name.

    `events` holds Market, Order, Fill and Settlement in order (others are passed over), `quotes`
    the snapshots of the filled markets, in order; `rng` draws the bootstrap.
    """
    markets: dict[tuple[str, str], Market] = {}
    written: dict[str, list[Event]] = {}
    for event in events:
        if isinstance(event, Market):
            markets[event.venue, event.market] = event
        elif isinstance(event, Order | Fill | Settlement):
            written.setdefault(event.strategy, []).append(event)
    filled = {(f.venue, f.market) for all_ in written.values() for f in all_ if isinstance(f, Fill)}
    means = {key: _Mean(markets[key]) for key in sorted(filled) if key in markets}
    for quote in quotes:
        mean = means.get((quote.venue, quote.market))
        if mean is not None:
            mean.see(quote)
    references = {key: mean.usd() for key, mean in means.items()}
    lines: dict[str, Line] = {}
    for strategy in sorted(written):
        fills = [event for event in written[strategy] if isinstance(event, Fill)]
        values = closing_line_values(fills, markets, references)
        line = _line(strategy, written[strategy], fills, markets)
        lines[strategy] = msgspec.structs.replace(line, clv=block_interval(values, rng))
    return lines


def closing_line_values(
    fills: Iterable[Fill],
    markets: dict[tuple[str, str], Market],
    references: dict[tuple[str, str], float | None],
) -> list[tuple[int, int, float]]:
    """Return (block, contracts in 1e-2, value in USD per contract) of each fill that has one.

    Value = side x (reference mid - fill price) - fee. A fill inside the reference window or later
    has none, nor has one whose market showed no two-sided book there.
    """
    values = []
    for fill in fills:
        key = (fill.venue, fill.market)
        reference = references.get(key)
        if reference is None or fill.ts_ns >= reference_window(markets[key])[0]:
            continue
        worth = reference if fill.side == "yes" else 1.0 - reference
        fee_usd = fill.fee_e6 / (fill.size_e2 * PAYOUT_E4)
        block = (markets[key].close_ns - 1) // HOUR_NS
        values.append((block, fill.size_e2, worth - fill.price_e4 / PRICE_ONE_E4 - fee_usd))
    return values


def block_interval(
    values: Sequence[tuple[int, int, float]], rng: np.random.Generator
) -> Interval | None:
    """Return the size-weighted mean of `values` with a bootstrap over blocks; None if empty."""
    if not values:
        return None
    blocks = sorted({block for block, _, _ in values})
    index = {block: i for i, block in enumerate(blocks)}
    sums = np.zeros((len(blocks), 2))
    for block, size_e2, value in values:
        sums[index[block]] += (size_e2 * value, size_e2)
    mean = float(sums[:, 0].sum() / sums[:, 1].sum())
    if len(blocks) < 2:
        return Interval(mean, None, None, len(blocks))
    shares = np.full(len(blocks), 1.0 / len(blocks))
    drawn = rng.multinomial(len(blocks), shares, size=RESAMPLES) @ sums
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    return Interval(mean, float(low), float(high), len(blocks))


def stress_pnl_e6(fills: Sequence[Fill], market: Market, settlement: Settlement) -> int:
    """Return what a settled position had made at one tick worse and half the size, fees anew."""
    if market.fee is None:
        return 0
    orders: dict[str, list[tuple[int, int]]] = {}
    for fill in fills:
        worse = (_tick_worse_e4(fill, market), fill.size_e2 // 2)
        orders.setdefault(fill.order_id, []).append(worse)
    pnl_e6 = 0
    for order in orders.values():
        pnl_e6 -= order_fee_e6(market.fee, order) + sum(price * size for price, size in order)
        if settlement.result == fills[0].side:
            pnl_e6 += PAYOUT_E4 * sum(size for _, size in order)
    return pnl_e6


def _tick_worse_e4(fill: Fill, market: Market) -> int:
    """Return the next dearer price of the fill's side on the venue's YES grid."""
    if fill.side == "yes":
        return tick_above(fill.price_e4, market.tick_ranges)
    yes_e4 = PRICE_ONE_E4 - fill.price_e4
    return PRICE_ONE_E4 - floor_to_tick(max(yes_e4 - 1, 0), market.tick_ranges)


def _line(
    strategy: str,
    written: Sequence[Event],
    fills: Sequence[Fill],
    markets: dict[tuple[str, str], Market],
) -> Line:
    settlements = [event for event in written if isinstance(event, Settlement)]
    by_market: dict[tuple[str, str], list[Fill]] = {}
    for fill in fills:
        by_market.setdefault((fill.venue, fill.market), []).append(fill)
    stress_e6 = 0
    for settled in settlements:
        key = (settled.venue, settled.market)
        if key in markets and key in by_market:
            stress_e6 += stress_pnl_e6(by_market[key], markets[key], settled)
    return Line(
        strategy=strategy,
        orders=sum(isinstance(event, Order) for event in written),
        fills=len(fills),
        contracts_e2=sum(fill.size_e2 for fill in fills),
        fees_e6=sum(fill.fee_e6 for fill in fills),
        pnl_e6=sum(settled.pnl_e6 for settled in settlements),
        stress_pnl_e6=stress_e6,
        wins=sum(settled.pnl_e6 > 0 for settled in settlements),
        losses=sum(settled.pnl_e6 < 0 for settled in settlements),
        open_positions=len(by_market.keys() - {(s.venue, s.market) for s in settlements}),
    )
