"""Streaming state of one price feed: what the batch path has as columns, kept as histories.

A feed is a spot venue or a settlement index (`inputs.feed_of`). Returns never span two feeds: the
step between them is a basis, not a move. Memory is bounded by pruning to what a look-back can
reach; a snapshot flagged stale is no observation, so its age grows instead.
"""

import math

from libs.common.fair_value import PRINTS
from libs.common.ops import NAN
from services.features.inputs import (
    FLOW_NS,
    MOMENTUM,
    PRINT_AGE_NS_MAX,
    RETURN_LONG,
    RETURN_SHORT,
    SECOND_NS,
    STRIKE_DELAY_NS_MAX,
    VOL_15M,
    VOL_60M,
    VOL_SHORT,
    Price,
    Window,
    log_price_e9,
    square_e15,
)
from services.features.windows import History

PRICE, LOG, AGE = 0, 1, 2
BUY, SELL, UNKNOWN = 0, 1, 2
SQUARE, TIME = 0, 1

KEPT_NS = STRIKE_DELAY_NS_MAX + 2 * PRINTS * SECOND_NS
"""An hour for volatility, and for the minute before the open of a strike that arrives late."""


class Track:
    """Observations of one feed and the windows over them."""

    __slots__ = ("_long", "_price", "_price_ns", "_prints", "_returns", "_short", "_spot", "feed")

    def __init__(self, feed: str) -> None:
        """Start without observations."""
        self.feed = feed
        self._spot = History(values=3, totals=3)
        self._long = History(totals=2)
        self._short = History(totals=2)
        self._returns: tuple[float, ...] = ()
        self._prints: dict[int, tuple[int, int | None]] = {}
        self._price_ns = -1
        self._price = Price()

    def add(self, ts_ns: int, price: int, *, age_ns: int, volumes: tuple[int, int] | None) -> None:
        """Record a price (1e-6 USD), its age and the taker volumes (buy, sell; None: unknown)."""
        spot, log_price = self._spot, log_price_e9(price)
        for horizon, returns in ((RETURN_LONG, self._long), (RETURN_SHORT, self._short)):
            at = spot.look_back(ts_ns, horizon)
            if at >= 0:
                square = square_e15(log_price - spot.values[LOG][at])
                returns.add(ts_ns, (), (square, ts_ns - spot.times[at]))
            returns.prune(ts_ns - KEPT_NS)
        buy, sell = volumes or (0, 0)
        spot.add(ts_ns, (price, log_price, max(age_ns, 0)), (buy, sell, volumes is None))
        spot.prune(ts_ns - KEPT_NS)
        self._price_ns = -1
        self._returns = ()

    def age_ns(self, now_ns: int) -> int:
        """Return the age of the newest price; call only after the first `add`."""
        return now_ns - self._spot.times[-1] + self._spot.values[AGE][-1]

    def price_usd(self) -> float:
        """Return the newest price."""
        return self._spot.values[PRICE][-1] / 1e6

    def price(self, now_ns: int) -> Price:
        """Return the inputs that this feed gives as S; several markets of one instant share it."""
        if now_ns != self._price_ns:
            if not self._returns:
                self._returns = self._momentum()
            self._price_ns = now_ns
            windows = (
                *_window(self._long, now_ns, VOL_15M),
                *_window(self._long, now_ns, VOL_60M),
                *_window(self._short, now_ns, VOL_SHORT),
            )
            age_s = float(self.age_ns(now_ns)) / 1e9
            self._price = Price._make((self.price_usd(), age_s, *self._returns, *windows))
        return self._price

    def flow(self, now_ns: int) -> tuple[float, ...]:
        """Return buy and sell volume (1e-8) per FLOW window, NaN where a snapshot had none."""
        volumes: list[float] = []
        for window_ns in FLOW_NS:
            start = self._spot.after(now_ns - window_ns)
            if start == len(self._spot) or self._spot.total(UNKNOWN, start):
                volumes += (NAN, NAN)
            else:
                volumes += (
                    float(self._spot.total(BUY, start)),
                    float(self._spot.total(SELL, start)),
                )
        return tuple(volumes)

    def prints_usd(self, close_ns: int, known: int) -> float:
        """Return the sum of the first `known` of the 60 prints up to `close_ns`; NaN: unknown."""
        done, total = self._prints.get(close_ns, (0, 0))
        if done < known:
            if not done:
                # A new window: those that closed before its first print are over.
                first = close_ns - PRINTS * SECOND_NS
                self._prints = {c: p for c, p in self._prints.items() if c > first}
            more = self._prints_sum(close_ns, done, known)
            total = None if total is None or more is None else total + more
            self._prints[close_ns] = (known, total)
        return NAN if total is None else total / 1e6

    def minute_e6(self, end_ns: int) -> int | None:
        """Return the sum of the 60 prints up to `end_ns` (1e-6 USD), None if one is unknown."""
        return self._prints_sum(end_ns, 0, PRINTS)

    def _prints_sum(self, end_ns: int, start: int, stop: int) -> int | None:
        spot, total = self._spot, 0
        for k in range(start, stop):
            print_ns = end_ns - (PRINTS - 1 - k) * SECOND_NS
            at = spot.after(print_ns) - 1
            if at < 0 or print_ns - spot.times[at] + spot.values[AGE][at] > PRINT_AGE_NS_MAX:
                return None
            total += spot.values[PRICE][at]
        return total

    def _momentum(self) -> tuple[float, ...]:
        """Return (log-return, ns) per MOMENTUM horizon, at the newest observation."""
        spot, now_ns, found = self._spot, self._spot.times[-1], []
        for horizon in MOMENTUM:
            at = spot.look_back(now_ns, horizon)
            if at < 0:
                found += [NAN, NAN]
            else:
                found += [
                    float(spot.values[LOG][-1] - spot.values[LOG][at]),
                    float(now_ns - spot.times[at]),
                ]
        return tuple(found)


def _window(returns: History, now_ns: int, window: Window) -> tuple[float, float]:
    """Return the sums of squares and of times over a window that is full enough, else NaN."""
    start = returns.after(now_ns - window.ns)
    count = len(returns) - start
    if count < window.count_min or returns.times[-1] - returns.times[start] < window.span_ns_min:
        return math.nan, math.nan
    return float(returns.total(SQUARE, start)), float(returns.total(TIME, start))
