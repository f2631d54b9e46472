"""Metrics of the monitor, and the facts of Redis, which has no page of its own.

Labels are bounded: kinds and groups of the table of streams, underlyings that are streamed, rules
and services of their tables; never a market, an id or a bundle.
"""

from collections.abc import Mapping

from prometheus_client import Counter, Gauge

from libs.common.bus import StreamFacts
from libs.common.streams import stream

READ = Counter("hawk_monitor_read_entries_total", "Entries read.", ["kind"])
SKIPPED = Counter(
    "hawk_monitor_skipped_entries_total", "Entries trimmed before the monitor read them.", ["kind"]
)
ALERTS = Counter("hawk_monitor_alerts_total", "Alerts seen in the stream.", ["rule", "state"])
FIRING = Gauge("hawk_monitor_alerts_firing", "Rules of the monitor that fire.", ["rule"])
QUIET_SECONDS = Gauge(
    "hawk_monitor_feed_quiet_seconds", "Since an underlying's last tick.", ["underlying"]
)
SERVICE_UP = Gauge("hawk_monitor_service_up", "1: the service's page answers.", ["service"])
AUDIT_LINES = Gauge("hawk_monitor_audit_lines", "Lines of the audit chain that follow.")
LOOK_SECONDS = Gauge("hawk_monitor_look_seconds", "Duration of the last look at everything.")

STREAM_ENTRIES = Gauge("hawk_redis_stream_entries", "Entries in a stream.", ["kind", "underlying"])
GROUP_LAG = Gauge(
    "hawk_redis_group_lag_entries",
    "Entries that a group has not been given, by their numbers.",
    ["kind", "underlying", "group"],
)
GROUP_PENDING = Gauge(
    "hawk_redis_group_pending_entries",
    "Entries given and not acknowledged.",
    ["kind", "underlying", "group"],
)
REDIS_USED = Gauge("hawk_redis_used_bytes", "Memory that Redis uses.")
REDIS_LIMIT = Gauge("hawk_redis_limit_bytes", "Memory that Redis may use, 0: no limit.")


def show_facts(underlying: str, facts: Mapping[str, StreamFacts]) -> None:
    """Show the facts of an underlying's (or the control) streams, by kind."""
    for kind, found in facts.items():
        STREAM_ENTRIES.labels(kind, underlying).set(found.length)
        for group in found.groups:
            # A group of somebody else's making must not become a label.
            if group.name in stream(kind).readers:
                GROUP_LAG.labels(kind, underlying, group.name).set(group.lag_true)
                GROUP_PENDING.labels(kind, underlying, group.name).set(group.pending)
