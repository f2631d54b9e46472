"""Damage to a LightGBM text model, some of it with tree sizes that fit the damage."""

import random
import re

TOKENS = (
    "", " ", "0", "-1", "1", "2", "3", "7", "-4", "99", "-99", "1e5", "2147483648", "-2147483649",
    "99999999999999999999", "nan", "inf", "-inf", "1e999", "-1e308", "0x10", "1_0", "+1", "1.5",
    "abc", "=", "\t", "\r", "\x0b", "\x00", "é", ":", "[1:2]", "none", "--1", "1.", ".5", "1e",
)  # fmt: skip
LINES = (
    *("", "=", "num_cat=1", "is_linear=1", "num_leaves=9", "average_output", "num_class=3"),
    *("Tree=0", "end of trees", "tree_sizes=1", "monotone_constraints=1", "leaf_const=1 2 3 4"),
    *("cat_boundaries=0 9", "cat_threshold=1", "num_features=1 1 1 1", "objective=multiclass"),
)


def mutate(text: str, chance: random.Random) -> str:
    """Return `text` with one to three faults; half the time with tree sizes made to fit."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        text = chance.choice(MUTATIONS)(text or "\n", chance)
    return fit_sizes(text) if chance.random() < 0.5 else text


def fit_sizes(text: str) -> str:
    """Rewrite `tree_sizes` as the byte lengths of the trees as they stand."""
    head, found, rest = text.partition("\n\nTree=")
    body, end, _ = f"Tree={rest}".partition("end of trees")
    if not found or not end:
        return text
    starts = [match.start() for match in re.finditer(r"^Tree=", body, re.MULTILINE)]
    sizes = [b - a for a, b in zip(starts, [*starts[1:], len(body)], strict=True)]
    line = "tree_sizes=" + " ".join(map(str, sizes))
    return re.sub(r"(?m)^tree_sizes=.*$", line, head, count=1) + text[len(head) :]


def _place(text: str, chance: random.Random) -> int:
    end = text.find("end of trees")
    return chance.randrange(len(text) if end < 0 else end + 12)


def _byte(text: str, chance: random.Random) -> str:
    at = _place(text, chance)
    return text[:at] + chr(chance.randrange(256)) + text[at + 1 :]


def _bit(text: str, chance: random.Random) -> str:
    at = _place(text, chance)
    return text[:at] + chr(ord(text[at]) ^ (1 << chance.randrange(7))) + text[at + 1 :]


def _digit(text: str, chance: random.Random) -> str:
    places = [m.start() for m in re.finditer(r"\d", text.partition("end of trees")[0])]
    at = chance.choice(places or [0])
    return text[:at] + chance.choice("0123456789-.e ") + text[at + 1 :]


def _cut(text: str, chance: random.Random) -> str:
    return text[: _place(text, chance)]


def _drop(text: str, chance: random.Random) -> str:
    at = _place(text, chance)
    return text[:at] + text[at + chance.randrange(1, 40) :]


def _zero(text: str, chance: random.Random) -> str:
    at, n = _place(text, chance), chance.randrange(1, 64)
    return text[:at] + chance.choice("\0 0") * n + text[at + n :]


def _insert(text: str, chance: random.Random) -> str:
    at = _place(text, chance)
    return text[:at] + chance.choice(TOKENS) + text[at:]


def _lines(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    n = next(i for i, line in enumerate([*lines, "end of trees"]) if line == "end of trees")
    i, j = chance.randrange(n), chance.randrange(n)
    how = chance.randrange(5)
    if how == 0:
        del lines[i]
    elif how == 1:
        lines.insert(j, lines[i])
    elif how == 2:
        lines[i], lines[j] = lines[j], lines[i]
    elif how == 3:
        lines[i] = chance.choice(LINES)
    else:
        lines.insert(i, chance.choice(LINES))
    return "\n".join(lines)


def _token(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    n = next(i for i, line in enumerate([*lines, "end of trees"]) if line == "end of trees")
    places = [i for i in range(n) if "=" in lines[i]]
    if not places:
        return text
    i = chance.choice(places)
    key, _, value = lines[i].partition("=")
    tokens = value.split(" ")
    at = chance.randrange(len(tokens))
    how = chance.randrange(5)
    if how == 0:
        tokens[at] = chance.choice(TOKENS)
    elif how == 1:
        del tokens[at]
    elif how == 2:
        tokens.insert(at, tokens[at])
    elif how == 3:
        tokens = chance.sample(tokens, len(tokens))
    else:
        tokens = tokens * chance.randrange(2, 50)
    lines[i] = f"{key}={' '.join(tokens)}"
    return "\n".join(lines)


MUTATIONS = (_byte, _bit, _digit, _cut, _drop, _zero, _insert, _lines, _token, _token, _token)
