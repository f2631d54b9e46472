"""Feeds as the doctor sees them: data, silence, refusals, and a venue without a key."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.console.doctor_report import Check, Patience
from services.console.doctor_venues import run_venue_checks
from tests.console import doctor_venues_server as fake


@pytest.fixture
def venues() -> Iterator[fake.Venues]:
    with fake.venues() as running:
        yield running


def checked(venues: fake.Venues, wait_s: float = 6.0, **settings: object) -> dict[str, Check]:
    patience = Patience(socket_s=wait_s)
    return {one.name: one for one in run_venue_checks(venues.settings(**settings), patience)}


def test_a_feed_that_delivers_is_well(venues: fake.Venues) -> None:
    found = checked(venues)
    for name in ("feed coinbase.ws", "feed coinbase.exchange"):
        assert found[name].level == "ok"
        assert "first data" in found[name].found


def test_signed_feeds_are_tried_with_a_key_only(venues: fake.Venues, tmp_path: Path) -> None:
    found = checked(venues)
    assert found["feed kalshi.ws"].level == found["feed kalshi.index"].level == "info"
    assert "polled by REST" in found["feed kalshi.ws"].found
    assert not venues.asked[fake.KALSHI_WS]
    key = {"kalshi_key_id": "the-key", "kalshi_key_file": fake.key_file(tmp_path)}
    found = checked(venues, **key)
    assert found["feed kalshi.ws"].level == found["feed kalshi.index"].level == "ok"


@pytest.mark.parametrize(
    ("mode", "level", "words"),
    [
        ("silent", "fail", "not a word within 1 s"),
        ("acknowledged", "warn", "brings no data"),
        ("closed", "fail", "closed it before any data (code 4008)"),
        ("403", "fail", "this machine's address is refused (403)"),
        ("html", "fail", "a page in place of an answer"),
        ("hang", "fail", "does not answer within 1 s"),
    ],
)
def test_a_feed_that_brings_no_data_says_why(
    venues: fake.Venues, mode: str, level: str, words: str
) -> None:
    venues.modes = {fake.ADVANCED_WS: mode}
    # What waits to the end waits for a second, what is answered has all the time it takes.
    is_silent = mode in ("silent", "acknowledged", "hang")
    found = checked(venues, 1.0 if is_silent else 6.0)["feed coinbase.ws"]
    assert found.level == level
    assert words in found.found
    assert found.fix


def test_messages_that_are_not_understood_ask_for_a_newer_version(
    venues: fake.Venues, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = [{"side": "bid", "level_price": "68900.00", "new_quantity": "1.5"}]
    events = [{"type": "snapshot", "product_id": "BTC-USD", "updates": levels}]
    monkeypatch.setitem(fake.DATA[fake.ADVANCED_WS], "events", events)
    found = checked(venues, 1.0)["feed coinbase.ws"]
    assert found.level == "fail"
    assert "not understood" in found.found
    assert "newer Hawk" in found.fix


def test_a_feed_that_another_stands_in_for_is_a_warning_only(venues: fake.Venues) -> None:
    venues.modes = {fake.EXCHANGE_WS: "silent"}
    assert checked(venues, 1.0)["feed coinbase.exchange"].level == "warn"


def test_a_key_that_the_feed_refuses_is_told_as_the_keys_fault(
    venues: fake.Venues, tmp_path: Path
) -> None:
    venues.modes = {fake.KALSHI_WS: "401"}
    key = {"kalshi_key_id": "the-key", "kalshi_key_file": fake.key_file(tmp_path)}
    found = checked(venues, **key)["feed kalshi.ws"]
    assert found.level == "fail"
    assert "the key is refused (401)" in found.found
