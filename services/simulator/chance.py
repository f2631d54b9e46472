"""Chance without memory: the same number for the same seed, name and place, in any order.

Everything in the live world but the price path is drawn from these functions of *where* rather than
from a generator: second 900 of a market can be drawn without the 899 before it, so the past can be
asked for at any time and a world that starts again is the same world. In go whole numbers, out come
uint64 or floats in [0, 1).
"""

from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Words = NDArray[np.uint64]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_MASK = (1 << 64) - 1

NORMALS: Floats = ndtri((np.arange(4_096) + 0.5) / 4_096)
"""Standard normal quantiles: a table, as the inverse of a normal costs more than the draw."""


def key_of(seed: int, name: str) -> int:
    """Return the key of a named thing in the world of `seed`."""
    return int.from_bytes(sha256(f"{seed} {name}".encode()).digest()[:8], "little")


def word(*parts: int) -> int:
    """Mix whole numbers to 64 bits.

    >>> word(1, 2) == word(1, 2), word(1, 2) == word(2, 1)
    (True, False)
    """
    state = 0
    for part in parts:
        state = (state ^ (part & _MASK)) + 0x9E3779B97F4A7C15 & _MASK
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ state >> 27) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state


def unit(*parts: int) -> float:
    """Draw a float in [0, 1) from whole numbers."""
    return (word(*parts) >> 11) * 2.0**-53


def words(key: int, places: Ints) -> Words:
    """Mix a key into each of `places`."""
    state = places.astype(np.uint64) * _GOLDEN + np.uint64(key & _MASK)
    state = (state ^ (state >> _S30)) * _FIRST
    state = (state ^ (state >> _S27)) * _SECOND
    return state ^ (state >> _S31)


def units(mixed: Words) -> Floats:
    """Turn words into floats in [0, 1)."""
    values: Floats = (mixed >> _S11).astype(np.float64) * 2.0**-53
    return values


def normals(mixed: Words) -> Floats:
    """Turn words into standard normals, of 4,096 values."""
    values: Floats = NORMALS[(mixed >> _S11) & np.uint64(4_095)]
    return values
