"""The streaming path: snapshots in, one feature row per quote out.

`FeatureEngine` is the handler of one underlying. It keeps the price feeds (`tracks`), the basis
(`basis`), what each market is, and two minutes of each market's mids, and hands the formulas their
inputs at every quote. Nothing later than the quote, in the order of events, is ever in that state.
`batch.build_rows` makes the same rows from tables, bit for bit; a change here needs its twin there.

Two decisions a reader would question. A `Gap` changes nothing: what was not observed shows as age,
as a missing look-back or as a flag of the next snapshot, and batch has no gaps to read. And an
unusable row is still made, with its reason, so that a count of rows is a count of quotes.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from libs.common.checks import check
from libs.common.events import (
    Event,
    FeatureRow,
    Market,
    QuoteSnapshot,
    SpotSnapshot,
    Tick,
    event_id,
)
from libs.common.fair_value import PRINTS, RULES
from libs.common.ops import NAN, SCALARS
from services.features.basis import BASIS_LOOKBACK_NS, BasisHistory, StrikeWatch, difference_e6
from services.features.basis import Terms as StrikeTerms
from services.features.catalog import FEATURE_SET, compute, finite
from services.features.inputs import (
    DAY_NS,
    INDEX_AGE_NS_MAX,
    IS_COARSE,
    IS_CROSSED,
    IS_GAP,
    IS_LOCKED,
    IS_STALE,
    MARKET_AGE_NS_MAX,
    MID_CHANGE,
    NEAR_E4,
    NO_FEED,
    QUARANTINED,
    QUOTE_HISTORY_NS,
    SECOND_NS,
    SPOT_AGE_NS_MAX,
    UNUSABLE,
    Book,
    Clock,
    Contract,
    Inputs,
    Price,
    Settlement,
    Venue,
    contract,
    feed_of,
    index_feed_of,
    price_e6,
    volume_e8,
)
from services.features.tracks import Track
from services.features.windows import History

_UNKNOWN_MARKET, _QUARANTINED, _OUTSIDE_LIFE, _CROSSED, _LOCKED, _STALE = UNUSABLE
_NO_PRICE, _NO_FLOW = Price(), (NAN, NAN, NAN, NAN)


class _Known(NamedTuple):
    """A market as last heard of, with what of it never changes between its events."""

    event: Market
    contract: Contract
    feed: str
    is_average: bool


class FeatureEngine:
    """Handler of one underlying: `FeatureRow` per `QuoteSnapshot`; passes each `Tick` on."""

    def __init__(self, underlying: str) -> None:
        """Start with nothing known; feed it `lookback_s` before its output counts."""
        self.underlying = underlying
        self._markets: dict[tuple[str, str], _Known] = {}
        self._mids: dict[tuple[str, str], History] = {}
        self._tracks: dict[str, Track] = {}
        self._basis: dict[tuple[str, str], BasisHistory] = {}
        self._strikes = StrikeWatch()
        self._venue: Track | None = None
        self._venue_book = Venue()
        self._venue_now: tuple[int, Venue] = (-1, Venue())

    @property
    def lookback_s(self) -> Mapping[type[Event], int]:
        """Seconds of each event type that rebuild the state exactly."""
        return {
            Market: (MARKET_AGE_NS_MAX + BASIS_LOOKBACK_NS) // SECOND_NS,
            SpotSnapshot: BASIS_LOOKBACK_NS // SECOND_NS,
            QuoteSnapshot: QUOTE_HISTORY_NS // SECOND_NS,
        }

    def handle(self, event: Event) -> Sequence[Event]:
        """Take one event of this underlying, in order; return the feature row of a quote."""
        if isinstance(event, QuoteSnapshot):
            return (self._row(event),)
        if isinstance(event, Tick):
            return (event,)
        if isinstance(event, SpotSnapshot):
            self._take_spot(event)
        elif isinstance(event, Market):
            self._take_market(event)
        return ()

    def _take_spot(self, spot: SpotSnapshot) -> None:
        """Record a snapshot's prices; a stale one is no observation, so the last one ages."""
        check(spot.underlying == self.underlying, f"{spot.underlying} fed to {self.underlying}")
        if spot.flags & IS_STALE:
            return
        index = price_e6(spot.index_usd)
        index_feed, feed = index_feed_of(spot.source), feed_of(spot.source)
        if index is not None:
            self._track(index_feed).add(spot.ts_ns, index, age_ns=spot.age_ns, volumes=None)
        price, book = _spot_price(spot)
        if price is None or (index is not None and feed == index_feed):
            return
        buy, sell = volume_e8(spot.taker_buy_volume), volume_e8(spot.taker_sell_volume)
        known = buy is not None and sell is not None and not spot.flags & IS_GAP
        self._venue = self._track(feed)
        volumes = (buy or 0, sell or 0) if known else None
        self._venue.add(spot.ts_ns, price, age_ns=spot.age_ns, volumes=volumes)
        self._venue_book = book
        self._venue_now = (-1, book)

    def _track(self, feed: str) -> Track:
        if feed not in self._tracks:
            self._tracks[feed] = Track(feed)
        return self._tracks[feed]

    def _take_market(self, market: Market) -> None:
        """Record what a market is; learn the basis if its strike has just arrived."""
        check(market.underlying == self.underlying, f"{market.underlying} fed to {self.underlying}")
        key = (market.venue, market.market)
        self._markets.pop(key, None)
        self._markets[key] = _known(market)
        horizon = market.ts_ns - MARKET_AGE_NS_MAX
        while (oldest := next(iter(self._markets.values())).event).ts_ns < horizon:
            del self._markets[(oldest.venue, oldest.market)]
        arrival = self._strikes.observe(market.ts_ns, key, strike_terms(market))
        if arrival is None:
            return
        for feed, track in self._tracks.items():
            total = track.minute_e6(arrival.open_ns)
            difference = None if total is None else difference_e6(arrival.strike_e6, total)
            if difference is not None:
                history = self._basis.setdefault((arrival.rule, feed), BasisHistory())
                history.add(market.ts_ns, difference)

    def _row(self, quote: QuoteSnapshot) -> FeatureRow:
        check(quote.underlying == self.underlying, f"{quote.underlying} fed to {self.underlying}")
        now_ns, key = quote.ts_ns, (quote.venue, quote.market)
        known = self._markets.get(key)
        if known is not None and known.event.ts_ns < now_ns - MARKET_AGE_NS_MAX:
            known = None
        bids, asks = quote.yes_bids_price_e4, quote.yes_asks_price_e4
        book = self._book(quote, key)
        price, settlement = self._settlement(known, now_ns)
        inputs = Inputs(
            clock=_clock(known, now_ns),
            contract=known.contract if known else Contract(),
            book=book,
            price=price,
            settlement=settlement,
            venue=self._venue_inputs(now_ns),
        )
        market = known.event if known else None
        return FeatureRow(
            ts_ns=now_ns,
            id=event_id("FeatureRow", quote.id, FEATURE_SET),
            quote_id=quote.id,
            venue=quote.venue,
            market=quote.market,
            series=market.series if market else "",
            underlying=quote.underlying,
            open_ns=market.open_ns if market else 0,
            close_ns=market.close_ns if market else 0,
            feature_set=FEATURE_SET,
            values=finite(compute(inputs, SCALARS)),
            bid_e4=bids[0] if bids else None,
            ask_e4=asks[0] if asks else None,
            flags=quote.flags,
            unusable=_unusable(quote, market),
        )

    def _settlement(self, known: _Known | None, now_ns: int) -> tuple[Price, Settlement]:
        """Choose S for the market: the settlement feed if fresh, else the spot venue."""
        feed = known.feed if known else NO_FEED
        index = self._tracks.get(feed)
        if index is not None and index.age_ns(now_ns) > INDEX_AGE_NS_MAX:
            index = None
        venue = self._venue
        if venue is not None and venue.age_ns(now_ns) > SPOT_AGE_NS_MAX:
            venue = None
        track = index or venue
        if track is None:
            return _NO_PRICE, Settlement()
        rule = known.event.settlement_rule if known else ""
        history = None if venue is None else self._basis.get((rule, venue.feed))
        basis_usd, variance = (0.0, 0.0) if history is None else history.estimate(now_ns)
        compares = index is not None and venue is not None and index is not venue
        is_settled_on = track.feed == feed
        return track.price(now_ns), Settlement(
            prints_usd=_prints(track, known, now_ns),
            basis_usd=0.0 if is_settled_on else basis_usd,
            basis_variance=0.0 if is_settled_on else variance,
            index_usd=index.price_usd() if compares and index else NAN,
            venue_usd=venue.price_usd() if compares and venue else NAN,
            venue_basis_usd=basis_usd if compares else NAN,
        )

    def _venue_inputs(self, now_ns: int) -> Venue:
        if self._venue_now[0] != now_ns:
            venue, track = Venue(), self._venue
            if track is not None and track.age_ns(now_ns) <= SPOT_AGE_NS_MAX:
                venue = Venue(*self._venue_book[:6], *track.flow(now_ns))
            self._venue_now = (now_ns, venue)
        return self._venue_now[1]

    def _book(self, quote: QuoteSnapshot, key: tuple[str, str]) -> Book:
        """Return the book's inputs, and remember its mid."""
        touches = self._touches(quote, key)
        bids, asks = quote.yes_bids_price_e4, quote.yes_asks_price_e4
        bid_sizes, ask_sizes = quote.yes_bids_size_e2, quote.yes_asks_size_e2
        bid, ask = bids[0] if bids else NAN, asks[0] if asks else NAN
        has_bids, has_asks = len(bid_sizes) == len(bids) > 0, len(ask_sizes) == len(asks) > 0
        near = NAN
        if has_bids and has_asks:
            near = sum(s for p, s in zip(bids, bid_sizes, strict=True) if p >= bid - NEAR_E4)
            near += sum(s for p, s in zip(asks, ask_sizes, strict=True) if p <= ask + NEAR_E4)
        last = quote.last_price_e4
        return Book(
            float(bid),
            float(ask),
            float(bid_sizes[0]) if bids and bid_sizes else NAN,
            float(ask_sizes[0]) if asks and ask_sizes else NAN,
            float(sum(bid_sizes)) if has_bids else NAN,
            float(sum(ask_sizes)) if has_asks else NAN,
            float(near),
            NAN if last is None else float(last),
            float(max(quote.age_ns, 0)) / 1e9,
            *touches,
        )

    def _touches(self, quote: QuoteSnapshot, key: tuple[str, str]) -> list[float]:
        """Return bid + ask of this market one MID_CHANGE horizon ago each, and add today's."""
        history = self._mids.pop(key, None) or History(values=1)
        found = []
        for horizon in MID_CHANGE:
            at = history.look_back(quote.ts_ns, horizon)
            found.append(NAN if at < 0 else float(history.values[0][at]))
        bids, asks = quote.yes_bids_price_e4, quote.yes_asks_price_e4
        if bids and asks and bids[0] <= asks[0]:
            history.add(quote.ts_ns, (bids[0] + asks[0],))
            history.prune(quote.ts_ns - QUOTE_HISTORY_NS)
        # Reinserted at the end, so that the market silent for longest stands first.
        if history.times:
            self._mids[key] = history
        self._forget_silent(quote.ts_ns - QUOTE_HISTORY_NS)
        return found

    def _forget_silent(self, before_ns: int) -> None:
        # Two looked at per one added: the dict shrinks faster than it can grow.
        for key in list(islice(self._mids, 2)):
            if self._mids[key].times[-1] < before_ns:
                del self._mids[key]


def strike_terms(market: Market) -> StrikeTerms:
    """Return what the basis needs of a market."""
    return StrikeTerms(market.settlement_rule, market.open_ns, market.close_ns, market.strike_usd)


def _known(market: Market) -> _Known:
    """Return a market with its contract."""
    rule = RULES.get(market.settlement_rule)
    terms = contract(
        (market.venue, market.series),
        market.settlement_rule,
        strike_usd=market.strike_usd,
        comparator=market.comparator,
    )
    return _Known(market, terms, rule.feed if rule else NO_FEED, bool(rule and rule.is_average))


def _spot_price(spot: SpotSnapshot) -> tuple[int | None, Venue]:
    """Return the venue's price (mid of an uncrossed two-sided book, else last trade) and book."""
    bid, ask = spot.bid_usd, spot.ask_usd
    mid = None
    if bid is not None and ask is not None and bid <= ask:
        mid = price_e6((bid + ask) / 2.0)
    if mid is None or bid is None or ask is None:
        return price_e6(spot.last_usd), Venue()
    sizes = (spot.bid_size, spot.ask_size, spot.depth_bid, spot.depth_ask)
    return mid, Venue(bid, ask, *(NAN if size is None else size for size in sizes))


def _clock(known: _Known | None, now_ns: int) -> Clock:
    day_s = float(now_ns % DAY_NS) / 1e9
    if known is None:
        return Clock(day_s=day_s)
    open_ns, close_ns = known.event.open_ns, known.event.close_ns
    return Clock(
        float(close_ns - now_ns) / 1e9,
        float(now_ns - open_ns) / 1e9,
        float(close_ns - open_ns) / 1e9,
        day_s,
    )


def _prints(track: Track, known: _Known | None, now_ns: int) -> float:
    """Return the sum of the market's past prints on S's own feed; 0 before the first."""
    if known is None or not known.is_average:
        return 0.0
    left_ns = known.event.close_ns - now_ns
    past = PRINTS - 1 - left_ns // SECOND_NS
    if past <= 0 or left_ns <= 0:
        return 0.0
    return track.prints_usd(known.event.close_ns, past)


def _unusable(quote: QuoteSnapshot, market: Market | None) -> str | None:
    """Return why the row must not be used; the first reason of UNUSABLE that holds."""
    if market is None:
        return _UNKNOWN_MARKET
    if market.status == QUARANTINED:
        return _QUARANTINED
    if not market.open_ns <= quote.ts_ns < market.close_ns:
        return _OUTSIDE_LIFE
    bids, asks, flags = quote.yes_bids_price_e4, quote.yes_asks_price_e4, quote.flags
    width = asks[0] - bids[0] if bids and asks else 1
    if width < 0 or flags & IS_CROSSED:
        return _CROSSED
    if (width == 0 or flags & IS_LOCKED) and not flags & IS_COARSE:
        return _LOCKED
    return _STALE if flags & IS_STALE else None
