"""The columnar form of feature rows: the contract between who makes them and who learns from them.

`services.features.batch` makes such a table from the archive, `services.trainer` reads one; the two
never import each other. One row per quote snapshot, in order of (ts_ns, underlying, seq), unusable
rows included (their reason is in `unusable`), so that a count of rows is a count of quotes. Behind
the columns named here stands one float64 column per feature, in FEATURES order, null where missing.
"""

import pyarrow as pa

from libs.common.events import ID_BYTES

_name = pa.dictionary(pa.int32(), pa.string())

ROW_COLUMNS = pa.schema(
    [
        ("ts_ns", pa.int64()),
        ("quote_id", pa.binary(ID_BYTES)),
        ("venue", _name),
        ("market", _name),
        ("series", _name),
        ("underlying", _name),
        ("open_ns", pa.int64()),
        ("close_ns", pa.int64()),
        ("bid_e4", pa.int32()),
        ("ask_e4", pa.int32()),
        ("flags", pa.int32()),
        ("unusable", _name),
    ]
)
"""Columns that are not features. Null: an absent side of the book; `unusable` null: usable."""

MID = "mid"
FAIR_VALUE = "fair_value"
TIME_LEFT = "time_left_s"
"""The three features that the ladder's formulas name; they must stand in FEATURES."""

FEATURE_SET_KEY = b"feature_set"
"""Schema metadata key that carries the feature-set id."""


def feature_names(table: pa.Table) -> tuple[str, ...]:
    """Return the names of the feature columns of `table`, in order."""
    known = set(ROW_COLUMNS.names)
    return tuple(name for name in table.column_names if name not in known)
