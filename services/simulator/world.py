"""The live world: everything that happens at the venues in one second of stream time.

In go a seed and a second, out come the events of that second in order: levels that change, trades,
index prints, and turns in the life of markets. A second is drawn without the ones before it (see
`books`), so the world depends on seed, start day and stream time alone: not on the speed, not on
who listens, and not on faults, but for those that change what a venue's book says (`content`).

A reader would question the order within a second: levels leave in its first half and come in its
second, so that a book that moves is never crossed unless the fault of that name says so.
"""

from collections.abc import Mapping
from heapq import heappop, heappush
from math import exp
from typing import NamedTuple

from services.simulator.books import Book, spot_book
from services.simulator.chance import key_of, unit, word
from services.simulator.life import KINDS, Kind, Market, WasOn, markets_at
from services.simulator.naming import DAY_S, HOUR_S, NS_PER_MS, NS_PER_S, place_of_stamp
from services.simulator.path import UNDERLYINGS
from services.simulator.prices import Prices
from services.simulator.quoting import Quotes, quoted_s, quotes_of
from services.simulator.stepping import BookEvent, Plan, Traded, changes_of

HISTORY_DAYS = 4
"""Whole days of path before the day of the start: what back-fill can ask for."""

SPOT_TRADES = 3
"""Trades of a spot product each second, always as many: trade ids then count without memory."""

SPOT_BATCH_NS = 50 * NS_PER_MS
CONTRACT_BATCH_NS = {"kalshi": NS_PER_MS, "polymarket": 10 * NS_PER_MS}
TRADE_CHANCE = {"15M": 0.6, "D": 0.1, "polymarket": 0.4}
"""Of a trade in a second."""

TRADE_MEDIAN_E2 = 1_500
"""Hundredths of a contract."""

PRINT_DELAY_NS = 60 * NS_PER_MS
OLD_QUOTES_MAX = 32
"""Markets of the past whose quotes are kept: back-fill asks for one after the other."""

AGENDA_BACK_S = 3_600 + 300
"""How far back a market may have opened that still has something to come."""

FROZEN, CROSSED, EMPTY = "maintenance", "crossed_book", "empty_side"
"""Faults that change what a venue's books say, and so are part of the truth."""


class PrintEvent(NamedTuple):
    """An index print: of `second`, published a little later."""

    ns: int
    row: int
    second: int
    value_e4: int


class LifeEvent(NamedTuple):
    """A turn in the life of a market: created, quoted, opened, struck, fine (its tick), closed,
    determined or settled."""

    ns: int
    what: str
    market: Market


Event = BookEvent | PrintEvent | LifeEvent


class World:
    """The world of `seed` for the first `rows` underlyings, from `start_s` on.

    `step` is called for one second after the other; everything else can be asked for at any time.
    """

    def __init__(self, seed: int, *, start_s: int, rows: int, was_on: WasOn) -> None:
        self.seed, self.rows, self.was_on = seed, rows, was_on
        self.prices = Prices(seed, first_day=start_s // DAY_S - HISTORY_DAYS, rows=rows)
        self.kinds = KINDS[: 4 * rows]
        self.names = self.prices.names
        self._spot_keys = [key_of(seed, name) for name in self.names]
        self._quotes: dict[str, Quotes] = {}
        self._old_quotes: dict[str, Quotes] = {}
        self._standing: dict[str, tuple[int, Book]] = {}
        self._live: dict[str, Market] = {}
        self._agenda: list[tuple[int, int, str, Market]] = []
        self._next_open: dict[int, int] = {}
        self._count = 0
        self.known_s = start_s
        self.begin(start_s)

    def begin(self, second: int) -> None:
        """Take up the agenda at a second: everything of every market that is still to come."""
        for kind in self.kinds:
            first = (second - kind.length_s - AGENDA_BACK_S) // kind.length_s * kind.length_s
            self._next_open[kind.number] = first
            self._list_new(kind, second)
        while self._agenda and self._agenda[0][0] < second * NS_PER_S:
            self._turn(*heappop(self._agenda)[2:])

    def step(self, second: int, content: Mapping[str, frozenset[str]]) -> list[Event]:
        """Return all events from `second` to the next, in order; `content` names, by venue, the
        faults that change books."""
        end_ns, self.known_s = (second + 1) * NS_PER_S, second
        events: list[Event] = []
        for kind in self.kinds:
            self._list_new(kind, second + 1)
        while self._agenda and self._agenda[0][0] < end_ns:
            ns, _, what, market = heappop(self._agenda)
            self._turn(what, market)
            events.append(LifeEvent(ns, what, market))
        for row in range(self.rows):
            events.append(self.print_event(row, second))
            faults = content.get("coinbase", frozenset())
            events += self._spot_step(row, second, faults)
        for market in list(self._live.values()):
            events += self._contract_step(
                market, second, content.get(market.kind.venue, frozenset())
            )
        events.sort(key=lambda event: event.ns)
        return events

    def print_event(self, row: int, second: int) -> PrintEvent:
        """Return the print of a second as it is published."""
        value_e4 = int(self.prices.prints_e4(row, second, 1)[0])
        late_ns = int(PRINT_DELAY_NS * (0.5 + unit(self.seed, row, second, 0x91)))
        return PrintEvent(second * NS_PER_S + late_ns, row, second, value_e4)

    def tie(self, row: int, close_s: int, length_s: int) -> None:
        """Make windows of a length that close at `close_s` settle exactly at their strike; none of
        their last sixty prints may have been drawn."""
        self.prices.tie(row, close_s, length_s)
        for name, market in self._live.items():
            if market.kind.row == row and market.close_s >= close_s:
                self._quotes.pop(name, None)
        self._old_quotes.clear()

    def quotes(self, market: Market) -> Quotes:
        """Return the quotes of a market, kept while it lives."""
        found = self._quotes.get(market.name) or self._old_quotes.get(market.name)
        if found is None:
            found = quotes_of(market, self.prices)
            if market.name in self._live:
                self._quotes[market.name] = found
            else:
                self._old_quotes[market.name] = found
                while len(self._old_quotes) > OLD_QUOTES_MAX:
                    self._old_quotes.pop(next(iter(self._old_quotes)))
        return found

    def spot_book(self, row: int, second: int) -> Book:
        """Return the spot book of a second; the last trade is at its touch."""
        bid_e4, ask_e4 = self._spot_touch(row, second)
        level_usd = UNDERLYINGS[row].level_usd
        return spot_book(
            self._spot_keys[row], second, bid_e4=bid_e4, ask_e4=ask_e4, level_usd=level_usd
        )

    def live_markets(self) -> list[Market]:
        """List the markets that have a book now."""
        return list(self._live.values())

    def markets(self, kind: Kind, first_s: int, last_s: int) -> list[Market]:
        """List the markets of a kind that open from `first_s` to `last_s`, oldest first."""
        first_s = max(first_s, self.prices.first_s + HOUR_S)
        opens = range(-(-first_s // kind.length_s) * kind.length_s, last_s + 1, kind.length_s)
        return [m for open_s in opens for m in markets_at(kind, open_s, self.prices, self.seed)]

    def find(self, name: str) -> Market | None:
        """Return the market of a ticker or slug, listed or not; None for no such name."""
        found = self._live.get(name)
        return found if found is not None else self._find(name)

    def market_of(self, place: tuple[int, int, int] | None) -> tuple[Market, int] | None:
        """Return the market and outcome at a token's place (series, opening, outcome), if any."""
        if place is None:
            return None
        number, open_s, outcome = place
        if not 0 <= number < len(self.kinds):
            return None
        kind = self.kinds[number]
        if kind.is_ladder or open_s % kind.length_s or open_s < self.prices.first_s + HOUR_S:
            return None
        found = self.find(f"{kind.name}-{open_s}") if kind.venue == "polymarket" else None
        return (found, outcome) if found is not None else None

    def _find(self, name: str) -> Market | None:
        for kind in self.kinds:
            if not name.startswith(kind.name + "-"):
                continue
            rest = name[len(kind.name) + 1 :]
            if kind.venue == "polymarket":
                open_s = int(rest) if rest.isdigit() and len(rest) < 12 else None
            else:
                stamp = rest.split("-")[0]
                # The R of a repeated hour stands behind the minutes that a ladder leaves out.
                stamp = f"{stamp[:9]}00{stamp[9:]}" if kind.is_ladder else stamp
                close_s = place_of_stamp(stamp)
                open_s = None if close_s is None else close_s - kind.length_s
            if open_s is None or open_s % kind.length_s or open_s < self.prices.first_s + HOUR_S:
                return None
            if kind.is_ladder and open_s - kind.listed_s > self.known_s:
                return None
            listed = markets_at(kind, open_s, self.prices, self.seed)
            return next((market for market in listed if market.name == name), None)
        return None

    def trade(self, market: Market, second: int) -> Traded | None:
        """Return the trade of a second of a market's life, which comes at its very beginning."""
        is_kalshi = market.kind.venue == "kalshi"
        # A Kalshi book is empty when trading begins.
        if second < market.open_s + is_kalshi or second >= market.close_s:
            return None
        key = market.key
        kind = "polymarket" if not is_kalshi else "D" if market.kind.is_ladder else "15M"
        if unit(key, second, 0x88) >= TRADE_CHANCE[kind]:
            return None
        is_buy = bool(word(key, second, 0x87) & 1)
        quotes = self.quotes(market)
        price_e4 = quotes.touch(second)[is_buy]
        if price_e4 is None:
            return None
        hundredths = 1 + int(TRADE_MEDIAN_E2 * exp(2.5 * (unit(key, second, 0x89) - 0.5) * 2))
        return Traded(price_e4, hundredths * 10_000, is_buy, word(key, second, 0x8A))

    def _list_new(self, kind: Kind, until_s: int) -> None:
        """Put on the agenda what is listed before `until_s`."""
        while self._next_open[kind.number] - kind.listed_s < until_s:
            open_s = self._next_open[kind.number]
            self._next_open[kind.number] += kind.length_s
            for market in markets_at(kind, open_s, self.prices, self.seed):
                self._put(market.created_ns, "created", market)
                first_s = quoted_s(market)
                self._put(first_s * NS_PER_S, "quoted", market)
                self._put(market.open_ns, "opened", market)
                self._put(market.close_ns, "closed", market)
                self._put(market.determined_ns, "determined", market)
                self._put(market.finalized_ns, "settled", market)

    def _put(self, ns: int, what: str, market: Market) -> None:
        self._count += 1
        heappush(self._agenda, (ns, self._count, what, market))

    def _turn(self, what: str, market: Market) -> None:
        """Let a market come to life, or go."""
        if what == "quoted":
            self._live[market.name] = market
        elif what == "opened":
            fine_s = self.quotes(market).fine_s
            if fine_s is not None:
                self._put(fine_s * NS_PER_S, "fine", market)
            if not market.kind.is_ladder and not market.is_never_struck(self.was_on):
                self._put(market.struck_ns(self.was_on), "struck", market)
        elif what == "closed":
            self._live.pop(market.name, None)
            self._quotes.pop(market.name, None)
            self._standing.pop(market.name, None)

    def _spot_touch(self, row: int, second: int) -> tuple[int, int]:
        spot_e4 = int(self.prices.spots_e4(row, second, 1)[0])
        drawn = word(self._spot_keys[row], second, 0x81)
        gap_e4 = 100 if drawn % 10 < 7 else 100 * (2 + drawn % 13)
        return (spot_e4, spot_e4 + gap_e4) if drawn & 1 << 20 else (spot_e4 - gap_e4, spot_e4)

    def _spot_step(self, row: int, second: int, faults: frozenset[str]) -> list[BookEvent]:
        name, key = self.names[row], self._spot_keys[row]
        old = self._stood(name, second) or self.spot_book(row, second)
        new = _faulted(self.spot_book(row, second + 1), faults, old, word(key, 0x82))
        self._standing[name] = second + 1, new
        last_e4 = int(self.prices.spots_e4(row, second + 1, 1)[0])
        bid_e4, ask_e4 = self._spot_touch(row, second)
        first_id = (second - 1_600_000_000) * SPOT_TRADES
        trades = []
        for i in range(SPOT_TRADES - 1):
            is_buy = bool(word(key, second, 0x83, i) & 1)
            size = self._spot_size(row, second, i)
            trades.append(Traded(ask_e4 if is_buy else bid_e4, size, is_buy, first_id + i))
        is_buy = self._spot_touch(row, second + 1)[1] == last_e4
        size = self._spot_size(row, second, SPOT_TRADES)
        trades.append(Traded(last_e4, size, is_buy, first_id + SPOT_TRADES - 1))
        return changes_of(
            Plan(name, key, second, old, new, SPOT_BATCH_NS, tuple(trades), ends_with_trade=True)
        )

    def _spot_size(self, row: int, second: int, place: int) -> int:
        """Draw the size of a spot trade in 1e-8 coins: some cents' worth to some thousand USD."""
        usd = exp(1.0 + 7.0 * unit(self._spot_keys[row], second, 0x84, place))
        return round(usd / UNDERLYINGS[row].level_usd * 1e8)

    def _contract_step(
        self, market: Market, second: int, faults: frozenset[str]
    ) -> list[BookEvent]:
        quotes = self.quotes(market)
        if second < quotes.first_s:
            return []
        old = self._stood(market.name, second)
        if old is None:
            # A Kalshi book begins empty; what a Polymarket window shows long before stands still.
            is_new = market.kind.venue == "kalshi" and second == market.open_s
            old = ({}, {}) if is_new else quotes.book(second)
        plan = self._contract_plan(quotes, second, faults, old=old)
        self._standing[market.name] = second + 1, plan.new
        return changes_of(plan)

    def _contract_plan(
        self, quotes: Quotes, second: int, faults: frozenset[str], *, old: Book
    ) -> Plan:
        market = quotes.market
        new = _faulted(quotes.book(second + 1), faults, old, word(market.key, 0x86))
        found = None if faults else self.trade(market, second)
        trades = () if found is None else (found,)
        batch_ns = CONTRACT_BATCH_NS[market.kind.venue]
        return Plan(
            market.name, market.key, second, old, new, batch_ns, trades, ends_with_trade=False
        )

    def _stood(self, name: str, second: int) -> Book | None:
        at, book = self._standing.get(name, (0, None))
        return book if at == second else None


def _faulted(book: Book, faults: frozenset[str], old: Book, drawn: int) -> Book:
    """Return a venue's book under faults of content: as it was, crossed, or without a side."""
    if not faults:
        return book
    if FROZEN in faults:
        return old
    bids, asks = book
    if CROSSED in faults and bids and asks:
        above_e4 = sorted(asks)[:2][-1]
        bids = {**bids, above_e4: bids[max(bids)]}
    if EMPTY in faults:
        bids, asks = ({}, asks) if drawn & 1 else (bids, {})
    return bids, asks
