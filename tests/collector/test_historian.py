"""Questions about the past: page by page, within allowances, with patience that ends."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import aiohttp
import pytest

from libs.common.stream_time import StreamTime
from libs.common.venues import VENUES
from libs.common.venues.messages import MarketFacts, Message
from libs.common.venues.venue import Get
from services.collector import historian
from services.collector.historian import TRIES_MAX, GaveUp, Historian
from services.collector.live import address_of
from tests.collector.history_server import CLOSES_S, CUTOFF_S, NOW_S, SPEED, START_S, VenueServer

S = 1_000_000_000
KALSHI = VENUES["kalshi"]
T = TypeVar("T")


@pytest.fixture(scope="module")
def shared() -> Iterator[VenueServer]:
    server = VenueServer()
    yield server
    server.close()


@pytest.fixture
def server(shared: VenueServer) -> VenueServer:
    """The server as new."""
    shared.asked.clear()
    shared.rules.clear()
    return shared


def using(server: VenueServer, work: Callable[[Historian], Awaitable[T]]) -> T:
    """Do `work` with a client of the server."""

    async def run() -> T:
        clock = StreamTime(NOW_S * S, time.time_ns(), SPEED)
        async with aiohttp.ClientSession() as session:
            return await work(Historian(VENUES, clock, session, address=address_of(server.url)))

    return asyncio.run(run())


def listed() -> Get:
    (get,) = KALSHI.settled("KXBTC15M", start_ns=CUTOFF_S * S, end_ns=NOW_S * S)
    return get


def candles(index: int) -> Get:
    close_ns = CLOSES_S[index] * S
    (get,) = KALSHI.candles(
        f"KXBTC15M-X{CLOSES_S[index]}-00", start_ns=close_ns - 900 * S, end_ns=close_ns
    )
    return get


def test_all_pages_are_read_and_only_what_is_wanted_is_kept(server: VenueServer) -> None:
    def is_wanted(message: Message) -> bool:
        return isinstance(message, MarketFacts) and message.close_ns == CLOSES_S[3] * S

    told = using(server, lambda asker: asker.ask(listed(), keep=is_wanted))
    assert [m.market for m in told.messages] == [f"KXBTC15M-X{CLOSES_S[3]}-00"]  # type: ignore[attr-defined]
    assert len(server.asked) == 4


def test_pages_that_never_end_are_given_up(
    server: VenueServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(historian, "PAGES_MAX", 3)
    with pytest.raises(GaveUp, match="more than 3 pages"):
        using(server, lambda asker: asker.ask(listed()))
    assert len(server.asked) == 3


def test_answers_come_in_the_order_of_the_questions_and_each_is_heard(server: VenueServer) -> None:
    heard: list[None] = []
    gets = [candles(index) for index in (4, 2, 3)]
    told = using(server, lambda asker: asker.ask_all(gets, heard=lambda: heard.append(None)))
    ends = [one.messages[-1].end_ns - 1 for one in told]  # type: ignore[attr-defined]
    assert ends == [CLOSES_S[index] * S for index in (4, 2, 3)]
    assert len(heard) == 3


def test_what_is_missing_is_told_as_missing(server: VenueServer) -> None:
    told = using(server, lambda asker: asker.ask(candles(0)))
    assert (told.messages, told.fault, len(server.asked)) == ([], "missing", 1)


def test_one_that_is_given_up_ends_all(server: VenueServer) -> None:
    server.fail(f"X{CLOSES_S[3]}-00/candlesticks", (502, ""), times=1_000)
    gets = [candles(index) for index in (2, 3, 4)]
    with pytest.raises(GaveUp, match=rf"X{CLOSES_S[3]}-00: no answer in {TRIES_MAX} tries"):
        using(server, lambda asker: asker.ask_all(gets, heard=lambda: None))
    assert len(server.targets(f"X{CLOSES_S[3]}-00/")) == TRIES_MAX


def test_server_that_is_not_there_is_given_up() -> None:
    async def run() -> None:
        clock = StreamTime(START_S * S, time.time_ns(), SPEED)
        async with aiohttp.ClientSession() as session:
            address = address_of("http://127.0.0.1:1")
            await Historian(VENUES, clock, session, address=address).ask(listed())

    with pytest.raises(GaveUp, match="unavailable: ClientConnectorError"):
        asyncio.run(run())


def test_hostile_text_of_a_venue_is_printable_when_it_is_told(server: VenueServer) -> None:
    server.fail("/markets?", (403, "\x1b[2Jgone\u202e"))
    with pytest.raises(GaveUp) as error:
        using(server, lambda asker: asker.ask(listed()))
    assert str(error.value).isprintable()
    assert str(error.value).isascii()
