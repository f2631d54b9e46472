"""Take the samples of a tick: one row for each underlying and open market that is due. Pure.

In go the panel of books, the markets and the tapes, out come snapshots and gaps, and the books that
should be asked for by REST because no socket shows them fresh.

The decision a reader would question: a gap is a row per interval, not one row for a whole outage.
An outage whose end nobody saw would otherwise leave no row at all; and "every market and tick has
exactly one row" is a sentence that a test can hold. Of a market that nobody knows there is no name
to put on a row, so a series without a known open market has a gap of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from libs.common.events import Event
from libs.common.venues.messages import Trade
from libs.common.venues.venue import Get, Venue
from services.collector import sampler
from services.collector.life import Life
from services.collector.lifecycle import Markets
from services.collector.panel import Panel
from services.collector.sampler import Sight, Slot, is_stale
from services.collector.tape import IndexTape

NS = 1_000_000_000

INDEX_BESIDE = {"BTC-USD": "BRTI", "ETH-USD": "ETHUSD_RTI", "SOL-USD": "SOLUSD_RTI"}
"""The CF Benchmarks index of an underlying, on which Kalshi settles: it stands beside spot."""

SPOT_INTERVAL_S = 1
"""Spot is sampled each second: an average of sixty prints needs each of them."""

INDEX_FEEDS = ("chainlink",)
"""Indices that are recorded as a source of their own."""

DARK_S = 60
"""Seconds without a believed book of a product, or of any open market of a series, after which a
person is called: rows are gaps meanwhile, and streams go on ticking."""

RELIEF_TICKS = 3
"""Implausible mids in a row after which the price is believed: markets do fall by a fifth."""


@dataclass(frozen=True)
class Scene:
    """What is sampled: `intervals` in seconds by venue and series."""

    markets: Mapping[str, Markets]
    panel: Panel
    index: IndexTape
    intervals: Mapping[str, Mapping[str, int]]
    underlyings: Sequence[str]


class Sampling:
    """The sampler with its memory: which rows were gaps, and the last spot mid."""

    def __init__(
        self,
        scene: Scene,
        *,
        born_ns: int,
        accounted_ns: Mapping[tuple[str, str], int],
        misses_unseen: bool = True,
    ) -> None:
        """Start with nothing sampled.

        Of a market that opened before, rows and gaps reach up to `accounted_ns` of its (venue,
        market), of others nothing was said since their open; this run began at `born_ns`. Without
        `misses_unseen` an underlying or series of which nothing was ever seen has no gaps.
        """
        self._misses_unseen = misses_unseen
        self._accounted_ns, self._born_ns = dict(accounted_ns), born_ns
        self._markets, self._panel, self._index = scene.markets, scene.panel, scene.index
        self._intervals, self._underlyings = scene.intervals, tuple(scene.underlyings)
        self._was_gap: dict[tuple[str, str], bool] = {}
        self._mid: dict[str, float] = {}
        self._implausible: dict[str, int] = {}
        self._spot_venues = [m.venue for m in scene.markets.values() if m.venue.products]
        self._wanted: list[Get] = []
        self._seen_ns: dict[str, int] = {}
        self._known: set[tuple[str, str]] = set()
        self.quotes = self.gaps = 0

    def tick(self, ts_ns: int) -> list[Event]:
        """Return the rows of the tick `ts_ns`."""
        self._wanted = []
        events: list[Event] = []
        for underlying in self._underlyings:
            events += self._spot(underlying, ts_ns)
        for name, markets in self._markets.items():
            lives = markets.open_now(ts_ns)
            for life in lives:
                interval_ns = self._intervals[name][life.facts.series or ""] * NS
                if ts_ns % interval_ns == 0:
                    events += self._quote(markets, life, ts_ns, interval_ns)
            events += self._series_gaps(name, {life.facts.series or "" for life in lives}, ts_ns)
        return events

    def books_wanted(self, ts_ns: int) -> list[Get]:
        """Return the requests for books that no socket shows fresh at this tick."""
        return self._wanted

    def traded(self, trade: Trade, life: Life | None) -> None:
        """Note the last price of a market, in terms of YES."""
        if life is None or not life.facts.instruments:
            return
        price = int(trade.price)
        is_yes = trade.instrument == life.facts.instruments[0]
        life.last_e4 = price if is_yes else 10_000 - price

    def unobserved(self, start_ns: int, end_ns: int, reason: str, *, ts_ns: int) -> list[Event]:
        """Return one gap for each underlying, series and open market over [start, end)."""
        events: list[Event] = []
        for underlying in self._underlyings if self._misses_unseen else ():
            events.append(
                sampler.gap(
                    "spot", underlying, reason, start_ns=start_ns, end_ns=end_ns, ts_ns=ts_ns
                )
            )
            for venue in self._spot_venues:
                instrument = venue.products.get(underlying, "")
                self._was_gap[venue.name, instrument] = True
                tape = self._panel.tape(instrument)
                tape.taken()
                tape.broken()
        for name, markets in self._markets.items():
            for life in markets.lived(start_ns, end_ns):
                key = (name, life.facts.market)
                # What was not sampled yet is missing since it opened.
                since_ns = start_ns if key in self._was_gap else self._since_ns(key, life)
                self._was_gap[key] = True
                span_ns = (max(since_ns, life.open_ns), min(end_ns, life.close_ns))
                events.append(self._gap(name, life, reason, span_ns=span_ns, ts_ns=ts_ns))
            for series in self._intervals.get(name, {}):
                if self._misses_unseen or (name, series) in self._known:
                    span_ns = (start_ns, end_ns)
                    events.append(
                        self._series_gap(name, series, reason, span_ns=span_ns, ts_ns=ts_ns)
                    )
        return events

    def dark(self, ts_ns: int) -> list[tuple[str, bool]]:
        """Tell for each product and series whether nothing was seen of it for too long.

        A series of which not even an open market is known is given two of its windows.
        """
        told: list[tuple[str, bool]] = []
        for name, markets in self._markets.items():
            venue = markets.venue
            products = [venue.products[u] for u in self._underlyings if u in venue.products]
            limits = dict.fromkeys(products, DARK_S)
            is_open = {life.facts.series for life in markets.open_now(ts_ns)}
            for series in self._intervals.get(name, {}):
                limits[series] = DARK_S if series in is_open else 2 * venue.series[series].length_s
            for what, limit_s in limits.items():
                seen_ns = self._seen_ns.setdefault(f"{name} {what}", ts_ns)
                told.append((f"{name} {what}", ts_ns - seen_ns > limit_s * NS))
        return told

    def _since_ns(self, key: tuple[str, str], life: Life) -> int:
        """Return from when on a market that was not sampled yet is to be accounted for."""
        return max(life.open_ns, self._accounted_ns.get(key, 0))

    def near_usd(self) -> dict[str, float]:
        """Return the last spot mid by underlying."""
        return {
            underlying: self._mid[instrument]
            for venue in self._spot_venues
            for underlying, instrument in venue.products.items()
            if instrument in self._mid
        }

    def forget(self, venue: str, life: Life) -> None:
        """Forget a market whose books are over."""
        self._was_gap.pop((venue, life.facts.market), None)
        for instrument in life.facts.instruments or ():
            self._panel.forget(instrument)

    def _spot(self, underlying: str, ts_ns: int) -> list[Event]:
        events: list[Event] = []
        interval_ns = SPOT_INTERVAL_S * NS
        for venue in self._spot_venues:
            instrument = venue.products.get(underlying)
            if instrument is None:
                continue
            # A book that this refutes is void: it must not be looked at before.
            self._panel.prove(venue, instrument, ts_ns)
            sight = self._panel.sight(venue, instrument, ts_ns, interval_ns)
            self._want_book(venue, instrument, sight, interval_ns)
            sight = self._plausible(venue, instrument, sight, ts_ns)
            key = (venue.name, instrument)
            tape = self._panel.tape(instrument)
            if not self._panel.carries_trades(venue, instrument, ts_ns, interval_ns):
                tape.broken()
            if sight.book is None and key not in self._was_gap and not self._misses_unseen:
                continue
            if sight.book is None:
                tape.taken()
                tape.broken()
                self._was_gap[key] = True
                self.gaps += 1
                events.append(
                    sampler.gap(
                        "spot",
                        underlying,
                        sight.reason,
                        start_ns=ts_ns - interval_ns,
                        end_ns=ts_ns,
                        ts_ns=ts_ns,
                    )
                )
                continue
            events.append(
                sampler.spot(
                    venue.name,
                    underlying,
                    sight,
                    slot=Slot(ts_ns, interval_ns, self._was_gap.get(key, True)),
                    tape=tape,
                    index=self._index.newest(INDEX_BESIDE.get(underlying, ""), underlying),
                )
            )
            self._was_gap[key] = False
            self._seen_ns[f"{venue.name} {instrument}"] = ts_ns
        for feed in INDEX_FEEDS:
            newest = self._index.newest(feed, underlying)
            if newest is not None and not is_stale(ts_ns - newest[0], interval_ns):
                events.append(sampler.index_only(feed, underlying, newest, ts_ns=ts_ns))
        return events

    def _plausible(self, venue: Venue, instrument: str, sight: Sight, ts_ns: int) -> Sight:
        """Refuse a mid that cannot follow the last one, unless it stays."""
        if sight.book is None:
            return sight
        bid, ask = sight.book.best()
        if bid is None or ask is None:
            return sight
        mid = (bid + ask) / 2.0
        if sampler.is_plausible(mid, self._mid.get(instrument)):
            self._implausible[instrument] = 0
            self._mid[instrument] = mid
            return sight
        self._implausible[instrument] = self._implausible.get(instrument, 0) + 1
        if self._implausible[instrument] > RELIEF_TICKS:
            del self._mid[instrument]
            return sight
        for line in self._panel.lines_of(venue):
            line.void(instrument, "implausible", ts_ns)
        return Sight(None, sight.age_ns, "implausible")

    def _quote(self, markets: Markets, life: Life, ts_ns: int, interval_ns: int) -> list[Event]:
        venue = markets.venue
        names = life.facts.instruments or (life.facts.market,)
        key = (venue.name, life.facts.market)
        if len(names) > 1:
            self._panel.compare_mirror(venue, names, ts_ns)
        self._panel.prove(venue, names[0], ts_ns)
        sight = self._panel.sight(venue, names[0], ts_ns, interval_ns)
        self._want_book(venue, names[0], sight, interval_ns)
        rows: list[Event] = []
        first_ns = self._since_ns(key, life)
        if key not in self._was_gap and ts_ns - first_ns > interval_ns:
            # We were not there, or did not know of it, since it opened or we last ran.
            reason = "not_running" if self._born_ns > life.open_ns else "not_known"
            rows.append(
                self._gap(
                    venue.name, life, reason, span_ns=(first_ns, ts_ns - interval_ns), ts_ns=ts_ns
                )
            )
        if sight.book is None:
            self._was_gap[key] = True
            span_ns = (ts_ns - interval_ns, ts_ns)
            rows.append(self._gap(venue.name, life, sight.reason, span_ns=span_ns, ts_ns=ts_ns))
            return rows
        row = sampler.quote(
            venue.name,
            life,
            sight,
            slot=Slot(ts_ns, interval_ns, self._was_gap.get(key, bool(rows))),
        )
        self.quotes += 1
        self._seen_ns[f"{venue.name} {life.facts.series}"] = ts_ns
        self._was_gap[key] = False
        return [*rows, row]

    def _series_gaps(self, venue: str, known: set[str], ts_ns: int) -> list[Event]:
        """Return a gap for each series of which no open market is known."""
        self._known |= {(venue, series) for series in known}
        return [
            self._series_gap(
                venue,
                series,
                "no_market_known",
                span_ns=(ts_ns - interval_s * NS, ts_ns),
                ts_ns=ts_ns,
            )
            for series, interval_s in self._intervals.get(venue, {}).items()
            if series not in known
            and ts_ns % (interval_s * NS) == 0
            and (self._misses_unseen or (venue, series) in self._known)
        ]

    def _series_gap(
        self, venue: str, series: str, reason: str, *, span_ns: tuple[int, int], ts_ns: int
    ) -> Event:
        self.gaps += 1
        return sampler.gap(
            series,
            self._markets[venue].venue.series[series].underlying,
            reason,
            start_ns=span_ns[0],
            end_ns=span_ns[1],
            ts_ns=ts_ns,
            market=(venue, None),
        )

    def _gap(
        self, venue: str, life: Life, reason: str, *, span_ns: tuple[int, int], ts_ns: int
    ) -> Event:
        self.gaps += 1
        return sampler.gap(
            "quotes",
            life.facts.underlying or "",
            reason,
            start_ns=span_ns[0],
            end_ns=span_ns[1],
            ts_ns=ts_ns,
            market=(venue, life.facts.market),
        )

    def _want_book(self, venue: Venue, instrument: str, sight: Sight, interval_ns: int) -> None:
        """Ask for a book by REST while no socket shows a fresh one.

        A polled one is asked for at each tick: by its age, which is a little less than the
        interval, only every other one would be.
        """
        if sight.book is None or sight.is_polled or sight.age_ns > interval_ns:
            self._wanted.append(venue.book(instrument))
