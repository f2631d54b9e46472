"""Pages: times are RFC 3339, quotes USD, and every forecast says who made it."""

import msgspec

from libs.common.bundle import BASE_BUNDLE
from libs.common.feature_set import FEATURE_NAMES, FEATURE_SET
from services.predictor.board import Place
from services.predictor.champion import Serving
from services.predictor.pages import forecast_lines, market_lines, model_page, rfc3339
from services.predictor.scorer import Scorer
from services.predictor.verify import DEFAULT_CONTRACT
from tests.predictor import models

TS_NS = 1_778_544_000_500_000_000


def test_the_base_models_page_says_that_it_is_a_fallback() -> None:
    page = model_page(Serving(Scorer(BASE_BUNDLE), None, TS_NS), DEFAULT_CONTRACT)
    assert (page.bundle, page.generation, page.is_fallback) == ("base", 0, True)
    assert (page.rung, page.calibration, page.reason) == ("identity", "identity", None)
    assert (page.since, page.data_end) == ("2026-05-12T00:00:00.5Z", None)
    assert (page.feature_set, page.feature_names) == (FEATURE_SET, FEATURE_NAMES)


def test_a_bundles_page_says_what_activated_it_and_how_old_its_data_is() -> None:
    manifest = models.manifest((), data_end_ns=TS_NS)
    bundle = msgspec.structs.replace(models.scorer(1).bundle, id="b" * 24, manifest=manifest)
    activation = models.ModelEvent(
        ts_ns=0, id="", bundle="b" * 24, action="activated", reason="x", cause="", generation=3
    )
    page = model_page(Serving(Scorer(bundle), activation, TS_NS), DEFAULT_CONTRACT)
    assert (page.bundle, page.generation, page.is_fallback) == ("b" * 24, 3, False)
    assert (page.rung, page.reason, page.data_end) == ("anchored", "x", "2026-05-12T00:00:00.5Z")


def test_markets_and_forecasts_tell_times_quotes_and_maker() -> None:
    seen = models.row(1, ts_ns=TS_NS, ask_e4=None)
    made = Scorer(BASE_BUNDLE).forecast(seen)
    places = [Place(seen, made), Place(models.row(2, ts_ns=TS_NS, unusable="stale"), None)]
    first, second = market_lines(places)
    assert (first.bid_usd, first.ask_usd, first.unusable) == (0.49, None, None)
    assert (first.at, first.close) == ("2026-05-12T00:00:00.5Z", "2026-05-12T00:15:00.5Z")
    assert second.unusable == "stale"
    (line,) = forecast_lines(places)
    assert made is not None
    assert (line.id, line.p, line.bundle, line.is_fallback) == (made.id, made.p, "base", True)
    assert line.feature_hash == made.feature_hash


def test_a_time_has_as_many_digits_as_it_needs() -> None:
    assert rfc3339(TS_NS + 1) == "2026-05-12T00:00:00.500000001Z"
