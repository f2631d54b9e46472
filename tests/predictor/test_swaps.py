"""Swaps: recorded ones at their instants, then what is newer, each exactly once."""

from collections.abc import Sequence

import msgspec
import pytest

from libs.common.bundle import Bundle
from libs.common.checks import BundleError
from libs.common.events import ModelEvent, event_id
from libs.common.model import Formula
from services.predictor.scorer import Scorer
from services.predictor.swaps import Swaps, activation_of, recorded_swaps

ACTIVATION = ModelEvent(
    ts_ns=5,
    id="a" * 16,
    bundle="new",
    action="activated",
    reason="better",
    cause="gate",
    generation=9,
)


def load(bundle_id: str) -> Scorer:
    if bundle_id.startswith("bad"):
        raise BundleError(bundle_id)
    return Scorer(Bundle(id=bundle_id, formula=Formula(rung="anchored")))


def swap(ts_ns: int, generation: int, bundle_id: str = "old", underlying: str = "B") -> ModelEvent:
    return ModelEvent(
        ts_ns=ts_ns,
        id=event_id("swap", ts_ns, generation, underlying),
        bundle=bundle_id,
        action="swapped",
        reason="r",
        cause=event_id("cause", generation),
        generation=generation,
        underlying=underlying,
        feature_id_last="f" * 16,
    )


def generations(events: Sequence[ModelEvent]) -> list[tuple[int | None, int]]:
    return [(event.generation, event.ts_ns) for event in events]


def test_without_anything_nothing_is_due() -> None:
    assert Swaps([], load).due(1, None) == []


def test_what_serves_is_told_once_at_the_instant_that_comes() -> None:
    own = Swaps([], load)
    assert own.due(7, ACTIVATION) == [msgspec.structs.replace(ACTIVATION, ts_ns=7)]
    assert own.due(8, ACTIVATION) == []


def test_each_newer_generation_is_told_and_no_older_one() -> None:
    own = Swaps([], load)
    own.due(1, ACTIVATION)
    newer = msgspec.structs.replace(ACTIVATION, generation=10)
    assert generations(own.due(2, newer)) == [(10, 2)]
    assert own.due(3, ACTIVATION) == []


def test_a_recorded_swap_is_due_at_its_instant_and_not_before() -> None:
    recorded = swap(10, 3)
    own = Swaps([recorded], load)
    assert own.due(9, None) == []
    assert own.due(10, None) == [recorded]
    assert own.due(11, None) == []


def test_what_is_newer_waits_behind_the_last_recorded_swap() -> None:
    """Rows that are made again after a kill meet the bundles that scored them first."""
    own = Swaps([swap(10, 3), swap(20, 4)], load)
    assert own.due(9, ACTIVATION) == []
    assert generations(own.due(12, ACTIVATION)) == [(3, 10)]
    assert own.due(19, ACTIVATION) == []
    assert generations(own.due(20, ACTIVATION)) == [(4, 20)]
    assert generations(own.due(21, ACTIVATION)) == [(9, 21)]


def test_what_was_recorded_is_not_told_again_as_new() -> None:
    own = Swaps([swap(10, 9)], load)
    assert generations(own.due(10, ACTIVATION)) == [(9, 10)]
    assert own.due(11, ACTIVATION) == []


def test_of_the_swaps_that_are_over_only_the_last_is_told() -> None:
    asked: list[str] = []

    def counting(bundle_id: str) -> Scorer:
        asked.append(bundle_id)
        return load(bundle_id)

    own = Swaps([swap(n, n, f"b{n}") for n in range(1, 6)], counting)
    assert generations(own.due(100, None)) == [(5, 5)]
    assert asked == ["b5"]


def test_what_cannot_be_loaded_is_told_behind_the_last_that_can() -> None:
    own = Swaps([swap(1, 1, "one"), swap(2, 2, "two"), swap(3, 3, "bad"), swap(4, 4, "bad")], load)
    assert generations(own.due(5, None)) == [(2, 2), (3, 3), (4, 4)]


def test_where_nothing_can_be_loaded_all_is_told() -> None:
    assert generations(Swaps([swap(1, 1, "bad")], load).due(5, None)) == [(1, 1)]


def test_a_recorded_generation_that_does_not_rise_is_left_out() -> None:
    own = Swaps([swap(1, 2), swap(3, 2), swap(4, 1)], load)
    assert generations(own.due(1, None)) == [(2, 1)]
    assert own.due(5, None) == []


@pytest.mark.parametrize("underlying", ["B", "E", None])
def test_recorded_swaps_are_chosen_by_underlying_and_ordered_by_effect(
    underlying: str | None,
) -> None:
    events = [swap(2, 2), swap(1, 1), swap(2, 3), swap(1, 1, underlying="E"), ACTIVATION]
    found = recorded_swaps(events, underlying)
    assert all(e.action == "swapped" and underlying in (None, e.underlying) for e in found)
    assert (
        generations(found)
        == {
            "B": [(1, 1), (2, 2), (3, 2)],
            "E": [(1, 1)],
            None: [(1, 1), (1, 1), (2, 2), (3, 2)],
        }[underlying]
    )


def test_the_cause_of_a_swap_stands_for_its_activation() -> None:
    found = activation_of(swap(3, 7, "old"))
    assert (found.id, found.action, found.generation) == (event_id("cause", 7), "activated", 7)
    assert (found.bundle, found.underlying, found.feature_id_last) == ("old", None, None)
