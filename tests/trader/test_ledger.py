"""Ledger: balances to the last unit after every entry, and rebuilt from what was written."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.checks import InvariantError
from libs.common.events import Event, Fill, Order, Settlement, event_id
from services.trader.engine import TraderEngine
from services.trader.ledger import Ledger, LedgerError
from tests.trader import scene
from tests.trader.sequences import STRATEGIES, TIGHT, history

CAPITAL_E6 = 1_000_000_000


def fill(**changes: Any) -> Fill:
    order = scene.order()
    fields: dict[str, Any] = {
        "ts_ns": scene.at(61),
        "id": event_id("Fill", order.id, 5_500),
        "order_id": order.id,
        "strategy": "edge",
        "venue": "kalshi",
        "market": "M1",
        "underlying": "BTC-USD",
        "side": "yes",
        "price_e4": 5_500,
        "size_e2": 1_000,
        "fee_e6": 180_000,
        "rounding_e6": 6_750,
    }
    return Fill(**fields | changes)


def settlement(**changes: Any) -> Settlement:
    fields: dict[str, Any] = {
        "ts_ns": scene.at(960),
        "id": event_id("Settlement", "edge", "kalshi", "M1"),
        "strategy": "edge",
        "venue": "kalshi",
        "market": "M1",
        "underlying": "BTC-USD",
        "result": "yes",
        "payout_e6": 10_000_000,
        "pnl_e6": 10_000_000 - 5_500_000 - 180_000,
    }
    return Settlement(**fields | changes)


def test_a_fill_moves_cash_into_cost_fee_and_rounding() -> None:
    ledger = Ledger(CAPITAL_E6)
    ledger.fill(fill())
    assert ledger.balances_e6 == {
        "cash": CAPITAL_E6 - 5_680_000,
        "capital": -CAPITAL_E6,
        "open:edge": 5_500_000,
        "fees:edge": 173_250,
        "rounding:edge": 6_750,
    }
    assert ledger.realised_e6() == -180_000


@pytest.mark.parametrize(("result", "payout_e6"), [("yes", 10_000_000), ("no", 0)])
def test_a_settlement_pays_one_dollar_per_winning_contract(result: Any, payout_e6: int) -> None:
    ledger = Ledger(CAPITAL_E6)
    ledger.fill(fill())
    paid_e6, pnl_e6 = ledger.settle(key=("edge", "kalshi", "M1"), result=result)
    assert (paid_e6, pnl_e6) == (payout_e6, payout_e6 - 5_680_000)
    assert ledger.cash_e6 == CAPITAL_E6 + pnl_e6
    assert ledger.realised_e6("edge") == pnl_e6
    assert ledger.positions == {} and ledger.open_e6 == 0


def test_profit_and_loss_is_kept_per_strategy() -> None:
    ledger = Ledger(CAPITAL_E6)
    ledger.fill(fill())
    ledger.fill(fill(strategy="edge_wide", side="no", fee_e6=0, rounding_e6=0))
    ledger.settle(key=("edge", "kalshi", "M1"), result="yes")
    ledger.settle(key=("edge_wide", "kalshi", "M1"), result="yes")
    assert ledger.realised_e6("edge") == 4_320_000
    assert ledger.realised_e6("edge_wide") == -5_500_000
    assert ledger.realised_e6() == 4_320_000 - 5_500_000


def test_both_sides_of_a_market_in_one_strategy_are_a_bug() -> None:
    ledger = Ledger(CAPITAL_E6)
    ledger.fill(fill())
    with pytest.raises(InvariantError, match="both sides"):
        ledger.fill(fill(side="no"))


def test_books_that_do_not_balance_stop_everything() -> None:
    ledger = Ledger(CAPITAL_E6)
    ledger.fill(fill())
    state = ledger.state()
    balances = dict(state.balances_e6, cash=state.balances_e6["cash"] + 1)
    with pytest.raises(InvariantError, match="out of balance"):
        Ledger.from_state(msgspec.structs.replace(state, balances_e6=balances))
    balances["capital"] -= 1
    with pytest.raises(InvariantError, match="capital and result"):
        Ledger.from_state(msgspec.structs.replace(state, balances_e6=balances))
    with pytest.raises(InvariantError, match="booked"):
        Ledger.from_state(msgspec.structs.replace(state, positions=()))


fills = st.builds(
    fill,
    strategy=st.sampled_from(("edge", "edge_wide")),
    market=st.sampled_from(("M1", "M2", "M3")),
    price_e4=st.integers(1, 9_999),
    size_e2=st.integers(1, 10**6),
    fee_e6=st.integers(0, 10**6),
    rounding_e6=st.integers(-9_999, 9_999),
)


@given(st.lists(fills, max_size=20), st.data())
def test_identity_holds_after_every_entry(entries: list[Fill], data: st.DataObject) -> None:
    ledger = Ledger(CAPITAL_E6)
    for entry in entries:
        ledger.fill(entry)
        assert ledger.cash_e6 + ledger.open_e6 == CAPITAL_E6 + ledger.realised_e6()
        if data.draw(st.booleans()):
            key = data.draw(st.sampled_from(sorted(ledger.positions)))
            ledger.settle(key=key, result=data.draw(st.sampled_from(("yes", "no"))))
            assert ledger.cash_e6 + ledger.open_e6 == CAPITAL_E6 + ledger.realised_e6()
    assert Ledger.from_state(ledger.state()).state() == ledger.state()


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_a_ledger_rebuilt_from_the_record_agrees_to_the_last_unit(seed: int) -> None:
    engine = TraderEngine(TIGHT, STRATEGIES)
    outputs = scene.run(engine, history(seed))
    rebuilt = Ledger.from_events(outputs, capital_e6=TIGHT.capital_e6)
    assert rebuilt.state() == engine.ledger.state()


def record(*changed: Event) -> list[Event]:
    kept = {type(event): event for event in (scene.order(), fill(), settlement())}
    return list((kept | {type(event): event for event in changed}).values())


def test_a_sound_record_is_accepted() -> None:
    assert Ledger.from_events(record(), capital_e6=CAPITAL_E6).cash_e6 == CAPITAL_E6 + 4_320_000


@pytest.mark.parametrize(
    ("events", "fault"),
    [
        ([fill()], "belongs to no order"),
        (record(fill(order_id=event_id("other"))), "belongs to no order"),
        (record(fill(side="no")), "belongs to no order"),
        (record(fill(price_e4=5_600)), "breaks the bounds"),
        (record(fill(size_e2=1_001)), "breaks the bounds"),
        (record(fill(fee_e6=180_001)), "breaks the bounds"),
        ([scene.order(), fill(size_e2=1), fill(size_e2=1)], "recorded twice"),
        ([scene.order(), scene.order()], "recorded twice"),
        ([settlement()], "closes no position"),
        (record(settlement(payout_e6=9_000_000)), "pays 9000000"),
        (record(settlement(result="no")), "pays 10000000"),
        (record(settlement(pnl_e6=0)), "expected 10000000 and 4320000"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(events: list[Event], fault: str) -> None:
    with pytest.raises(LedgerError, match=fault):
        Ledger.from_events(events, capital_e6=CAPITAL_E6)


def test_a_missing_fill_is_noticed_at_the_settlement() -> None:
    engine = TraderEngine(TIGHT, STRATEGIES)
    outputs: list[Event] = []
    for seed in range(50):
        engine = TraderEngine(TIGHT, STRATEGIES)
        outputs = scene.run(engine, history(seed))
        settled = {e.market for e in outputs if isinstance(e, Settlement)}
        lost = [e for e in outputs if isinstance(e, Fill) and e.market in settled]
        if lost:
            break
    with pytest.raises(LedgerError):
        Ledger.from_events([e for e in outputs if e is not lost[0]], capital_e6=TIGHT.capital_e6)


def test_only_orders_fills_and_settlements_are_booked() -> None:
    events = [scene.market(), *record(), scene.tick(1)]
    assert isinstance(events[1], Order)
    assert Ledger.from_events(events, capital_e6=CAPITAL_E6).positions == {}
