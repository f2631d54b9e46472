"""The feature set that this version makes and serves: its id, and the names in order.

The table of features belongs to `services.features`, which the predictor may not import, yet it
must refuse a bundle made for other features *before* the first row has come, and an HTTP client
needs the names while the base model still serves. So the contract is pinned here, and
tests/common/test_feature_set.py holds it against the table.

The decision to question is a second place to touch when a feature changes. What a running predictor
sees in the stream was refused as the only source: it is unknown until a row has come. It is the
second lock (`Scorer.fits`), for the hours in which services of two versions run side by side.
"""

FEATURE_SET = "27bc271ad9c446f8"
"""Id of the table of features: a hash of names, units, versions and formulas."""

FEATURE_NAMES: tuple[str, ...] = (
    "distance_sd",
    "fair_value",
    "fair_value_gap",
    "vol_15m",
    "vol_60m",
    "vol_short",
    "vol_ratio",
    "vol_trend",
    "momentum_5s",
    "momentum_15s",
    "momentum_60s",
    "momentum_300s",
    "spot_spread_bp",
    "spot_imbalance",
    "spot_depth_imbalance",
    "spot_microprice_offset_bp",
    "taker_flow_15s",
    "taker_flow_60s",
    "mid",
    "spread",
    "imbalance",
    "depth_imbalance",
    "depth_near",
    "microprice_offset",
    "mid_change_15s",
    "mid_change_60s",
    "last_trade_offset",
    "time_left_s",
    "log_time_left",
    "life_elapsed",
    "day_sin",
    "day_cos",
    "spot_age_s",
    "quote_age_s",
    "basis_bp",
    "basis_deviation_bp",
)
"""The features in the order of columns."""
