"""What was true, for whoever checks what was recorded: books, markets, results, faults.

In go the events as they are delivered, out come JSON lines. At every whole second each book's best
five levels a side stand as they were, and beside them every version they had since the second
before, as [nanoseconds after that second, hash]: a snapshot taken with some latency is right if its
hash is that of a version which stood a moment earlier. Where a venue tells one level a text, the
book after each text is a version.

Prices are whole 1e-4 USD and sizes whole 1e-2 contracts, cut, in terms of YES (Up); of spot both
are floats, in USD and coins, and a hash is of the best level a side alone.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b

import msgspec

from services.simulator.faults import FAULTS, VENUES, Switch
from services.simulator.life import settlement_of, strike_of
from services.simulator.live import Live
from services.simulator.naming import NS_PER_S
from services.simulator.path import PRINTS
from services.simulator.stepping import TOP, BookEvent, Levels, top
from services.simulator.world import Event, LifeEvent

Pair = tuple[float, float]


def book_hash(bids: Sequence[Pair], asks: Sequence[Pair]) -> str:
    """Return the hash of the best five (price, size) a side, best first, in the units above.

    >>> book_hash([(4900, 10000)], []) == book_hash([(4900, 10000)], [])
    True
    """
    sides = (",".join(f"{p!r}:{s!r}" for p, s in side[:TOP]) for side in (bids, asks))
    return blake2b("|".join(sides).encode(), digest_size=8).hexdigest()


def contract_levels(levels: Levels) -> list[tuple[int, int]]:
    """Return levels of a contract in the truth's units."""
    return [(price, size // 10_000) for price, size in levels]


def spot_levels(levels: Levels) -> list[tuple[float, float]]:
    """Return levels of a spot product in the truth's units."""
    return [(price / 10_000, size / 10**8) for price, size in levels]


class Truth:
    """Collects what is true between two whole seconds."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._spot = frozenset(live.world.names)
        self._versions: dict[str, list[tuple[int, str]]] = {}
        self._last: dict[str, tuple[Levels, Levels]] = {}

    def hear(self, event: Event) -> None:
        """Note the versions of a book that an event makes; the live books have taken it in."""
        if not isinstance(event, BookEvent):
            if isinstance(event, LifeEvent) and event.what == "quoted":
                self._begin(event.market.name, event.ns % NS_PER_S)
            return
        name, offset_ns = event.name, event.ns % NS_PER_S
        for tops in (*self._between(event), (event.bids, event.asks)):
            if self._last.get(name) != tops:
                self._last[name] = tops
                self._versions.setdefault(name, []).append((offset_ns, self._hash(name)))

    def _begin(self, name: str, offset_ns: int) -> None:
        """Note the book that a market begins with: Kalshi's is empty for the first moment."""
        self._last[name] = self._live.tops[name]
        self._versions[name] = [(offset_ns, self._hash(name))]

    def _between(self, event: BookEvent) -> list[tuple[Levels, Levels]]:
        """Return the tops after each change but the last, where each is told in a text alone."""
        book = self._live.books.get(event.name)
        if len(event.changes) < 2 or book is None or event.name in self._spot:
            return []
        market = self._live.world.find(event.name)
        if market is None or market.kind.venue != "kalshi":
            return []
        sides, found = (dict(book[0]), dict(book[1])), []
        for side, price, size, delta in reversed(event.changes[1:]):
            if size == delta:
                sides[side].pop(price, None)
            else:
                sides[side][price] = size - delta
            found.append(top(sides))
        return found[::-1]

    def tick(self, second: int, active: Mapping[str, frozenset[str]], *, late_ns: int = 0) -> str:
        """Return the line of a whole second, and begin the next.

        `late_ns` is how late we are ourselves: what should have been told by then was not yet.
        """
        books = {}
        for name in self._live.books:
            tops = self._live.tops[name]
            self._last.setdefault(name, tops)
            told = spot_levels if name in self._spot else contract_levels
            books[name] = {
                "bids": told(tops[0]),
                "asks": told(tops[1]),
                "versions": self._versions.get(name, []),
            }
        self._last = {name: tops for name, tops in self._last.items() if name in books}
        # What stands at the tick is the first version of the second that begins.
        self._versions = {name: [(0, self._hash(name))] for name in books}
        up = {venue: not _hides(active.get(venue, ()), rest=False) for venue in VENUES}
        rest = {venue: not _hides(active.get(venue, ()), rest=True) for venue in VENUES}
        faults = {venue: sorted(names) for venue, names in active.items()}
        line = {"kind": "tick", "ts_ns": second * NS_PER_S, "up": up, "rest_up": rest}
        line["late_ns"] = late_ns
        return _line({**line, "faults": faults, "books": books})

    def standing(self, now_ns: int) -> str:
        """Return the lines of all markets that have a book when the server starts."""
        live = self._live.world.live_markets()
        return "".join(self.life(LifeEvent(now_ns, "standing", market)) for market in live)

    def life(self, event: LifeEvent) -> str:
        """Return the line of a turn in a market's life, with what is known by it."""
        market, world = event.market, self._live.world
        line: dict[str, object] = {
            "kind": event.what,
            "ts_ns": event.ns,
            "venue": market.kind.venue,
            "market": market.name,
            "series": market.kind.name,
            "underlying": market.kind.underlying,
            "open_ns": market.open_ns,
            "close_ns": market.close_ns,
            "comparator": market.kind.comparator,
        }
        if market.kind.venue == "polymarket":
            line["tokens"] = market.tokens
        is_struck = event.ns >= max(market.struck_ns(world.was_on), market.created_ns)
        if is_struck and not market.is_never_struck(world.was_on):
            sum_e4, cents = strike_of(market, world.prices)
            is_kalshi = market.kind.venue == "kalshi"
            line["strike_usd"] = cents / 100 if is_kalshi else sum_e4 / (PRINTS * 10_000)
            line["strike_known_ns"] = market.struck_ns(world.was_on)
        if event.what in ("determined", "settled"):
            settled = settlement_of(market, world.prices, world.was_on)
            is_kalshi = market.kind.venue == "kalshi"
            line["settlement_usd"] = (
                settled.settled_cents / 100 if is_kalshi else settled.settled_e4 / (PRINTS * 10_000)
            )
            line["result"] = "yes" if settled.is_yes else "no"
        return _line(line)

    def _hash(self, name: str) -> str:
        """Hash what a recorder keeps: five levels of a contract, the best of spot."""
        bids, asks = self._last[name]
        if name in self._spot:
            return book_hash(spot_levels(bids)[:1], spot_levels(asks)[:1])
        return book_hash(contract_levels(bids), contract_levels(asks))


def switch_line(switch: Switch, *, is_on: bool, ns: int) -> str:
    """Return the line of a fault that goes on or off."""
    kind = "fault_on" if is_on else "fault_off"
    line = {"kind": kind, "ts_ns": ns, "fault": switch.name, "venue": switch.venue}
    return _line({**line, "off_ns": switch.off_ns})


def _hides(names: Sequence[str] | frozenset[str], *, rest: bool) -> bool:
    return any(FAULTS[name].hides_rest if rest else FAULTS[name].hides for name in names)


def _line(value: Mapping[str, object]) -> str:
    return msgspec.json.encode(value).decode() + "\n"
