"""Trees: whatever passes the check loads and predicts finite numbers; it never kills a process."""

import random
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from libs.common.checks import BundleError
from libs.common.trees import LEAF_VALUE_MAX, check_trees, served_text
from tests.common.forest import FEATURES, model_text, rows
from tests.common.mutations import fit_sizes, mutate

MUTATIONS = 900

SERVE = """
import sys, msgspec, numpy as np, lightgbm
from services.predictor.native import row_scorer
from tests.common.forest import FEATURES, rows
matrix = rows(20, seed=9)
for number, text in msgspec.json.decode(open(sys.argv[1], "rb").read()):
    print(number, flush=True)
    whole = lightgbm.Booster(model_str=text).predict(matrix, raw_score=True, num_threads=1)
    score = row_scorer(text, len(FEATURES))
    single = [score(row) for row in matrix.tolist()]
    assert np.isfinite(whole).all(), "not finite"
    assert single == whole.tolist(), "single row differs"
print("done")
"""


def served_by_child(tmp_path: Path, texts: dict[int, str]) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "texts.json"
    path.write_bytes(msgspec.json.encode(list(texts.items())))
    command = [sys.executable, "-c", SERVE, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.slow
def test_whatever_passes_the_check_predicts_and_never_kills_the_process(tmp_path: Path) -> None:
    accepted: dict[int, str] = {}
    originals = (model_text(), model_text(trees=2, leaves=2))
    for number in range(MUTATIONS):
        chance = random.Random(number)
        text = mutate(chance.choice(originals), chance)
        try:
            check_trees(text, FEATURES)
        except BundleError:
            continue
        accepted[number] = served_text(text)
    # A changed digit is a different, valid model: hashes are what refuses those.
    assert 10 < len(accepted) < MUTATIONS / 3
    done = served_by_child(tmp_path, accepted)
    assert done.returncode == 0, (done.returncode, done.stdout[-100:], done.stderr[-600:])
    assert done.stdout.splitlines()[-1] == "done"


@pytest.mark.parametrize(("trees", "leaves"), [(1, 2), (4, 4), (30, 7), (3, 31)])
def test_what_lightgbm_writes_passes(trees: int, leaves: int) -> None:
    assert check_trees(model_text(trees, leaves), FEATURES) == trees


def test_a_model_that_splits_on_missing_values_passes() -> None:
    assert any("inf" in line for line in model_text().splitlines() if line.startswith("threshold="))


def test_a_model_without_a_split_passes() -> None:
    import lightgbm

    matrix = np.zeros((40, len(FEATURES)))
    train = lightgbm.Dataset(matrix, np.arange(40) % 2, feature_name=list(FEATURES))
    settings = {"objective": "binary", "verbosity": -1, "num_threads": 1}
    text = lightgbm.train(settings, train, 3).model_to_string()
    assert check_trees(text, FEATURES) >= 1
    assert np.isfinite(lightgbm.Booster(model_str=served_text(text)).predict(matrix)).all()


def test_what_is_served_predicts_the_same_bits_as_the_whole_text() -> None:
    import lightgbm

    text, matrix = model_text(), rows(300, seed=8)
    whole, served = (lightgbm.Booster(model_str=t) for t in (text, served_text(text)))
    assert (whole.predict(matrix, raw_score=True) == served.predict(matrix, raw_score=True)).all()


def changed(key: str, at: int, value: str) -> str:
    """Return the model with the number `at` of the first line `key` replaced, sizes made to fit."""
    lines = model_text().split("\n")
    i = next(i for i, line in enumerate(lines) if line.startswith(f"{key}="))
    tokens = lines[i].partition("=")[2].split(" ")
    tokens[at] = value
    lines[i] = f"{key}={' '.join(tokens)}"
    return fit_sizes("\n".join(lines))


@pytest.mark.parametrize(
    ("key", "at", "value"),
    [
        ("left_child", 0, "0"),  # a tree that bites its tail loops for ever
        ("left_child", 0, "99"),
        ("left_child", 0, "-99"),
        ("right_child", 0, "-1"),  # a leaf reached twice
        ("left_child", 0, "1.0"),
        ("split_feature", 0, "4"),
        ("split_feature", 0, "-1"),
        ("split_feature", 0, "1_0"),
        ("decision_type", 0, "1"),
        ("decision_type", 0, "12"),
        ("decision_type", 0, "300"),
        ("threshold", 0, "nan"),
        ("threshold", 0, "-inf"),
        ("threshold", 0, "1e999"),
        ("leaf_value", 0, "nan"),
        ("leaf_value", 0, "inf"),
        ("leaf_value", 0, f"{LEAF_VALUE_MAX * 2:.0f}"),
        ("leaf_value", 0, ""),
        ("leaf_value", 0, "0 0"),
        ("leaf_count", 0, "0 0"),
        ("leaf_weight", 0, "x"),
        ("split_gain", 0, "x"),
        ("internal_value", 0, "1 2"),
        ("internal_weight", 0, ""),
        ("internal_count", 0, "1.5"),
        ("shrinkage", 0, "x"),
        ("num_leaves", 0, "3"),
        ("num_leaves", 0, "100000"),
        ("num_leaves", 0, "0"),
        ("num_cat", 0, "1"),
        ("is_linear", 0, "1"),
        ("Tree", 0, "1"),
        ("version", 0, "v3"),
        ("num_class", 0, "2"),
        ("num_tree_per_iteration", 0, "2"),
        ("label_index", 0, "x"),
        ("max_feature_idx", 0, "9"),
        ("objective", 0, "regression"),
        ("objective", 1, "sigmoid:-1"),
        ("feature_names", 0, "other"),
        ("feature_infos", 0, "[0:x]"),
        ("feature_infos", 0, "none none"),
    ],
)
def test_each_fault_of_structure_is_refused_by_name(key: str, at: int, value: str) -> None:
    with pytest.raises(BundleError, match=r"model\.txt") as caught:
        check_trees(changed(key, at, value), FEATURES)
    assert "\n" not in str(caught.value)


def test_nodes_that_only_lead_to_each_other_are_refused() -> None:
    text = model_text()
    for side in ("left", "right"):
        line = next(x for x in text.splitlines() if x.startswith(f"{side}_child="))
        text = text.replace(line, f"{side}_child=1 2 0", 1)
    with pytest.raises(BundleError, match="tree 0: bad child"):
        check_trees(fit_sizes(text), FEATURES)


def test_sizes_that_are_not_the_byte_lengths_are_refused() -> None:
    text = model_text()
    line = next(line for line in text.splitlines() if line.startswith("tree_sizes="))
    first, second, *rest = (int(size) for size in line.partition("=")[2].split(" "))
    for sizes in ([first + 1, second - 1, *rest], [first, second], [first + second, *rest], []):
        damaged = text.replace(line, "tree_sizes=" + " ".join(map(str, sizes)))
        with pytest.raises(BundleError):
            check_trees(damaged, FEATURES)


def test_too_many_trees_and_too_large_a_text_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from libs.common import trees

    monkeypatch.setattr(trees, "TREES_MAX", 3)
    with pytest.raises(BundleError, match="limit 3"):
        check_trees(model_text(), FEATURES)
    monkeypatch.setattr(trees, "MODEL_BYTES_MAX", 100)
    with pytest.raises(BundleError, match="larger"):
        check_trees(model_text(), FEATURES)


@pytest.mark.parametrize("names", [FEATURES[::-1], FEATURES[1:], (*FEATURES, "z"), ()])
def test_other_features_or_another_order_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(BundleError, match="feature names"):
        check_trees(model_text(), names)
