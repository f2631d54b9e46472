"""Check the structure of a LightGBM text model in pure Python, before LightGBM sees it.

LightGBM's own parser kills the process on most damaged inputs (78 % of 2,102 mutations), loops on
some and silently serves different numbers on others, so nothing is handed to it that this file has
not walked: every line is one that is known, in its place; counts agree, every child is in range,
every node is reached exactly once, every number is finite and written as LightGBM writes it, tree
sizes are the real byte lengths, feature names are the contract. Hashes and the signature were
checked before (`bundle.py`); this is the second of two locks.

Decision to question: lines that LightGBM does not need for a forecast (gains, counts, weights) are
held to their form too. It parses them, and a count or a letter too many there ends the process just
as well. What stands behind the trees (importances, settings) is cut off instead (`served_text`).
"""

import re
from itertools import pairwise
from math import isfinite

from libs.common.checks import BundleError

TREES_MAX = 5_000
"""Far above what any ladder here trains; a bound on the time of a check and of a forecast."""

MODEL_BYTES_MAX = 50 * 1024 * 1024
"""A model file above 50 MiB is refused unread."""

LEAVES_MAX = 1_024
"""Leaves per tree."""

LEAF_VALUE_MAX = 1_000.0
"""Logits that one leaf may add: no sane leaf has 10, and the sum of 5,000 trees stays a number."""

_END = "\n\nend of trees\n"
_HEADER_KEYS = (
    "version",
    "num_class",
    "num_tree_per_iteration",
    "label_index",
    "max_feature_idx",
    "objective",
    "feature_names",
    "feature_infos",
    "tree_sizes",
)
_HEADER_FIXED = {
    "version": "v4",
    "num_class": "1",
    "num_tree_per_iteration": "1",
    "label_index": "0",
    "objective": "binary sigmoid:1",
}
_NODE_INTEGERS = ("split_feature", "decision_type", "left_child", "right_child", "internal_count")
_NODE_FLOATS = ("split_gain", "internal_value", "internal_weight")
_TREE_KEYS = (
    "Tree",
    "num_leaves",
    "num_cat",
    "split_feature",
    "split_gain",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "leaf_value",
    "leaf_weight",
    "leaf_count",
    "internal_value",
    "internal_weight",
    "internal_count",
    "is_linear",
    "shrinkage",
)

_DECISION_TYPES = frozenset({0, 2, 4, 6, 8, 10})
"""Numerical splits: missing type (none, zero, NaN) x default direction; categorical refused."""

# Python reads more as a number than LightGBM does ("1_0", " 7", "+1"), and what it does not read
# ends the process: so only the one form that LightGBM writes is a number here.
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,9})")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]{0,19})(\.[0-9]{1,20})?(e[-+][0-9]{1,3})?")
_RANGE = re.compile(r"none|\[([^\[\]: ]+):([^\[\]: ]+)\]")
_TEXT = re.compile(r"[\n\x20-\x7e]*")
_INT32_MAX = 2**31 - 1


def check_trees(text: str, feature_names: tuple[str, ...]) -> int:
    """Check a model `text` for `feature_names` in order, up to the end of its trees.

    Returns the number of trees; raises `BundleError` that names the tree and what is wrong with it.
    """
    _require(len(text) <= MODEL_BYTES_MAX, f"model is larger than {MODEL_BYTES_MAX} bytes")
    _require(_TEXT.fullmatch(text) is not None, "model text is not printable ASCII")
    header, _, rest = text.partition("\n\nTree=")
    facts = _check_header(header, feature_names)
    if not rest:
        raise BundleError("model.txt: model has no trees")
    body, end, _ = f"Tree={rest}".partition(_END)
    _require(bool(end), "model is cut off: 'end of trees' is missing")
    blocks = f"{body}\n\n"
    sizes = _integers(facts, "tree_sizes", "header")
    _require(0 < len(sizes) <= TREES_MAX, f"model has {len(sizes)} trees, limit {TREES_MAX}")
    _require(sum(sizes) == len(blocks), "tree_sizes are not the byte lengths of the trees")
    bounds = [0]
    for size in sizes:
        bounds.append(bounds[-1] + size)
    for number, (start, stop) in enumerate(pairwise(bounds)):
        _check_tree(blocks[start:stop], number, len(feature_names))
    return len(sizes)


def served_text(text: str) -> str:
    r"""Return a checked model `text` without what follows its trees, which no forecast needs.

    >>> served_text("tree\n\nTree=0\n\n\nend of trees\n\nparameters:\n[seed: x]\n")
    'tree\n\nTree=0\n\n\nend of trees\n'
    """
    return text[: text.index(_END) + len(_END)]


def _check_header(header: str, feature_names: tuple[str, ...]) -> dict[str, str]:
    first, _, lines = header.partition("\n")
    _require(first == "tree", "model does not begin with 'tree'")
    facts = _facts(lines, _HEADER_KEYS, "header")
    for key, value in _HEADER_FIXED.items():
        _require(facts[key] == value, f"{key} is {facts[key]!r}, expected {value}")
    names = tuple(facts["feature_names"].split(" "))
    _require(names == feature_names, "feature names or their order differ from the feature set")
    _require(facts["max_feature_idx"] == str(len(names) - 1), "max_feature_idx is wrong")
    ranges = facts["feature_infos"].split(" ")
    _require(len(ranges) == len(names), "feature_infos are not one per feature")
    for text in ranges:
        match = _RANGE.fullmatch(text)
        is_range = match is not None and all(b is None or _is_float(b) for b in match.groups())
        _require(is_range, f"feature_infos hold {text[:40]!r}")
    return facts


def _check_tree(block: str, number: int, n_features: int) -> None:
    place = f"tree {number}"
    content, end, rest = block.partition("\n\n\n")
    _require(end != "" and rest == "", f"{place}: does not end where its size says")
    facts = _facts(content, _TREE_KEYS, place)
    _require(facts["Tree"] == str(number), f"{place}: out of order")
    leaves = _integers(facts, "num_leaves", place)
    _require(len(leaves) == 1 and 1 <= leaves[0] <= LEAVES_MAX, f"{place}: bad num_leaves")
    _require(facts["num_cat"] == "0", f"{place}: categorical splits are not served")
    _require(facts["is_linear"] == "0", f"{place}: linear leaves are not served")
    _require(len(_floats(facts, "shrinkage", place)) == 1, f"{place}: bad shrinkage")
    n_leaves = leaves[0]
    _check_leaves(facts, n_leaves, place)
    integers = {key: _integers(facts, key, place) for key in _NODE_INTEGERS}
    floats = {key: _floats(facts, key, place) for key in _NODE_FLOATS}
    counts = {len(values) for values in integers.values()}
    counts |= {len(values) for values in (*floats.values(), _thresholds(facts, place))}
    _require(counts == {n_leaves - 1}, f"{place}: node counts disagree")
    features = integers["split_feature"]
    _require(all(0 <= f < n_features for f in features), f"{place}: split on an unknown feature")
    kinds = integers["decision_type"]
    _require(_DECISION_TYPES.issuperset(kinds), f"{place}: unknown decision type")
    if n_leaves > 1:
        left, right = integers["left_child"], integers["right_child"]
        _check_reached_once(left, right, n_leaves=n_leaves, place=place)


def _check_leaves(facts: dict[str, str], n_leaves: int, place: str) -> None:
    values = _floats(facts, "leaf_value", place)
    _require(len(values) == n_leaves, f"{place}: leaf_value count")
    _require(max(map(abs, values)) <= LEAF_VALUE_MAX, f"{place}: leaf_value is out of range")
    # A tree without a split has no weight of its only leaf, and may lack its count.
    allowed = {n_leaves} if n_leaves > 1 else {0, 1}
    _require(len(_floats(facts, "leaf_weight", place)) in allowed, f"{place}: leaf_weight count")
    _require(len(_integers(facts, "leaf_count", place)) in allowed, f"{place}: leaf_count count")


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


def _facts(block: str, keys: tuple[str, ...], place: str) -> dict[str, str]:
    """Read `key=value` lines; they must be `keys`, each once and in that order."""
    facts = [line.partition("=")[::2] for line in block.split("\n")]
    _require(tuple(key for key, _ in facts) == keys, f"{place}: lines are missing or unknown")
    return dict(facts)


def _integers(facts: dict[str, str], key: str, place: str) -> list[int]:
    texts = facts[key].split(" ") if facts[key] else []
    _require(all(_INTEGER.fullmatch(t) for t in texts), f"{place}: {key} are not integers")
    numbers = [int(t) for t in texts]
    _require(all(abs(n) <= _INT32_MAX for n in numbers), f"{place}: {key} are out of range")
    return numbers


def _floats(facts: dict[str, str], key: str, place: str) -> list[float]:
    texts = facts[key].split(" ") if facts[key] else []
    _require(all(map(_is_float, texts)), f"{place}: {key} are not finite numbers")
    return [float(t) for t in texts]


def _thresholds(facts: dict[str, str], place: str) -> list[float]:
    """Read thresholds: `inf` is how LightGBM writes a split of missing from known values."""
    finite = " ".join(text for text in facts["threshold"].split(" ") if text != "inf")
    infinite = [float("inf")] * facts["threshold"].split(" ").count("inf")
    return _floats({"threshold": finite}, "threshold", place) + infinite


def _is_float(text: str) -> bool:
    return _FLOAT.fullmatch(text) is not None and isfinite(float(text))


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise BundleError(f"model.txt: {message}")
