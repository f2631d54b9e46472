"""docs/data.md, generated from the code: every event, every column, every stream.

`python -m services.console.schema` prints the page; a test holds the committed one to it.
"""

import pyarrow as pa

from libs.common import columns
from libs.common.events import EVENT_TYPES, Event, FeatureRow, Tick
from libs.common.streams import STREAMS, archive_kind, stream_name
from services.collector.recording import (
    MARKET_COLUMNS,
    OPTIONAL_MARKET_COLUMNS,
    QUOTE_COLUMNS,
    SPOT_COLUMNS,
)

TABLE_HEAD = "| column | type |\n|---|---|\n"

HEAD = """# Data: events, archive, recordings

Generated from `libs/common/events.py`, `columns.py` and `streams.py` by `make docs`.

Time is `int` nanoseconds UTC: `ts_ns` is when a fact became *known* to Hawk, `about_ns` what it is
about. Money is in 1e-6 USD (`*_e6`), contract prices in 1e-4 USD (`*_e4`), counts in 1e-2 (`*_e2`),
all integers; spot and index prices are floats in USD; a probability is always P(YES). Missing is
null, an absent book side is an empty list. Ids are derived from content. `seq` is the writer's
counter and no part of a body. Order everywhere is (`ts_ns`, `seq`, `id`).
"""

ARCHIVE = """
## Archive

`<data>/archive/<event kind>/underlying=<u>/date=<YYYY-MM-DD>/<HH>.parquet`, plain Parquet, one file
per kind, underlying and hour, sorted; the running hour stands in CRC-framed journals below
`archive/journal/`. In ordinary units, with pandas:

```python
import pandas as pd

quotes = pd.read_parquet("data/archive/quote_snapshot")
quotes["time"] = pd.to_datetime(quotes.ts_ns, utc=True)
quotes["bid_usd"] = quotes.yes_bids_price_e4.str[0] / 1e4
quotes["bid_contracts"] = quotes.yes_bids_size_e2.str[0] / 1e2
```

`counter.json` beside the journals holds what a writer had counted to when it last sealed an hour.
A day's `manifest.json` lists rows and SHA-256 of its files; `hawk verify` holds the files to it.
"""

RECORDINGS = """
## Recordings: the import format

`hawk import DIR --data DATA` reads three plain Parquet files; `quotes` and `spot` may be empty.
A market id is unique within its venue; prices of contracts are in dollars, sizes in contracts,
book sides best first with at most five levels, sizes empty where unknown. A spot row's `ts_ns` is
when its price was known. Result is `yes`, `no` or null, comparator `>=` or `>`.
"""

RULES = """
Without the optional columns a strike is taken as known one second after the open and a result 60 s
after the close; nothing is ever known earlier. Where two sources cover a moment, the finer one
wins. Dropped, and counted by reason: what is not finite, out of [0, 1], off the grid (1e-4 USD,
0.01 contracts), outside its market's life, repeated, contradictory, badly named, not best first, a
side that is null, or a time that cannot be.
Stored with a flag, and counted: crossed, locked (then also coarse), one-sided, empty, a bid of 1 or
an ask of 0, a quote behind a gap. Importing twice changes nothing.
"""


CAPTURES = """
## Raw captures

With `HAWK_CAPTURE` the collector keeps what it received: Zstandard-compressed JSON lines, a file
per run and hour, `captures/<date>T<hour>.<first ns>.capture.jsonl.zst`; beyond
`HAWK_CAPTURE_GB_MAX` the oldest files there are deleted. Each line has `recv_ns`,
`feed` (`kalshi.ws`, `kalshi.rest`, ...) and `conn`, and one of

- `frame`: a text as received; REST answers also carry `url`, `status`, `purpose`, `subject`,
- `event`: `connected`, `closed`, `refused`, `oversized`, or `passed` (feed `clock`: a second).

`hawk import-capture` feeds them to the code that runs live, all files of a run as one.

## Back-fill

`hawk backfill` notes what is complete in `backfill/<venue>/<series or product>.json`, a UTC day at
a time; deleting a note asks for those days again, which changes nothing that is there.

## Source

`archive/source.json` says what was recorded first: the venues, a simulator of them, or a
simulation. A source of another kind is refused.
"""


def page() -> str:
    """Return the whole page."""
    parts = [HEAD, "\n## Events\n"]
    parts += [_event_section(event_type) for event_type in EVENT_TYPES]
    parts += [_streams_section(), ARCHIVE, RECORDINGS, _recording_tables(), RULES, CAPTURES]
    return "".join(parts)


def _event_section(event_type: type[Event]) -> str:
    summary = " ".join((event_type.__doc__ or "").split())
    if event_type is Tick:
        place = "journalled, dropped when the hour is sealed"
    else:
        place = f"archive folder `{archive_kind(event_type)}`"
    lines = [
        f"\n### {event_type.__name__}\n\n{summary} ({place})\n\n| column | type |\n|---|---|\n"
    ]
    schema = columns.schema(event_type)
    lines += [f"| `{field.name}` | {_type_name(field.type)} |\n" for field in schema]
    if event_type is FeatureRow:
        lines.append(f"| `{columns.FEATURE_PREFIX}<name>` | double, one per feature |\n")
    return "".join(lines)


def _type_name(kind: pa.DataType) -> str:
    if pa.types.is_fixed_size_binary(kind):
        return f"{kind.byte_width} bytes"
    if pa.types.is_list(kind):
        return f"list of {kind.value_type}"
    return str(kind)


def _streams_section() -> str:
    lines = ["\n## Streams\n\n| stream | events | writers | entries at most |\n|---|---|---|---|\n"]
    for stream in STREAMS:
        name = stream_name(stream.kind, "<underlying>")
        types = ", ".join(t.__name__ for t in stream.types)
        lines.append(
            f"| `{name}` | {types} | {', '.join(stream.writers)} | {stream.entries_max} |\n"
        )
    return "".join(lines)


def _recording_tables() -> str:
    lines = ["\n| file | column | type |\n|---|---|---|\n"]
    files = (
        ("markets.parquet", MARKET_COLUMNS),
        ("markets.parquet, optional", OPTIONAL_MARKET_COLUMNS),
        ("quotes.parquet", QUOTE_COLUMNS),
        ("spot.parquet", SPOT_COLUMNS),
    )
    for name, table in files:
        lines += [f"| {name} | `{column}` | {kind} |\n" for column, kind in table.items()]
    return "".join(lines)


if __name__ == "__main__":
    print(page(), end="")
