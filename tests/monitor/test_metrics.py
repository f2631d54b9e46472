"""Labels are bounded: what somebody else made in Redis becomes none."""

from prometheus_client import REGISTRY

from libs.common.bus import GroupFacts, StreamFacts
from libs.common.entry_codec import EntryId
from services.monitor.metrics import show_facts

AT = EntryId(1, 9)


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def test_facts_of_known_groups_are_shown() -> None:
    groups = (GroupFacts("features", 2, AT, 3), GroupFacts("stranger", 1, AT, 1))
    show_facts("TEST-USD", {"snapshots": StreamFacts(9, EntryId(1, 1), AT, groups)})
    of_stream = {"kind": "snapshots", "underlying": "TEST-USD"}
    assert value("hawk_redis_stream_entries", **of_stream) == 9
    assert value("hawk_redis_group_pending_entries", group="features", **of_stream) == 2
    assert value("hawk_redis_group_lag_entries", group="features", **of_stream) == 3
    assert value("hawk_redis_group_lag_entries", group="stranger", **of_stream) is None
