"""Checkpoints: small, equal for equal states, and as good as never having stopped."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.checks import HawkError
from libs.common.events import Market, Settlement, body
from services.trader.engine import TraderEngine
from services.trader.limits import TraderSettings
from services.trader.state import CheckpointError, decode, encode
from tests.trader.scene import fills, market, quote, resolution, run, step, tick, trader
from tests.trader.sequences import STRATEGIES, TIGHT, ends_of_ticks, history


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.data())
def test_restoring_at_any_tick_continues_byte_for_byte(seed: int, data: st.DataObject) -> None:
    events = history(seed)
    cuts = sorted(data.draw(st.sets(st.sampled_from(ends_of_ticks(events)), max_size=4)))
    whole = TraderEngine(TIGHT, STRATEGIES)
    expected = [body(out) for out in run(whole, events)]
    outputs: list[bytes] = []
    state = TraderEngine(TIGHT, STRATEGIES).checkpoint()
    for start, end in zip([0, *cuts], [*cuts, len(events)], strict=True):
        engine = TraderEngine(TIGHT, STRATEGIES)
        engine.restore(state)
        assert engine.checkpoint() == state
        outputs += [body(out) for out in run(engine, events[start:end])]
        state = engine.checkpoint()
    assert outputs == expected
    assert state == whole.checkpoint()


def test_equal_states_have_equal_bytes_whatever_their_history() -> None:
    first, second = trader(), trader()
    run(first, [market("M1"), market("M2")])
    run(second, [market("M2"), market("M1")])
    assert first.checkpoint() == second.checkpoint()


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_a_checkpoint_does_not_change_what_follows(seed: int) -> None:
    events = history(seed, steps=40)
    plain, watched = TraderEngine(TIGHT, STRATEGIES), TraderEngine(TIGHT, STRATEGIES)
    for event in events:
        assert list(plain.handle(event)) == list(watched.handle(event))
        decode(watched.checkpoint())


def test_closed_markets_are_forgotten() -> None:
    engine = trader()
    run(engine, [market()])
    empty = len(trader().checkpoint())
    sizes = []
    for day in range(3):
        for i in range(96):
            base = day * 86_400 + i * 900
            name = f"M{day}-{i}"
            own = market(name, open_ns=market().open_ns + base * 10**9,
                         close_ns=market().close_ns + base * 10**9)  # fmt: skip
            shown = quote(base + 20, market=name)
            run(
                engine,
                [
                    own,
                    *step(base + 20, p=0.55, of=shown),
                    resolution(second=base + 960, market=name),
                ],
            )
        sizes.append(len(engine.checkpoint()))
    assert max(sizes) < empty + 10_000
    assert sizes[0] == pytest.approx(sizes[2], abs=200)


def test_traded_markets_leave_only_their_result() -> None:
    engine = trader()
    outputs = run(engine, [market(), *step(20), *step(21), resolution("yes")])
    assert fills(outputs) and [o for o in outputs if isinstance(o, Settlement)]
    run(engine, [tick(10_000)])
    state = decode(engine.checkpoint())
    assert state.markets == ()
    assert list(state.results) == ["kalshi M1"]


def test_facts_about_a_market_long_closed_are_not_kept() -> None:
    engine = trader()
    run(engine, [tick(100_000), market()])
    assert decode(engine.checkpoint()).markets == ()


@pytest.mark.parametrize("text", [b"", b"{}", b"null", b"\xff", b'{"version": 1}'])
def test_a_damaged_checkpoint_is_refused_with_a_clear_line(text: bytes) -> None:
    with pytest.raises(CheckpointError, match="checkpoint is damaged"):
        trader().restore(text)
    assert issubclass(CheckpointError, HawkError)


def test_a_checkpoint_of_another_version_is_refused() -> None:
    state = msgspec.structs.replace(decode(trader().checkpoint()), version=2)
    with pytest.raises(CheckpointError, match="has version 2, expected 1"):
        trader().restore(encode(state))


def test_a_truncated_checkpoint_is_refused() -> None:
    engine = trader()
    run(engine, [market(), *step(20)])
    text = engine.checkpoint()
    for cut in range(0, len(text) - 1, 97):
        with pytest.raises(CheckpointError):
            trader().restore(text[:cut])


def test_settings_may_change_between_runs() -> None:
    engine = trader()
    run(engine, [market(), *step(20)])
    other = TraderEngine(TraderSettings(orders_per_minute_max=1))
    other.restore(engine.checkpoint())
    assert fills(run(other, [quote(21)]))


def test_the_encoded_market_is_the_market() -> None:
    engine = trader()
    run(engine, [market()])
    (state,) = decode(engine.checkpoint()).markets
    assert isinstance(state.market, Market) and state.market == market()
