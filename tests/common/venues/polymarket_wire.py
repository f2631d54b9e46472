"""Where real messages of Polymarket lie, hand-made ones, and what mutates them, for its tests."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st

RECORDINGS = Path(
    os.environ.get("HAWK_RECORDINGS") or Path(__file__).parents[3].parent / "shared/data/recordings"
)
WIRE = RECORDINGS.parent / "wire/polymarket"

UP = "71321045679252212594626385532706912750332728571942532289631379312455583992563"
DOWN = "52114319501245915516055106046884209969926127482827954674443846427813813222426"
CONDITION = "0xdd22472e552920b8438158ea7238bfadfa4f736aa4cee91a6b86c39ead110917"

EXTREMES: list[Any] = [
    None, True, False, 0, -1, 10**18, 1e308, -0.0, "", "0", "1", "-1", "NaN", "Infinity", "1e999",
    "0.123456789", "9" * 200, "\u0660", "\x00", "\u202e", "../../etc", [], {}, [[]], ["x"],
    "x" * 300,
]  # fmt: skip
"""Values that no field of a venue is meant to hold."""


def wire(name: str) -> str:
    """Text of a real message; skips where there is none."""
    path = WIRE / name
    if not path.exists():
        pytest.skip("no real messages: set HAWK_RECORDINGS to a folder beside wire/")
    return path.read_text()


def text(value: object) -> str:
    """Return `value` as JSON."""
    return msgspec.json.encode(value).decode()


@st.composite
def mutated(draw: st.DrawFn, originals: list[dict[str, Any]]) -> str:
    """One of `originals` as text, with a field dropped, replaced or duplicated somewhere."""
    message = msgspec.json.decode(msgspec.json.encode(draw(st.sampled_from(originals))))
    node = message
    while True:
        inner = [v for v in node.values() if isinstance(v, dict)]
        inner += [
            v[0] for v in node.values() if isinstance(v, list) and v and isinstance(v[0], dict)
        ]
        if not inner or draw(st.booleans()):
            break
        node = draw(st.sampled_from(inner))
    key = draw(st.sampled_from(sorted(node)))
    action = draw(st.sampled_from(["drop", "replace", "duplicate", "nest"]))
    if action == "drop":
        del node[key]
    elif action == "replace":
        node[key] = draw(st.sampled_from(EXTREMES) | st.text() | st.integers(-(2**63), 2**63))
    elif action == "nest":
        node[key] = [node[key]]
    plain = text(message)
    if action == "duplicate":
        value = text(draw(st.sampled_from(EXTREMES)))
        plain = plain[:-1] + f",{text(key)}:{value}}}"
    return draw(st.sampled_from([plain, f"[{plain}]", f"[{plain},1]"]))
