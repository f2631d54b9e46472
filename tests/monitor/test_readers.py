"""Who is behind, and past whom a stream was trimmed; who has just begun is neither."""

from libs.common.bus import GroupFacts, StreamFacts
from libs.common.entry_codec import NO_ENTRY, EntryId
from libs.common.streams import MARKET_ENTRIES_MAX as LENGTH
from services.monitor.readers import ReaderWatch

HALF, QUARTER = LENGTH // 2, LENGTH // 4
LAGS = (HALF, HALF + 1, HALF - 1, QUARTER + 1, QUARTER, HALF - 1)


def facts(
    lag: int, *, name: str = "features", delivered: int | None = None, first: int = 1
) -> dict[str, StreamFacts]:
    """Return the facts of a stream of entries `first` to LENGTH and one group."""
    at = LENGTH - lag if delivered is None else delivered
    group = GroupFacts(name, 0, EntryId(1, at) if at else NO_ENTRY, lag)
    stream = StreamFacts(LENGTH, EntryId(1, first), EntryId(1, LENGTH), (group,))
    return {"snapshots": stream}


def firing(watch: ReaderWatch, found: dict[str, StreamFacts]) -> list[str]:
    return [claim.rule for claim in watch.claims("BTC-USD", found) if claim.is_firing]


def test_half_a_stream_is_behind_until_it_is_a_quarter() -> None:
    watch = ReaderWatch()
    seen = [
        firing(watch, facts(lag))
        for lag in (HALF, HALF + 1, HALF - 1, QUARTER + 1, QUARTER, HALF - 1)
    ]
    assert seen == [[], ["reader_behind"], ["reader_behind"], ["reader_behind"], [], []]


def test_underlyings_do_not_share_their_past() -> None:
    watch = ReaderWatch()
    watch.claims("ETH-USD", facts(HALF + 100))
    assert firing(watch, facts(QUARTER + 100)) == []


def test_a_trim_past_a_reader_is_told_with_the_count() -> None:
    claims = ReaderWatch().claims("BTC-USD", facts(90, delivered=10, first=51))
    lost = [claim for claim in claims if claim.rule == "reader_lost"]
    assert lost[0].is_firing and "40 entries of snapshots" in lost[0].evidence


def test_a_trim_up_to_a_reader_is_none() -> None:
    assert firing(ReaderWatch(), facts(50, delivered=50, first=51)) == []


def test_a_group_that_has_just_been_made_has_lost_nothing() -> None:
    assert firing(ReaderWatch(), facts(50, delivered=0, first=90)) == []


def test_the_monitor_and_strangers_may_be_as_far_behind_as_they_like() -> None:
    for name in ("monitor", "somebody"):
        assert firing(ReaderWatch(), facts(LENGTH - 100, name=name, delivered=10, first=51)) == []


def test_without_streams_all_is_well() -> None:
    assert firing(ReaderWatch(), {}) == []
