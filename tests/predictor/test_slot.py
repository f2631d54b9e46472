"""Slot: which bundle scores the next row; generations only rise, a refusal keeps the old one."""

from typing import Any

import pytest

from libs.common.bundle import BASE_BUNDLE, Bundle
from libs.common.checks import BundleError
from libs.common.events import Forecast, ModelEvent
from libs.common.model import Formula
from services.predictor.scorer import Scorer
from services.predictor.slot import Slot
from tests.common.samples import model_event, quote, tick
from tests.common.test_bundle import manifest
from tests.predictor.test_scorer import row


def load(bundle_id: str) -> Scorer:
    if bundle_id.startswith("bad"):
        raise BundleError(f"bundle {bundle_id} is damaged")
    if bundle_id == "base":
        return Scorer(BASE_BUNDLE)
    return Scorer(Bundle(id=bundle_id, formula=Formula(rung="anchored")))


def slot() -> Slot:
    return Slot("BTC-USD", Scorer(BASE_BUNDLE), load)


def activation(generation: int | None, bundle_id: str, **changes: Any) -> ModelEvent:
    fields: dict[str, Any] = {"generation": generation, "bundle": bundle_id} | changes
    return model_event(generation or 0, **fields)


def serving(own: Slot) -> str:
    (made,) = own.handle(row())
    assert isinstance(made, Forecast)
    return made.bundle


def test_the_base_model_serves_before_the_first_activation() -> None:
    assert serving(slot()) == "base"


def test_an_activation_swaps_and_says_behind_which_row() -> None:
    own = slot()
    own.handle(row())
    (swap,) = own.handle(activation(1, "one"))
    assert isinstance(swap, ModelEvent)
    assert (swap.action, swap.bundle, swap.generation) == ("swapped", "one", 1)
    assert (swap.underlying, swap.feature_id_last) == ("BTC-USD", row().id)
    assert serving(own) == "one"


@pytest.mark.parametrize("generation", [1, 2, 0, -1, None])
def test_an_old_generation_is_ignored(generation: int | None) -> None:
    own = slot()
    own.handle(activation(2, "two"))
    assert own.handle(activation(generation, "one")) == ()
    assert serving(own) == "two"


def test_a_generation_zero_or_none_never_swaps() -> None:
    own = slot()
    assert own.handle(activation(0, "one")) == ()
    assert own.handle(activation(None, "one")) == ()
    assert serving(own) == "base"


def test_at_one_instant_the_higher_generation_wins_in_either_order() -> None:
    for order in ((1, 2), (2, 1)):
        own = slot()
        for generation in order:
            own.handle(activation(generation, f"g{generation}"))
        assert serving(own) == "g2"


def test_what_cannot_be_loaded_is_refused_and_the_old_one_serves() -> None:
    own = slot()
    own.handle(activation(1, "one"))
    (refusal,) = own.handle(activation(2, "bad"))
    assert isinstance(refusal, ModelEvent)
    assert (refusal.action, refusal.bundle) == ("refused", "bad")
    assert "damaged" in refusal.reason
    assert serving(own) == "one"
    own.handle(activation(2, "two"))
    assert serving(own) == "two"


def test_a_rollback_to_the_base_model_swaps() -> None:
    own = slot()
    own.handle(activation(1, "one"))
    own.handle(activation(2, "base", action="rolled_back"))
    assert serving(own) == "base"


@pytest.mark.parametrize("action", ["accepted", "rejected", "refused"])
def test_a_verdict_swaps_nothing(action: str) -> None:
    own = slot()
    assert own.handle(activation(1, "one", action=action)) == ()
    assert serving(own) == "base"


def test_another_underlyings_swap_is_not_followed() -> None:
    own = slot()
    assert own.handle(activation(1, "one", action="swapped", underlying="ETH-USD")) == ()
    assert serving(own) == "base"
    own.handle(activation(1, "one", action="swapped", underlying="BTC-USD"))
    assert serving(own) == "one"


def test_a_recorded_swap_is_followed_silently_and_an_activation_says_so() -> None:
    own = slot()
    assert own.handle(activation(1, "one", action="swapped", underlying="BTC-USD")) == ()
    assert serving(own) == "one"
    for generation, action in ((2, "activated"), (3, "rolled_back")):
        (swap,) = own.handle(activation(generation, "two", action=action))
        assert isinstance(swap, ModelEvent)
        assert (swap.action, swap.generation) == ("swapped", generation)
        assert swap.cause == activation(generation, "two").id


def test_a_recorded_swap_and_the_activation_behind_it_score_alike() -> None:
    live, again = slot(), slot()
    (swap,) = live.handle(activation(1, "one"))
    again.handle(swap)
    assert live.handle(row()) == again.handle(row())


def test_the_last_row_before_a_swap_is_the_last_that_was_scored() -> None:
    own = slot()
    own.handle(row(id="33" * 8))
    own.handle(row(id="44" * 8, unusable="stale"))
    (swap,) = own.handle(activation(1, "one"))
    assert isinstance(swap, ModelEvent)
    assert swap.feature_id_last == "33" * 8


def test_the_last_row_before_a_restart_is_remembered() -> None:
    own = Slot("BTC-USD", Scorer(BASE_BUNDLE), load, feature_id_last="55" * 8)
    (swap,) = own.handle(activation(1, "one"))
    assert isinstance(swap, ModelEvent)
    assert swap.feature_id_last == "55" * 8


def test_a_row_of_another_feature_set_falls_back_to_the_base_model() -> None:
    fits = manifest(feature_set="set")

    def load_with_manifest(bundle_id: str) -> Scorer:
        made = Bundle(id=bundle_id, formula=Formula(rung="anchored"), manifest=fits)
        return Scorer(made)

    own = Slot("BTC-USD", Scorer(BASE_BUNDLE), load_with_manifest)
    own.handle(activation(1, "one"))
    assert serving(own) == "one"
    (made,) = own.handle(row(feature_set="other"))
    assert isinstance(made, Forecast)
    assert (made.bundle, made.is_fallback) == ("base", True)
    assert serving(own) == "one"


def test_ticks_are_passed_on_and_other_events_are_not() -> None:
    own = slot()
    assert own.handle(tick(0)) == (tick(0),)
    assert own.handle(quote(0)) == ()


def test_an_unusable_row_makes_no_forecast() -> None:
    assert slot().handle(row(unusable="stale")) == ()


def test_the_same_events_make_the_same_events() -> None:
    feed = [row(), activation(1, "one"), row(id="22" * 8), activation(2, "bad")]
    one, two = slot(), slot()
    assert [one.handle(e) for e in feed] == [two.handle(e) for e in feed]
