"""What the trader remembers of a market, and the form in which it is written down.

One struct per market that is open or still has a position; everything in it is bounded (one quote,
at most as many taken levels as the grid has prices) and forgotten after the close. The checkpoint
is JSON with sorted keys: a person can read it, and equal states give equal bytes.
"""

from collections.abc import Collection
from typing import NamedTuple

import msgspec

from libs.common.checks import HawkError
from libs.common.events import Flag, Gap, Market, QuoteSnapshot, Resolution, Side
from libs.common.streams import CONTROL
from services.trader.account import AccountState
from services.trader.limits import SECOND_NS, TraderSettings
from services.trader.paper import is_sound, prices_e4, still_taken

VERSION = 1
"""Raised when a checkpoint of an older build can no longer be read as it stands."""

# Plain integers: `&` with an IntFlag costs as much as the rest of a snapshot's handling.
_GAP, _COARSE = int(Flag.GAP), int(Flag.COARSE)
_CROSSED_OR_STALE = int(Flag.CROSSED | Flag.STALE)

MarketKey = tuple[str, str]
"""Venue, market."""


class CheckpointError(HawkError):
    """A trader checkpoint is damaged or of another version."""


class Learned(NamedTuple):
    """Whether a result settles its market, and what it contradicts."""

    settles: bool
    contradiction: str | None


class MarketState(msgspec.Struct, kw_only=True):
    """One market as the trader sees it.

    `interval_ns` is the shortest distance of two snapshots so far (0: unknown), `clean` the number
    of sound snapshots in a row since the last bad one, `taken` the own purchases still subtracted
    from the book, by side, as (price, size) in order of price. `full` names strategies that met
    the market's limit.
    """

    market: Market
    quote: QuoteSnapshot | None = None
    interval_ns: int = 0
    clean: int
    has_gap: bool = False
    blocked: str | None = None
    result: Side | None = None
    rebuilt: Side | None = None
    decided_ns: int = 0
    taken: dict[Side, tuple[tuple[int, int], ...]] = {}
    reasons: dict[str, str] = {}
    ordered_ns: dict[str, int] = {}
    full: list[str] = []
    was_traded: bool = False
    is_reported: bool = False

    def change(self, market: Market) -> None:
        """Take a newer statement of the market; block it where what must not change changed."""
        old = self.market
        fixed = ("open_ns", "close_ns", "comparator", "settlement_rule", "rule_fingerprint")
        changed = [name for name in fixed if getattr(old, name) != getattr(market, name)]
        if old.strike_usd is not None and old.strike_usd != market.strike_usd:
            changed.append("strike_usd")
        if changed:
            self.blocked = f"changed: {changed[0]}"
        self.market = market

    def miss(self, gap: Gap) -> None:
        """Note an unobserved stretch: no fill across it, and the book must prove itself again."""
        self.clean = 0
        if self.quote is None or gap.end_ns > self.quote.ts_ns:
            self.has_gap = True

    def see(self, quote: QuoteSnapshot) -> None:
        """Take the next snapshot, later than the one before."""
        if self.quote is not None:
            distance_ns = quote.ts_ns - self.quote.ts_ns
            self.interval_ns = min(self.interval_ns or distance_ns, distance_ns)
        self.quote = quote
        self.has_gap = False
        if is_sound(quote):
            self.clean = 1 if quote.flags & _GAP else self.clean + 1
            for side, taken in self.taken.items():
                self.taken[side] = tuple(still_taken(taken, prices_e4(quote, side)))
        elif not quote.flags & _COARSE or quote.flags & _CROSSED_OR_STALE:
            # A recorder's rounding says nothing about the venue's book: such a row is passed over.
            self.clean = 0

    def learn(self, event: Resolution) -> Learned:
        """Take a result, of the venue or of our own rebuild."""
        if event.source != "venue":
            self.rebuilt = self.rebuilt or event.result
            differs = self.result not in (None, event.result)
            return Learned(False, "rebuild differs" if differs else None)
        if self.result is None:
            self.result = event.result
            differs = self.rebuilt not in (None, event.result)
            return Learned(True, "rebuild differs" if differs else None)
        return Learned(False, "second result" if self.result != event.result else None)

    def closed(self) -> str | None:
        """Return why this market is out of trading for good, or None."""
        return self.blocked or ("closed" if self.result is not None else None)

    @property
    def sample_ns(self) -> int:
        """The market's sample interval, a second where it is unknown or shorter."""
        return max(self.interval_ns, SECOND_NS)


class Markets:
    """The markets that are open or in use, and the results of traded ones for a while longer."""

    def __init__(self, settings: TraderSettings) -> None:
        """Start without any."""
        self._settings = settings
        self.by_key: dict[MarketKey, MarketState] = {}
        self.results: dict[str, tuple[Side, int]] = {}

    def restore(self, state: "State") -> None:
        """Replace everything by what `state` holds."""
        self.by_key = {(m.market.venue, m.market.market): m for m in state.markets}
        self.results = state.results

    def take(self, event: Market, now_ns: int) -> None:
        """Take a statement of a market: a new one, or a change; one long closed is ignored."""
        key = (event.venue, event.market)
        known = self.by_key.get(key)
        if known is not None:
            known.change(event)
        elif event.close_ns + self._settings.market_keep_s * SECOND_NS >= now_ns:
            self.by_key[key] = MarketState(market=event, clean=self._settings.clean_min)

    def miss(self, event: Gap) -> None:
        """Note a gap in all markets that it is about."""
        if event.feed not in ("spot", "quotes"):
            return  # of a series: about markets that nobody knew (see `Gap`)
        for (venue, market), state in self.by_key.items():
            if (
                state.market.underlying == event.underlying
                and event.venue in (None, venue)
                and event.market in (None, market)
            ):
                state.miss(event)

    def learn(self, event: Resolution) -> Learned:
        """Take a result; a market already forgotten is only compared with its first result."""
        state = self.by_key.get((event.venue, event.market))
        if state is not None:
            return state.learn(event)
        known = self.results.get(f"{event.venue} {event.market}")
        is_second = known is not None and known[0] != event.result
        return Learned(False, "second result" if is_second else None)

    def prune(self, cutoff_ns: int, in_use: Collection[MarketKey]) -> None:
        """Forget markets closed long before `cutoff_ns`, except those `in_use`."""
        keep_ns = self._settings.market_keep_s * SECOND_NS
        result_ns = self._settings.traded_keep_s * SECOND_NS
        for key, state in list(self.by_key.items()):
            if state.market.close_ns + keep_ns < cutoff_ns and key not in in_use:
                if state.was_traded and state.result is not None:
                    until_ns = state.market.close_ns + result_ns
                    self.results[" ".join(key)] = (state.result, until_ns)
                del self.by_key[key]
        for name, (_, until_ns) in list(self.results.items()):
            if until_ns < cutoff_ns:
                del self.results[name]


class State(msgspec.Struct, frozen=True, kw_only=True):
    """A whole trader as it is written down."""

    version: int = VERSION
    now_ns: int = 0
    tick_underlying: str = CONTROL
    halts: dict[str, str] = {}
    control_count: int = 0
    results: dict[str, tuple[Side, int]] = {}
    account: AccountState
    markets: tuple[MarketState, ...] = ()


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(State)


def encode(state: State) -> bytes:
    """Encode `state`; equal states give equal bytes."""
    return _encoder.encode(state)


def decode(text: bytes) -> State:
    """Decode what `encode` made; raise `CheckpointError` if it is damaged or of another version."""
    try:
        state = _decoder.decode(text)
    except msgspec.MsgspecError as error:
        raise CheckpointError(
            f"trader checkpoint is damaged ({error}): remove it and replay the archive"
        ) from error
    if state.version != VERSION:
        raise CheckpointError(
            f"trader checkpoint has version {state.version}, expected {VERSION}: "
            "remove it and replay the archive"
        )
    return state
