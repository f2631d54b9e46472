"""How venues are asked: the simulator's clock, names that are looked up, bodies without end."""

import asyncio
from collections.abc import Iterator

import pytest

from libs.common.settings import Settings
from libs.common.stream_time import StreamTime
from services.console.doctor_asking import Asker, clock_of, session_of_doctor
from services.console.doctor_report import Check, Patience
from tests.console import doctor_venues_server as fake


@pytest.fixture
def venues() -> Iterator[fake.Venues]:
    with fake.venues() as running:
        yield running


def clock(settings: Settings) -> tuple[StreamTime, list[Check]]:
    async def ask() -> tuple[StreamTime, list[Check]]:
        async with session_of_doctor() as session:
            return await clock_of(session, settings)

    return asyncio.run(ask())


def test_the_clock_of_a_simulator_is_taken_and_shown_as_simulated(venues: fake.Venues) -> None:
    found, checks = clock(venues.settings())
    assert found == StreamTime(start_ns=0, began_ns=0, speed=1.0)
    assert checks[0].level == "info"
    assert checks[0].found.startswith("SIMULATED: ")


def test_a_simulator_that_is_not_there_or_is_none_fails(venues: fake.Venues) -> None:
    absent = venues.settings(simulator_url="http://127.0.0.1:1")
    other = venues.settings(simulator_url=venues.url + "/")
    venues.modes = {"clock": "shape"}
    for settings, words in ((absent, "refuses the connection"), (other, "no simulator of Hawk")):
        _, checks = clock(settings)
        assert checks[0].level == "fail"
        assert words in checks[0].found
        assert "python -m services.simulator" in checks[0].fix


def test_a_name_is_looked_up_and_one_that_is_none_is_a_missing_address(
    venues: fake.Venues,
) -> None:
    port = venues.url.rpartition(":")[2]

    async def ask(host: str) -> str:
        async with session_of_doctor() as session:
            real = StreamTime(start_ns=0, began_ns=0, speed=1.0)
            asker = Asker(session, real, f"http://{host}:{port}", None, Patience())
            raw = await asker.fetch(f"https://{fake.KALSHI}/trade-api/v2/exchange/status")
            return raw.trouble.found if raw.trouble else str(raw.status)

    assert asyncio.run(ask("localhost")) == "200"
    # A label of more than 63 letters is refused before anybody is asked.
    with fake.anywhere():
        assert "DNS" in asyncio.run(ask("x" * 64))
