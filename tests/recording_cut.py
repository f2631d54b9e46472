"""A recording as it would have been at an earlier instant.

What became known later is taken away, not only what happened later: a strike, a result.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_KNOWN = {
    "strike_known_ns": ("strike_usd",),
    "result_known_ns": ("result", "settlement_usd"),
}
"""When a market's facts became known, and which facts."""


def cut_recording(source: Path, target: Path, cut_ns: int) -> None:
    """Write to the new folder `target` what the recording `source` held before `cut_ns`."""
    target.mkdir(parents=True)
    for name in ("quotes", "spot"):
        table = pq.read_table(source / f"{name}.parquet")
        pq.write_table(table.filter(pc.less(table["ts_ns"], cut_ns)), target / f"{name}.parquet")
    markets = pq.read_table(source / "markets.parquet")
    markets = markets.filter(pc.less(markets["open_ns"], cut_ns))
    for known, names in _KNOWN.items():
        is_known = pc.fill_null(pc.less(markets[known], cut_ns), False)
        for name in names:
            place = markets.schema.get_field_index(name)
            field = markets.schema.field(place)
            empty = pa.scalar(None, field.type)
            markets = markets.set_column(place, field, pc.if_else(is_known, markets[name], empty))
    pq.write_table(markets, target / "markets.parquet")
