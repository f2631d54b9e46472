"""What the slow pages say: the model, the open markets, the latest forecasts.

Times are RFC 3339 UTC, quotes in USD, probabilities P(YES). A forecast names the bundle that made
it, which may no longer be the one that serves.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from libs.common.events import FeatureRow, Forecast
from services.predictor.board import Place
from services.predictor.champion import Serving
from services.predictor.verify import Contract

_NS = 1_000_000_000


class ModelPage(msgspec.Struct, frozen=True, kw_only=True):
    """What serves. `since` is this process's clock; `data_end` what training saw last."""

    bundle: str
    generation: int
    is_fallback: bool
    rung: str
    calibration: str
    reason: str | None
    since: str
    data_end: str | None
    feature_set: str
    feature_names: tuple[str, ...]


class MarketLine(msgspec.Struct, frozen=True, kw_only=True):
    """One open market as last seen; a quote is null where its side is absent."""

    venue: str
    market: str
    series: str
    underlying: str
    open: str
    close: str
    at: str
    bid_usd: float | None
    ask_usd: float | None
    unusable: str | None


class ForecastLine(msgspec.Struct, frozen=True, kw_only=True):
    """The latest champion forecast of one open market, the quote it was made against, by whom."""

    id: str
    venue: str
    market: str
    series: str
    underlying: str
    at: str
    close: str
    p: float
    p_raw: float
    base_p: float
    bid_usd: float | None
    ask_usd: float | None
    bundle: str
    feature_hash: str
    is_fallback: bool


def model_page(serving: Serving, contract: Contract) -> ModelPage:
    """Describe what serves."""
    bundle, activation = serving.scorer.bundle, serving.activation
    return ModelPage(
        bundle=bundle.id,
        generation=serving.generation,
        is_fallback=bundle.is_fallback,
        rung=bundle.formula.rung,
        calibration=bundle.formula.calibration.kind,
        reason=activation.reason if activation is not None else None,
        since=rfc3339(serving.since_ns),
        data_end=rfc3339(bundle.manifest.data_end_ns) if bundle.manifest is not None else None,
        feature_set=contract.feature_set,
        feature_names=contract.feature_names,
    )


def market_lines(places: Iterable[Place]) -> list[MarketLine]:
    """Describe the open markets."""
    return [_market_line(place.row) for place in places]


def forecast_lines(places: Iterable[Place]) -> list[ForecastLine]:
    """Describe the latest forecasts."""
    return [_forecast_line(place.forecast) for place in places if place.forecast is not None]


def rfc3339(ts_ns: int) -> str:
    """Write ns UTC as RFC 3339 with as many digits of a second as it has.

    >>> rfc3339(1778544000000000000), rfc3339(1778544000250000000)
    ('2026-05-12T00:00:00Z', '2026-05-12T00:00:00.25Z')
    """
    text = datetime.fromtimestamp(ts_ns // _NS, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    part = f".{ts_ns % _NS:09d}".rstrip("0").rstrip(".")
    return f"{text}{part}Z"


def _market_line(row: FeatureRow) -> MarketLine:
    return MarketLine(
        venue=row.venue,
        market=row.market,
        series=row.series,
        underlying=row.underlying,
        open=rfc3339(row.open_ns),
        close=rfc3339(row.close_ns),
        at=rfc3339(row.ts_ns),
        bid_usd=_usd(row.bid_e4),
        ask_usd=_usd(row.ask_e4),
        unusable=row.unusable,
    )


def _forecast_line(made: Forecast) -> ForecastLine:
    return ForecastLine(
        id=made.id,
        venue=made.venue,
        market=made.market,
        series=made.series,
        underlying=made.underlying,
        at=rfc3339(made.ts_ns),
        close=rfc3339(made.close_ns),
        p=made.p,
        p_raw=made.p_raw,
        base_p=made.base_p,
        bid_usd=_usd(made.bid_e4),
        ask_usd=_usd(made.ask_e4),
        bundle=made.bundle,
        feature_hash=made.feature_hash,
        is_fallback=made.is_fallback,
    )


def _usd(price_e4: int | None) -> float | None:
    return None if price_e4 is None else price_e4 / 10_000
