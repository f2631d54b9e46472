"""The features of `services.features` in straightforward pandas: reference of `features.py`.

Written as one would in a notebook, with merge_asof, rolling and groupby, for data like the
benchmark's: one underlying, one spot venue without settlement index, quotes and spot known at the
same instants, no gaps, less than a day. Prices and returns are rounded like Hawk's (1e-6 USD, 1e-9
of log-price), so that values can be compared to 1e-9.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.special import erfc

from libs.common.columns import level_matrix
from services.features.basis import SHRINKAGE

S = 1_000_000_000
AVERAGE_RULES = ("mean60", "chainlink_twap60")
UNIT_USD = {"KXBTC15M": 0.01, "btc-updown-5m": 0.0, "updown-1h": 0.0}


class Frames(NamedTuple):
    """The three tables as frames, books flat: `bid_price_1 ... ask_size_5`."""

    markets: pd.DataFrame
    spot: pd.DataFrame
    quotes: pd.DataFrame


def frames(markets: pa.Table, spot: pa.Table, quotes: pa.Table) -> Frames:
    """Turn archive tables into frames: not timed, pandas users have such frames already."""
    lists = [name for name in quotes.column_names if name.startswith("yes_")]
    flat = quotes.drop_columns(lists).to_pandas()
    for name in lists:
        _, side, kind, _ = name.split("_")
        for level, column in enumerate(level_matrix(quotes.column(name)).T, start=1):
            flat[f"{side[:-1]}_{kind}_{level}"] = column.astype(float)
    return Frames(markets.to_pandas(), spot.to_pandas(), flat)


def reference_rows(tables: Frames, *, by_market: bool) -> pd.DataFrame:
    """Return one row per quote with a column per feature, in the order of `tables.quotes`.

    `by_market` treats one market after the other, as groupby invites to; without it all quotes go
    through the same functions at once, which pandas is several times faster at.
    """
    spot = _spot_features(tables.spot.copy())
    prints, markets = _prints(tables.spot), tables.markets.sort_values("ts_ns")
    known = _basis(markets, prints)
    if not by_market:
        return _rows(tables.quotes, markets, spot, known=known, prints=prints)
    parts = []
    for _, quotes in tables.quotes.groupby(["venue", "market"], sort=False):
        life = quotes["ts_ns"].iloc[0] - 130 * S, quotes["ts_ns"].iloc[-1]
        near = spot[spot["ts_ns"].between(*life)]
        own = prints[prints["print_ns"].between(*life)]
        parts.append(_rows(quotes, markets, near, known=known, prints=own))
    return pd.concat(parts).sort_values(["ts_ns", "seq"], ignore_index=True)


def _rows(
    quotes: pd.DataFrame,
    markets: pd.DataFrame,
    spot: pd.DataFrame,
    *,
    known: pd.DataFrame,
    prints: pd.DataFrame,
) -> pd.DataFrame:
    own = markets.drop(columns=["id", "seq", "underlying"])
    rows = pd.merge_asof(quotes, own, on="ts_ns", by=["venue", "market"])
    rows = pd.merge_asof(rows, spot, on="ts_ns", suffixes=("", "_spot"))
    rows = _with_basis(rows, known)
    rows = _settlement_features(rows, prints)
    rows = _market_features(rows)
    return _clock_features(rows)


def _ago(
    frame: pd.DataFrame, seconds: int, oldest: int, value: str, by: str | None = None
) -> pd.DataFrame:
    """Return `value` and its time as of `seconds` before each row, none older than `oldest`."""
    keys = [by] if by else []
    left = frame[["ts_ns", *keys]].assign(then_ns=frame["ts_ns"] - seconds * S)
    right = frame[["ts_ns", value, *keys]].rename(columns={"ts_ns": "found_ns"})
    return pd.merge_asof(
        left,
        right.assign(key_ns=right["found_ns"]),
        left_on="then_ns",
        right_on="key_ns",
        by=by,
        tolerance=(oldest - seconds) * S,
    )


def _spot_features(spot: pd.DataFrame) -> pd.DataFrame:
    spot["price"] = ((spot["bid_usd"] + spot["ask_usd"]) / 2).round(6)
    spot["log_e9"] = (np.log(spot["price"]) * 1e9).round()
    for name, seconds, oldest in (("long", 60, 130), ("short", 1, 5)):
        before = _ago(spot, seconds, oldest, "log_e9")
        spot[f"square_{name}"] = (spot["log_e9"] - before["log_e9"]) ** 2 // 1_000
        spot[f"time_{name}"] = (spot["ts_ns"] - before["found_ns"]).astype(float)
    timed = spot.set_index(pd.to_datetime(spot["ts_ns"]))
    for name, kind, window in (
        ("vol_15m", "long", "900s"),
        ("vol_60m", "long", "3600s"),
        ("vol_short", "short", "300s"),
    ):
        squares = timed[f"square_{kind}"].rolling(window).sum()
        times = timed[f"time_{kind}"].rolling(window).sum()
        spot[name] = (np.sqrt(squares / times) * 1e-3).to_numpy()
    for seconds, oldest in ((5, 10), (15, 30), (60, 130), (300, 370)):
        before = _ago(spot, seconds, oldest, "log_e9")
        elapsed = (spot["ts_ns"] - before["found_ns"]) / 1e9
        move = (spot["log_e9"] - before["log_e9"]) / 1e9
        spot[f"momentum_{seconds}s"] = move / (spot["vol_15m"] * np.sqrt(elapsed))
    for seconds in (15, 60):
        buy = timed["taker_buy_volume"].rolling(f"{seconds}s").sum()
        sell = timed["taker_sell_volume"].rolling(f"{seconds}s").sum()
        spot[f"taker_flow_{seconds}s"] = ((buy - sell) / (buy + sell)).to_numpy()
    spot["vol_ratio"] = spot["vol_short"] / spot["vol_15m"]
    spot["vol_trend"] = spot["vol_15m"] / spot["vol_60m"]
    bid, ask, mid = spot["bid_usd"], spot["ask_usd"], (spot["bid_usd"] + spot["ask_usd"]) / 2
    spot["spot_spread_bp"] = 1e4 * (ask - bid) / mid
    spot["spot_imbalance"] = _share(spot["bid_size"], spot["ask_size"])
    spot["spot_depth_imbalance"] = _share(spot["depth_bid"], spot["depth_ask"])
    micro = (ask * spot["bid_size"] + bid * spot["ask_size"]) / (
        spot["bid_size"] + spot["ask_size"]
    )
    spot["spot_microprice_offset_bp"] = 1e4 * (micro - mid) / mid
    spot["spot_ns"] = spot["ts_ns"]
    return spot.drop(columns=["id", "seq", "underlying", "flags", "age_ns"])


def _share(a: pd.Series, b: pd.Series) -> pd.Series:
    return (a - b) / (a + b)


def _prints(spot: pd.DataFrame) -> pd.DataFrame:
    """Return the price at every whole second, and its running sum."""
    first, last = spot["ts_ns"].iloc[0] // S + 1, spot["ts_ns"].iloc[-1] // S
    grid = pd.DataFrame({"print_ns": np.arange(first, last + 1) * S})
    seen = spot.assign(price=((spot["bid_usd"] + spot["ask_usd"]) / 2).round(6))
    grid = pd.merge_asof(grid, seen[["ts_ns", "price"]], left_on="print_ns", right_on="ts_ns")
    grid["running"] = (grid["price"] * 1e6).round().astype(np.int64).cumsum()
    grid["minute"] = grid["running"].diff(60) / 60
    return grid[["print_ns", "minute", "running"]]


def _basis(markets: pd.DataFrame, prints: pd.DataFrame) -> pd.DataFrame:
    """Return count, mean and variance of strike - own minute over the last 20 windows."""
    struck = markets[markets["strike_usd"].notna()]
    struck = struck.merge(prints, left_on="open_ns", right_on="print_ns")
    struck["difference"] = np.floor(struck["strike_usd"] * 1e6 - struck["minute"] + 1e-4) / 1e6
    struck = struck[struck["difference"].notna()]
    last = struck.groupby("settlement_rule")["difference"].rolling(20, min_periods=3)
    stats = pd.DataFrame({"n": last.count(), "mean": last.mean(), "var": last.var()})
    struck = struck.join(stats.droplevel(0))
    return struck[["ts_ns", "settlement_rule", "n", "mean", "var"]].sort_values("ts_ns")


def _with_basis(rows: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    rows = pd.merge_asof(rows, known, on="ts_ns", by="settlement_rule")
    rows["basis"] = (rows["mean"] * rows["n"] / (rows["n"] + SHRINKAGE)).fillna(0.0)
    rows["basis_variance"] = (rows["var"] * (rows["n"] + 1) / rows["n"]).fillna(0.0)
    return rows


def _settlement_features(rows: pd.DataFrame, prints: pd.DataFrame) -> pd.DataFrame:
    """Add distance, fair value and its gap to the mid."""
    tau = (rows["close_ns"] - rows["ts_ns"]) / 1e9
    m = np.minimum(np.floor(tau) + 1, 60)
    grid = prints.set_index("print_ns")["running"]
    past = (rows["ts_ns"] // S * S).map(grid) - (rows["close_ns"] - 60 * S).map(grid)
    past = (past / 1e6).where(m < 60, 0.0)
    sigma = np.sqrt((rows["vol_15m"] ** 2 + rows["vol_60m"] ** 2) / 2)
    sigma = np.maximum(sigma.fillna(rows["vol_15m"]), 1e-5) * rows["price"]
    age = (rows["ts_ns"] - rows["spot_ns"]) / 1e9
    phi = tau - (m - 1)
    late = (phi * m**2 + (m - 1) * m * (2 * m - 1) / 6) / 3600
    seconds = np.where(tau >= 60, tau - 59 + 70_210 / 3_600, late) + (m / 60) ** 2 * age
    is_average = rows["settlement_rule"].isin(AVERAGE_RULES)
    spot_b = rows["price"] + rows["basis"]
    mean = ((past + (60 - m) * rows["basis"] + m * spot_b) / 60).where(is_average, spot_b)
    variance = sigma**2 * np.where(is_average, seconds, tau + age) + rows["basis_variance"]
    boundary = rows["strike_usd"] - rows["series"].map(UNIT_USD) / 2
    rows["distance_sd"] = (mean - boundary) / np.sqrt(variance)
    rows["fair_value"] = 0.5 * erfc(-rows["distance_sd"] / np.sqrt(2))
    rows["mid"] = (rows["bid_price_1"] + rows["ask_price_1"]) / 20_000
    rows["fair_value_gap"] = _logit(rows["fair_value"]) - _logit(rows["mid"])
    rows["spot_age_s"] = age
    rows["basis_bp"] = 1e4 * rows["basis"] / rows["price"]
    rows["basis_deviation_bp"] = np.nan
    return rows


def _logit(p: pd.Series) -> pd.Series:
    clipped = p.clip(0.001, 0.999)
    return np.log(clipped / (1 - clipped))


def _market_features(rows: pd.DataFrame) -> pd.DataFrame:
    """Add what the market's own book says."""
    bid, ask = rows["bid_price_1"], rows["ask_price_1"]
    bids = [f"bid_size_{i}" for i in range(1, 6)]
    asks = [f"ask_size_{i}" for i in range(1, 6)]
    rows["spread"] = (ask - bid) / 1e4
    rows["imbalance"] = _share(rows["bid_size_1"], rows["ask_size_1"])
    rows["depth_imbalance"] = _share(rows[bids].sum(axis=1), rows[asks].sum(axis=1))
    rows["depth_near"] = 0.0
    for i in range(1, 6):
        near_bid = rows[f"bid_price_{i}"] >= bid - 200
        near_ask = rows[f"ask_price_{i}"] <= ask + 200
        rows["depth_near"] += rows[f"bid_size_{i}"].where(near_bid, 0.0) / 100
        rows["depth_near"] += rows[f"ask_size_{i}"].where(near_ask, 0.0) / 100
    top = rows["bid_size_1"] + rows["ask_size_1"]
    micro = (ask * rows["bid_size_1"] + bid * rows["ask_size_1"]) / top
    rows["microprice_offset"] = micro / 1e4 - rows["mid"]
    for seconds, oldest in ((15, 30), (60, 130)):
        before = _ago(rows, seconds, oldest, "mid", by="market")
        rows[f"mid_change_{seconds}s"] = rows["mid"] - before["mid"]
    rows["last_trade_offset"] = rows["last_price_e4"] / 1e4 - rows["mid"]
    rows["quote_age_s"] = rows["age_ns"] / 1e9
    return rows


def _clock_features(rows: pd.DataFrame) -> pd.DataFrame:
    """Add time left and time of day."""
    rows["time_left_s"] = (rows["close_ns"] - rows["ts_ns"]) / 1e9
    rows["log_time_left"] = np.log(np.maximum(rows["time_left_s"], 1.0) / 60)
    life = rows["close_ns"] - rows["open_ns"]
    rows["life_elapsed"] = (rows["ts_ns"] - rows["open_ns"]) / life
    angle = (rows["ts_ns"] % (86_400 * S)) / 1e9 * (2 * np.pi / 86_400)
    rows["day_sin"], rows["day_cos"] = np.sin(angle), np.cos(angle)
    return rows
