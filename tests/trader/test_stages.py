"""Stages: shadow decides, paper fills, live is refused."""

import pytest

from libs.common.checks import ConfigError
from libs.common.events import Skip
from services.trader.limits import TraderSettings
from services.trader.stages import BLOCKS_MIN, parse_stage, promotion
from tests.trader.scene import fills, market, orders, run, step, trader


def test_live_is_refused_with_a_clear_message() -> None:
    with pytest.raises(ConfigError, match="'live' does not exist in this release"):
        parse_stage("live")
    with pytest.raises(ConfigError, match="'live' does not exist in this release"):
        TraderSettings(stage="live")  # type: ignore[arg-type]


def test_unknown_stage_is_refused() -> None:
    with pytest.raises(ConfigError, match="'papier' is unknown"):
        parse_stage("papier")


def test_known_stages_are_accepted() -> None:
    assert (parse_stage("shadow"), parse_stage("paper")) == ("shadow", "paper")


def test_shadow_decides_and_sends_nothing() -> None:
    engine = trader(stage="shadow")
    outputs = run(engine, [market(), *(e for t in range(20, 120) for e in step(t))])
    paper = run(trader(), [market(), *step(20)])
    assert orders(outputs)[:2] == orders(paper)
    assert fills(outputs) == [] and engine.ledger.positions == {}
    ended = [e.order_id for e in outputs if isinstance(e, Skip) and e.reason == "stage: shadow"]
    assert ended == [order.id for order in orders(outputs)]


def test_shadow_keeps_the_cool_down() -> None:
    outputs = run(trader(stage="shadow"), [market(), *(e for t in range(20, 85) for e in step(t))])
    assert [o.strategy for o in orders(outputs)] == ["edge", "edge_wide"] * 2


def test_live_is_never_entered_whatever_the_evidence() -> None:
    assert promotion("paper", blocks=0, clv_low=None).accepted
    assert "expected 300" in promotion("live", blocks=BLOCKS_MIN - 1, clv_low=0.1).reason
    for low in (None, 0.0, -0.01, float("nan")):
        assert "closing-line value" in promotion("live", blocks=BLOCKS_MIN, clv_low=low).reason
    assert not promotion("live", blocks=BLOCKS_MIN, clv_low=0.01).accepted
