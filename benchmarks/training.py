"""What does a training run cost beside its LightGBM fits, and do two processes pay?

`python -m benchmarks.training --json` prints one line per bar. The input is synthetic and seeded:
10,000 windows of 13 rows and 30 features (130k rows), with bends planted in the quotes that are
strong enough for early stopping to let most fits grow towards 300 trees; six folds.

Bar 1: the whole run (tables to report: dataset, folds, ladder, calibration, canaries, gate, final
fit, scores, pictures) on one process, divided by the summed time of the LightGBM fits it makes,
each repeated bare (`lgb.Dataset` + `lgb.train`, nothing else) on the very same arguments, right
before or after the run's own fit in turn, so that a busy machine slows both alike. Bar 2: the folds
in two processes, start of the processes included, divided by the same folds in one. LightGBM is
imported before the clock starts. Not shown: reading the archive, or writing the bundle (the
console's part), and a run too small for trees, where the fixed parts are all there is.
"""

import time
from typing import Any

import lightgbm as lgb
import numpy as np
import pyarrow as pa

from benchmarks.common import bar, interleaved, ratio, report
from libs.common.rows import FEATURE_SET_KEY, ROW_COLUMNS
from services.trainer import trees
from services.trainer.assemble import assemble
from services.trainer.canaries import shuffled_labels
from services.trainer.evidence import TrainingHistory
from services.trainer.gate import GatePolicy
from services.trainer.parallel import run_folds
from services.trainer.shell import Effort, train
from services.trainer.splits import walk_forward

SEED = 20_260_512
WINDOWS, ROWS_PER_WINDOW, FEATURES, FOLDS = 10_000, 13, 30, 6
BEND_LOGITS = 1.5
ROUNDS = 2
OVERHEAD_MAX, PARALLEL_MAX = 1.10, 0.85
START_NS, LIFE_S, SECOND_NS = 1_760_000_400_000_000_000, 900, 1_000_000_000


class Repeater:
    """Stands in for `trees.fit_trees`: makes each fit, and repeats it bare in turn before or after.

    `bare_s` and `own_s` sum the seconds of the bare and of the run's own fits.
    """

    def __init__(self) -> None:
        self.fit_trees = trees.fit_trees
        self.bare_s = self.own_s = 0.0
        self.fits = 0

    def __call__(self, fit: trees.TreeFit) -> str:
        """Make one fit for the run, and once more for the clock."""
        self.fits += 1
        if self.fits % 2:
            self.repeat(fit)
        began_s = time.perf_counter()
        text = self.fit_trees(fit)
        self.own_s += time.perf_counter() - began_s
        if not self.fits % 2:
            self.repeat(fit)
        return text

    def repeat(self, fit: trees.TreeFit) -> None:
        """Time the bare fit; its parameters are worked out before the clock starts."""
        settings = trees.parameters(fit)
        began_s = time.perf_counter()
        bare_fit(fit, settings)
        self.bare_s += time.perf_counter() - began_s


def main() -> None:
    """Print the bars."""
    rows, resolutions = tables()
    runs = [measured_run(rows, resolutions) for _ in range(ROUNDS)]
    overheads = [run["seconds"] / run["bare_s"] for run in runs]
    dataset = assemble(rows, resolutions).dataset
    if dataset is None:
        raise SystemExit("the benchmark's own rows could not be assembled")
    folds = walk_forward(dataset, folds=FOLDS)
    labels = shuffled_labels(dataset, np.random.default_rng(SEED))
    together, alone = interleaved(
        [
            lambda: run_folds(dataset, folds, labels, workers=2),
            lambda: run_folds(dataset, folds, labels, workers=1),
        ],
        rounds=ROUNDS,
    )
    bars = [
        bar(
            "training_run_over_bare_fits",
            float(np.median(overheads)),
            limit=OVERHEAD_MAX,
            rounds=[round(v, 4) for v in overheads],
            seed=SEED,
            **runs[-1],
        ),
        bar(
            "folds_in_two_processes_over_one",
            ratio(together, alone),
            limit=PARALLEL_MAX,
            two_s=[round(v, 2) for v in together],
            one_s=[round(v, 2) for v in alone],
            seed=SEED,
        ),
    ]
    report(bars, note="whole training run against the LightGBM fits inside it; two cores needed")


def measured_run(rows: pa.Table, resolutions: pa.Table) -> dict[str, Any]:
    """Train once on one process; return its seconds without the repeats, and the bare fits'."""
    repeater = Repeater()
    trees.fit_trees = repeater
    try:
        began_s = time.perf_counter()
        outcome = train(
            rows,
            resolutions,
            history=TrainingHistory(),
            policy=GatePolicy(),
            effort=Effort(folds=FOLDS, workers=1),
        )
        total_s = time.perf_counter() - began_s
    finally:
        trees.fit_trees = repeater.fit_trees
    return {
        "seconds": round(total_s - repeater.bare_s, 2),
        "bare_s": round(repeater.bare_s, 2),
        "own_fits_s": round(repeater.own_s, 2),
        "fits": repeater.fits,
        "rows": outcome.findings.rows,
        "trees": outcome.findings.trees,
        "verdict": outcome.verdict.reason,
    }


def bare_fit(fit: trees.TreeFit, settings: dict[str, Any]) -> None:
    """Do what the fit asks with LightGBM alone."""
    train_rows = lgb.Dataset(
        fit.rows.features,
        fit.rows.y,
        weight=fit.rows.weight,
        init_score=fit.rows.init,
        params={"verbosity": -1, "max_bin": settings["max_bin"]},
    )
    if fit.stop_on is None:
        lgb.train(settings, train_rows, num_boost_round=fit.trees)
        return
    ahead = lgb.Dataset(
        fit.stop_on.features,
        fit.stop_on.y,
        weight=fit.stop_on.weight,
        init_score=fit.stop_on.init,
        reference=train_rows,
    )
    stopping = lgb.early_stopping(trees.PATIENCE, verbose=False)
    lgb.train(
        settings, train_rows, num_boost_round=fit.trees, valid_sets=[ahead], callbacks=[stopping]
    )


def tables() -> tuple[pa.Table, pa.Table]:
    """Return rows and resolutions: a logistic truth, and quotes that miss bends in features."""
    rng = np.random.default_rng(SEED)
    n = WINDOWS * ROWS_PER_WINDOW
    window = np.repeat(np.arange(WINDOWS), ROWS_PER_WINDOW)
    spread = rng.uniform(1.0, LIFE_S, (WINDOWS, ROWS_PER_WINDOW))
    left_s = np.sort(spread, axis=1)[:, ::-1].ravel()
    signal = rng.normal(0.0, 1.5, WINDOWS)[window]
    tilt = rng.normal(size=(WINDOWS, 3))[window]
    truth = 1.0 / (1.0 + np.exp(-signal))
    # Three bends, none of which alone is so telling that the leak detector would take it for one.
    bend = 0.7 * np.where(np.abs(tilt) > 1.0, 1.0, -0.5).sum(axis=1)
    features = {
        "mid": np.round(1.0 / (1.0 + np.exp(-(signal - BEND_LOGITS * bend))), 3),
        "fair_value": 1.0 / (1.0 + np.exp(-(signal + rng.normal(0.0, 2.0, n)))),
        "time_left_s": left_s,
        **{f"tilt_{i}": tilt[:, i] for i in range(3)},
    }
    for number in range(FEATURES - len(features)):
        features[f"noise_{number:02d}"] = rng.normal(size=n)
    close_ns = START_NS + (window + 1) * LIFE_S * SECOND_NS
    names = np.array([f"M{i:06d}" for i in range(WINDOWS)])
    columns = {
        "ts_ns": close_ns - (left_s * SECOND_NS).astype(np.int64),
        "venue": ["kalshi"] * n,
        "market": names[window].tolist(),
        "series": ["S15M"] * n,
        "underlying": ["BTC-USD"] * n,
        "open_ns": close_ns - LIFE_S * SECOND_NS,
        "close_ns": close_ns,
    }
    arrays = [_column(field, columns.get(field.name), n) for field in ROW_COLUMNS]
    arrays += [pa.array(values, pa.float64()) for values in features.values()]
    rows = pa.table(arrays, names=[*ROW_COLUMNS.names, *features])
    u = rng.random(WINDOWS)[window]
    first = np.unique(window, return_index=True)[1]
    resolutions = pa.table(
        {
            "ts_ns": pa.array(close_ns[first] + 60 * SECOND_NS, pa.int64()),
            "venue": ["kalshi"] * WINDOWS,
            "market": names.tolist(),
            "result": np.where(u < truth, "yes", "no")[first].tolist(),
            "source": ["venue"] * WINDOWS,
        }
    )
    return rows.replace_schema_metadata({FEATURE_SET_KEY: b"benchmark"}), resolutions


def _column(field: pa.Field, values: Any, n: int) -> pa.Array:
    if values is None:
        return pa.nulls(n, field.type)
    if pa.types.is_dictionary(field.type):
        return pa.array(values, pa.string()).dictionary_encode()
    return pa.array(values, field.type)


if __name__ == "__main__":
    main()
