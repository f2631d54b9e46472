"""THE table of streams: names, event types, writer, length, archiving. Nothing else names a stream.

Market traffic is `hawk:{<underlying>}:<kind>`, control traffic `hawk:{control}:<kind>`: the braces
are Redis Cluster hash tags, so all streams of an underlying live on one node and no command ever
names two tags. A market stream has exactly one writer (explicit entry ids depend on it); a control
stream has many, and its readers drop repeated event ids.
"""

from dataclasses import dataclass

from libs.common import events
from libs.common.events import Event

CONTROL = "control"
"""The hash tag, and in the archive the underlying, of control streams."""


SERVICES = ("collector", "features", "predictor", "trader", "trainer", "monitor")
"""Every service that runs live, in the order of the pipeline; any of them may raise an alert."""


@dataclass(frozen=True)
class Stream:
    """One stream kind; `entries_max` bounds its length per underlying, `readers` are its groups."""

    kind: str
    types: tuple[type[Event], ...]
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    entries_max: int
    is_control: bool = False


MARKET_ENTRIES_MAX = 20_000
"""Over half an hour of an underlying with five markets at one snapshot a second, ticks included: a
reader may be down for a deploy. A longer absence is read from the archive, so more would only be
memory: a feature row takes 2.5 kB, and three underlyings at this length some 250 MB in Redis."""

STREAMS: tuple[Stream, ...] = (
    Stream(
        "snapshots",
        (
            events.Tick,
            events.Market,
            events.Resolution,
            events.Gap,
            events.SpotSnapshot,
            events.QuoteSnapshot,
        ),
        ("collector",),
        ("features", "trader", "monitor"),
        MARKET_ENTRIES_MAX,
    ),
    Stream(
        "features",
        (events.FeatureRow, events.Tick),
        ("features",),
        ("predictor", "monitor"),
        MARKET_ENTRIES_MAX,
    ),
    Stream(
        "forecasts",
        (events.Forecast, events.Tick),
        ("predictor",),
        ("trader", "monitor"),
        MARKET_ENTRIES_MAX,
    ),
    Stream(
        "orders",
        (events.Order, events.Fill, events.Skip, events.Settlement),
        ("trader",),
        ("monitor",),
        MARKET_ENTRIES_MAX,
    ),
    Stream(
        "models",
        (events.ModelEvent,),
        ("trainer", "predictor"),
        ("predictor", "monitor"),
        10_000,
        is_control=True,
    ),
    Stream("alerts", (events.Alert,), SERVICES, ("trader", "monitor"), 10_000, is_control=True),
    Stream(
        "commands",
        (events.Command,),
        ("console",),
        ("trader", "trainer", "monitor"),
        10_000,
        is_control=True,
    ),
    Stream("dead", (events.DeadLetter,), SERVICES, ("monitor",), 10_000, is_control=True),
)


def stream(kind: str) -> Stream:
    """Return the stream of `kind`; raise KeyError for a name that is not in the table."""
    for entry in STREAMS:
        if entry.kind == kind:
            return entry
    raise KeyError(kind)


def stream_name(kind: str, underlying: str) -> str:
    """Name the Redis stream of `kind` for `underlying`.

    >>> stream_name("snapshots", "BTC-USD")
    'hawk:{BTC-USD}:snapshots'
    """
    return f"hawk:{{{CONTROL if stream(kind).is_control else underlying}}}:{kind}"


def archive_kind(event_type: type[Event]) -> str:
    """Name the archive folder of an event type: its struct name in snake case.

    >>> archive_kind(events.QuoteSnapshot)
    'quote_snapshot'
    """
    name = event_type.__name__
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))
