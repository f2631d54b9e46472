"""What a rule says: pure. The table of the monitor's rules, and one claim of one of them.

In goes nothing, out come values that every rule speaks in. A claim is a state, not an event: "this
is so now, because". Whoever applies it (`shell`) turns a change of state into one alert; saying the
same again changes nothing, so no rule has to remember what it has said.

A reader would question that a rule may stay silent. Right after a start nothing is known yet, and
"all is well" would resolve an alert that a restart of the monitor has not cured.
"""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["page", "warn", "info"]


@dataclass(frozen=True)
class Rule:
    """One rule: page means that a person is needed now. Its runbook is docs/runbooks.md#name."""

    name: str
    severity: Severity
    meaning: str


@dataclass(frozen=True)
class Claim:
    """What a rule says of one underlying, or (None) of the whole: that it fires or not, and why."""

    rule: str
    is_firing: bool
    evidence: str
    underlying: str | None = None


FEED_SILENT = "feed_silent"
AUDIT_BROKEN = "audit_broken"
SILENT_SWAP = "silent_swap"
FALLBACK_SERVING = "fallback_serving"
DEAD_LETTER = "dead_letter"
READER_BEHIND = "reader_behind"
READER_LOST = "reader_lost"
SERVICE_DOWN = "service_down"

RULES: tuple[Rule, ...] = (
    Rule(FEED_SILENT, "page", "an underlying ticks no more"),
    Rule(AUDIT_BROKEN, "page", "the chain of model changes does not follow from itself"),
    Rule(SILENT_SWAP, "page", "what serves is not what the records say"),
    Rule(FALLBACK_SERVING, "warn", "the base model forecasts though a bundle should"),
    Rule(DEAD_LETTER, "warn", "an entry was given up for good"),
    Rule(READER_BEHIND, "warn", "a reader is half a stream behind"),
    Rule(READER_LOST, "warn", "a stream was trimmed past a reader"),
    Rule(SERVICE_DOWN, "page", "a service does not answer"),
)

RULES_OF_OTHERS: tuple[str, ...] = (
    "bus_down",
    "stream_flushed",
    "stream_hole",
    "stream_lost",
    "journal_unwritable",
    "archive_unreadable",
    "training_failed",
    "publication_blocked",
    "command_refused",
    "model_refused",
    "ledger_mismatch",
    "market_quarantined",
    "market_changed",
    "chain_broken",
    "clock_offset",
    "feed_unreadable",
    "venue_dark",
    "venue_paused",
    "venue_refused",
)
"""Rules that the services apply to themselves; each has its section in docs/runbooks.md, too."""

RULES_KNOWN = frozenset([*(rule.name for rule in RULES), *RULES_OF_OTHERS])
"""What may become a label; a name that is in no table is shown as `other`."""


def severity_of(rule: str) -> Severity:
    """Return the severity of a rule; raise KeyError for a name that is not in the table.

    >>> severity_of("feed_silent")
    'page'
    """
    return {entry.name: entry.severity for entry in RULES}[rule]
