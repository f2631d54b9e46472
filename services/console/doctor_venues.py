"""Whether the venues can be used from here: servers, clocks, open markets, feeds.

Of every venue that the chosen series need, all servers are asked what the collector asks them, the
clock is held against ours, and each feed is subscribed until its first data. All venues at once.

The decision a reader would question is the clock of a venue that tells whole seconds. Each answer
only says that the venue's clock is between two bounds; three answers, a third of a second apart,
leave a sixth of a second on either side, and a warning means that zero is ruled out.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from libs.common.settings import Settings
from libs.common.venues import VENUES
from libs.common.venues.kalshi import KALSHI
from libs.common.venues.messages import ExchangeStatus, Heartbeat, MarketFacts
from libs.common.venues.selection import parse_selection, underlyings_of
from libs.common.venues.venue import Get, Venue
from services.collector.live import OFFSET_S_MAX
from services.console.doctor_asking import NS, Asker, Told, clock_of, session_of_doctor
from services.console.doctor_feeds import feed_checks
from services.console.doctor_key import scope_checks, signer_of
from services.console.doctor_report import Check, Patience

CLOCK_ANSWERS = 3
MILLISECOND_NS = 1_000_000
MARKETS_TRIED = 2
"""Open markets whose book is asked for and subscribed."""

WITH_A_MARKET = ("clob", "site")
"""Servers that are asked about one market only."""

NTP = "enable NTP: `timedatectl set-ntp true`; if that runs, the clock that is off is the venue's"


@dataclass(frozen=True)
class Need:
    """A venue and what is wanted of it; a spot venue has no series."""

    venue: Venue
    series: tuple[str, ...]
    underlyings: tuple[str, ...]


def needs_of(settings: Settings) -> list[Need]:
    """Return what the chosen series need: their venues, and the spot venues of all of them."""
    chosen = parse_selection(settings.series, VENUES)
    underlyings = underlyings_of(chosen, VENUES)
    return [
        Need(venue, tuple(chosen.get(name, ())), underlyings_of({name: chosen[name]}, VENUES))
        if name in chosen
        else Need(venue, (), underlyings)
        for name, venue in VENUES.items()
        if name in chosen or venue.products
    ]


def run_venue_checks(settings: Settings, patience: Patience) -> list[Check]:
    """Check everything that the chosen series need of venues, side by side."""
    return asyncio.run(_checked(settings, patience))


async def _checked(settings: Settings, patience: Patience) -> list[Check]:
    needs = needs_of(settings)
    signer, checks = signer_of(settings) if any(n.venue is KALSHI for n in needs) else (None, [])
    async with session_of_doctor() as session:
        clock, found = await clock_of(session, settings)
        checks = found + checks
        if any(one.level == "fail" for one in found):
            return checks
        asker = Asker(session, clock, settings.simulator(), signer, patience)
        jobs = [venue_checks(asker, need) for need in needs]
        if signer is not None:
            jobs.insert(0, scope_checks(asker, settings.kalshi_key_id or ""))
        for one in await asyncio.gather(*jobs):
            checks += one
    return checks


async def venue_checks(asker: Asker, need: Need) -> list[Check]:
    """Check one venue: clock and lists first, then what is known only with an open market."""
    venue = need.venue
    timed, told = await asyncio.gather(_timed(asker, need), _asked(asker, need))
    now_ns = asker.now_ns()
    markets = [m for one in told for m in _open_markets(one, now_ns)]
    books = _instruments(need, markets)
    further, feeds = await asyncio.gather(
        _further(asker, need, markets),
        feed_checks(asker, venue, books=books, underlyings=need.underlyings),
    )
    return [
        _clock_check(asker, venue, timed),
        *_endpoint_checks(asker, venue, [*timed, *told, *further]),
        *_series_checks(need, [*timed, *told], markets),
        *feeds,
    ]


async def _timed(asker: Asker, need: Need) -> list[Told]:
    """Ask what tells the time, at thirds of a second."""
    get = need.venue.clock() or need.venue.status()
    if get is None:
        get = need.venue.listing(need.series[0], now_ns=asker.now_ns(), windows=0)[0]

    async def ask(number: int, get: Get) -> Told:
        await asyncio.sleep(asker.clock.wall_s(number / CLOCK_ANSWERS))
        return await asker.ask(need.venue, get)

    return await asyncio.gather(*(ask(number, get) for number in range(CLOCK_ANSWERS)))


async def _asked(asker: Asker, need: Need) -> list[Told]:
    """Ask for the open markets of each series, or for the best prices of a product."""
    venue = need.venue
    gets: list[Get | None] = [
        get
        for series in need.series
        for get in venue.listing(series, now_ns=asker.now_ns(), windows=0)
    ]
    gets += [venue.top(venue.products[name]) for name in need.underlyings if venue.products]
    return await asyncio.gather(*(asker.ask(venue, get) for get in gets if get is not None))


async def _further(asker: Asker, need: Need, markets: Sequence[MarketFacts]) -> list[Told]:
    """Ask for the book and the strike of the first open market."""
    gets: list[Get] = []
    for market in markets[:1]:
        gets += map(need.venue.book, (market.instruments or ())[:1])
        if market.open_ns is not None and market.close_ns is not None:
            gets += need.venue.strike(
                market.market,
                open_ns=market.open_ns,
                close_ns=market.close_ns,
                rule=market.rule or "unknown",
            )
    return await asyncio.gather(*(asker.ask(need.venue, get) for get in gets))


def _open_markets(told: Told, now_ns: int) -> list[MarketFacts]:
    if told.get.purpose != "list":
        return []
    facts = [message for message in told.answer.messages if isinstance(message, MarketFacts)]
    return [
        one
        for one in facts
        if one.open_ns is not None and one.close_ns is not None
        if one.open_ns <= now_ns < one.close_ns and one.instruments
    ]


def _instruments(need: Need, markets: Sequence[MarketFacts]) -> list[str]:
    products = [need.venue.products[n] for n in need.underlyings if n in need.venue.products]
    return products + [name for one in markets[:MARKETS_TRIED] for name in one.instruments or ()]


def _endpoint_checks(asker: Asker, venue: Venue, told: Sequence[Told]) -> list[Check]:
    """Return one check for each server that was asked; its worst answer counts."""
    checks: list[Check] = []
    for name, endpoint in venue.endpoints.items():
        answers = [one for one in told if one.get.endpoint == name]
        label = f"server {venue.name} {name.rpartition('.')[2]}"
        faulty = [one for one in answers if one.trouble is not None]
        if faulty and (trouble := faulty[0].trouble) is not None:
            host = asker.host(endpoint.address)
            found = f"{trouble.found}, {len(faulty)} of {len(answers)} requests"
            found = found if host in found else f"{host}: {found}"
            checks.append(Check(label, "fail", found, trouble.fix))
        elif answers:
            taken_ns = median(one.raw.received_ns - one.raw.sent_ns for one in answers)
            taken_ms = asker.clock.wall_s(taken_ns / MILLISECOND_NS)
            found = f"{len(answers)} answers from {asker.host(endpoint.address)}"
            checks.append(Check(label, "ok", f"{found}, {taken_ms:.0f} ms to the first byte"))
        elif name in WITH_A_MARKET:
            checks.append(Check(label, "info", "not asked: no open market is known"))
    return checks


def _series_checks(need: Need, told: Sequence[Told], markets: Sequence[MarketFacts]) -> list[Check]:
    """Return whether each series has an open market, and whether the venue trades at all."""
    checks: list[Check] = []
    said = [message for one in told for message in one.answer.messages]
    if any(isinstance(one, ExchangeStatus) and not one.is_trading for one in said):
        fix = "wait; a pause each Thursday from 03:00 to 05:00 in New York is usual"
        checks.append(Check(f"trading {need.venue.name}", "warn", "the venue pauses", fix))
    for series in need.series:
        found = [market for market in markets if market.series == series]
        if found:
            shown = found[0].market + (f" and {len(found) - 1} more" if len(found) > 1 else "")
            checks.append(Check(f"series {series}", "ok", f"open: {shown}"))
        elif not any(one.trouble for one in told):
            fix = "run it again in a minute; if it stays, the venue has no such markets now"
            checks.append(Check(f"series {series}", "warn", "no market is open", fix))
    return checks


def _clock_check(asker: Asker, venue: Venue, timed: Sequence[Told]) -> Check:
    """Hold the venue's clock against ours, within the bounds that its answers leave."""
    name = f"clock {venue.name}"
    bounds = [found for one in timed if (found := _bounds(one)) is not None]
    if not bounds:
        return Check(name, "info", "not told: see its server")
    low_ns, high_ns = max(low for low, _ in bounds), min(high for _, high in bounds)
    if low_ns > high_ns:  # several machines answer, whose clocks differ
        middle_ns = median((low + high) / 2 for low, high in bounds)
        half_ns = median((high - low) / 2 for low, high in bounds)
    else:
        middle_ns, half_ns = (low_ns + high_ns) / 2, (high_ns - low_ns) / 2
    speed = asker.clock.speed
    limit_ns = OFFSET_S_MAX * speed * NS
    text = f"{middle_ns / NS:+.3f} s from ours, to within {half_ns / NS:.3f} s"
    text += "" if speed == 1.0 else f" of a clock {speed:g} times as fast"
    if abs(middle_ns) <= max(limit_ns, half_ns):
        return Check(name, "ok", text)
    text += f"; more than {limit_ns / NS:g} s misjudges closes and breaks signatures"
    return Check(name, "warn", text, NTP)


def _bounds(told: Told) -> tuple[int, int] | None:
    """Return between what the venue's clock minus ours is, by one answer."""
    raw = told.raw
    exact = (m.about_ns for m in told.answer.messages if isinstance(m, Heartbeat))
    told_ns = next((ts_ns for ts_ns in exact if ts_ns is not None), None)
    width_ns = MILLISECOND_NS
    if told_ns is None:
        told_ns, width_ns = raw.date_ns, NS
    if told_ns is None:
        return None
    return told_ns - raw.received_ns, told_ns + width_ns - raw.sent_ns
