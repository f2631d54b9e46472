"""Folds side by side: the one place that starts processes.

In go a dataset, its folds and the canary's labels, out come the folds' results in order. Folds are
independent and every fit runs on one thread, so one worker and many give the same bytes; workers
get arrays and return values. Processes are spawned: a fork would copy LightGBM's thread state.
Threads were refused: LightGBM promises nothing about two trainings in one process.
"""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from libs.common.scoring import FloatArray
from services.trainer.dataset import Dataset
from services.trainer.splits import Fold
from services.trainer.trees import TrainingError
from services.trainer.walk import RESIDUAL_WINDOWS_MIN, FoldResult, walk_fold

WORKERS_MAX = 8
"""Each worker holds a fold's rows twice; more folds than this are never cut."""

PARALLEL_ROWS_MIN = 40_000
"""Fewer rows fit faster than a worker imports LightGBM (2-4 s)."""


def run_folds(
    dataset: Dataset, folds: Sequence[Fold], labels: FloatArray, *, workers: int
) -> tuple[FoldResult, ...]:
    """Run `walk_fold` on each fold, in processes where that pays.

    Raises `TrainingError` if a fit fails or a worker dies.
    """
    pays = len(dataset) >= PARALLEL_ROWS_MIN and dataset.windows() >= RESIDUAL_WINDOWS_MIN
    if workers < 2 or not pays:
        return tuple(walk_fold(*_work(dataset, fold, labels)) for fold in folds)
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(min(workers, WORKERS_MAX, len(folds)), context) as pool:
            # Longest first: train sets grow with time, and the last to start should be short.
            pending = [
                pool.submit(walk_fold, *_work(dataset, fold, labels)) for fold in reversed(folds)
            ]
            return tuple(work.result() for work in reversed(pending))
    except BrokenProcessPool as error:
        raise TrainingError("a worker died (out of memory?); its folds were not scored") from error


def _work(dataset: Dataset, fold: Fold, labels: FloatArray) -> tuple[Dataset, Dataset, FloatArray]:
    return dataset.take(fold.train), dataset.take(fold.test), labels[fold.train]
