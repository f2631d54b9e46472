"""Whether a venue's feeds deliver: connect, subscribe, wait for the first data.

Only a book, or the index, is data; an acknowledgement or a heartbeat is not. Venues have had
connections that stood, answered and told nothing for hours, and that is the one fault that no other
check shows.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp

from libs.common.venues.messages import (
    BookChange,
    BookSnapshot,
    IndexValue,
    Reject,
    VenueError,
    reject,
)
from libs.common.venues.venue import Feed, Venue
from services.console.doctor_asking import Asker
from services.console.doctor_faults import trouble_of_error, trouble_of_status
from services.console.doctor_report import Check, Level

CLOSE_S_MAX = 0.5

_AGAIN = "run it again; if it stays, look at the venue's status page"
_NEWER = "the venue changed what it sends: install a newer Hawk"


@dataclass
class _Heard:
    """What a connection has brought so far."""

    is_open: bool = False
    texts: int = 0
    is_data: bool = False
    rejected: str = ""
    refused: str = ""
    close_code: int | None = None
    instruments: list[str] = field(default_factory=list)


async def feed_checks(
    asker: Asker, venue: Venue, *, books: Sequence[str], underlyings: Sequence[str]
) -> list[Check]:
    """Try all feeds of a venue at once; a feed that another stands in for is no failure."""
    instruments = {"books": books, "index": underlyings}
    has_key = asker.signer is not None and venue.name == "kalshi"
    usable: set[str] = set()
    jobs = []
    for feed in venue.feeds:
        if feed.is_signed and not has_key:
            jobs.append(_without_key(venue, feed))
            continue
        spare: Level = "warn" if feed.carries in usable else "fail"
        usable.add(feed.carries)
        jobs.append(_checked(asker, feed, instruments[feed.carries], fault=spare))
    return list(await asyncio.gather(*jobs))


async def _without_key(venue: Venue, feed: Feed) -> Check:
    others = [f.name for f in venue.feeds if f.carries == feed.carries and not f.is_signed]
    stead = f"{others[0]} stands in" if others else "the index is not seen"
    if not others and feed.carries == "books":
        stead = "books are polled by REST"
    return Check(f"feed {feed.name}", "info", f"needs a key of {venue.name}: {stead}")


async def _checked(asker: Asker, feed: Feed, instruments: Sequence[str], *, fault: Level) -> Check:
    name = f"feed {feed.name}"
    if not instruments:
        return Check(name, "info", "no market is open that it could be asked for")
    heard = _Heard(instruments=list(instruments[: feed.instruments_max]))
    began_s, wait_s = time.monotonic(), asker.patience.socket_s
    host = asker.host(feed.address)
    try:
        async with asyncio.timeout(wait_s):
            await _listen(asker, feed, heard)
    except aiohttp.WSServerHandshakeError as error:
        trouble = trouble_of_status(error.status, is_signed=feed.is_signed)
        return Check(name, fault, f"{host}: {trouble.found}", trouble.fix)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        if not (heard.is_open and isinstance(error, TimeoutError)):
            trouble = trouble_of_error(error, host, wait_s=wait_s)
            return Check(name, fault, trouble.found, trouble.fix)
    if heard.is_data:
        taken_s = time.monotonic() - began_s
        return Check(name, "ok", f"first data of {host} after {taken_s:.2f} s")
    return _silent(name, heard, fault, wait_s)


def _silent(name: str, heard: _Heard, fault: Level, wait_s: float) -> Check:
    """Return what to tell of a connection that stood and brought no data."""
    if heard.refused:
        return Check(name, fault, f"it cannot be used: {heard.refused}", _NEWER)
    if heard.close_code is not None:
        found = f"the venue closed it before any data (code {heard.close_code})"
        return Check(name, fault, found, _AGAIN)
    if heard.rejected:
        return Check(name, fault, f"its messages are not understood: {heard.rejected}", _NEWER)
    if heard.texts:
        found = f"it answers, but brings no data within {wait_s:g} s"
        return Check(name, "warn", found, f"a frozen feed, or nobody trades: {_AGAIN}")
    return Check(name, fault, f"connected, and not a word within {wait_s:g} s", _AGAIN)


async def _listen(asker: Asker, feed: Feed, heard: _Heard) -> None:
    """Subscribe and read until data, an end, or a refusal."""
    async with asker.session.ws_connect(
        asker.place(feed.address),
        headers=asker.signed(feed.address) if feed.is_signed else None,
        max_msg_size=feed.message_bytes_max,
        timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S_MAX),
    ) as socket:
        heard.is_open = True
        for text in feed.subscribe(heard.instruments, request_id=1):
            await socket.send_str(text)
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            heard.texts += 1
            _read(feed, message.data, heard)
            if heard.is_data or heard.refused:
                return
        heard.close_code = socket.close_code or 1006


def _read(feed: Feed, text: str, heard: _Heard) -> None:
    for message in feed.parse(text).messages:
        if isinstance(message, VenueError):
            if message.remedy != "ignore":
                heard.refused = reject("malformed", f"{message.code} {message.text}").detail
        elif isinstance(message, Reject):
            heard.rejected = message.reason
        elif isinstance(message, BookSnapshot | BookChange | IndexValue):
            heard.is_data = True
