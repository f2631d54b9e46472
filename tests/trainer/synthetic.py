"""Feature rows of invented markets, cheap to make: a martingale truth, quotes, planted faults.

Each window draws a Brownian path; its true probability at time s is Phi(x_s / sqrt(1 - s)) and the
result is the sign at the end, so truth is calibrated by construction. The quote is the truth, moved
by `edge` logits where the feature `a` is far from 0 (a bend no logistic stack can follow).
"""

from dataclasses import dataclass
from math import erf, sqrt

import numpy as np
import pyarrow as pa

from libs.common.rows import FEATURE_SET_KEY, ROW_COLUMNS

START_NS = 1_760_000_400_000_000_000  # a full hour
SECOND_NS = 1_000_000_000
FEATURE_SET = "synthetic"


@dataclass(frozen=True)
class Plan:
    """What to make: `edge` in logits, `rows` per market, `features` of pure noise."""

    windows: int = 200
    rows: int = 5
    edge: float = 0.0
    life_s: int = 900
    seed: int = 1
    noise: int = 3
    series: tuple[str, ...] = ("S15M",)
    strikes: int = 1


def tables(plan: Plan) -> tuple[pa.Table, pa.Table]:
    """Return the rows table and the resolutions of the planned markets."""
    rng = np.random.default_rng(plan.seed)
    markets = plan.windows * plan.strikes
    window = np.repeat(np.arange(plan.windows), plan.strikes)
    turn = window // len(plan.series)
    open_ns = START_NS + turn * plan.life_s * SECOND_NS
    close_ns = open_ns + plan.life_s * SECOND_NS
    left = np.sort(rng.uniform(1.0, plan.life_s, (markets, plan.rows)), axis=1)[:, ::-1]
    share = 1.0 - left / plan.life_s
    steps = np.diff(np.concatenate([np.zeros((markets, 1)), share], axis=1), axis=1)
    path = np.cumsum(rng.normal(size=steps.shape) * np.sqrt(steps), axis=1)
    end = path[:, -1] + rng.normal(size=markets) * np.sqrt(1.0 - share[:, -1])
    truth = _phi(path / np.sqrt(1.0 - share))
    a = np.repeat(rng.normal(size=(markets, 1)), plan.rows, axis=1)
    bend = np.where(np.abs(a) > 1.0, 1.0, -0.5)
    mid = np.round(_sigmoid(_logit(truth) - plan.edge * bend), 3)
    features = {
        "mid": mid.ravel(),
        "fair_value": _phi(
            (path + 0.2 * rng.normal(size=path.shape)) / np.sqrt(1.0 - share)
        ).ravel(),
        "time_left_s": left.ravel(),
        "a": a.ravel(),
    }
    for number in range(plan.noise):
        features[f"noise_{number}"] = rng.normal(size=mid.size)
    code = np.repeat(np.arange(markets), plan.rows)
    ts_ns = close_ns[code] - (left.ravel() * SECOND_NS).astype(np.int64)
    names = np.array([f"M{i:06d}" for i in range(markets)])
    series = np.array(plan.series)[window % len(plan.series)]
    columns = {
        "ts_ns": ts_ns,
        "venue": np.full(len(code), "kalshi"),
        "market": names[code],
        "series": series[code],
        "underlying": np.char.add(series, "-USD")[code],
        "open_ns": open_ns[code],
        "close_ns": close_ns[code],
    }
    order = np.argsort(ts_ns, kind="stable")
    rows = rows_table(
        {k: v[order] for k, v in columns.items()}, {k: v[order] for k, v in features.items()}
    )
    return rows, resolutions_table(names, np.where(end > 0, "yes", "no"), close_ns + 60 * SECOND_NS)


def rows_table(columns: dict[str, np.ndarray], features: dict[str, np.ndarray]) -> pa.Table:
    """Put columns and features into the contract's form; columns left out are null."""
    count = len(columns["ts_ns"])
    arrays = []
    for field in ROW_COLUMNS:
        values = columns.get(field.name)
        if values is None:
            arrays.append(pa.nulls(count, field.type))
        elif pa.types.is_dictionary(field.type):
            arrays.append(pa.array(values.tolist(), pa.string()).dictionary_encode())
        else:
            arrays.append(pa.array(values, field.type))
    arrays += [pa.array(v, pa.float64(), from_pandas=True) for v in features.values()]
    table = pa.table(arrays, names=[*ROW_COLUMNS.names, *features])
    return table.replace_schema_metadata({FEATURE_SET_KEY: FEATURE_SET.encode()})


def resolutions_table(
    markets: np.ndarray, results: np.ndarray, known_ns: np.ndarray, source: str = "venue"
) -> pa.Table:
    """Return resolutions as the archive gives them."""
    return pa.table(
        {
            "ts_ns": pa.array(known_ns, pa.int64()),
            "venue": ["kalshi"] * len(markets),
            "market": markets.tolist(),
            "result": results.tolist(),
            "source": [source] * len(markets),
        }
    )


def with_column(rows: pa.Table, name: str, values: np.ndarray) -> pa.Table:
    """Append a feature column."""
    return rows.append_column(name, pa.array(values, pa.float64(), from_pandas=True))


def _phi(x: np.ndarray) -> np.ndarray:
    return np.vectorize(lambda v: 0.5 * (1.0 + erf(v / sqrt(2.0))))(x)


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-4, 1.0 - 1e-4)
    return np.log(p / (1.0 - p))


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-z))
