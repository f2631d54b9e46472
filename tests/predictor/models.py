"""Bundles of the served feature set: true ones, and liars that are signed and look sound."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from libs.common import bundle, keys
from libs.common.bundle import Bundle, Manifest, ProbeRow, formula_files
from libs.common.events import FeatureRow, ModelEvent, event_id
from libs.common.feature_set import FEATURE_NAMES, FEATURE_SET
from libs.common.model import Anchor, Formula
from libs.common.rows import FAIR_VALUE, MID, TIME_LEFT
from libs.common.trees import served_text
from services.predictor.native import row_scorer
from services.predictor.probe import answers
from services.predictor.scorer import Scorer
from tests.common.mutations import fit_sizes

SERIES = "KXBTC15M"
PLACES = {name: place for place, name in enumerate(FEATURE_NAMES)}


def features(seed: int) -> dict[str, float | None]:
    """Return one row's values: a mid always, one other in five missing."""
    rng = np.random.default_rng(seed)
    values: dict[str, float | None] = {
        name: float(value) if rng.random() < 0.8 else None
        for name, value in zip(FEATURE_NAMES, rng.normal(size=len(FEATURE_NAMES)), strict=True)
    }
    known = {MID: rng.uniform(0.05, 0.95), FAIR_VALUE: rng.uniform(0.05, 0.95)}
    return values | {k: float(v) for k, v in known.items()} | {TIME_LEFT: 30.0 + seed}


@cache
def trees(seed: int) -> str:
    """Return the text of a small forest on the served features, different for each seed."""
    import lightgbm

    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(300, len(FEATURE_NAMES)))
    matrix[rng.random(matrix.shape) < 0.2] = np.nan
    y = (np.nan_to_num(matrix[:, PLACES[MID]]) + rng.normal(size=300) > 0).astype(float)
    settings = {
        "objective": "binary",
        "num_leaves": 6,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "boost_from_average": False,
        "verbosity": -1,
        "min_data_in_leaf": 5,
        "seed": seed,
    }
    names = list(FEATURE_NAMES)
    booster = lightgbm.train(settings, lightgbm.Dataset(matrix, y, feature_name=names), 3)
    return str(booster.model_to_string())


def formula(seed: int, *, has_trees: bool) -> Formula:
    """Return a formula that differs for each seed, with a bound that seldom binds."""
    rung = "residual" if has_trees else "anchored"
    return Formula(rung=rung, anchor=Anchor(gap=0.01 * seed), distance_max=1.0)  # type: ignore[arg-type]


def scorer(seed: int, *, has_trees: bool = False) -> Scorer:
    """Return what a predictor makes of the bundle of `seed`, made without one."""
    text = served_text(trees(seed)) if has_trees else None
    made = Bundle(id="none", formula=formula(seed, has_trees=has_trees), trees_text=text)
    return Scorer(made, row_scorer(text, len(FEATURE_NAMES)) if text is not None else None)


def probe(own: Scorer) -> tuple[ProbeRow, ...]:
    """Return probe rows with what `own` answers."""
    rows = [
        ProbeRow(series=SERIES, values=tuple(features(n).values()), p_raw=0, p=0) for n in (1, 2)
    ]
    found = answers(own, FEATURE_NAMES, rows)
    return tuple(
        msgspec.structs.replace(row, p_raw=answer[0], p=answer[1])
        for row, answer in zip(rows, found, strict=True)
        if answer is not None
    )


def manifest(rows: tuple[ProbeRow, ...], **changes: Any) -> Manifest:
    """Return a manifest of the served feature set."""
    plain = Manifest(
        version=bundle.MANIFEST_VERSION,
        feature_set=FEATURE_SET,
        feature_names=FEATURE_NAMES,
        series=(SERIES,),
        rung="residual",
        calibration="identity",
        data_start_ns=1,
        data_end_ns=2,
        rows=3,
        markets=4,
        windows=5,
        blocks=6,
        scores={},
        libraries={},
        probe=rows,
    )
    return msgspec.structs.replace(plain, **changes)


def write(
    root: Path, seed: int, *, has_trees: bool = False, text: str | None = None, **changes: Any
) -> str:
    """Write and sign the bundle of `seed`; `text` are other trees, `changes` of the manifest."""
    own = scorer(seed, has_trees=has_trees)
    chosen = text if text is not None else (trees(seed) if has_trees else None)
    files = formula_files(own.bundle.formula, chosen)
    return bundle.write_bundle(root, keys.signing_key(root), manifest(probe(own), **changes), files)


def activate(root: Path, bundle_id: str, *, reason: str = "test") -> ModelEvent:
    """Point `current` at a bundle and return the activation, unrecorded."""
    current = bundle.write_current(root, keys.signing_key(root), bundle_id=bundle_id, reason=reason)
    return ModelEvent(
        ts_ns=0,
        id=event_id("ModelEvent", "activated", bundle_id, current.generation),
        bundle=bundle_id,
        action="activated",
        reason=reason,
        cause="operator",
        generation=current.generation,
    )


def crashing(text: str) -> str:
    """Return trees at which LightGBM's parser ends the process: a leaf count that is a lie."""
    return fit_sizes(re.sub(r"(?m)^leaf_value=\S+ ", "leaf_value=", text, count=1))


def looping(text: str) -> str:
    """Return trees in which the first node is its own child: a walk has no end."""
    left = re.sub(r"(?m)^left_child=\S+", "left_child=0", text, count=1)
    return fit_sizes(re.sub(r"(?m)^right_child=\S+", "right_child=0", left, count=1))


def lying(text: str) -> str:
    """Return sound trees with other leaves: only the probe can tell."""

    def other(line: re.Match[str]) -> str:
        return "leaf_value=" + " ".join("0.77" for _ in line[1].split(" "))

    return fit_sizes(re.sub(r"(?m)^leaf_value=(.+)$", other, text))


def row(seed: int, *, ts_ns: int, underlying: str = "BTC-USD", **changes: Any) -> FeatureRow:
    """Return a feature row of an open market."""
    plain = FeatureRow(
        ts_ns=ts_ns,
        id=event_id("FeatureRow", underlying, seed, ts_ns),
        quote_id=event_id("QuoteSnapshot", underlying, seed, ts_ns),
        venue="kalshi",
        market=f"{underlying}-M{seed % 4}",
        series=SERIES,
        underlying=underlying,
        open_ns=ts_ns - 1,
        close_ns=ts_ns + 900_000_000_000,
        feature_set=FEATURE_SET,
        values=features(seed),
        bid_e4=4900,
        ask_e4=5100,
    )
    return msgspec.structs.replace(plain, **changes)
