"""The life of a market in the live world: what is listed, and when its facts become known.

In go prices and the record of faults, out come markets and their instants. Nothing is stored: any
market of any age is worked out from its series and opening, and two questions about one market get
one answer. Both venues settle on the sums of sixty published prints (`prices`): a window's strike
is the sum that the window before settled on, to the cent on Kalshi and unrounded on Polymarket.

A reader would question that hourly ladders are centred on the index five minutes before they open,
not at it: a strike that is listed cannot know the opening price.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from services.simulator.chance import key_of, unit
from services.simulator.naming import NS_PER_S, condition_id, eastern_stamp, token_id
from services.simulator.path import UNDERLYINGS
from services.simulator.prices import Prices

Venue = Literal["kalshi", "polymarket"]
WasOn = Callable[[str, str, int], bool]
"""Tells whether a fault (name, venue) was on at an instant, in stream nanoseconds."""

RUNGS = 5
"""Strikes of an hourly ladder, the middle one nearest the index."""

LATE_STRIKE_S = 90.0
"""What the fault `late_strike` adds: nine of its ten usual delays at the venues."""

PRICE_TO_BEAT_S = (15.0, 30.0)
"""Until Gamma shows the price to beat after an opening ("up to 30 s")."""

FINAL_PRICE_S = 2.0
"""Until the closing price of a window is served."""

_FAULTLESS: WasOn = lambda name, venue, ns: False  # noqa: E731


@dataclass(frozen=True)
class Kind:
    """A series: `number` is its place in `KINDS`; times are in seconds. `listed_s` is how long
    before its opening a market is created; the delays are ranges after the opening and the close.
    """

    number: int
    venue: Venue
    name: str
    row: int
    length_s: int
    is_ladder: bool
    listed_s: int
    strike_delay_s: tuple[float, float]
    result_delay_s: tuple[float, float]
    settled_s: float

    @property
    def underlying(self) -> str:
        """Name such as BTC-USD."""
        return UNDERLYINGS[self.row].name

    @property
    def code(self) -> str:
        """Code such as BTC."""
        return UNDERLYINGS[self.row].code

    @property
    def comparator(self) -> str:
        """How a settlement is compared with the strike for YES."""
        return ">" if self.is_ladder else ">="


def _kinds_of(row: int) -> tuple[Kind, ...]:
    code, first = UNDERLYINGS[row].code, 4 * row
    low = code.lower()
    quick, slow = (0.6, 0.8), (1.0, 3.0)
    return (
        Kind(first, "kalshi", f"KX{code}15M", row, 900, False, 14_400, quick, (5.0, 60.0), 1.0),
        Kind(first + 1, "kalshi", f"KX{code}D", row, 3_600, True, 300, (0, 0), (5.0, 60.0), 60.0),
        Kind(
            first + 2, "polymarket", f"{low}-updown-5m", row, 300, False, 86_400, slow, (60, 120), 0
        ),
        Kind(
            first + 3,
            "polymarket",
            f"{low}-updown-15m",
            row,
            900,
            False,
            86_400,
            slow,
            (60, 120),
            0,
        ),
    )


KINDS = tuple(kind for row in range(len(UNDERLYINGS)) for kind in _kinds_of(row))
"""Every series that can be served; the first 4 n of them for n underlyings."""


@dataclass(frozen=True)
class Market:
    """One contract: its kind, opening and, of a ladder, strike in cents. `seed` decides delays."""

    kind: Kind
    open_s: int
    seed: int
    listed_cents: int = 0

    @property
    def close_s(self) -> int:
        """Second at which trading stops."""
        return self.open_s + self.kind.length_s

    @cached_property
    def event(self) -> str:
        """Name of the event the market belongs to."""
        if self.kind.venue == "polymarket":
            return self.name
        stamp = eastern_stamp(self.close_s)
        # Hourly events name the hour alone: 26SEP0107, with the R of a repeated hour kept.
        return f"{self.kind.name}-{stamp[:9] + stamp[11:] if self.kind.is_ladder else stamp}"

    @cached_property
    def name(self) -> str:
        """Ticker or slug."""
        if self.kind.venue == "polymarket":
            return f"{self.kind.name}-{self.open_s}"
        if self.kind.is_ladder:
            return f"{self.event}-T{self.listed_cents // 100}.{self.listed_cents % 100:02d}"
        return f"{self.event}-{self.close_s // 60 % 60:02d}"

    @cached_property
    def key(self) -> int:
        """What everything that is drawn for this market is drawn from."""
        return key_of(self.seed, f"{self.kind.name} {self.open_s} {self.listed_cents}")

    @cached_property
    def tokens(self) -> tuple[str, str]:
        """Tokens of YES (Up) and NO (Down)."""
        return token_id(self.kind.number, self.open_s, 0), token_id(
            self.kind.number, self.open_s, 1
        )

    @cached_property
    def condition(self) -> str:
        """Condition id."""
        return condition_id(self.kind.number, self.open_s)

    @property
    def created_ns(self) -> int:
        """When the market is listed: some ten seconds after a round instant."""
        return self._after(self.open_s - self.kind.listed_s, (1.0, 45.0), 1)

    @property
    def open_ns(self) -> int:
        """When trading begins (on Polymarket: when the window begins)."""
        return self.open_s * NS_PER_S

    @property
    def close_ns(self) -> int:
        """When trading stops."""
        return self.close_s * NS_PER_S

    @property
    def determined_ns(self) -> int:
        """When the result is known to the venue's clients."""
        return self._after(self.close_s, self.kind.result_delay_s, 3)

    @property
    def finalized_ns(self) -> int:
        """When the market is settled: the settlement timer after the result."""
        return self.determined_ns + round(self.kind.settled_s * NS_PER_S)

    def is_never_struck(self, was_on: WasOn = _FAULTLESS) -> bool:
        """Tell whether the strike never comes: the fault was on when the market opened."""
        return not self.kind.is_ladder and was_on("missing_strike", self.kind.venue, self.open_ns)

    def struck_ns(self, was_on: WasOn = _FAULTLESS) -> int:
        """When the strike becomes known: at the listing of a ladder, else just after the open."""
        if self.kind.is_ladder:
            return self.created_ns
        is_late = was_on("late_strike", self.kind.venue, self.open_ns)
        delay_ns = round(LATE_STRIKE_S * NS_PER_S) if is_late else 0
        return self._after(self.open_s, self.kind.strike_delay_s, 2) + delay_ns

    def beat_ns(self, was_on: WasOn = _FAULTLESS) -> int:
        """When Gamma shows the price to beat."""
        late_ns = self.struck_ns(was_on) - self.struck_ns()
        return self._after(self.open_s, PRICE_TO_BEAT_S, 4) + late_ns

    def _after(self, second: int, range_s: tuple[float, float], purpose: int) -> int:
        low, high = range_s
        delay_s = low + (high - low) * unit(self.key, purpose)
        return second * NS_PER_S + round(delay_s * 1e6) * 1_000


@dataclass(frozen=True)
class Settlement:
    """What a market is measured by: strike and settlement as sums of sixty prints in 1e-4 USD, and
    as rounded cents (Kalshi)."""

    strike_e4: int
    settled_e4: int
    strike_cents: int
    settled_cents: int
    is_yes: bool


def cents(sum_e4: int) -> int:
    """Round the mean of sixty prints to cents, half up.

    >>> cents(60 * 634_410_300), cents(60 * 100 + 3_000)
    (6344103, 2)
    """
    return (sum_e4 + 3_000) // 6_000


def strike_of(market: Market, prices: Prices) -> tuple[int, int]:
    """Return the strike as a sum of sixty prints in 1e-4 USD, and in cents."""
    if market.kind.is_ladder:
        return market.listed_cents * 6_000, market.listed_cents
    total = prices.sum_e4(market.kind.row, market.open_s)
    return total, cents(total)


def settlement_of(market: Market, prices: Prices, was_on: WasOn = _FAULTLESS) -> Settlement:
    """Settle a market that has closed; a market that was never struck settles as NO."""
    strike_e4, strike_cents = strike_of(market, prices)
    settled_e4 = prices.sum_e4(market.kind.row, market.close_s)
    settled_cents = cents(settled_e4)
    if market.kind.venue == "polymarket":
        is_yes = settled_e4 >= strike_e4
    elif market.kind.is_ladder:
        is_yes = settled_cents > strike_cents
    else:
        is_yes = settled_cents >= strike_cents and not market.is_never_struck(was_on)
    return Settlement(strike_e4, settled_e4, strike_cents, settled_cents, is_yes)


def markets_at(kind: Kind, open_s: int, prices: Prices, seed: int) -> tuple[Market, ...]:
    """List the markets of a series that open at `open_s`: one, or the rungs of a ladder."""
    if not kind.is_ladder:
        return (Market(kind, open_s, seed),)
    step = round(UNDERLYINGS[kind.row].strike_step_usd * 100)
    index_e4 = int(prices.prints_e4(kind.row, open_s - kind.listed_s, 1)[0])
    middle = round(index_e4 / 100 / step)
    # One cent below a round number: strictly above 78,099.99 reads "78,100 or above".
    return tuple(
        Market(kind, open_s, seed, (middle + i) * step - 1)
        for i in range(-(RUNGS // 2), RUNGS // 2 + 1)
    )
