"""Controls: commands, alerts and contradictions become halts, and their records replay."""

from typing import Any

import pytest

from libs.common.events import Alert, Command, Event, Skip, event_id
from services.trader.controls import Control, control_of, halted_by, halts_after
from services.trader.limits import TraderSettings
from tests.trader.scene import (
    at,
    fills,
    market,
    orders,
    reasons,
    resolution,
    run,
    step,
    tick,
    trader,
)

SETTINGS = TraderSettings()


def command(verb: Any, second: float = 20, argument: str | None = None) -> Command:
    return Command(
        ts_ns=at(second), id=event_id(verb, second), command=verb, who="alice", argument=argument
    )


def alert(state: Any = "firing", second: float = 20, **changes: Any) -> Alert:
    fields: dict[str, Any] = {
        "ts_ns": at(second),
        "id": event_id(state, second),
        "rule": "calibration_decay",
        "severity": "warn",
        "state": state,
        "evidence": "slope 0.4: too flat",
        "runbook": "#calibration",
    }
    return Alert(**fields | changes)


def ticks(*seconds: float) -> list[Event]:
    return [event for second in seconds for event in step(second)]


def test_kill_stops_new_orders_until_resume() -> None:
    engine = trader()
    outputs = run(engine, [market(), tick(19), command("kill"), *ticks(20, 21, 22)])
    assert orders(outputs) == []
    assert reasons(outputs, "*") == ["kill: alice"]
    assert reasons(outputs) == ["halted: kill"]
    after = run(engine, [command("resume", 22), *ticks(23)])
    assert len(orders(after)) == 2


def test_kill_gives_up_orders_in_flight() -> None:
    engine = trader()
    outputs = run(engine, [market(), *ticks(20), command("kill"), *ticks(21)])
    assert len(orders(outputs)) == 2 and fills(outputs) == []
    assert reasons(outputs)[0] == "unfilled: halted: kill"


def test_kill_of_one_venue_leaves_the_others() -> None:
    outputs = run(trader(), [market(), command("kill", 19, "polymarket"), *ticks(20)])
    assert len(orders(outputs)) == 2
    outputs = run(trader(), [market(), command("kill", 19, "kalshi"), *ticks(20)])
    assert orders(outputs) == []


def test_a_second_kill_changes_nothing_and_says_nothing() -> None:
    assert len(run(trader(), [market(), command("kill", 19), command("kill", 20)])) == 1


def test_other_commands_are_not_for_the_trader() -> None:
    assert run(trader(), [command("train"), command("activate"), command("rollback")]) == []


def test_a_halting_alert_stops_its_underlying_until_it_resolves() -> None:
    engine = trader()
    outputs = run(engine, [market(), alert(underlying="BTC-USD", second=19), *ticks(20)])
    assert orders(outputs) == []
    assert reasons(outputs, "*") == ["halt calibration_decay: slope 0.4: too flat"]
    assert reasons(outputs) == ["halted: alert BTC-USD calibration_decay"]
    assert len(orders(run(engine, [alert("resolved", 21, underlying="BTC-USD"), *ticks(22)]))) == 2


def test_an_alert_about_another_underlying_stops_nothing_here() -> None:
    events = [market(), alert(underlying="ETH-USD", second=19), *ticks(20)]
    assert len(orders(run(trader(), events))) == 2


@pytest.mark.parametrize(
    ("rule", "severity", "halts"),
    [
        ("calibration_decay", "info", True),
        ("clock_skew", "warn", True),
        ("disk_full", "page", True),
        ("disk_full", "warn", False),
    ],
)
def test_a_page_or_a_named_rule_halts(rule: str, severity: str, halts: bool) -> None:
    asked = control_of(alert(rule=rule, severity=severity), SETTINGS)
    assert (asked is not None) == halts


@pytest.mark.parametrize(
    "event",
    [command("kill"), command("resume"), command("kill", 20, "kalshi"), alert(), alert("resolved")],
)
def test_a_recorded_control_asks_for_the_same_again(event: Command | Alert) -> None:
    asked = control_of(event, SETTINGS)
    assert asked is not None
    record = Skip(
        ts_ns=1, id="0", strategy="*", venue="*", market=asked.scope, underlying="BTC-USD",
        reason=asked.reason,
    )  # fmt: skip
    assert control_of(record, SETTINGS) == asked


def test_replay_of_the_records_gives_the_run_that_the_controls_gave() -> None:
    def live(at_control: dict[int, list[Event]]) -> list[list[Event]]:
        engine = trader()
        run(engine, [market()])
        return [
            run(engine, [*ticks(second), *at_control.get(second, [])]) for second in range(20, 200)
        ]

    controls: dict[int, list[Event]] = {
        25: [command("kill", 25)],
        60: [command("resume", 60)],
        100: [alert(second=100), command("kill", 100, "kalshi")],
        130: [command("resume", 130, "kalshi"), alert("resolved", 130)],
        131: [command("kill", 131), command("resume", 131), command("kill", 131)],
    }
    first = live(controls)
    recorded = {
        20 + i: [o for o in outputs if isinstance(o, Skip) and o.venue == "*"]
        for i, outputs in enumerate(first)
    }
    assert sum(map(len, recorded.values())) == 9
    assert live({second: list(skips) for second, skips in recorded.items()}) == first
    ids = [o.id for outputs in first for o in outputs]
    assert len(set(ids)) == len(ids)


def test_the_traders_own_skips_are_not_controls() -> None:
    own = Skip(
        ts_ns=1, id="0", strategy="edge", venue="kalshi", market="M1", underlying="BTC-USD",
        reason="kill: it",
    )  # fmt: skip
    assert control_of(own, SETTINGS) is None


def test_resume_clears_only_what_it_names() -> None:
    halts = {"kill": "k", "venue kalshi": "v"}
    assert halts_after(halts, Control("resume", "", "*", "bob")) == {"venue kalshi": "v"}
    assert halts_after(halts, Control("resume", "kalshi", "*", "bob")) == {"kill": "k"}


def test_halts_apply_to_their_scope() -> None:
    halts = {"venue kalshi": "v", "alert ETH-USD feed_silent": "a"}
    assert halted_by(halts, venue="kalshi", underlying="BTC-USD") == "halted: venue kalshi"
    assert halted_by(halts, venue="polymarket", underlying="BTC-USD") is None
    assert halted_by(halts, venue="polymarket", underlying="ETH-USD") is not None


def test_a_second_different_result_halts_the_venue_and_leaves_the_ledger() -> None:
    engine = trader()
    run(engine, [market(), market("M2"), *ticks(20, 21), resolution("yes", 960)])
    before = engine.ledger.state()
    outputs = run(engine, [resolution("no", 970)])
    assert [o.reason for o in outputs if isinstance(o, Skip)] == ["venue halted: second result"]
    assert engine.ledger.state() == before
    assert run(engine, [resolution("no", 980)]) == []


def test_the_same_result_twice_is_one_result() -> None:
    engine = trader()
    run(engine, [market(), *ticks(20, 21), resolution("yes", 960)])
    assert run(engine, [resolution("yes", 970)]) == []


@pytest.mark.parametrize("venue_first", [True, False])
def test_a_rebuild_that_differs_halts_the_venue_but_the_venue_pays(venue_first: bool) -> None:
    engine = trader()
    run(engine, [market(), *ticks(20, 21)])
    results = [resolution("yes", 960), resolution("no", 960, source="rebuild")]
    outputs = run(engine, results if venue_first else results[::-1])
    assert reasons(outputs, "*") == ["venue halted: rebuild differs"]
    assert engine.ledger.positions == {} and engine.ledger.realised_e6() > 0
