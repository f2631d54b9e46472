"""Signed bundles without trees, made in milliseconds, whose answers are known."""

from pathlib import Path

from libs.common import bundle, keys
from libs.common.bundle import Manifest, ProbeRow, formula_files
from libs.common.model import Anchor, Formula, forecast
from libs.common.rows import FAIR_VALUE, MID, TIME_LEFT
from services.features.catalog import FEATURE_SET, FEATURES

SERIES = "KXBTC15M"


def write_anchored(root: Path, *, gap: float) -> str:
    """Write a bundle that leans from the mid towards fair value by `gap`; return its id."""
    formula = Formula(rung="anchored", anchor=Anchor(gap=gap))
    names = tuple(feature.name for feature in FEATURES)
    manifest = Manifest(
        version=bundle.MANIFEST_VERSION,
        feature_set=FEATURE_SET,
        feature_names=names,
        series=(SERIES,),
        rung="anchored",
        calibration="identity",
        data_start_ns=0,
        data_end_ns=1,
        rows=1,
        markets=1,
        windows=1,
        blocks=1,
        scores={},
        libraries={},
        probe=tuple(_probe(formula, names, mid) for mid in (0.2, 0.5, 0.7)),
    )
    key = keys.signing_key(root)
    return bundle.write_bundle(root, key, manifest, formula_files(formula, None))


def _probe(formula: Formula, names: tuple[str, ...], mid: float) -> ProbeRow:
    known = {MID: mid, FAIR_VALUE: 0.6, TIME_LEFT: 300.0}
    values = tuple(known.get(name) for name in names)
    found = forecast(formula, SERIES, mid=mid, fair_value=0.6, time_left_s=300.0, residual=0.0)
    assert found is not None
    return ProbeRow(series=SERIES, values=values, p_raw=found.p_raw, p=found.p)
