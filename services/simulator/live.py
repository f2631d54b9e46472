"""The books as delivered: what every venue would answer at this instant.

In go the events of the world, one after another at their time, out comes the state that snapshots
and REST answers are written from. It is the one mutable copy; the world itself only draws.
"""

from collections import deque

from services.simulator.books import Book
from services.simulator.life import Market
from services.simulator.quoting import quoted_s
from services.simulator.stepping import BookEvent, Levels, top
from services.simulator.world import Event, LifeEvent, PrintEvent, World

TRADES_KEPT = 100
"""Recent trades of a book: a snapshot of Coinbase's market_trades holds about so many."""

PRINTS_KEPT = 180
"""Recent prints of an index: live-data snapshots go back two minutes."""


class Live:
    """State of all books, trades and prints since `begin`, for readers; `apply` changes it."""

    def __init__(self, world: World, second: int) -> None:
        self.world = world
        self.books: dict[str, Book] = {}
        self.tops: dict[str, tuple[Levels, Levels]] = {}
        self.trades: dict[str, deque[BookEvent]] = {}
        self.prints: list[deque[PrintEvent]] = []
        for row, name in enumerate(world.names):
            self._set(name, world.spot_book(row, second))
            back = [world.print_event(row, s) for s in range(second - PRINTS_KEPT, second)]
            self.prints.append(deque(back, maxlen=PRINTS_KEPT))
        for market in world.live_markets():
            self._set(market.name, world.quotes(market).book(second))

    def apply(self, event: Event) -> None:
        """Take in what just happened."""
        if isinstance(event, BookEvent):
            book = self.books.get(event.name)
            if book is None:
                return
            for side, price, size, _ in event.changes:
                if size:
                    book[side][price] = size
                else:
                    book[side].pop(price, None)
            self.tops[event.name] = event.bids, event.asks
            if event.trade is not None:
                self.trades.setdefault(event.name, deque(maxlen=TRADES_KEPT)).append(event)
        elif isinstance(event, PrintEvent):
            self.prints[event.row].append(event)
        else:
            self._turn(event)

    def book(self, market: Market) -> Book:
        """Return a market's book now: empty once closed, the first one long before the open."""
        found = self.books.get(market.name)
        if found is not None:
            return found
        if market.kind.venue == "polymarket" and market.name not in self.tops:
            first_s = quoted_s(market)
            if self.prints[0][-1].second < first_s:
                return self.world.quotes(market).book(first_s)
        return {}, {}

    def top(self, market: Market) -> tuple[Levels, Levels]:
        """Return the best five levels a side of a market now."""
        return self.tops.get(market.name) or top(self.book(market))

    def last_trade(self, name: str) -> BookEvent | None:
        """Return the newest trade of a book, None before the first."""
        trades = self.trades.get(name)
        return trades[-1] if trades else None

    def _turn(self, event: LifeEvent) -> None:
        market = event.market
        if event.what == "quoted":
            is_kalshi = market.kind.venue == "kalshi"
            quotes = self.world.quotes(market)
            self._set(market.name, ({}, {}) if is_kalshi else quotes.book(quotes.first_s))
        elif event.what == "closed":
            self.books.pop(market.name, None)
            self.tops.pop(market.name, None)
        elif event.what == "settled":
            self.trades.pop(market.name, None)

    def _set(self, name: str, book: Book) -> None:
        self.books[name] = dict(book[0]), dict(book[1])
        self.tops[name] = top(book)
