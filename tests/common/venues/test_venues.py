"""The contract of every venue in the table: what it asks, what it sends, what it makes of texts.

A new venue is a file and a line; these tests then run over it. What a venue says is hostile until
proven otherwise: a market's name may be ten kilobytes of terminal escapes.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.events import Event
from libs.common.venues import VENUES
from libs.common.venues.messages import DETAIL_LENGTH_MAX, Message, Reject, VenueError
from libs.common.venues.venue import Feed, Get, Venue
from services.collector.capture import CaptureWriter, read_capture
from services.collector.capture_import import import_captures, plan_of_all
from services.collector.observer import Observer
from services.collector.traffic import Answered, Arrival, Opened, Passed, Received
from services.console.event_lines import json_of, line_of
from tests.common.venues.venue_texts import ANSWERS, FEEDS, recorded, replaced

NS = 1_000_000_000
NOW_NS = 1_786_942_200 * NS
"""Inside the window of the hand-written Kalshi market."""

TEXT_MAX = 1_000
"""Characters of any text that a message holds; a name has at most 200."""

HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07",
    "../../../../etc/passwd",
    "x" * 10_000,
    "BTC-USD\nFAKE LINE",
    "\u202edesrever",
    "..",
    "a/b?c=d&e#f",
    "\x00",
)
DAMAGE = (
    "", " ", "null", "5", "[]", "{}", '""', "{", "[" * 100_000, '{"a":' * 100_000, "<html>",
    "\x00", "\ufeff{}", '{"type":NaN}', '{"type":1e999}', '{"channel":"\ud800"}', "9" * 100_000,
)  # fmt: skip

_FEEDS = {feed.name: feed for venue in VENUES.values() for feed in venue.feeds}
every_venue = pytest.mark.parametrize("venue", VENUES.values(), ids=list(VENUES))
every_feed = pytest.mark.parametrize("feed", _FEEDS.values(), ids=list(_FEEDS))


def instruments(venue: Venue) -> list[str]:
    """Return names under which a venue streams books."""
    return list(venue.products.values()) or [f"{name}-TEST" for name in venue.series]


def gets(venue: Venue, name: str) -> list[Get]:
    """Return every request that a venue can make about `name`."""
    span = {"start_ns": NOW_NS, "end_ns": NOW_NS + 3_600 * NS}
    found = [venue.clock(), venue.status(), venue.cutoff(), venue.top(name), venue.terms(name)]
    found += [venue.market(name), venue.book(name)]
    for is_old in (False, True):
        found += venue.candles(name, **span, is_historical=is_old)
        found += venue.trades(name, **span, is_historical=is_old)
    for series in venue.series:
        found += venue.listing(series, now_ns=NOW_NS, windows=2)
        found += venue.settled(series, **span)
    for rule in ("mean60", "chainlink_point", "chainlink_twap60", name):
        found += venue.strike(name, open_ns=NOW_NS, close_ns=NOW_NS + 900 * NS, rule=rule)
    return [get for get in found if get is not None]


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text inside a message."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from texts_in(key)
            yield from texts_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts_in(inner)


def is_harmless(messages: list[Message]) -> None:
    """Every text in every message can be shown, and is short."""
    for message in messages:
        longest = DETAIL_LENGTH_MAX if isinstance(message, Reject) else TEXT_MAX
        for text in texts_in(msgspec.to_builtins(message)):
            assert text.isprintable() and len(text) <= longest, message


@every_venue
def test_names_are_its_own_and_everything_is_bounded(venue: Venue) -> None:
    others = [v for v in VENUES.values() if v is not venue]
    assert VENUES[venue.name] is venue
    assert bool(venue.series) != bool(venue.products)
    for own in (venue.feeds, venue.endpoints):
        assert own
    names = {feed.name for feed in venue.feeds} | set(venue.endpoints) | set(venue.series)
    for other in others:
        assert not names & ({f.name for f in other.feeds} | {*other.endpoints, *other.series})
    assert len({feed.name for feed in venue.feeds}) == len(venue.feeds)
    for endpoint in venue.endpoints.values():
        assert endpoint.address.startswith("https://") and not endpoint.address.endswith("/")
        assert endpoint.rate_per_s > 0 and endpoint.burst >= 1


@every_feed
def test_a_feed_has_limits_and_says_only_json_or_its_own_keepalive(feed: Feed) -> None:
    assert feed.address.startswith("wss://")
    assert feed.subscribe_s_max > 0 and feed.silence_s_max > 0
    assert feed.message_bytes_max > 0 and feed.instruments_max > 0
    assert feed.keepalive_text is None or feed.keepalive_s > 0
    for name in ("BTC-USD", *HOSTILE):
        texts = feed.subscribe([name], request_id=1)
        texts += feed.unsubscribe([name], request_id=9, standing=())
        texts += feed.resync([name], request_id=20, standing=())
        for text in texts:
            json.loads(text)


def stays_within(get: Get) -> None:
    """A request asks what it says of the server that it names, within its allowance."""
    venue = VENUES[get.venue]
    assert 0 < get.cost <= venue.endpoints[get.endpoint].burst
    assert get.target.startswith("/") and get.target.isprintable() and get.target.isascii()
    path, _, query = get.target.partition("?")
    assert not {"..", "%2e%2e"} & set(path.lower().split("/")), get
    assert not {"#", " ", "?"} & set(query), get


@every_venue
def test_a_request_stays_within_its_endpoint(venue: Venue) -> None:
    for name in instruments(venue):
        for get in gets(venue, name):
            assert get.venue == venue.name
            stays_within(get)


@every_feed
def test_sound_texts_become_messages(feed: Feed) -> None:
    for sound in FEEDS[feed.name]:
        messages = feed.parse(json.dumps(sound)).messages
        assert messages and not [m for m in messages if isinstance(m, Reject)], sound
        is_harmless(messages)


@pytest.mark.parametrize("name", ["coinbase.ws", "coinbase.exchange", "kalshi.ws", "polymarket.ws"])
def test_recorded_texts_are_understood(name: str) -> None:
    feed = _FEEDS[name]
    frames = [feed.parse(text) for text in recorded(name)]
    is_harmless([message for frame in frames for message in frame.messages])
    broken = [m for f in frames for m in f.messages if isinstance(m, Reject)]
    assert not [m for m in broken if m.reason in ("malformed", "bad_number", "bad_time")]
    assert len(broken) < 0.01 * len(frames) + 1


@every_feed
def test_damaged_texts_are_rejects_or_nothing(feed: Feed) -> None:
    for text in DAMAGE:
        is_harmless(feed.parse(text).messages)
    for sound in FEEDS[feed.name]:
        whole = json.dumps(sound)
        for end in range(1, len(whole), 7):
            messages = feed.parse(whole[:end]).messages
            assert messages and all(isinstance(m, Reject | VenueError) for m in messages)
            is_harmless(messages)


@given(text=st.text(max_size=200) | st.binary(max_size=200).map(lambda b: b.decode("latin-1")))
def test_no_text_raises(text: str) -> None:
    for feed in _FEEDS.values():
        is_harmless(feed.parse(text).messages)
    for venue, answers in ANSWERS.items():
        for get, _ in answers:
            for status in (200, 404, 429, 503, 0, -1, 999):
                is_harmless(VENUES[venue].answer(get, status=status, text=text).messages)


@every_feed
@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_texts_in_frames_are_rejected_or_printable(feed: Feed, hostile: str) -> None:
    for sound in FEEDS[feed.name]:
        for bad in replaced(sound, hostile):
            is_harmless(feed.parse(json.dumps(bad)).messages)


@every_venue
@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_texts_in_answers_are_rejected_or_printable(venue: Venue, hostile: str) -> None:
    for get, sound in ANSWERS[venue.name]:
        assert venue.answer(get, status=200, text=json.dumps(sound)).fault is None
        for bad in replaced(sound, hostile):
            answer = venue.answer(get, status=200, text=json.dumps(bad))
            is_harmless(answer.messages)
            assert answer.detail.isprintable() and len(answer.detail) <= TEXT_MAX
            if answer.next is not None:
                stays_within(answer.next)


def hostile_day() -> list[Arrival]:
    """Return what a hostile venue may tell: all texts and answers, with all that is hostile."""
    told: list[Arrival] = [Opened(NOW_NS, name, 1) for name in _FEEDS]
    for number, hostile in enumerate(HOSTILE):
        ts_ns = NOW_NS + number * NS
        for venue, answers in ANSWERS.items():
            for get, sound in answers:
                bad = replaced(sound, hostile)
                told += [Answered(ts_ns, get, 200, json.dumps(one)) for one in (sound, *bad)]
            for feed in VENUES[venue].feeds:
                for sound in FEEDS[feed.name]:
                    told += [
                        Received(ts_ns, feed.name, 1, json.dumps(one))
                        for one in (sound, *replaced(sound, hostile))
                    ]
    return [*told, Passed(NOW_NS + 1_000 * NS)]


def test_what_is_recorded_of_a_hostile_venue_is_printable_and_stays_in_the_folder(
    tmp_path: Path,
) -> None:
    writer = CaptureWriter(tmp_path / "inner/captures")
    observer = Observer(plan_of_all(), start_ns=-1, born_ns=NOW_NS - 1)
    events: list[Event] = []
    for arrival in hostile_day():
        writer.write(arrival)
        wishes = observer.handle(arrival)
        events += [e for i in wishes.instants for group in i.events.values() for e in group]
        for send in wishes.sends:
            assert all(json.loads(text) is not None for text in send.texts)
        for notice in wishes.notices:
            assert notice.evidence.isprintable() and len(notice.evidence) <= TEXT_MAX
        for fetch in wishes.fetches:
            stays_within(fetch.get)
    writer.flush()
    assert len({type(event).__name__ for event in events}) >= 3
    for event in events:
        assert line_of(event).isprintable() and len(line_of(event)) <= TEXT_MAX
        assert json_of(event).isascii() and json_of(event).isprintable()
    paths = sorted((tmp_path / "inner/captures").iterdir())
    assert [a for path in paths for a in read_capture(path, VENUES) if isinstance(a, str)] == []
    import_captures(paths, tmp_path / "inner")
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]
    known = {f"underlying={u}" for u in observer.sampling._underlyings}
    found = {p.name for p in (tmp_path / "inner").rglob("underlying=*")}
    assert found and found <= known
