"""Scorer: one row, one forecast, or none where there is nothing to base one on."""

from typing import Any

import msgspec
import pytest

from libs.common.bundle import BASE_BUNDLE, Bundle
from libs.common.checks import InvariantError
from libs.common.events import FeatureRow, body
from libs.common.model import Formula
from libs.common.rows import FAIR_VALUE, MID, TIME_LEFT
from services.predictor.scorer import Scorer
from tests.common.test_bundle import manifest

VALUES: dict[str, float | None] = {MID: 0.4, FAIR_VALUE: 0.6, TIME_LEFT: 60.0, "x": None}
TREES = Bundle(id="b" * 24, formula=Formula(rung="residual"), trees_text="t")


def row(**changes: Any) -> FeatureRow:
    plain = FeatureRow(
        ts_ns=1_000,
        id="00" * 8,
        seq=9,
        quote_id="11" * 8,
        venue="kalshi",
        market="M",
        series="KXBTC15M",
        underlying="BTC-USD",
        open_ns=0,
        close_ns=2_000,
        feature_set="set",
        values=VALUES,
        bid_e4=3900,
        ask_e4=4100,
    )
    return msgspec.structs.replace(plain, **changes)


def test_a_forecast_carries_the_row_it_was_made_for() -> None:
    made = Scorer(BASE_BUNDLE).forecast(row())
    assert made is not None
    assert (made.p, made.base_p, made.is_fallback, made.bundle) == (0.4, 0.4, True, "base")
    assert (made.feature_id, made.ts_ns, made.close_ns) == ("00" * 8, 1_000, 2_000)
    assert (made.bid_e4, made.ask_e4, made.market) == (3900, 4100, "M")


def test_an_unusable_row_gets_no_forecast() -> None:
    assert Scorer(BASE_BUNDLE).forecast(row(unusable="crossed")) is None


def test_without_mid_and_fair_value_there_is_no_forecast() -> None:
    bare = VALUES | {MID: None, FAIR_VALUE: None}
    assert Scorer(BASE_BUNDLE).forecast(row(values=bare)) is None
    assert Scorer(BASE_BUNDLE).forecast(row(values=VALUES | {TIME_LEFT: None})) is None


def test_without_a_mid_the_forecast_is_fair_value_and_no_tree_is_asked() -> None:
    def never(values: object) -> float:
        raise AssertionError

    made = Scorer(TREES, never).forecast(row(values=VALUES | {MID: None}))
    assert made is not None
    assert (made.p_raw, made.p, made.base_p) == (0.6, 0.6, 0.6)


def test_the_id_depends_on_row_and_role_and_not_on_the_bundle() -> None:
    base, other = Scorer(BASE_BUNDLE), Scorer(TREES, lambda values: 0.1)
    one, two = base.forecast(row()), other.forecast(row())
    shadow, later = base.forecast(row(), "shadow"), base.forecast(row(id="22" * 8))
    assert one and two and shadow and later
    assert one.id == two.id
    assert len({one.id, shadow.id, later.id}) == 3


def test_the_feature_hash_depends_on_every_value_and_its_place() -> None:
    scorer = Scorer(BASE_BUNDLE)

    def hash_of(values: dict[str, float | None]) -> str:
        made = scorer.forecast(row(values=values))
        assert made is not None
        return made.feature_hash

    plain = hash_of(VALUES)
    assert plain == hash_of(dict(VALUES))
    assert plain == hash_of(VALUES | {"x": float("nan")})
    assert plain != hash_of(VALUES | {"x": 0.0})
    assert plain != hash_of(VALUES | {MID: 0.4000000000000001})
    assert plain != hash_of(VALUES | {MID: 0.6, FAIR_VALUE: 0.4})


def test_trees_get_the_values_in_order_and_move_the_forecast_within_its_bound() -> None:
    seen: list[object] = []

    def score(values: object) -> float:
        seen.append(values)
        return 5.0

    made = Scorer(TREES, score).forecast(row())
    assert seen == [[0.4, 0.6, 60.0, None]]
    assert made is not None
    assert made.p == 0.5
    assert made.p_raw > 0.9


def test_a_probability_is_the_forecasts() -> None:
    own = Scorer(TREES, lambda values: 0.1)
    made, found = own.forecast(row()), own.probability("KXBTC15M", VALUES)
    assert made and found
    assert (made.p_raw, made.p, made.base_p) == found


def test_a_bundle_fits_rows_of_its_feature_set_and_the_base_model_fits_all() -> None:
    own = Scorer(Bundle(id="b" * 24, formula=Formula(rung="anchored"), manifest=manifest()))
    assert own.fits("set-1")
    assert not own.fits("set-2")
    assert Scorer(BASE_BUNDLE).fits("anything")


@pytest.mark.parametrize(("bundle", "score"), [(TREES, None), (BASE_BUNDLE, lambda values: 1.0)])
def test_trees_are_never_left_out_silently(bundle: Bundle, score: Any) -> None:
    with pytest.raises(InvariantError):
        Scorer(bundle, score)


def test_the_same_row_makes_the_same_bytes() -> None:
    one, two = (Scorer(TREES, lambda values: 0.1).forecast(row()) for _ in range(2))
    assert one and two
    assert body(one) == body(two)
