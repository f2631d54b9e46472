"""Tables hold what was drawn, row for row, in the import format."""

from collections.abc import Callable

import numpy as np

from services.simulator.markets import NS_PER_S
from services.simulator.path import HISTORY_S, UNDERLYINGS, Day
from services.simulator.tables import SCHEMAS, markets_table, quotes_tables, spot_table
from tests.simulator.conftest import Quoted

AtEdge = Callable[[float], list[Quoted]]


def test_books_come_through_as_lists_of_the_levels_that_exist(quoted: AtEdge) -> None:
    day = quoted(1.0)[:9]
    table, truth = quotes_tables([(q.windows, q.quotes) for q in day])
    assert table.schema == SCHEMAS["quotes.parquet"]
    assert truth.schema == SCHEMAS["truth.parquet"]
    rows = {(row["ts_ns"], row["market"]): row for row in table.to_pylist()}
    assert len(rows) == table.num_rows == sum(len(q.quotes.ts_ns) for q in day)
    for _, _, windows, _, quotes in day:
        for i in range(0, len(quotes.ts_ns), 997):
            row = rows[int(quotes.ts_ns[i]), windows.names[quotes.window[i]]]
            bids, asks = quotes.bids[i], quotes.asks[i]
            assert row["venue"] == windows.series.venue
            assert row["yes_bids_price"] == [p / 10_000 for p in quotes.bid_e4[i, :bids].tolist()]
            assert row["yes_asks_price"] == [p / 10_000 for p in quotes.ask_e4[i, :asks].tolist()]
            assert row["yes_bids_size"] == quotes.bid_size[i, :bids].tolist()
            assert row["yes_asks_size"] == quotes.ask_size[i, :asks].tolist()


def test_truth_has_one_row_per_quote_in_the_same_order(quoted: AtEdge) -> None:
    day = quoted(1.0)[:9]
    quotes, truth = quotes_tables([(q.windows, q.quotes) for q in day])
    for name in ("ts_ns", "venue", "market"):
        assert quotes.column(name).equals(truth.column(name))
    ts_ns = quotes.column("ts_ns").to_numpy()
    assert (np.diff(ts_ns) >= 0).all()
    p = dict(
        zip(
            zip(ts_ns.tolist(), truth.column("market").to_pylist(), strict=True),
            truth.column("p_true").to_pylist(),
            strict=True,
        )
    )
    drawn = day[4]
    for i in range(0, len(drawn.quotes.ts_ns), 997):
        key = (int(drawn.quotes.ts_ns[i]), drawn.windows.names[drawn.quotes.window[i]])
        assert p[key] == drawn.quotes.p_true[i]


def test_markets_are_listed_once_in_order_of_opening(quoted: AtEdge) -> None:
    windows = [q.windows for q in quoted(0.0)[:9]]
    table = markets_table(windows)
    assert table.schema == SCHEMAS["markets.parquet"]
    assert table.num_rows == 3 * (96 + 288 + 24)
    rows = table.to_pylist()
    order = [(row["open_ns"], row["venue"], row["market"]) for row in rows]
    assert order == sorted(order) and len(set(order)) == len(order)
    by_name = {row["market"]: row for row in rows}
    for w in windows:
        row = by_name[w.names[7]]
        assert row["strike_usd"] == w.strike_usd[7]
        assert row["result"] == ("yes" if w.is_yes[7] else "no")
        assert row["close_ns"] - row["open_ns"] == w.series.length_s * NS_PER_S


def test_spot_is_listed_when_it_became_known_and_as_it_was(days: list[Day]) -> None:
    seconds = np.arange(1, 11)
    known_ns = np.add.outer(np.array([700, 300, 500]), seconds * 1_000)
    is_recorded = np.ones((3, 10), dtype=np.bool_)
    is_recorded[1, 4] = False
    table = spot_table(
        UNDERLYINGS, days[0], seconds=seconds, known_ns=known_ns, is_recorded=is_recorded
    )
    assert table.schema == SCHEMAS["spot.parquet"]
    assert table.num_rows == 29
    first = table.slice(0, 3).to_pylist()
    assert [row["underlying"] for row in first] == ["ETH-USD", "SOL-USD", "BTC-USD"]
    assert [row["ts_ns"] for row in first] == [1_300, 1_500, 1_700]
    assert first[0]["price_usd"] == days[0].spot_usd[1, HISTORY_S + 1]
    assert 5_300 not in table.column("ts_ns").to_pylist()
