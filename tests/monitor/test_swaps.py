"""Which bundle a forecast must be of: by the records, at its instant, whatever is read first."""

import random

import msgspec
import pytest

from libs.common.bundle import BASE
from services.monitor.swaps import SwapWatch
from tests.monitor.scene import at_ns, forecast, swap

ONE, TWO = "1" * 24, "2" * 24


def firing(watch: SwapWatch) -> list[tuple[str, str | None]]:
    return [(c.rule, c.underlying) for c in watch.claims() if c.is_firing]


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, BASE), (4, BASE), (5, ONE), (6, ONE), (9, ONE), (10, TWO), (99, TWO)],
)
def test_a_swap_holds_from_its_instant_on(number: int, expected: str) -> None:
    swaps = [swap(5, ONE, 1), swap(10, TWO, 2)]
    random.Random(number).shuffle(swaps)
    watch = SwapWatch()
    watch.note(swaps + swaps)
    assert watch.expected("BTC-USD", at_ns(number)) == expected
    watch.see([forecast(number, expected)])
    assert firing(watch) == []


def test_at_one_instant_the_higher_generation_wins() -> None:
    watch = SwapWatch()
    watch.note([swap(5, TWO, 2), swap(5, ONE, 1)])
    assert watch.expected("BTC-USD", at_ns(5)) == TWO


def test_a_later_swap_says_nothing_of_an_earlier_forecast() -> None:
    watch = SwapWatch()
    watch.note([swap(5, ONE, 1), swap(10, TWO, 2)])
    watch.see([forecast(7, ONE)])
    assert firing(watch) == []
    watch.see([forecast(7, TWO)])
    assert firing(watch) == [("silent_swap", "BTC-USD")]


def test_underlyings_are_swapped_each_by_itself() -> None:
    watch = SwapWatch()
    watch.note([swap(5, ONE, 1)])
    watch.see([forecast(6, ONE), forecast(6, ONE, underlying="ETH-USD")])
    assert firing(watch) == [("silent_swap", "ETH-USD")]


def test_only_recorded_swaps_count() -> None:
    activated = swap(5, ONE, 1)
    watch = SwapWatch()
    watch.note([msgspec.structs.replace(activated, action="activated")])
    assert watch.expected("BTC-USD", at_ns(9)) == BASE


def test_the_base_model_in_its_place_is_a_fallback_and_no_swap() -> None:
    watch = SwapWatch()
    watch.note([swap(5, ONE, 1)])
    watch.see([forecast(6, BASE)])
    assert firing(watch) == [("fallback_serving", "BTC-USD")]


def test_a_shadow_scores_with_whatever_it_likes() -> None:
    watch = SwapWatch()
    watch.see([forecast(6, TWO, role="shadow")])
    assert watch.claims() == []
