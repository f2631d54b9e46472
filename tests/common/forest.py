"""A small real LightGBM model, trained once per session: two features that matter, one missing."""

from functools import cache

import numpy as np

FEATURES = ("mid", "fair_value", "time_left_s", "basis")


def rows(n: int, seed: int = 3) -> np.ndarray:
    """Return n rows of features: (n, 4) float64, a tenth of them NaN."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(n, len(FEATURES)))
    matrix[rng.random(matrix.shape) < 0.1] = np.nan
    return matrix


@cache
def model_text(trees: int = 4, leaves: int = 4) -> str:
    """Return LightGBM's text of a model that also splits on whether a value is missing."""
    import lightgbm

    matrix = rows(800)
    rng = np.random.default_rng(4)
    # Missing values carry news, so that a split of missing from known (threshold inf) occurs.
    drift = np.nan_to_num(matrix[:, 0]) + 3.0 * np.isnan(matrix[:, 3])
    y = (drift + rng.normal(size=len(matrix)) > 0.3).astype(float)
    settings = {
        "objective": "binary",
        "num_leaves": leaves,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "boost_from_average": False,
        "verbosity": -1,
        "min_data_in_leaf": 5,
        "seed": 1,
    }
    names = list(FEATURES)
    booster = lightgbm.train(settings, lightgbm.Dataset(matrix, y, feature_name=names), trees)
    return str(booster.model_to_string())
