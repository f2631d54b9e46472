"""What the collector counts. Labels are event kinds, never a market: their number is bounded."""

from prometheus_client import Counter, Gauge, Histogram

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
