"""Servers, clocks and markets of the venues as the doctor sees them; feeds have their own page."""

from collections.abc import Iterator

import pytest

from services.console.doctor_report import Check, Patience
from services.console.doctor_venues import needs_of, run_venue_checks
from tests.console import doctor_venues_server as fake

QUICK = Patience(request_s=0.4, socket_s=0.4)


@pytest.fixture
def venues() -> Iterator[fake.Venues]:
    with fake.venues() as running:
        yield running


def checked(venues: fake.Venues, **settings: object) -> dict[str, Check]:
    checks = run_venue_checks(venues.settings(**settings), Patience())
    return {one.name: one for one in checks}


def test_healthy_venues_are_well_in_every_part(venues: fake.Venues) -> None:
    found = checked(venues)
    assert {one.level for one in found.values()} == {"ok", "info"}
    for name in ("clock coinbase", "clock kalshi", "server coinbase advanced"):
        assert found[name].level == "ok"
    assert found["server kalshi rest"].found.startswith("6 answers from 127.0.0.1:")
    assert found["series KXBTC15M"].found == f"open: {fake.TICKER}"


def test_only_the_venues_that_the_series_need_are_asked() -> None:
    settings = fake.Venues()
    settings.url = "http://127.0.0.1:1"
    assert [n.venue.name for n in needs_of(settings.settings())] == ["coinbase", "kalshi"]
    needs = needs_of(settings.settings(series="btc-updown-5m,eth-updown-5m"))
    assert [(n.venue.name, n.underlyings) for n in needs] == [
        ("coinbase", ("BTC-USD", "ETH-USD")),
        ("polymarket", ("BTC-USD", "ETH-USD")),
    ]


@pytest.mark.parametrize("skew_s", [-7.0, 2.0])
def test_a_clock_that_is_off_is_warned_of_with_the_way_to_set_it(
    venues: fake.Venues, skew_s: float
) -> None:
    venues.skew_s = skew_s
    found = checked(venues)
    for venue in ("coinbase", "kalshi"):  # milliseconds of one, whole seconds of the other
        clock = found[f"clock {venue}"]
        assert clock.level == "warn"
        assert "timedatectl set-ntp true" in clock.fix
        told_s = float(clock.found.split()[0])
        assert told_s == pytest.approx(skew_s, abs=0.5)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("html", "a page in place of an answer"),
        ("429", "asked too often (429)"),
        ("403", "this machine's address is refused (403)"),
        ("401", "the key is refused (401)"),
        ("503", "not available (503)"),
        ("404", "not there (404)"),
        ("shape", "does not understand"),
        ("hang", "does not answer within 0.4 s"),
    ],
)
def test_a_server_that_does_not_answer_as_it_should_fails_with_its_fix(
    venues: fake.Venues, mode: str, words: str
) -> None:
    venues.modes = {fake.KALSHI: mode}
    checks = run_venue_checks(venues.settings(), QUICK if mode == "hang" else Patience())
    found = {one.name: one for one in checks}
    server = found["server kalshi rest"]
    assert server.level == "fail"
    assert words in server.found
    assert server.fix
    if mode != "hang":  # no patience is left for the other venue on a busy machine
        assert found["server coinbase advanced"].level == "ok"


def test_fixes_differ_by_fault(venues: fake.Venues) -> None:
    fixes = set()
    for mode in ("html", "429", "403", "503", "shape"):
        venues.modes = {fake.ADVANCED: mode}
        fixes.add(checked(venues)["server coinbase advanced"].fix)
    assert len(fixes) == 5


def test_a_series_without_an_open_market_is_a_warning(venues: fake.Venues) -> None:
    venues.has_market = False
    assert checked(venues)["series KXBTC15M"].level == "warn"


def test_a_venue_that_pauses_is_a_warning(venues: fake.Venues) -> None:
    venues.is_trading = False
    assert checked(venues)["trading kalshi"].level == "warn"


def test_everything_that_hangs_at_once_is_told_and_ends(venues: fake.Venues) -> None:
    hosts = (fake.ADVANCED, fake.ADVANCED_WS, fake.EXCHANGE_WS, fake.KALSHI)
    venues.modes = dict.fromkeys(hosts, "hang")
    checks = run_venue_checks(venues.settings(), QUICK)
    failed = {one.name for one in checks if one.level == "fail"}
    assert failed == {"server coinbase advanced", "feed coinbase.ws", "server kalshi rest"}
