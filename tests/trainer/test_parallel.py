"""Processes change the time a run takes and nothing else."""

import os

import numpy as np
import pytest

from services.trainer import parallel
from services.trainer.assemble import assemble
from services.trainer.parallel import run_folds
from services.trainer.splits import walk_forward
from services.trainer.trees import TrainingError
from tests.trainer.synthetic import Plan, tables


@pytest.fixture(scope="module")
def dataset():
    return assemble(*tables(Plan(windows=2_100, rows=2, edge=0.5, noise=1))).dataset


def test_two_processes_give_what_one_gives(dataset, monkeypatch):
    monkeypatch.setattr(parallel, "PARALLEL_ROWS_MIN", 1)
    folds = walk_forward(dataset)
    alone, together = (run_folds(dataset, folds, dataset.y, workers=n) for n in (1, 2))
    for one, two in zip(alone, together, strict=True):
        assert one.models == two.models
        assert one.loose.tolist() == two.loose.tolist()
        for rung in one.forecasts:
            assert one.forecasts[rung].p.tolist() == two.forecasts[rung].p.tolist()


def die(*_):
    os._exit(9)


def test_a_worker_that_dies_is_a_training_error(dataset, monkeypatch):
    monkeypatch.setattr(parallel, "PARALLEL_ROWS_MIN", 1)
    monkeypatch.setattr(parallel, "walk_fold", die)
    with pytest.raises(TrainingError, match="a worker died"):
        run_folds(dataset, walk_forward(dataset), dataset.y, workers=2)


def test_few_rows_start_no_process(dataset, monkeypatch):
    monkeypatch.setattr(parallel, "ProcessPoolExecutor", None)
    folds = walk_forward(dataset)[:1]
    assert len(run_folds(dataset, folds, np.zeros(len(dataset)), workers=2)) == 1
