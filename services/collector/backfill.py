"""Fill the archive with history by REST, day by day, so that a newcomer trains on day one. Shell.

Runs as the collector, offline, and writes the archive only. A *piece* is one UTC day of a series,
or of the spot price beside it: asked, judged like an import, added, and only then noted as complete
under `backfill/` of the data folder. A kill costs the piece in work; ids derive from content, so
asking for it again adds nothing twice.

The decision a reader would question: newest days first. Whoever stops early has the days that
matter most, next to the ones that are recorded from now on. And a day that is not over, or whose
markets lack their final results, is asked again each time: nothing unfinished is ever complete.
"""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
import pyarrow as pa

from libs.common import durable, sealing
from libs.common.archive import Archive, date_of
from libs.common.checks import UsageError
from libs.common.events import Market, QuoteSnapshot, SpotSnapshot
from libs.common.settings import Settings
from libs.common.stream_time import StreamTime
from libs.common.telemetry import log
from libs.common.venues import VENUES
from libs.common.venues.messages import HistoryCutoff, MarketFacts, Message, Reject
from libs.common.venues.venue import Get
from services.collector import history, pieces, snapshot_tables
from services.collector.historian import GaveUp, Historian, Told
from services.collector.history import DAY_NS, MINUTE_NS
from services.collector.judgement import judge
from services.collector.live import address_of
from services.collector.provenance import REAL, SIMULATED, claim
from services.collector.rest import fetch_text

DAYS_MAX = 3_650
CLOCK_ANSWER_S = 5.0

WITH_BOOKS = ("kalshi",)
"""Venues whose candles tell both sides of the book; see `history` for the others."""


LISTED_SHARE = 0.2
"""Of a day's work, as its progress is told: the list of its markets."""


@dataclass(frozen=True)
class Request:
    """Whose history, and how many whole days before today; today so far comes along."""

    venue: str
    series: str
    days: int


class Filled(msgspec.Struct):
    """What a run stored, dropped and flagged; `new` rows were not in the archive before.

    `skipped_pieces` were complete already. `failures` says of each target why it was given up.
    """

    venue: str
    series: str
    days: int
    markets: int = 0
    quotes: int = 0
    spot: int = 0
    skipped_pieces: int = 0
    new: int = 0
    dropped: dict[str, int] = {}
    flagged: dict[str, int] = {}
    requests: int = 0
    is_stopped: bool = False
    failures: list[str] = []


def backfill(
    root: Path,
    request: Request,
    settings: Settings,
    *,
    on_progress: Callable[[float], None] = lambda share: None,
) -> Filled:
    """Fill `root` with history; what was complete when it ended early stays.

    Raises `UsageError` for a venue or series that is not known, `UnavailableError` where another
    process writes the archive.
    """
    venue = VENUES.get(request.venue)
    if venue is None or request.series not in venue.series:
        known = "; ".join(f"{v.name}: {', '.join(v.series)}" for v in VENUES.values() if v.series)
        raise UsageError(f"no series {request.series[:80]!r} of {request.venue[:80]!r}; {known}")
    if not 0 <= request.days <= DAYS_MAX:
        raise UsageError(f"--days {request.days}: 0 to {DAYS_MAX}")
    with durable.writer_lock(root, "collector"):
        return asyncio.run(_run(root, request, settings, on_progress))


async def _run(
    root: Path, request: Request, settings: Settings, on_progress: Callable[[float], None]
) -> Filled:
    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=60)
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
        clock = await _clock(settings.simulator(), session)
        claim(root, REAL if settings.simulator() is None else SIMULATED)
        historian = Historian(VENUES, clock, session, address=address_of(settings.simulator()))
        filling = _Filling(root, request, historian, on_progress)
        work = asyncio.create_task(filling.run())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, work.cancel)
        try:
            await work
        except asyncio.CancelledError:
            filling.filled.is_stopped = True
        return filling.result()


async def _clock(simulator_url: str | None, session: aiohttp.ClientSession) -> StreamTime:
    if simulator_url is None:
        return StreamTime(start_ns=0, began_ns=0, speed=1.0)
    log().warning("source.simulated", note=f"SIMULATED VENUES at {simulator_url}")
    _, text, _ = await fetch_text(session, f"{simulator_url}/clock", wait_s=CLOCK_ANSWER_S)
    try:
        told = json.loads(text)
        return StreamTime(int(told["start_ns"]), int(told["began_ns"]), float(told["speed"]))
    except (ValueError, KeyError, TypeError):
        raise GaveUp(f"{simulator_url}/clock does not answer: {text[:200]!a}") from None


class _Filling:
    """One run: its pieces, what it wrote, and what it learnt about the venue on the way."""

    def __init__(
        self,
        root: Path,
        request: Request,
        historian: Historian,
        on_progress: Callable[[float], None],
    ) -> None:
        self._root, self._request, self._historian = root, request, historian
        self._on_progress = on_progress
        self._venue = VENUES[request.venue]
        self._underlying = self._venue.series[request.series].underlying
        self._spot_venue = next(v for v in VENUES.values() if self._underlying in v.products)
        self._archive = Archive(root)
        self._dropped, self._flagged = Counter[str](), Counter[str]()
        # One instant for the whole run: what became known meanwhile is the next run's.
        self._now_ns = historian.now_ns()
        self._cutoff_ns: int | None = None
        self._old: list[MarketFacts] | None = None
        self._number, self._pieces = 0, 1
        self.filled = Filled(request.venue, request.series, request.days)

    def result(self) -> Filled:
        """Return what was done so far."""
        self.filled.dropped = dict(sorted(self._dropped.items()))
        self.filled.flagged = dict(sorted(self._flagged.items()))
        self.filled.requests = self._historian.requests
        return self.filled

    async def run(self) -> None:
        """Fill all pieces, newest first; a target that was given up is not asked again."""
        today_ns = self._now_ns // DAY_NS * DAY_NS
        days = range(today_ns, today_ns - (self._request.days + 1) * DAY_NS, -DAY_NS)
        targets: dict[str, Callable[[int], Awaitable[tuple[int, bool]]]] = {
            f"{self._spot_venue.name}/{self._underlying}": self._fill_spot,
            f"{self._request.venue}/{self._request.series}": self._fill_markets,
        }
        done = {target: pieces.read_done(self._root, target) for target in targets}
        wanted = [(day_ns, target) for day_ns in days for target in targets]
        for number, (day_ns, target) in enumerate(wanted):
            self._number, self._pieces = number, len(wanted)
            self._report(0.0)
            day = date_of(day_ns)
            if day in done[target].days:
                self.filled.skipped_pieces += 1
            elif target in targets:
                try:
                    rows, is_complete = await targets[target](day_ns)
                except GaveUp as error:
                    del targets[target]
                    self.filled.failures.append(f"{target} {day}: {error}")
                    continue
                if is_complete:
                    done[target].days[day] = rows
                    pieces.write_done(self._root, target, done[target])
        self._report(1.0)

    def _report(self, share: float) -> None:
        """Report the share of the piece in work that is done, as one of the whole."""
        self._on_progress((self._number + share) / self._pieces)

    async def _fill_spot(self, day_ns: int) -> tuple[int, bool]:
        """Fill a day of spot; return its rows and whether it is complete."""
        end_ns = min(day_ns + DAY_NS, self._now_ns // MINUTE_NS * MINUTE_NS)
        product = self._spot_venue.products[self._underlying]
        gets = self._spot_venue.candles(product, start_ns=day_ns, end_ns=end_ns)
        told, is_whole = await self._ask(gets)
        rows = history.spot_rows(
            self._underlying, _messages(told), now_ns=self._now_ns, dropped=self._dropped
        )
        archived = self._archive.table(
            SpotSnapshot,
            start_ns=day_ns,
            end_ns=day_ns + DAY_NS + 1,  # the last candle is known as the day ends
            underlying=self._underlying,
            names=("source",),
        )
        kept = history.without_covered(rows, archived, dropped=self._dropped)
        stored = self._add(history.tables(spot=kept), {}, until_ns=None)
        return stored, is_whole and end_ns == day_ns + DAY_NS

    async def _fill_markets(self, day_ns: int) -> tuple[int, bool]:
        """Fill the markets that closed in a day; return rows and whether the day is complete."""
        span_ns = (day_ns, min(day_ns + DAY_NS, self._now_ns))
        found, is_listed = await self._listed(span_ns)
        markets = self._unobserved(found)
        has_books = self._venue.name in WITH_BOOKS
        quotes, is_quoted = await self._quoted(markets) if has_books else ([], True)
        rows = history.market_rows(
            self._venue.name,
            markets,
            now_ns=self._now_ns,
            must_be_struck=not any(self._strike_elsewhere(market) for market in markets),
        )
        stored = self._add(
            history.tables(markets=rows, quotes=quotes),
            {market.market: market for market in markets},
            until_ns=day_ns + DAY_NS if has_books else None,
        )
        is_over = span_ns[1] == day_ns + DAY_NS
        is_final = all(history.is_final(market, self._now_ns) for market in found)
        return stored, is_listed and is_quoted and is_over and is_final

    async def _listed(self, span_ns: tuple[int, int]) -> tuple[list[MarketFacts], bool]:
        """Return the markets that closed in [start, end), and whether all were told."""
        told: list[Told] = []
        is_whole = True
        cutoff_ns = await self._cutoff()
        # The cutoff goes by settlement, which is behind the close.
        if span_ns[1] + DAY_NS > cutoff_ns:
            gets = self._venue.settled(self._request.series, start_ns=span_ns[0], end_ns=span_ns[1])
            told, is_whole = await self._ask(gets, end=LISTED_SHARE)
            if gets and all(one.fault is not None for one in told):
                raise GaveUp(f"no list of markets: {told[0].fault}")
        old = await self._historical() if span_ns[0] < cutoff_ns else []
        found = history.ended(
            [*old, *_messages(told)],
            series=self._request.series,
            span_ns=span_ns,
            dropped=self._dropped,
        )
        return found, is_whole

    async def _cutoff(self) -> int:
        """Return where the historical tier begins, 0 where there is one tier."""
        get = self._venue.cutoff()
        if self._cutoff_ns is None and get is not None:
            told = await self._historian.ask(get)
            found = [m.ts_ns for m in told.messages if isinstance(m, HistoryCutoff)]
            if not found:
                raise GaveUp(f"no cutoff of the historical tier: {told.fault}")
            self._cutoff_ns = found[0]
        return self._cutoff_ns or 0

    async def _historical(self) -> list[MarketFacts]:
        """Return the markets of the historical tier, which is listed whole, once a run."""
        if self._old is None:
            first_ns = self._now_ns - (self._request.days + 1) * DAY_NS

            def is_wanted(message: Message) -> bool:
                if isinstance(message, Reject):
                    self._dropped[message.reason] += 1
                return isinstance(message, MarketFacts) and (message.close_ns or 0) >= first_ns

            gets = self._venue.settled(
                self._request.series, start_ns=first_ns, end_ns=self._now_ns, is_historical=True
            )
            told = [await self._historian.ask(get, keep=is_wanted) for get in gets]
            if any(one.fault is not None for one in told):
                raise GaveUp(f"no list of historical markets: {told[0].fault}")
            self._old = [m for m in _messages(told) if isinstance(m, MarketFacts)]
        return self._old

    def _unobserved(self, found: Sequence[MarketFacts]) -> list[MarketFacts]:
        """Return the markets that nobody recorded as they lived, and that were not void."""
        if not found:
            return []
        quotes = self._archive.table(
            QuoteSnapshot,
            start_ns=min(market.open_ns or 0 for market in found),
            end_ns=max(market.close_ns or 0 for market in found),
            underlying=self._underlying,
            names=("venue", "market"),
        )
        observed = history.observed(quotes)
        mine = [m for m in found if (self._venue.name, m.market) not in observed]
        if len(mine) < len(found):
            self._dropped["market_recorded_already"] += len(found) - len(mine)
        return [market for market in mine if market.status != "void"]

    def _strike_elsewhere(self, market: MarketFacts) -> list[Get]:
        return self._venue.strike(
            market.market,
            open_ns=market.open_ns or 0,
            close_ns=market.close_ns or 0,
            rule=market.rule or history.UNKNOWN_RULE,
        )

    async def _quoted(self, markets: Sequence[MarketFacts]) -> tuple[list[history.Row], bool]:
        """Return the quotes of markets' candles, and whether all were told."""
        old = {market.market for market in self._old or ()}
        asked = [
            (market, get)
            for market in markets
            for get in self._venue.candles(
                (market.instruments or (market.market,))[0],
                start_ns=market.open_ns or 0,
                end_ns=market.close_ns or 0,
                is_historical=market.market in old,
            )
        ]
        told, is_whole = await self._ask([get for _, get in asked], begin=LISTED_SHARE)
        rows: list[history.Row] = []
        for (market, _), one in zip(asked, told, strict=True):
            rows += history.quote_rows(
                self._venue.name, market, one.messages, now_ns=self._now_ns, dropped=self._dropped
            )
        return rows, is_whole

    async def _ask(
        self, gets: Sequence[Get], *, begin: float = 0.0, end: float = 1.0
    ) -> tuple[list[Told], bool]:
        """Ask all; return what was told, and whether all of it was understood.

        What is missing will be missing next time, so that alone leaves nothing open. With it the
        piece in work goes from the share `begin` to `end`.
        """
        heard = 0

        def hear() -> None:
            nonlocal heard
            heard += 1
            self._report(begin + (end - begin) * heard / len(gets))

        told = await self._historian.ask_all(gets, heard=hear)
        faults = Counter(one.fault for one in told if one.fault is not None)
        self._dropped.update({str(fault): count for fault, count in faults.items()})
        is_read = not any(isinstance(message, Reject) for message in _messages(told))
        return told, is_read and not set(faults) - {"missing"}

    def _add(
        self,
        tables: Mapping[str, pa.Table],
        told: Mapping[str, MarketFacts],
        *,
        until_ns: int | None,
    ) -> int:
        """Judge tables and add them to the archive; return the rows stored."""
        judged = judge(tables, until_ns=until_ns)
        kinds = dict(judged.kinds)
        kinds[Market] = history.with_terms(kinds[Market], told)
        for event_type, table in snapshot_tables.numbered(kinds).items():
            if table.num_rows:
                self.filled.new += sealing.add_late_rows(self._root, event_type, table)
        self.filled.markets += judged.markets
        self.filled.quotes += kinds[QuoteSnapshot].num_rows
        self.filled.spot += kinds[SpotSnapshot].num_rows
        self._dropped.update(judged.dropped)
        self._flagged.update(judged.flagged)
        return sum(table.num_rows for table in kinds.values())


def _messages(told: Iterable[Told]) -> list[Message]:
    return [message for one in told for message in one.messages]
