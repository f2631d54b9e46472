"""Summary: profit and loss with its two doubts, by hand."""

from typing import Any

import numpy as np
import pytest

from libs.common.events import Event, Fill, Settlement, event_id
from services.trader.engine import TraderEngine
from services.trader.summary import (
    block_interval,
    closing_line_values,
    reference_window,
    stress_pnl_e6,
    summarise,
)
from tests.trader import scene
from tests.trader.scene import CLOSE_NS, OPEN_NS, S, at, market, order, quote, resolution, run, step
from tests.trader.sequences import STRATEGIES, TIGHT, history


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def fill(**changes: Any) -> Fill:
    fields: dict[str, Any] = {
        "ts_ns": at(61), "id": event_id("Fill", 1), "order_id": order().id, "strategy": "edge",
        "venue": "kalshi", "market": "M1", "underlying": "BTC-USD", "side": "yes",
        "price_e4": 5_500, "size_e2": 1_000, "fee_e6": 180_000,
    }  # fmt: skip
    return Fill(**fields | changes)


def settlement(result: Any = "yes", payout_e6: int = 10_000_000) -> Settlement:
    return Settlement(
        ts_ns=at(960), id=event_id("Settlement", 1), strategy="edge", venue="kalshi", market="M1",
        underlying="BTC-USD", result=result, payout_e6=payout_e6, pnl_e6=payout_e6 - 5_680_000,
    )  # fmt: skip


def test_a_line_adds_up_what_happened() -> None:
    lines = summarise([market(), order(), fill(), settlement()], [], rng=rng())
    line = lines["edge"]
    assert (line.orders, line.fills, line.contracts_e2, line.fees_e6) == (1, 1, 1_000, 180_000)
    assert (line.pnl_e6, line.wins, line.losses, line.open_positions) == (4_320_000, 1, 0, 0)
    assert line.clv is None


def test_an_unresolved_position_is_open_and_counts_no_profit() -> None:
    line = summarise([market(), order(), fill()], [], rng=rng())["edge"]
    assert (line.open_positions, line.pnl_e6, line.stress_pnl_e6) == (1, 0, 0)


def test_stress_is_one_tick_worse_and_half_the_size_with_fees_anew() -> None:
    # 5 contracts at 0.56: cost 2.80, fee 0.07 x 5 x 0.56 x 0.44 = 0.08624, up to 0.09.
    assert stress_pnl_e6([fill()], market(), settlement()) == 5_000_000 - 2_800_000 - 90_000
    assert stress_pnl_e6([fill()], market(), settlement("no", 0)) == -2_890_000


def test_stress_of_no_steps_down_the_yes_grid() -> None:
    # NO at 0.095 is YES at 0.905, on the 0.1-cent grid: one tick worse is 0.096.
    cheap = fill(side="no", price_e4=950)
    cost, fee = 500 * 960, 40_000  # 0.07 x 5 x 0.096 x 0.904 = 0.0304, up to 0.04
    assert stress_pnl_e6([cheap], market(), settlement("yes")) == -cost - fee


def test_the_reference_lies_before_the_average_and_never_at_the_close() -> None:
    assert reference_window(market()) == (CLOSE_NS - 120 * S, CLOSE_NS - 90 * S)
    point = market(settlement_rule="chainlink_point")
    assert reference_window(point) == (OPEN_NS + 810 * S, OPEN_NS + 855 * S)


def clv(quotes: list[Any], *fills: Fill) -> float | None:
    line = summarise([market(), *(fills or (fill(),))], quotes, rng=rng())["edge"]
    return line.clv.mean if line.clv else None


def test_closing_line_value_is_reference_less_price_less_fee() -> None:
    # Mid 0.60 for 10 s, then 0.70 for 20 s: 0.66667; less 0.55, less 0.018 fee.
    quotes = [
        quote(770, bids=[(1_000, 1)], asks=[(1_100, 1)]),
        quote(780, bids=[(5_950, 1)], asks=[(6_050, 1)]),
        quote(790, bids=[(6_950, 1)], asks=[(7_050, 1)]),
        quote(810, bids=[(9_950, 1)], asks=[(9_990, 1)]),
    ]
    assert clv(quotes) == pytest.approx(2 / 3 - 0.55 - 0.018)
    no = fill(side="no", price_e4=4_500)
    assert clv(quotes, no) == pytest.approx(1 / 3 - 0.45 - 0.018)


def test_one_sided_and_crossed_rows_do_not_count_as_reference() -> None:
    quotes = [
        quote(780, bids=[(5_950, 1)], asks=[(6_050, 1)]),
        quote(785, bids=[]),
        quote(795, bids=[(9_000, 1)], asks=[(8_000, 1)]),
    ]
    assert clv(quotes) == pytest.approx(0.60 - 0.55 - 0.018)
    assert clv([quote(780, bids=[])]) is None


def test_a_fill_in_the_reference_window_or_later_has_no_value() -> None:
    quotes = [quote(second) for second in range(780, 810)]
    assert clv(quotes, fill(ts_ns=at(779.9))) is not None
    assert clv(quotes, fill(ts_ns=at(780))) is None
    assert clv(quotes, fill(ts_ns=at(800))) is None


def test_values_are_weighted_by_contracts_and_resampled_by_hour() -> None:
    assert block_interval([], rng()) is None
    one = block_interval([(1, 100, 0.02), (1, 300, -0.02)], rng())
    assert one is not None and one.mean == pytest.approx(-0.01)
    assert (one.low, one.high, one.blocks) == (None, None, 1)
    many = block_interval([(hour, 100, 0.01 * (hour % 3)) for hour in range(300)], rng())
    assert many is not None and many.low is not None and many.high is not None
    assert many.mean == pytest.approx(0.01)
    # Standard error 0.00816 / sqrt(300) = 0.00047: the interval is about twice that each way.
    assert many.mean - many.low == pytest.approx(2 * 0.00047, rel=0.2)
    assert many.low < many.mean < many.high


def test_blocks_are_the_clock_hours_of_the_close() -> None:
    full = market(open_ns=3_600 * S, close_ns=7_200 * S)
    values = closing_line_values(
        [fill(ts_ns=3_700 * S)], {("kalshi", "M1"): full}, {("kalshi", "M1"): 0.6}
    )
    assert [block for block, _, _ in values] == [1]


def test_a_summary_of_a_run_agrees_with_its_ledger() -> None:
    for seed in range(20):
        engine, events = TraderEngine(TIGHT, STRATEGIES), history(seed)
        written: list[Event] = []
        for event in events:
            written += [event, *engine.handle(event)]
        lines = summarise(written, [e for e in events if isinstance(e, type(quote(1)))], rng=rng())
        held = engine.ledger.positions.values()
        for name, line in lines.items():
            fees_e6 = sum(p.fee_e6 for p in held if p.strategy == name)
            assert line.pnl_e6 - fees_e6 == engine.ledger.realised_e6(name)
            assert line.open_positions == sum(p.strategy == name for p in held)


def test_stress_of_a_winning_run_is_less_than_half_of_it() -> None:
    outputs = run(scene.trader(), [market(), *step(20), *step(21), resolution("yes")])
    line = summarise([market(), *outputs], [], rng=rng())["edge"]
    assert 0 < line.stress_pnl_e6 < line.pnl_e6 // 2
