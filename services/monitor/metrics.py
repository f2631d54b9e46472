"""Metrics of the monitor, and the facts of Redis, which has no page of its own.

Labels are bounded: kinds and groups of the table of streams, underlyings that are streamed, rules
and services of their tables; never a market, an id or a bundle.
"""

import math
from collections.abc import Mapping

from prometheus_client import Counter, Gauge

from libs.common.bus import StreamFacts
from libs.common.streams import stream
from services.monitor.disk import Space
from services.monitor.firing import Place

READ = Counter("hawk_monitor_read_entries_total", "Entries read.", ["kind"])
SKIPPED = Counter(
    "hawk_monitor_skipped_entries_total", "Entries trimmed before the monitor read them.", ["kind"]
)
ALERTS = Counter("hawk_monitor_alerts_total", "Alerts seen in the stream.", ["rule", "state"])
FIRING = Gauge(
    "hawk_alerts_firing",
    "Alerts that fire, by who says so; a rule may for several underlyings.",
    ["service", "rule", "severity"],
)
UNREADABLE = Gauge(
    "hawk_monitor_alert_journals_unreadable", "Journals of alerts that cannot be read."
)
QUIET_SECONDS = Gauge(
    "hawk_monitor_feed_quiet_seconds", "Since an underlying's last tick.", ["underlying"]
)
SERVICE_UP = Gauge("hawk_monitor_service_up", "1: the service's page answers.", ["service"])
AUDIT_LINES = Gauge("hawk_monitor_audit_lines", "Lines of the audit chain that follow.")
LOOK_SECONDS = Gauge("hawk_monitor_look_seconds", "Duration of the last look at everything.")

DISK_FREE = Gauge("hawk_disk_free_bytes", "Free on the disk of the archive, for Hawk's user.")
DISK_TOTAL = Gauge("hawk_disk_total_bytes", "Size of the disk of the archive.")
ARCHIVE = Gauge("hawk_archive_bytes", "Sealed files, manifests and journals of the archive.")
for _gauge in (DISK_FREE, DISK_TOTAL, ARCHIVE):
    _gauge.set(math.nan)  # unknown is not a full disk

STREAM_ENTRIES = Gauge("hawk_redis_stream_entries", "Entries in a stream.", ["kind", "underlying"])
STREAM_NEWEST = Gauge(
    "hawk_redis_stream_newest_seconds",
    "Event time of a stream's newest entry, all streams asked in one look; 0: none yet.",
    ["kind", "underlying"],
)
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
GROUP_DELIVERED = Gauge(
    "hawk_redis_group_delivered_seconds",
    "Event time of the last entry that a group was given, in the same look; 0: none yet.",
    ["kind", "underlying", "group"],
)
REDIS_USED = Gauge("hawk_redis_used_bytes", "Memory that Redis uses.")
REDIS_LIMIT = Gauge("hawk_redis_limit_bytes", "Memory that Redis may use, 0: no limit.")


def show_facts(underlying: str, facts: Mapping[str, StreamFacts]) -> None:
    """Show the facts of an underlying's (or the control) streams, by kind."""
    for kind, found in facts.items():
        STREAM_ENTRIES.labels(kind, underlying).set(found.length)
        STREAM_NEWEST.labels(kind, underlying).set(found.last.ms / 1e3)
        for group in found.groups:
            # A group of somebody else's making must not become a label.
            if group.name in stream(kind).readers:
                GROUP_LAG.labels(kind, underlying, group.name).set(group.lag_true)
                GROUP_PENDING.labels(kind, underlying, group.name).set(group.pending)
                delivered_s = group.delivered.ms / 1e3
                GROUP_DELIVERED.labels(kind, underlying, group.name).set(delivered_s)


def show_firing(counts: Mapping[Place, int]) -> None:
    """Show which alerts fire; what fired before and is not among them does no more."""
    for place in _shown - set(counts):
        FIRING.labels(*place).set(0)
    for place, count in counts.items():
        FIRING.labels(*place).set(count)
    _shown.update(counts)


_shown: set[Place] = set()


def show_space(found: Space | None) -> None:
    """Show the disk; None: it could not be asked."""
    DISK_FREE.set(found.free if found else math.nan)
    DISK_TOTAL.set(found.total if found else math.nan)
