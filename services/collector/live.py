"""Record the venues themselves, or a simulator that stands in for them. Shell.

This page joins what the others do: the settings become a plan, `wire` feeds the `observer` in a
thread of its own, and the instants that come out are written by the player like those of any other
source, so features, trader and replay cannot tell the difference.

The decision a reader would question: a data folder that is ahead of the clock is refused. It holds
what a faster world recorded; until the clock gets there nothing could be written behind it, and a
collector that records nothing for hours without a word is the worst of all.
"""

import asyncio
import gc
import json
import queue
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from libs.common.archive import TIME_MAX_NS, Archive
from libs.common.backoff import Backoff
from libs.common.checks import ConfigError
from libs.common.context import Context
from libs.common.events import Event, Gap, Market, QuoteSnapshot, Resolution
from libs.common.settings import Settings
from libs.common.stream_time import StreamTime
from libs.common.telemetry import log
from libs.common.venues import VENUES
from libs.common.venues.kalshi_key import load_key, signed_headers
from libs.common.venues.selection import parse_selection, underlyings_of
from libs.common.venues.venue import Venue
from services.collector import metrics
from services.collector.capture import CaptureWriter
from services.collector.instants import Instant
from services.collector.life import fee_fingerprint
from services.collector.markets import imported_fingerprint
from services.collector.observer import Observer, Plan
from services.collector.pace import NoPace
from services.collector.play import Player
from services.collector.provenance import REAL, SIMULATED, claim
from services.collector.publisher import Publisher
from services.collector.traffic import Notice, Wishes
from services.collector.troubles import RULES
from services.collector.wire import Wire

NS = 1_000_000_000

AHEAD_S_MAX = 60
"""How far a data folder may be ahead of the clock: a machine's clock that was set right."""

RULES_DAYS = 120
"""Days back in which the last rule of a series is looked for; a series without any markets for so
long begins anew."""

UNRESOLVED_NS = 7 * 86_400 * NS
"""How far back a market's missing result is still asked for."""

ACCOUNTED_NS = 2 * 3_600 * NS
"""How far back the last row of a market is looked for: longer than any window but a daily ladder's,
which then is declared missing since its open."""

WAITING_MAX = 50_000
"""Instants that wait for a disk that takes nothing; beyond it the newest are given up and become a
gap. Some hours at one a second, and 100 MB."""

QUEUE_POLL_S = 0.2
CLOCK_ANSWER_S = 2.0

OFFSET_S_MAX = 0.25
"""A clock that is further off misjudges the last seconds of a market and its signatures fail."""

ACCELERATED_OFFSET_S_MAX = 2.0
"""Under a faster clock the round trip itself takes stream seconds."""

Sign = Callable[[str, str, str], Mapping[str, str]]


def run_live(context: Context) -> None:
    """Record until the stop sign.

    Raises `ConfigError` for a series, key or data folder that cannot be.
    """
    settings = context.settings
    chosen = parse_selection(settings.series, VENUES)
    key = _key(settings)
    place = settings.simulator()
    clock = _clock(context, place)
    if clock is None:
        return
    sign = _signer(key, settings.kalshi_key_id or "", clock)
    underlyings = underlyings_of(chosen, VENUES)
    claim(context.root, REAL if place is None else SIMULATED)
    publisher = Publisher(context, underlyings)
    try:
        log().info("collector.started", underlyings=publisher.underlyings, series=chosen)
        now_ns = clock.at(time.time_ns())
        _refuse_ahead(publisher.position_ns, now_ns)
        context.clock.see(publisher.position_ns)
        venues = {n: v for n, v in VENUES.items() if n in chosen or v.products}
        plan = Plan(
            venues=venues,
            series=chosen,
            underlyings=underlyings,
            has_key=frozenset({"kalshi"} if key else ()),
            rules=rules_recorded(context.root, now_ns),
            unresolved=_unresolved(context.root, now_ns),
            accounted_ns=_accounted(context.root, now_ns),
            accepted=tuple(filter(None, settings.rules_accepted.replace(" ", "").split(","))),
            offset_ns_max=int(
                (OFFSET_S_MAX if clock.speed == 1.0 else ACCELERATED_OFFSET_S_MAX * clock.speed)
                * NS
            ),
        )
        # The scans took their time; a clock that stands still meanwhile would be a gap.
        now_ns, position_ns = clock.at(time.time_ns()), publisher.position_ns
        observer = Observer(plan, start_ns=position_ns, born_ns=max(now_ns, position_ns))
        recorder = _Recorder(
            context,
            publisher,
            observer=observer,
            wire=_Wiring(venues=venues, clock=clock, address=address_of(place), sign=sign),
        )
        # What is here by now stays. A full collection that looked at it would stop every thread for
        # a tenth of a second, a tick or two of an accelerated world.
        gc.collect()
        gc.freeze()
        recorder.run()
    finally:
        publisher.close()


@dataclass(frozen=True)
class _Wiring:
    """What the sockets need to know."""

    venues: Mapping[str, Venue]
    clock: StreamTime
    address: Callable[[str], str]
    sign: Sign


class _Recorder:
    """The two threads of a live collector, and the queue between them."""

    def __init__(
        self, context: Context, publisher: Publisher, *, observer: Observer, wire: _Wiring
    ) -> None:
        self._context, self._publisher, self._observer = context, publisher, observer
        self._instants: queue.Queue[Instant] = queue.Queue(WAITING_MAX)
        self._notices: queue.SimpleQueue[Notice] = queue.SimpleQueue()
        self._lost_ns: int | None = None
        self._wire = Wire(
            observer,
            wire.venues,
            wire.clock,
            address=wire.address,
            sign=wire.sign,
            take=self._take,
            capture=_capture(context),
        )

    def run(self) -> None:
        """Record until the stop sign; raise what either thread died of."""
        for rule in RULES:  # what a run that was killed has left firing
            self._context.alerts.resolve(rule, evidence="the collector has started anew")
        with ThreadPoolExecutor(1, thread_name_prefix="wire") as pool:
            observing = pool.submit(self._observe)
            try:
                self._context.health.set("start", None)
                Player(self._context, self._publisher, NoPace()).play(self._waiting())
            finally:
                self._context.stop.set()
            observing.result()

    def _observe(self) -> None:
        try:
            asyncio.run(self._wire.run(self._context.stop.is_set))
        finally:
            self._context.stop.set()

    def _waiting(self) -> Iterator[Instant | None]:
        """Yield instants as they come, None whenever there are none."""
        while True:
            self._tell()
            try:
                yield self._instants.get_nowait()
                continue
            except queue.Empty:
                yield None
            if self._context.stop.is_set():
                return
            try:
                yield self._instants.get(timeout=QUEUE_POLL_S)
            except queue.Empty:
                continue

    def _take(self, wishes: Wishes) -> None:
        for instant in wishes.instants:
            try:
                self._instants.put_nowait(instant)
                self._lost_ns = None
            except queue.Full:
                metrics.LOST_INSTANTS.inc()
                self._lost_ns = self._lost_ns or instant.ts_ns
                self._observer.lost(self._lost_ns)
        for notice in wishes.notices:
            self._notices.put(notice)
        metrics.tell(self._observer)

    def _tell(self) -> None:
        """Raise and resolve alerts: in the player's thread, because the bus may take its time."""
        while not self._notices.empty():
            notice = self._notices.get()
            if notice.is_firing:
                self._context.alerts.fire(
                    notice.rule, evidence=notice.evidence, severity=notice.severity
                )
            else:
                self._context.alerts.resolve(notice.rule, evidence=notice.evidence)


def _capture(context: Context) -> CaptureWriter | None:
    """Return what keeps everything received, None where it is not wanted."""
    if not context.settings.capture:
        return None
    bytes_max = context.settings.capture_gb_max * 1e9
    return CaptureWriter(context.root / "captures", bytes_max=bytes_max)


def address_of(simulator_url: str | None) -> Callable[[str], str]:
    """Return what turns a venue's address into the one to connect to.

    A simulator serves every venue below a folder named for the venue's host.

    >>> address_of(None)("wss://host.example/ws")
    'wss://host.example/ws'
    >>> address_of("http://127.0.0.1:8490")("wss://host.example/ws")
    'ws://127.0.0.1:8490/host.example/ws'
    """
    if simulator_url is None:
        return lambda address: address
    place = urlsplit(simulator_url).netloc

    def simulated(address: str) -> str:
        scheme, _, rest = address.partition("://")
        return f"{'ws' if scheme == 'wss' else 'http'}://{place}/{rest}"

    return simulated


def _clock(context: Context, url: str | None) -> StreamTime | None:
    """Return the clock of the venues; None if we are stopped before the simulator tells its own."""
    if url is None:
        return StreamTime(start_ns=0, began_ns=0, speed=1.0)
    text = f"SIMULATED VENUES at {url}: no market is behind what they quote"
    log().warning("source.simulated", note=text)
    context.health.note("source", text)
    opener = build_opener(ProxyHandler({}))
    backoff = Backoff()
    while not context.stop.is_set():
        try:
            with opener.open(f"{url}/clock", timeout=CLOCK_ANSWER_S) as answer:
                told = json.loads(answer.read(10_000))
            context.health.set("simulator", None)
            return StreamTime(int(told["start_ns"]), int(told["began_ns"]), float(told["speed"]))
        except (URLError, OSError, ValueError, KeyError, TypeError) as error:
            context.health.set("simulator", f"{url}/clock does not answer: {error}")
        context.stop.wait(backoff.next_s())
    return None


def _refuse_ahead(position_ns: int, now_ns: int) -> None:
    ahead_s = (position_ns - now_ns) / NS
    if ahead_s > AHEAD_S_MAX:
        raise ConfigError(
            f"the data folder is {ahead_s / 3600:.1f} hours ahead of the clock: it was recorded "
            "from a faster or later source; use another folder (--data)"
        )


def _key(settings: Settings) -> RSAPrivateKey | None:
    """Read the operator's Kalshi key, None where there is none."""
    path = settings.kalshi_key_file
    if (path is None) != (settings.kalshi_key_id is None):
        raise ConfigError("HAWK_KALSHI_KEY_ID and HAWK_KALSHI_KEY_FILE belong together: set both")
    if path is None:
        return None
    try:
        return load_key(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"HAWK_KALSHI_KEY_FILE {path}: {error.strerror}") from None


def _signer(key: RSAPrivateKey | None, key_id: str, clock: StreamTime) -> Sign:
    """Return what signs a request; without a key nothing is ever signed."""

    def sign(venue: str, method: str, path: str) -> Mapping[str, str]:
        if key is None or venue != "kalshi":
            return {}
        stamp_ms = clock.at(time.time_ns()) // 1_000_000
        return signed_headers(key, key_id, timestamp_ms=stamp_ms, method=method, path=path)

    return sign


def rules_recorded(root: Path, now_ns: int) -> dict[str, dict[str, tuple[str, str]]]:
    """Return fingerprints of the last rule and fee that each series had, by venue.

    Of a market that was quarantined nothing counts, whatever a back-fill or an import, which hold
    no market against the ones before, has said of it since.
    """
    found: dict[str, dict[str, tuple[str, str]]] = {}
    start_ns = max(0, now_ns - RULES_DAYS * 86_400 * NS)
    events = Archive(root).scan({Market: start_ns}, end_ns=TIME_MAX_NS)
    markets = [event for event in events if isinstance(event, Market)]
    refused = {(e.venue, e.market) for e in markets if e.status == "quarantined"}
    for event in markets:
        if (event.venue, event.market) not in refused and _is_ruled(event):
            series = found.setdefault(event.venue, {})
            fee = fee_fingerprint(event.fee) or series.get(event.series, ("", ""))[1]
            series[event.series] = (event.rule_fingerprint, fee)
    return found


def _is_ruled(market: Market) -> bool:
    """Tell whether a market's fingerprint is that of a venue's own text."""
    imported = imported_fingerprint(market.comparator, market.settlement_rule, market.fee)
    return market.rule_fingerprint not in ("", imported)


def _unresolved(root: Path, now_ns: int) -> tuple[Market, ...]:
    """Return the markets of the last days that have no result yet, as they were last told."""
    kinds: dict[type[Event], int] = dict.fromkeys((Market, Resolution), now_ns - UNRESOLVED_NS)
    last: dict[tuple[str, str], Market] = {}
    for event in Archive(root).scan(kinds, end_ns=TIME_MAX_NS):
        if isinstance(event, Market):
            last[event.venue, event.market] = event
        elif isinstance(event, Resolution):
            last.pop((event.venue, event.market), None)
    return tuple(market for market in last.values() if market.close_ns > now_ns - UNRESOLVED_NS)


def _accounted(root: Path, now_ns: int) -> dict[tuple[str, str], int]:
    """Return up to when the rows and gaps of each market of the last hours reach."""
    found: dict[tuple[str, str], int] = {}
    kinds: dict[type[Event], int] = dict.fromkeys((QuoteSnapshot, Gap), now_ns - ACCOUNTED_NS)
    for event in Archive(root).scan(kinds, end_ns=TIME_MAX_NS):
        if isinstance(event, QuoteSnapshot):
            key = (event.venue, event.market)
            found[key] = max(found.get(key, 0), event.ts_ns)
        elif isinstance(event, Gap) and event.venue is not None and event.market is not None:
            key = (event.venue, event.market)
            found[key] = max(found.get(key, 0), event.end_ns)
    return found
