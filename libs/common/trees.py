"""Check the structure of a LightGBM text model in pure Python, before LightGBM sees it.

LightGBM's own parser kills the process on most damaged inputs (78 % of 2,102 mutations), loops on
some and silently serves different numbers on others, so nothing is handed to it that this file has
not walked: counts agree, every child is in range, every node is reached exactly once, every number
is finite, tree sizes are the real byte lengths, feature names are the contract. Hashes and the
signature were checked before (`bundle.py`); this is the second of two locks.
"""

from itertools import pairwise
from math import isfinite

from libs.common.checks import BundleError

TREES_MAX = 5_000
"""Far above what any ladder here trains; a bound on the time of a check and of a forecast."""

MODEL_BYTES_MAX = 50 * 1024 * 1024
"""A model file above 50 MiB is refused unread."""

LEAVES_MAX = 1_024
"""Leaves per tree."""

_DECISION_TYPES = frozenset(range(16))
"""Numerical splits of LightGBM 4: missing type (0-3) x default direction; categorical refused."""


def check_trees(text: str, feature_names: tuple[str, ...]) -> int:
    """Check a model `text` for `feature_names` in order; return its number of trees.

    Raises `BundleError` that names the tree and what is wrong with it.
    """
    _require(len(text) <= MODEL_BYTES_MAX, f"model is larger than {MODEL_BYTES_MAX} bytes")
    _require(text.isascii(), "model text is not ASCII")
    header, _, rest = text.partition("\nTree=")
    facts = _facts(header)
    _require(facts.get("num_class") == "1", "model has more than one class")
    _require(facts.get("num_tree_per_iteration") == "1", "model has more than one tree per step")
    _require(
        facts.get("objective", "").split(" ")[0] == "binary",
        f"objective is {facts.get('objective')!r}, expected binary",
    )
    names = tuple(facts.get("feature_names", "").split(" "))
    _require(names == feature_names, "feature names or their order differ from the feature set")
    _require(facts.get("max_feature_idx") == str(len(names) - 1), "max_feature_idx is wrong")
    if not rest:
        raise BundleError("model has no trees")
    blocks, end, _ = f"Tree={rest}".partition("end of trees\n")
    _require(bool(end), "model is cut off: 'end of trees' is missing")
    sizes = _integers(facts, "tree_sizes", "header")
    _require(0 < len(sizes) <= TREES_MAX, f"model has {len(sizes)} trees, limit {TREES_MAX}")
    _require(sum(sizes) == len(blocks), "tree_sizes are not the byte lengths of the trees")
    bounds = [0]
    for size in sizes:
        bounds.append(bounds[-1] + size)
    for number, (start, stop) in enumerate(pairwise(bounds)):
        _check_tree(blocks[start:stop], number, len(names))
    return len(sizes)


def _check_tree(block: str, number: int, n_features: int) -> None:
    place = f"tree {number}"
    facts = _facts(block)
    _require(facts.get("Tree") == str(number), f"{place}: out of order")
    leaves = _integers(facts, "num_leaves", place)
    _require(len(leaves) == 1 and 1 <= leaves[0] <= LEAVES_MAX, f"{place}: bad num_leaves")
    _require(facts.get("num_cat") == "0", f"{place}: categorical splits are not served")
    _require(facts.get("is_linear", "0") == "0", f"{place}: linear leaves are not served")
    n_leaves, n_nodes = leaves[0], leaves[0] - 1
    _require(len(_floats(facts, "leaf_value", place)) == n_leaves, f"{place}: leaf_value count")
    if n_nodes == 0:
        return
    features = _integers(facts, "split_feature", place)
    kinds = _integers(facts, "decision_type", place)
    left, right = _integers(facts, "left_child", place), _integers(facts, "right_child", place)
    n_thresholds = len(_floats(facts, "threshold", place))
    counts = {len(features), len(kinds), len(left), len(right), n_thresholds}
    _require(counts == {n_nodes}, f"{place}: node counts disagree")
    _require(all(0 <= f < n_features for f in features), f"{place}: split on an unknown feature")
    _require(
        _DECISION_TYPES.issuperset(k for k in kinds) and not any(k & 1 for k in kinds),
        f"{place}: unknown decision type",
    )
    _check_reached_once(left, right, n_leaves=n_leaves, place=place)


def _check_reached_once(left: list[int], right: list[int], *, n_leaves: int, place: str) -> None:
    """Walk from the root: a child c >= 0 is a node, c < 0 is leaf -c - 1."""
    nodes, leaves, stack = {0}, set[int](), [0]
    while stack:
        node = stack.pop()
        for child in (left[node], right[node]):
            if child >= 0:
                _require(child < len(left) and child not in nodes, f"{place}: bad child {child}")
                nodes.add(child)
                stack.append(child)
            else:
                leaf = -child - 1
                _require(leaf < n_leaves and leaf not in leaves, f"{place}: bad leaf {leaf}")
                leaves.add(leaf)
    _require(len(nodes) == len(left) and len(leaves) == n_leaves, f"{place}: unreached nodes")


def _facts(block: str) -> dict[str, str]:
    facts: dict[str, str] = {}
    for line in block.splitlines():
        key, separator, value = line.partition("=")
        if separator:
            _require(key not in facts, f"line {key!r} stands twice")
            facts[key] = value
    return facts


def _integers(facts: dict[str, str], key: str, place: str) -> list[int]:
    try:
        return [int(text) for text in facts[key].split(" ")]
    except (KeyError, ValueError) as error:
        raise BundleError(f"{place}: {key} is missing or not integers") from error


def _floats(facts: dict[str, str], key: str, place: str) -> list[float]:
    try:
        numbers = [float(text) for text in facts[key].split(" ")]
    except (KeyError, ValueError) as error:
        raise BundleError(f"{place}: {key} is missing or not numbers") from error
    _require(all(isfinite(x) for x in numbers), f"{place}: {key} is not finite")
    return numbers


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise BundleError(f"model.txt: {message}")
