"""The engine: what follows from what, one behaviour at a time."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.checks import InvariantError
from libs.common.events import (
    Command,
    Event,
    Fill,
    Flag,
    Gap,
    Market,
    Order,
    QuoteSnapshot,
    Settlement,
    Side,
    Skip,
    Tick,
    body,
    event_id,
)
from services.trader.engine import TraderEngine
from services.trader.limits import TraderSettings
from services.trader.strategies import STRATEGIES
from tests.trader import scene
from tests.trader.scene import (
    at,
    fills,
    forecast,
    market,
    orders,
    quote,
    reasons,
    resolution,
    run,
    step,
    tick,
    trader,
)
from tests.trader.sequences import STRATEGIES as RANDOM_STRATEGIES
from tests.trader.sequences import TIGHT, history


def steps(start: int, end: int, p: float = 0.62) -> list[Event]:
    return [event for second in range(start, end) for event in step(second, p)]


def gap(start: float, end: float, **changes: Any) -> Gap:
    fields: dict[str, Any] = {
        "ts_ns": at(end),
        "id": event_id("Gap", start, end),
        "underlying": "BTC-USD",
        "feed": "quotes",
        "start_ns": at(start),
        "end_ns": at(end),
        "reason": "test",
        "venue": "kalshi",
        "market": "M1",
    }
    return Gap(**fields | changes)


def test_an_edge_becomes_an_order_a_fill_and_a_settlement() -> None:
    outputs = run(trader(), [market(), *steps(20, 25), resolution("yes")])
    kinds = [type(out) for out in outputs if getattr(out, "strategy", "") == "edge"]
    assert kinds == [Order, Fill, Settlement]
    order, fill = orders(outputs)[0], fills(outputs)[0]
    assert order.arrival_ns == order.ts_ns + 250_000_000
    assert (fill.price_e4, fill.size_e2, fill.ts_ns) == (5_500, order.size_e2, at(21))
    assert order.forecast_id == forecast(quote(20)).id
    assert order.bounds == ("stake",)


def test_each_strategy_decides_by_its_own_margin() -> None:
    # Edge 0.58 - 0.55 - 0.0173 = 0.0127: above 0.01, below 0.03.
    outputs = run(trader(), [market(), *step(20, p=0.58)])
    assert [order.strategy for order in orders(outputs)] == ["edge"]
    assert reasons(outputs, "edge_wide") == ["no_edge"]


def test_a_forecast_below_the_bid_buys_no() -> None:
    outputs = run(trader(), [market(), *steps(20, 22, p=0.46), resolution("no")])
    assert {order.side for order in orders(outputs)} == {"no"}
    assert {fill.price_e4 for fill in fills(outputs)} == {4_600}
    assert all(s.pnl_e6 > 0 for s in outputs if isinstance(s, Settlement))


def test_no_forecast_without_an_edge_makes_an_order() -> None:
    outputs = run(trader(), [market(), *steps(20, 60, p=0.55)])
    assert orders(outputs) == []
    assert reasons(outputs) == ["no_edge"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"is_fallback": True}, "fallback"),
        ({"p": float("nan")}, "bad_forecast"),
        ({"p": 1.01}, "bad_forecast"),
        ({"p": 0.80}, "distance"),
        ({"bid_e4": 5_300}, "other_quote"),
        ({"ask_e4": None}, "other_quote"),
        ({"ts_ns": at(22.1)}, "stale"),
    ],
)
def test_doubt_about_the_forecast_means_no_order(changes: dict[str, Any], reason: str) -> None:
    shown = quote(20)
    outputs = run(trader(), [market(), shown, forecast(shown, **changes)])
    assert orders(outputs) == []
    assert reasons(outputs) == [reason]


def test_a_shadow_forecast_is_not_traded() -> None:
    shown = quote(20)
    assert run(trader(), [market(), shown, forecast(shown, role="shadow")]) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bids": []}, "one_sided"),
        ({"asks": []}, "one_sided"),
        ({"yes_asks_size_e2": ()}, "unknown_sizes"),
        ({"asks": [(5_400, 100)], "flags": int(Flag.LOCKED)}, "unsound_book"),
        ({"asks": [(5_400, 100)], "flags": int(Flag.LOCKED | Flag.COARSE)}, "coarse"),
        ({"asks": [(5_300, 100)]}, "unsound_book"),
        ({"flags": int(Flag.STALE)}, "unsound_book"),
        ({"flags": int(Flag.GAP)}, "unclean"),
        ({"age_ns": 2 * scene.S + 1}, "stale"),
        ({"asks": [(5_500, 0)]}, "depth"),
    ],
)
def test_doubt_about_the_book_means_no_order(changes: dict[str, Any], reason: str) -> None:
    assert reasons(run(trader(), [market(), *step(20, of=quote(20, **changes))])) == [reason]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fee": None}, "no_fee_schedule"),
        ({"strike_usd": None}, "no_strike"),
        ({"status": "paused"}, "closed"),
        ({"open_ns": at(11)}, "too_early"),
        ({"close_ns": at(50.2)}, "too_late"),
    ],
)
def test_doubt_about_the_market_means_no_order(changes: dict[str, Any], reason: str) -> None:
    assert reasons(run(trader(), [market(**changes), *step(20)])) == [reason]


@pytest.mark.parametrize(
    "changes",
    [
        {"close_ns": at(901)},
        {"strike_usd": 99_000.0},
        {"strike_usd": None},
        {"rule_fingerprint": "other"},
        {"comparator": ">"},
    ],
)
def test_a_market_whose_terms_change_is_blocked(changes: dict[str, Any]) -> None:
    outputs = run(trader(), [market(), market(**changes), market(), *step(20)])
    assert orders(outputs) == []
    assert reasons(outputs) == [f"changed: {next(iter(changes))}"]


def test_a_strike_that_becomes_known_is_no_change() -> None:
    outputs = run(trader(), [market(strike_usd=None), market(), *step(20)])
    assert len(orders(outputs)) == 2


def test_an_unknown_market_is_passed_over() -> None:
    assert run(trader(), step(20)) == []


@pytest.mark.parametrize("flag", [Flag.CROSSED, Flag.LOCKED, Flag.STALE])
def test_after_a_bad_book_three_sound_ones_must_follow(flag: Flag) -> None:
    bad = quote(19, flags=int(flag))
    outputs = run(trader(), [market(), quote(18), bad, *steps(20, 23)])
    assert [order.ts_ns for order in orders(outputs)] == [at(22)] * 2
    assert reasons(outputs) == ["unclean"]


def test_a_coarse_row_is_passed_over_without_a_wait() -> None:
    coarse = quote(19, asks=[(5_400, 1)], flags=int(Flag.LOCKED | Flag.COARSE))
    outputs = run(trader(), [market(), *steps(17, 19, p=0.545), coarse, *step(20)])
    assert [order.ts_ns for order in orders(outputs)] == [at(20)] * 2


@pytest.mark.parametrize("scope", [{}, {"market": None}, {"market": None, "venue": None}])
def test_after_a_gap_three_sound_books_must_follow(scope: dict[str, Any]) -> None:
    outputs = run(trader(), [market(), quote(10), gap(10, 20, **scope), *steps(20, 23)])
    assert [order.ts_ns for order in orders(outputs)] == [at(22)] * 2


def test_a_gap_that_is_over_hinders_no_later_fill() -> None:
    outputs = run(trader(), [market(), quote(10), gap(10, 20), *steps(20, 25)])
    assert [fill.ts_ns for fill in fills(outputs)] == [at(23)] * 2


@pytest.mark.parametrize("scope", [{"market": "M2"}, {"market": None, "feed": "KXBTC15M"}])
def test_a_gap_of_another_market_or_of_unknown_ones_matters_not(scope: dict[str, Any]) -> None:
    outputs = run(trader(), [market(), gap(10, 20, **scope), *step(20)])
    assert len(orders(outputs)) == 2


def test_an_order_is_never_filled_across_a_gap() -> None:
    events = [market(), *steps(18, 20, p=0.545), *step(20), gap(20.1, 20.9), quote(21)]
    assert set(reasons(run(trader(), events))) == {"no_edge", "unfilled: gap"}
    late = [market(), *steps(18, 20, p=0.545), *step(20), quote(23.1)]
    assert set(reasons(run(trader(), late))) == {"no_edge", "unfilled: gap"}


def test_a_snapshot_before_the_arrival_fills_nothing() -> None:
    engine = trader(latency_ms=1_500)
    assert fills(run(engine, [market(), *step(20), quote(21, asks=[(5_600, 9_000)])])) == []
    # The bracket is 21 s and 22 s: the worse of the two is 0.56.
    assert {f.price_e4 for f in fills(run(engine, [quote(22)]))} == {5_600}


def test_an_order_moved_away_from_is_given_up() -> None:
    outputs = run(trader(), [market(), *step(20), quote(21, asks=[(6_000, 9_000)])])
    assert fills(outputs) == []
    assert reasons(outputs) == ["unfilled: price_moved"]


def test_a_partial_fill_leaves_a_skip_for_the_rest() -> None:
    outputs = run(trader(), [market(), *step(20), quote(21, asks=[(5_500, 1_000)])])
    assert [fill.size_e2 for fill in fills(outputs)] == [1_000]
    rest = [o for o in outputs if isinstance(o, Skip) and o.reason == "unfilled: depth"]
    assert [(s.strategy, s.order_id) for s in rest] == [
        (order.strategy, order.id) for order in orders(outputs)
    ]


def test_what_one_strategy_took_is_gone_for_the_other() -> None:
    thin = [(5_500, 5_000)]
    outputs = run(trader(), [market(), *step(20, of=quote(20, asks=thin)), quote(21, asks=thin)])
    assert [f.strategy for f in fills(outputs)] == ["edge", "edge_wide"]
    assert sum(f.size_e2 for f in fills(outputs)) == 5_000


def test_taken_size_comes_back_only_after_the_price_has_left() -> None:
    thin: dict[str, Any] = {"asks": [(5_500, 4_000)]}
    engine = TraderEngine(TraderSettings(cooldown_s=5), STRATEGIES[:1])
    outputs = run(engine, [market()])
    for second in range(20, 40):
        outputs += run(engine, step(second, of=quote(second, **thin)))
    assert sum(f.size_e2 for f in fills(outputs)) == 4_000
    outputs = run(engine, [quote(40, asks=[(5_700, 4_000)])])
    for second in range(41, 45):
        outputs += run(engine, step(second, of=quote(second, **thin)))
    assert len(fills(outputs)) == 1


def test_an_order_that_finds_no_snapshot_is_given_up_when_that_fell_due() -> None:
    for next_event in (tick(500), tick(200, "ETH-USD"), quote(300, market="M2")):
        outputs = run(trader(), [market(), *step(20), next_event])
        given_up = [o for o in outputs if isinstance(o, Skip)]
        assert {o.reason for o in given_up} == {"unfilled: no_quote"}
        assert {o.ts_ns for o in given_up} == {at(140.25)}


def test_ticks_change_no_output() -> None:
    for seed in range(20):
        events = history(seed)
        # A control is recorded at the current tick, so it keeps its tick.
        controls = {e.ts_ns for e in events if type(e).__name__ in ("Command", "Alert")}
        few = [e for e in events if not isinstance(e, Tick) or e.ts_ns in controls]
        with_all = run(TraderEngine(TIGHT, RANDOM_STRATEGIES), events)
        assert run(TraderEngine(TIGHT, RANDOM_STRATEGIES), few) == with_all


def test_between_orders_of_a_strategy_lies_the_cool_down() -> None:
    outputs = run(trader(), [market(), *steps(20, 200)])
    times = [order.ts_ns for order in orders(outputs) if order.strategy == "edge"]
    assert times[:2] == [at(20), at(80)]


def test_a_market_takes_no_more_than_its_limit() -> None:
    outputs = run(trader(), [market(), *steps(20, 600)])
    held = sum(f.price_e4 * f.size_e2 + f.fee_e6 for f in fills(outputs))
    assert 95_000_000 < held <= 100_000_000
    assert orders(outputs)[-1].bounds == ("market",)
    assert reasons(outputs)[-1] == "market"


def test_a_forecast_delivered_twice_is_decided_once() -> None:
    shown = quote(20)
    engine = trader(cooldown_s=1)
    first = run(engine, [market(), shown, forecast(shown)])
    assert len(orders(first)) == 2
    assert run(engine, [shown, forecast(shown), forecast(shown)]) == []


def test_the_order_id_is_the_decision() -> None:
    (order, _) = orders(run(trader(), [market(), *step(20)]))
    assert order.id == event_id("Order", "edge", "kalshi", "M1", at(20), "yes")


def test_skips_are_written_when_the_reason_changes() -> None:
    events: list[Event] = [market(), *steps(20, 30, p=0.545)]
    shown = quote(30, bids=[])
    outputs = run(trader(), [*events, *step(30, of=shown), *steps(31, 40, p=0.545)])
    assert reasons(outputs) == ["no_edge", "one_sided", "no_edge"]


def test_a_coarse_row_between_two_others_is_no_change_of_reason() -> None:
    coarse = quote(21, asks=[(5_400, 1)], flags=int(Flag.LOCKED | Flag.COARSE))
    events = [market(), *step(20, p=0.545), *step(21, of=coarse), *step(22, p=0.545)]
    assert reasons(run(trader(), events)) == ["no_edge"]


@pytest.mark.parametrize(("result", "sign"), [("yes", 1), ("no", -1)])
def test_positions_are_held_to_settlement(result: Side, sign: int) -> None:
    engine = trader()
    outputs = run(engine, [market(), *steps(20, 25), *steps(25, 800, p=0.545), resolution(result)])
    settled = [o for o in outputs if isinstance(o, Settlement)]
    assert [s.strategy for s in settled] == ["edge", "edge_wide"]
    assert all(s.pnl_e6 * sign > 0 for s in settled)
    assert engine.ledger.positions == {}


def test_a_rebuild_alone_settles_nothing() -> None:
    engine = trader()
    outputs = run(engine, [market(), *steps(20, 22), resolution("yes", source="rebuild")])
    assert len(engine.ledger.positions) == 2
    assert not [o for o in outputs if isinstance(o, Settlement)]


def test_a_position_that_never_resolves_stays_open_and_is_reported_once() -> None:
    engine = trader()
    late = [tick(900 + hours * 3_600) for hours in range(0, 24 * 8, 3)]
    outputs = run(engine, [market(), *steps(20, 22), *late])
    assert reasons(outputs) == ["unresolved"]
    assert {o.ts_ns for o in outputs if isinstance(o, Skip)} == {at(900 + 3_600)}
    assert len(engine.ledger.positions) == 2
    assert len(run(engine, [resolution("yes", 900 + 86_400 * 9)])) == 2


def test_a_result_after_a_week_still_halts_a_venue_that_changed_its_mind() -> None:
    events = [market(), *steps(20, 22), resolution("yes"), tick(86_400 * 6)]
    halted = run(trader(), [*events, resolution("no", 86_400 * 6)])
    assert reasons(halted, "*") == ["venue halted: second result"]
    engine = trader()
    run(engine, [*events, tick(86_400 * 8)])
    assert b"M1" not in engine.checkpoint()


def test_what_is_forgotten_does_not_depend_on_ticks() -> None:
    # The result is kept until 15 s past a whole minute; contradicted 15 s later, it is still known
    # whether or not a tick came by at the whole minute.
    kept_s = 7 * 86_400
    base = 60 - (scene.OPEN_NS // scene.S) % 60
    own = market(close_ns=at(base + 855))
    events = [own, *steps(20, 22), resolution("yes", 960), tick(kept_s)]
    second = resolution("no", base + 870 + kept_s)
    for between in ([], [tick(base + 840 + kept_s)]):
        outputs = run(trader(), [*events, *between, second])
        assert reasons(outputs, "*") == ["venue halted: second result"]


def test_room_that_a_given_up_order_leaves_is_used() -> None:
    engine = trader(market_e6_max=25_100_000)
    outputs = run(engine, [market(), *step(20)])
    assert [order.strategy for order in orders(outputs)] == ["edge"]
    assert reasons(outputs, "edge_wide") == ["market"]
    outputs = run(engine, [*step(21, of=quote(21, asks=[(5_700, 9_000)])), *step(22)])
    assert [order.strategy for order in orders(outputs)] == ["edge_wide"]


def test_a_daily_loss_stops_trading_until_midnight() -> None:
    day_s = 86_400 - (scene.OPEN_NS // scene.S) % 86_400
    loss = {"loss_day_e6_max": 20_000_000}
    engine = trader(**loss)
    run(engine, [market(), *steps(20, 22), resolution("no")])
    later = market("M2", open_ns=at(1_000), close_ns=at(day_s + 900))
    shown = quote(1_100, market="M2")
    outputs = run(engine, [later, shown, forecast(shown)])
    assert reasons(outputs) == ["loss_day"]
    shown = quote(1_101, market="M2")
    assert reasons(run(engine, [shown, forecast(shown, 0.545)])) == []
    shown = quote(day_s + 1, market="M2")
    assert len(orders(run(engine, [shown, forecast(shown)]))) == 2


def test_a_drawdown_stops_trading_until_a_person_resumes() -> None:
    engine = trader(drawdown_e6_max=20_000_000)
    run(engine, [market(), *steps(20, 22), resolution("no")])
    later = market("M2", open_ns=at(100_000), close_ns=at(101_000))
    shown = quote(100_100, market="M2")
    assert reasons(run(engine, [later, shown, forecast(shown)])) == ["drawdown"]
    resume = Command(ts_ns=at(100_100), id="r", command="resume", who="alice")
    shown = quote(100_101, market="M2")
    assert len(orders(run(engine, [resume, shown, forecast(shown)]))) == 2


def test_what_falls_due_at_an_instant_is_said_before_all_else_of_it() -> None:
    engine = trader()
    run(engine, [market(), *steps(20, 22)])
    due = 900 + 3_600
    assert run(engine, [tick(due - 0.001)]) == []
    assert reasons(run(engine, [resolution("yes", due)])) == ["unresolved"]


def test_a_trader_without_a_checkpoint_asks_for_the_open_markets() -> None:
    assert list(trader().lookback_s) == [Market]


def test_strategies_that_share_a_name_are_a_bug() -> None:
    with pytest.raises(InvariantError, match="share a name"):
        TraderEngine(TraderSettings(), (STRATEGIES[0], STRATEGIES[0]))


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_fills_lie_within_both_books_of_their_bracket(seed: int) -> None:
    engine = TraderEngine(TIGHT, RANDOM_STRATEGIES)
    last: dict[str, QuoteSnapshot] = {}
    for event in history(seed):
        outputs = engine.handle(event)
        for side in ("yes", "no"):
            own = [f for f in fills(outputs) if f.side == side]
            for price_e4 in {f.price_e4 for f in own}:
                taken = sum(f.size_e2 for f in own if f.price_e4 <= price_e4)
                assert isinstance(event, QuoteSnapshot)
                for book in (last[event.market], event):
                    assert taken <= shown_e2(book, side, price_e4)
                    assert not book.flags & (Flag.COARSE | Flag.LOCKED | Flag.CROSSED | Flag.STALE)
        if isinstance(event, QuoteSnapshot):
            last[event.market] = event


def shown_e2(book: QuoteSnapshot, side: str, price_e4: int) -> int:
    asks = list(zip(book.yes_asks_price_e4, book.yes_asks_size_e2, strict=True))
    bids = list(zip(book.yes_bids_price_e4, book.yes_bids_size_e2, strict=True))
    offered = asks if side == "yes" else [(10_000 - price, size) for price, size in bids]
    return sum(size for price, size in offered if price <= price_e4)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_outputs_have_unique_ids_and_times_that_never_go_back(seed: int) -> None:
    outputs = run(TraderEngine(TIGHT, RANDOM_STRATEGIES), history(seed))
    assert len({out.id for out in outputs}) == len(outputs)
    times = [out.ts_ns for out in outputs]
    assert times == sorted(times)
    again = run(TraderEngine(TIGHT, RANDOM_STRATEGIES), history(seed))
    assert [body(out) for out in again] == [body(out) for out in outputs]


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_every_order_ends_in_a_full_fill_or_a_skip(seed: int) -> None:
    engine = TraderEngine(TIGHT, RANDOM_STRATEGIES)
    outputs = run(engine, [*history(seed), tick(100_000)])
    for order in orders(outputs):
        filled = sum(f.size_e2 for f in fills(outputs) if f.order_id == order.id)
        ends = [o for o in outputs if isinstance(o, Skip) and o.order_id == order.id]
        assert len(ends) == (0 if filled == order.size_e2 else 1)
