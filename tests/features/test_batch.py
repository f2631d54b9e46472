from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common import columns
from libs.common.events import Market, QuoteSnapshot, SpotSnapshot, event_id, order_key
from libs.common.rows import FEATURE_SET_KEY, ROW_COLUMNS, feature_names
from services.features.batch import build_rows
from services.features.catalog import FEATURE_SET, NAMES
from tests.features.worlds import (
    SECOND,
    SERIES,
    START,
    World,
    batch,
    record,
    row_bytes,
    stream_all,
    table_bytes,
)

SLOW = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
WORLDS = st.builds(
    World,
    seed=st.integers(0, 2**32),
    underlyings=st.sampled_from([("BTC-USD",), ("BTC-USD", "ETH-USD")]),
    windows=st.integers(1, 4),
    life_s=st.sampled_from([60, 300]),
    quote_every_s=st.just(20.0),
    spot_every_s=st.sampled_from([0.4, 1.0, 5.0, 60.0]),
    flaws=st.sampled_from([0.0, 0.02, 0.3]),
    sources=st.sampled_from(
        [("coinbase",), ("chainlink",), ("coinbase", "chainlink"), World().sources]
    ),
    series=st.sampled_from([SERIES, SERIES[:3]]),
)
LEARNING = World(seed=4, windows=9, spot_every_s=0.8, flaws=0.0, sources=("coinbase",))


def tables(world: World) -> list[pa.Table]:
    events = record(world)
    return [
        columns.to_table(kind, [event for event in events if type(event) is kind])
        for kind in (Market, SpotSnapshot, QuoteSnapshot)
    ]


@SLOW
@given(WORLDS)
def test_streaming_and_batch_give_the_same_bits(world: World) -> None:
    events = record(world)
    streamed = [row_bytes(row) for row in stream_all(events)]
    for row, expected in zip(table_bytes(batch(events)), streamed, strict=True):
        assert row == expected


def test_the_same_bits_where_a_basis_is_learnt_and_prints_are_known() -> None:
    events = record(LEARNING)
    made = batch(events)
    assert table_bytes(made) == [row_bytes(row) for row in stream_all(events)]
    basis = np.array(made["basis_bp"].to_pylist(), float)
    last = np.array(made["time_left_s"].to_pylist(), float) < 59
    valued = np.array(made["fair_value"].to_pylist(), float)
    assert (np.abs(basis) > 0).sum() > 500
    assert np.isfinite(valued[last]).sum() > 100


@SLOW
@given(WORLDS, st.floats(0.1, 0.9))
def test_deleting_the_future_changes_no_past_row(world: World, share: float) -> None:
    events = record(world)
    past = events[: int(len(events) * share)]
    # By id: rows of one instant stand by underlying, so a cut inside it is not a cut of the rows.
    whole = {row[1]: row for row in table_bytes(batch(events))}
    for row in table_bytes(batch(past)):
        assert row == whole[row[1]]


def test_a_market_crossed_since_long_finds_no_mid_of_another_market() -> None:
    def quote(market: str, at_s: int, ask: int = 5_000) -> QuoteSnapshot:
        return QuoteSnapshot(
            ts_ns=START + at_s * SECOND,
            id=event_id(market, at_s),
            venue="kalshi",
            market=market,
            underlying="BTC-USD",
            yes_bids_price_e4=(4_800,),
            yes_asks_price_e4=(ask,),
        )

    # Look-backs of all markets share one axis: 85 s after a's last good book lies b's life.
    events = [quote("a", 0), quote("a", 100, ask=4_700), *(quote("b", k) for k in range(0, 99, 9))]
    events.sort(key=order_key)
    made = batch([*events])
    assert table_bytes(made) == [row_bytes(row) for row in stream_all(events)]
    changes = dict(zip(made["market"].to_pylist(), made["mid_change_15s"].to_pylist(), strict=True))
    assert changes == {"a": None, "b": 0.0}


def test_row_order_and_chunks_of_the_tables_do_not_matter() -> None:
    parts = tables(World(seed=5, windows=2, underlyings=("ETH-USD", "BTC-USD")))
    rng = np.random.default_rng(0)
    shuffled = [t.take(pa.array(rng.permutation(t.num_rows))) for t in parts]
    halves = [pa.concat_tables([t.slice(0, 5), t.slice(5)]) for t in shuffled]
    assert table_bytes(build_rows(*halves)) == table_bytes(build_rows(*parts))


def test_the_table_is_what_the_trainer_expects() -> None:
    made = build_rows(*tables(World(windows=1)))
    assert made.schema.names[: len(ROW_COLUMNS)] == ROW_COLUMNS.names
    assert [made.schema.field(f.name).type for f in ROW_COLUMNS] == list(ROW_COLUMNS.types)
    assert feature_names(made) == NAMES
    assert made.schema.metadata[FEATURE_SET_KEY] == FEATURE_SET.encode()
    assert {str(made.schema.field(name).type) for name in NAMES} == {"double"}


@pytest.mark.parametrize("left", [(0, 0, 0), (1, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_empty_tables_give_missing_values_not_errors(left: tuple[int, ...]) -> None:
    parts = tables(World(windows=1))
    given_tables = [t if keep else t.slice(0, 0) for t, keep in zip(parts, left, strict=True)]
    made = build_rows(*given_tables)
    assert made.num_rows == given_tables[2].num_rows
    events: list[Any] = []
    for kind, table in zip((Market, SpotSnapshot, QuoteSnapshot), given_tables, strict=True):
        events += columns.from_table(kind, table)
    events.sort(key=lambda e: (e.ts_ns, e.seq, e.id))
    assert table_bytes(made) == [row_bytes(row) for row in stream_all(events)]
