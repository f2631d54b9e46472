"""What the collector counts. Labels are event kinds, never a market: their number is bounded."""

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from services.collector.observer import Observer

EVENTS = Counter("hawk_collector_events_total", "Events journalled, by kind.", ["kind"])
JOURNAL_SECONDS = Histogram(
    "hawk_collector_journal_seconds", "Time to make a batch of instants durable, all underlyings."
)
LAG_WAITS = Counter(
    "hawk_collector_lag_waits_total", "Times that play at full speed waited for its readers."
)
LAST_INSTANT = Gauge(
    "hawk_collector_last_instant_seconds", "Event time of the last instant, in Unix seconds."
)
LATE_SECONDS = Gauge(
    "hawk_collector_late_seconds", "How late the last instant was published, beside the pace asked."
)
SIMULATOR_FAILURES = Counter(
    "hawk_collector_simulator_failures_total", "Days that the simulator failed to draw."
)
LOST_INSTANTS = Counter(
    "hawk_collector_lost_instants_total", "Instants given up while the disk took nothing."
)
WIRE = Gauge(
    "hawk_collector_feed_events",
    "What happened on a feed or endpoint since the start, by kind.",
    ["feed", "kind"],
)
TRUTH = Gauge(
    "hawk_collector_truth_ratio",
    "Share of compared ticks whose book another source of the venue proved right.",
    ["feed"],
)
OFFSET_SECONDS = Gauge(
    "hawk_collector_clock_offset_seconds", "The venue's clock minus ours.", ["venue"]
)
CONNECTED = Gauge("hawk_collector_connected_feeds", "Connections that stand.", ["feed"])


def tell(observer: "Observer") -> None:
    """Show what an observer has counted; called once an instant."""
    for (feed, kind), count in observer.counts.items():
        WIRE.labels(feed, kind).set(count)
    for feed, ratio in observer.panel.truth_ratios().items():
        TRUTH.labels(feed).set(ratio)
    for venue, offset in observer.offsets.items():
        OFFSET_SECONDS.labels(venue).set(offset.median_ns / 1e9)
    connected = observer.panel.connected()
    for feed, is_connected in connected.items():
        CONNECTED.labels(feed).set(is_connected)
