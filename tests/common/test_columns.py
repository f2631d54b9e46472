"""Columns: an event that goes through a Parquet file comes back with the same body."""

import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common import columns
from libs.common.checks import ArchiveError
from libs.common.columns import ABSENT, from_table, level_matrix, schema, to_table
from libs.common.events import EVENT_TYPES, Event, FeatureRow, QuoteSnapshot, body, set_seq
from libs.common.sealing import _parquet_bytes
from tests.common.samples import quote, spot, struct_strategy


def through_parquet(table: pa.Table) -> pa.Table:
    return pq.ParquetFile(io.BytesIO(_parquet_bytes(table))).read()


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=lambda kind: kind.__name__)
@given(st.data())
@settings(max_examples=40)
def test_every_event_type_survives_a_file_with_the_same_body(
    kind: type[Event], data: st.DataObject
) -> None:
    events: Sequence[Event] = data.draw(st.lists(struct_strategy(kind), min_size=1, max_size=4))
    for number, event in enumerate(events):
        set_seq(event, number)
    again = from_table(kind, through_parquet(to_table(kind, events)))
    assert [body(e) for e in again] == [body(e) for e in events]
    assert [e.seq for e in again] == [e.seq for e in events]


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=lambda kind: kind.__name__)
def test_time_counter_and_id_come_first(kind: type[Event]) -> None:
    assert schema(kind).names[:3] == ["ts_ns", "seq", "id"]


def test_money_and_prices_are_integers_in_the_file() -> None:
    for kind in EVENT_TYPES:
        for field in schema(kind):
            if field.name.endswith(("_ns", "_e6", "_e4", "_e2")):
                inner = field.type.value_type if pa.types.is_list(field.type) else field.type
                assert pa.types.is_integer(inner), (kind, field)


@pytest.mark.parametrize("name", ["seq", "id", "market", "yes_asks_price_e4"])
def test_a_missing_column_is_refused_by_name(name: str) -> None:
    with pytest.raises(ArchiveError, match=f"lacks column {name}"):
        from_table(QuoteSnapshot, to_table(QuoteSnapshot, [quote(0)]).drop_columns([name]))


def test_a_features_name_cannot_collide_with_a_field() -> None:
    names = [n for n in schema(FeatureRow).names if n.startswith(columns.FEATURE_PREFIX)]
    assert names == []


def test_an_absent_side_stays_empty_and_is_never_zero() -> None:
    import msgspec

    bare = msgspec.structs.replace(quote(0), yes_asks_price_e4=(), yes_asks_size_e2=())
    (again,) = from_table(QuoteSnapshot, through_parquet(to_table(QuoteSnapshot, [bare])))
    assert isinstance(again, QuoteSnapshot)
    assert again.yes_asks_price_e4 == ()


@given(
    st.lists(st.lists(st.integers(0, 10_000), max_size=5), max_size=8),
    st.integers(0, 3),
    st.integers(1, 3),
)
def test_the_level_matrix_holds_each_level_in_its_place(
    lists: list[list[int]], skip: int, chunks: int
) -> None:
    parts = [pa.array(lists, pa.list_(pa.int32())) for _ in range(chunks)]
    column = pa.chunked_array(parts).slice(skip)
    matrix = level_matrix(column)
    for row, levels in zip(matrix, (lists * chunks)[skip:], strict=True):
        assert row.tolist() == levels + [ABSENT] * (5 - len(levels))


def test_the_level_matrix_of_nothing_is_empty() -> None:
    table = schema(QuoteSnapshot).empty_table()
    for column in (table["yes_bids_price_e4"], pa.chunked_array([], pa.list_(pa.int32()))):
        matrix = level_matrix(column)
        assert matrix.shape == (0, 5)
        assert matrix.dtype == np.int64


def test_a_sealed_file_is_plain_parquet_for_pandas() -> None:
    import pandas as pd

    content = io.BytesIO(_parquet_bytes(to_table(QuoteSnapshot, [quote(0), quote(1)])))
    frame = pd.read_parquet(content)
    assert frame["yes_bids_price_e4"].map(list).tolist() == [[4900, 4800]] * 2
    assert frame["market"].tolist() == ["M-1", "M-1"]


def test_order_of_rows_is_the_order_given() -> None:
    events = [spot(3), spot(1), spot(2)]
    assert to_table(type(events[0]), events)["ts_ns"].to_pylist() == [e.ts_ns for e in events]
