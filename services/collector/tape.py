"""What happened since the last sample: trades by taker, the last price, the index. Pure.

The decision a reader would question: a trade is known by its id for as long as the last few
thousand are remembered. Venues send a history along with each new subscription, and two
connections overlap; counting a trade twice would be flow that never was.
"""

from libs.common.venues.messages import IndexValue, Price, Trade

TRADES_REMEMBERED = 5_000
"""Ids of an instrument; some minutes of the busiest pair."""


class Tape:
    """The trades of one instrument."""

    __slots__ = ("_buy", "_ids", "_is_complete", "_sell", "last")

    def __init__(self) -> None:
        """Start without trades; the first interval was not observed whole."""
        self.last: Price | None = None
        self._ids: dict[str, None] = {}
        self._buy = self._sell = 0.0
        self._is_complete = False

    def add(self, trade: Trade) -> bool:
        """Take a trade; False if it was known already."""
        if trade.trade_id in self._ids:
            return False
        self._ids[trade.trade_id] = None
        if len(self._ids) > TRADES_REMEMBERED:
            del self._ids[next(iter(self._ids))]
        if self.last is None or trade.is_flow:
            self.last = trade.price
        if trade.is_flow and trade.taker == "buy":
            self._buy += trade.size
        elif trade.is_flow and trade.taker == "sell":
            self._sell += trade.size
        return True

    def broken(self) -> None:
        """Note that trades may have been missed in this interval."""
        self._is_complete = False

    def taken(self) -> tuple[float, float] | None:
        """Return volumes bought and sold by takers since the last call; None if not all seen."""
        volumes = (self._buy, self._sell) if self._is_complete else None
        self._buy = self._sell = 0.0
        self._is_complete = True
        return volumes


class IndexTape:
    """The newest print of each index (not of its averages)."""

    def __init__(self) -> None:
        """Start without prints."""
        self._newest: dict[tuple[str, str], tuple[int, IndexValue]] = {}

    def add(self, value: IndexValue, ts_ns: int) -> None:
        """Take a print that arrived at `ts_ns`; an older one than the newest changes nothing."""
        if value.window_s:
            return
        key = (value.index, value.underlying)
        known = self._newest.get(key)
        if known is None or value.about_ns > known[1].about_ns:
            self._newest[key] = (ts_ns, value)

    def newest(self, index: str, underlying: str) -> tuple[int, float] | None:
        """Return when the newest print was made, at the latest when it arrived, and its value.

        None before the first.
        """
        known = self._newest.get((index, underlying))
        return None if known is None else (min(known[0], known[1].about_ns), known[1].value_usd)
