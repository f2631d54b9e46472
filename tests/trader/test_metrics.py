"""What is shown of an account: money that adds up, and why nothing is traded."""

from prometheus_client import REGISTRY

from libs.common.events import Command
from services.trader.metrics import REASONS, counted, show
from tests.trader.scene import at, market, quote, run, step, trader


def value(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(f"hawk_trader_{name}", labels)
    assert found is not None
    return found


def halts() -> dict[str, float]:
    return {reason: value("halts", reason=reason) for reason in REASONS}


def test_equity_is_cash_and_open_positions_and_profit_what_was_realised() -> None:
    engine = trader()
    run(engine, [market(), *step(20), *step(25), *step(30), quote(31), quote(32), quote(33)])
    show(engine)
    assert value("open_positions") >= 1 and value("open_usd") > 0
    assert round(value("cash_usd") + value("open_usd") - value("equity_usd"), 6) == 0
    assert round(10_000 + value("profit_usd") - value("equity_usd"), 6) == 0
    assert round(value("drawdown_usd") + value("profit_usd"), 6) == 0  # only fees so far


def test_a_kill_is_shown_and_gone_after_the_resume() -> None:
    engine = trader()
    run(engine, [market(), *step(20)])
    show(engine)
    assert set(halts().values()) == {0}
    for command, expected in (("kill", 1), ("resume", 0)):
        run(engine, [Command(ts_ns=at(21), id=command * 4, command=command, who="alice")])
        show(engine)
        assert halts()["kill"] == expected


def test_each_kind_of_halt_has_its_reason() -> None:
    assert counted({"venue kalshi": "kill kalshi: alice"}, None)["venue_kill"] == 1
    assert counted({"venue kalshi": "rebuild differs of M1"}, None)["contradiction"] == 1
    assert counted({"alert * silent_swap": "halt silent_swap: no"}, None)["alert"] == 1
    assert counted({}, "loss_day")["loss_day"] == 1
    assert set(counted({}, None).values()) == {0}
