"""FEATURES: the one table of features, its id, and the page docs/features.md.

One line per feature: name (final: it is a column of the archive), formula, unit, where the idea
comes from, why it should matter, version. To add a feature, write its function in `definitions` and
its line here; to change a formula, raise its version. Either changes `FEATURE_SET`, and a predictor
refuses bundles made for another id: a number under an old name must never mean something new.

`python -m services.features.catalog` prints the page.
"""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import NamedTuple

from libs.common.events import event_id
from libs.common.ops import Ops, Value
from services.features import definitions as d
from services.features.inputs import Inputs


class Feature(NamedTuple):
    """One feature; `function` is pure over `definitions.Known` and NaN where an input is missing.

    The first line of the function's docstring, less "Return", is the formula.
    """

    name: str
    function: Callable[[d.Known, Ops], Value]
    unit: str
    source: str
    why: str
    version: int = 1

    @property
    def formula(self) -> str:
        """Return the formula in words and symbols."""
        text = (self.function.__doc__ or "").splitlines()[0]
        return text.removeprefix("Return ").removesuffix(".")


_SD = "standard deviations"
_SHARE = "ratio in [-1, 1]"
_PER_S = "per sqrt s"
_RULES = "settlement rules of Kalshi and Polymarket"
_GOULD = "Gould & Bonart 2016"
_STOIKOV = "Stoikov 2018"
_FLOW = "Silantyev 2019"

# One line per feature; the order is the order of columns in rows, models and files.
FEATURES: tuple[Feature, ...] = (
    Feature("distance_sd", d.distance, _SD, _RULES, "the sufficient statistic of a Gaussian walk"),
    Feature("fair_value", d.fair_value, "probability", _RULES, "what spot alone says about YES"),
    Feature("fair_value_gap", d.fair_value_gap, "logit", _RULES, "spot against the market's view"),
    Feature("vol_15m", d.vol_15m, _PER_S, "realised volatility", "scale of what can still happen"),
    Feature("vol_60m", d.vol_60m, _PER_S, "realised volatility", "the same, less noisy, slower"),
    Feature("vol_short", d.vol_short, _PER_S, "realised volatility", "reacts within a minute"),
    Feature("vol_ratio", d.vol_ratio, "ratio", "realised volatility", "bounce or smoothing of S"),
    Feature("vol_trend", d.vol_trend, "ratio", "volatility clusters", "rising or calming market"),
    Feature("momentum_5s", d.momentum_5s, _SD, "index lag", "news the index has not averaged yet"),
    Feature("momentum_15s", d.momentum_15s, _SD, "index lag", "news the quotes may still lack"),
    Feature("momentum_60s", d.momentum_60s, _SD, "index lag", "a minute is the settlement window"),
    Feature("momentum_300s", d.momentum_300s, _SD, "trend or reversion", "drift the walk denies"),
    Feature("spot_spread_bp", d.spot_spread_bp, "bp", "microstructure", "noise of S; stress"),
    Feature("spot_imbalance", d.spot_imbalance, _SHARE, _GOULD, "predicts the next mid move"),
    Feature("spot_depth_imbalance", d.spot_depth_imbalance, _SHARE, _GOULD, "the same, deeper"),
    Feature("spot_microprice_offset_bp", d.spot_microprice_offset_bp, "bp", _STOIKOV, "better S"),
    Feature("taker_flow_15s", d.taker_flow_15s, _SHARE, _FLOW, "signed pressure beats the book"),
    Feature("taker_flow_60s", d.taker_flow_60s, _SHARE, _FLOW, "the same, slower"),
    Feature("mid", d.mid, "probability", "market efficiency", "strongest single predictor"),
    Feature("spread", d.spread, "USD", "microstructure", "how sure the mid is"),
    Feature("imbalance", d.imbalance, _SHARE, _GOULD, "predicts the next move of the mid"),
    Feature("depth_imbalance", d.depth_imbalance, _SHARE, _GOULD, "the same, deeper"),
    Feature("depth_near", d.depth_near, "contracts", "tapered ticks", "money behind the mid"),
    Feature("microprice_offset", d.microprice_offset, "USD", _STOIKOV, "mid weighted by size"),
    Feature("mid_change_15s", d.mid_change_15s, "USD", "momentum", "under- or over-reaction"),
    Feature("mid_change_60s", d.mid_change_60s, "USD", "momentum", "under- or over-reaction"),
    Feature("last_trade_offset", d.last_trade_offset, "USD", "microstructure", "who paid up last"),
    Feature("time_left_s", d.time_left_s, "s", "market", "every error scales with it"),
    Feature("log_time_left", d.log_time_left, "ln(min)", "market", "weight of the fair-value gap"),
    Feature("life_elapsed", d.life_elapsed, "share", "market", "comparable across 5m, 15m, 1h"),
    Feature("day_sin", d.day_sin, _SHARE, "intraday seasonality", "volatility has a clock"),
    Feature("day_cos", d.day_cos, _SHARE, "intraday seasonality", "volatility has a clock"),
    Feature("spot_age_s", d.spot_age_s, "s", "random walk", "old spot is uncertain spot"),
    Feature("quote_age_s", d.quote_age_s, "s", "collector", "an old book is an old opinion"),
    Feature("basis_bp", d.basis_bp, "bp", "strike - own average", "spot is not the index"),
    Feature("basis_deviation_bp", d.basis_deviation_bp, "bp", "settlement feed", "basis reverts"),
)

NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)

FEATURE_SET: str = event_id(
    "feature-set",
    *(part for f in FEATURES for part in (f.name, f.unit, f.version, f.formula)),
)
"""Id of the table: names in order, units, versions, formulas."""

_COLUMNS = tuple((feature.name, feature.function) for feature in FEATURES)


def compute(inputs: Inputs, ops: Ops) -> dict[str, Value]:
    """Return every feature of a row (floats) or of a column of rows; not finite means missing."""
    known = d.know(inputs, ops)
    return {name: function(known, ops) for name, function in _COLUMNS}


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Return the values of one row as a `FeatureRow` has them: missing is None.

    >>> finite({"mid": 0.5, "spread": float("nan")})
    {'mid': 0.5, 'spread': None}
    """
    return {name: value if isfinite(value) else None for name, value in values.items()}


def page() -> str:
    """Return docs/features.md: formula, unit, source and reason of every feature."""
    lines = [
        "# Features",
        "",
        "Made by `python -m services.features.catalog`; do not edit. One row per quote snapshot; "
        "a value whose input is missing is missing, never a default.",
        "",
        f"Feature set `{FEATURE_SET}`, {len(FEATURES)} features, in the order of columns.",
        "",
        "S is the settlement index where it is fresh, else the spot venue's mid, else its last "
        "trade; M and V are mean and variance of the settlement value (docs/model.md), B the "
        "basis, K the strike, tau the time left, sigma volatility per square-root second; Qbid "
        "and Qask are sizes at the touch.",
        "",
        "| feature | formula | unit | source | why it should matter | version |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{f.name}` | {f.formula} | {f.unit} | {f.source} | {f.why} | {f.version} |"
        for f in FEATURES
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
