"""Silence is counted on our clock, at the speed of the source, from what was last seen to move."""

import pytest

from libs.common.entry_codec import EntryId
from libs.common.sources import parse_source
from services.monitor.silence import FeedWatch, quiet_s_max


@pytest.mark.parametrize(
    ("source", "limit_s"),
    [
        ("simulated@1", 60.0),
        ("simulated@1,interval=300", 1_800.0),
        ("simulated@2", 30.0),
        ("simulated@1000", 10.0),
        ("simulated@0.5", 120.0),
        ("recording:r@1", 90.0),
        ("recording:r@9", 10.0),
        ("recording:r@max", None),
    ],
)
def test_the_limit_follows_the_source(source: str, limit_s: float | None) -> None:
    assert quiet_s_max(parse_source(source)) == limit_s


def states(watch: FeedWatch, now_s: float) -> dict[str | None, bool]:
    return {claim.underlying: claim.is_firing for claim in watch.claims(now_s)}


def test_each_underlying_is_silent_by_itself_and_ticks_again() -> None:
    watch = FeedWatch(60.0)
    for second in range(0, 70, 10):
        watch.see("BTC-USD", EntryId(second + 1, second + 1), float(second))
        watch.see("ETH-USD", EntryId(1, 1), float(second))
    assert states(watch, 60.0) == {"BTC-USD": False}
    assert states(watch, 61.0) == {"BTC-USD": False, "ETH-USD": True}
    watch.see("ETH-USD", EntryId(2, 2), 62.0)
    assert states(watch, 62.0) == {"BTC-USD": False, "ETH-USD": False}


def test_nothing_is_claimed_before_anything_is_known() -> None:
    watch = FeedWatch(60.0)
    assert states(watch, 1_000.0) == {}
    watch.see("BTC-USD", EntryId(1, 1), 1_000.0)
    assert states(watch, 1_060.0) == {}


def test_a_source_gets_a_minute_to_begin() -> None:
    watch = FeedWatch(10.0)
    watch.see("BTC-USD", EntryId(1, 1), 0.0)
    assert states(watch, 60.0) == {}
    assert states(watch, 61.0) == {"BTC-USD": True}
    watch.see("BTC-USD", EntryId(2, 2), 62.0)
    assert states(watch, 72.0) == {"BTC-USD": False}
    assert states(watch, 73.0) == {"BTC-USD": True}


def test_while_nobody_can_look_nothing_is_silent_and_nothing_resolved() -> None:
    watch = FeedWatch(60.0)
    watch.see("BTC-USD", EntryId(1, 1), 0.0)
    watch.see("BTC-USD", EntryId(2, 2), 1.0)
    watch.lose_sight(500.0)
    assert states(watch, 501.0) == {}
    watch.see("BTC-USD", EntryId(2, 2), 502.0)
    assert states(watch, 560.0) == {}
    assert states(watch, 561.0) == {"BTC-USD": True}


def test_at_full_speed_there_is_no_rhythm_to_miss() -> None:
    watch = FeedWatch(None)
    watch.see("BTC-USD", EntryId(1, 1), 0.0)
    assert states(watch, 1e6) == {}
