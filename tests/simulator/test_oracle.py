"""The oracle's gain is a mean over markets of means over two-sided rows."""

from collections.abc import Callable
from math import isnan

import pyarrow as pa
import pytest

from libs.common.checks import InvariantError
from services.simulator.oracle import oracle
from services.simulator.tables import markets_table, quotes_tables
from tests.simulator.conftest import Quoted

MARKETS = pa.table({"market": ["a", "b", "c"], "result": ["yes", "no", "no"]})
QUOTES = pa.table(
    {
        "ts_ns": [1, 2, 3, 4],
        "market": ["a", "a", "b", "a"],
        "yes_bids_price": [[0.5, 0.4], [0.7], [0.2], []],
        "yes_asks_price": [[0.7], [0.9], [0.2, 0.3], [0.99]],
    }
)
TRUTH = pa.table(
    {"ts_ns": [1, 2, 3, 4], "market": ["a", "a", "b", "a"], "p_true": [0.7, 0.9, 0.1, 0.5]}
)


def test_scores_are_those_worked_out_by_hand() -> None:
    found = oracle(MARKETS, QUOTES, TRUTH)
    # Mids: 0.6, 0.8 of a (yes), 0.2 of b (no); the row without a bid does not count.
    assert (found.markets, found.rows) == (2, 3)
    assert found.mid == pytest.approx(((0.16 + 0.04) / 2 + 0.04) / 2)
    assert found.truth == pytest.approx(((0.09 + 0.01) / 2 + 0.01) / 2)
    assert found.expected_gain == pytest.approx(0.01)
    assert found.realised_gain == pytest.approx(found.mid - found.truth)


def test_only_rows_from_the_given_time_on_count() -> None:
    later = oracle(MARKETS, QUOTES, TRUTH, from_ns=3)
    assert (later.markets, later.rows) == (1, 1)
    assert later.mid == pytest.approx(0.04)


def test_no_rows_left_is_no_score() -> None:
    none = oracle(MARKETS, QUOTES, TRUTH, from_ns=5)
    assert (none.markets, none.rows) == (0, 0)
    assert isnan(none.mid) and isnan(none.expected_gain)


def test_truth_of_other_quotes_is_refused() -> None:
    with pytest.raises(InvariantError, match="truth of other quotes"):
        oracle(MARKETS, QUOTES, TRUTH.slice(1).append_column("x", pa.array([1, 2, 3])))


def test_gain_of_a_simulated_day_is_in_the_stated_range(
    quoted: Callable[[float], list[Quoted]],
) -> None:
    for edge, low, high in ((0.0, 0.0, 3e-5), (1.0, 0.004, 0.008)):
        day = quoted(edge)[:9]
        quotes, truth = quotes_tables([(q.windows, q.quotes) for q in day])
        found = oracle(markets_table([q.windows for q in day]), quotes, truth)
        assert low < found.expected_gain < high
        assert found.markets > 1_200
