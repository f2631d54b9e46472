"""Labels are bounded: what somebody else made in Redis becomes none."""

import math

from prometheus_client import REGISTRY

from libs.common.bus import GroupFacts, StreamFacts
from libs.common.entry_codec import EntryId
from services.monitor.disk import Space
from services.monitor.firing import Place
from services.monitor.metrics import show_facts, show_firing, show_space

AT = EntryId(1, 9)


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def test_facts_of_known_groups_are_shown() -> None:
    groups = (GroupFacts("features", 2, AT, 3), GroupFacts("stranger", 1, AT, 1))
    show_facts("TEST-USD", {"snapshots": StreamFacts(9, EntryId(1, 1), AT, groups)})
    of_stream = {"kind": "snapshots", "underlying": "TEST-USD"}
    assert value("hawk_redis_stream_entries", **of_stream) == 9
    assert value("hawk_redis_stream_newest_seconds", **of_stream) == 0.001
    assert value("hawk_redis_group_pending_entries", group="features", **of_stream) == 2
    assert value("hawk_redis_group_lag_entries", group="features", **of_stream) == 3
    assert value("hawk_redis_group_delivered_seconds", group="features", **of_stream) == 0.001
    assert value("hawk_redis_group_lag_entries", group="stranger", **of_stream) is None


def test_an_alert_that_is_over_is_zero_and_not_gone() -> None:
    place = Place("features", "stream_hole", "warn")
    show_firing({place: 2})
    assert value("hawk_alerts_firing", **place._asdict()) == 2
    show_firing({})
    assert value("hawk_alerts_firing", **place._asdict()) == 0


def test_a_disk_that_cannot_be_asked_is_unknown_and_not_full() -> None:
    show_space(Space(7, 9))
    assert (value("hawk_disk_free_bytes"), value("hawk_disk_total_bytes")) == (7, 9)
    show_space(None)
    free = value("hawk_disk_free_bytes")
    assert free is not None and math.isnan(free)
