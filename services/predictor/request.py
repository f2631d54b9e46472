"""What `POST /v1/forecast` takes and gives: one strict reader, two shapes. Pure.

One row, or many that are answered by one bundle:

    {"series": "KXBTC15M", "values": {"distance_sd": 0.4, "fair_value": null, ...}}
    {"rows": [{"series": ..., "values": {...}}, ...]}

`values` holds every feature of the served set, by name, once, in any order: a number, or null where
it is missing. `GET /v1/model` lists the names; they depend on the version of Hawk, never on the
bundle, so a client that was right before a swap is right after it. Answers:

    {"bundle": ..., "generation": 7, "is_fallback": false, "feature_set": ...,
     "feature_hash": ..., "p": 0.52, "p_raw": 0.53, "base_p": 0.5}
    {"bundle": ..., "generation": 7, "is_fallback": false, "feature_set": ...,
     "forecasts": [{"feature_hash": ..., "p": ..., "p_raw": ..., "base_p": ...}, ...]}

`p` is P(YES), `p_raw` the same before calibration and bound, `base_p` the base model's. Where there
is nothing to go by (no time left, neither mid nor fair value) the three are null and `reason` says
why: doubt is no number, and one such row does not spoil the others.

The decision to question is how a repeated key is found, which the decoder lets pass: a body that
decoded holds known keys, each of them at least once, and no string but `series`, which may hold no
colon; so it has as many colons as keys exactly if no key came twice. Counting bytes takes 50 ns.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from libs.common.model import Probability
from libs.common.rows import FAIR_VALUE, MID, TIME_LEFT
from services.predictor.champion import Serving
from services.predictor.scorer import feature_hash

BODY_BYTES_MAX = 64 * 1024
"""Some forty rows of 36 features with all their digits."""

FAULT_CHARACTERS_MAX = 200

NO_TIME = "no time left is known"
NO_BASIS = "neither a mid nor a fair value"

_Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] | None
_Duration = Annotated[float, msgspec.Meta(ge=0.0)] | None
# Python's `$` also stands before a last newline, which is no end of a name.
_Series = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$(?!\n)")]
_RANGES: dict[str, Any] = {MID: _Probability, FAIR_VALUE: _Probability, TIME_LEFT: _Duration}

Row = tuple[str, dict[str, float | None]]
"""The series of a row, and its values in feature order."""


class RequestFault(Exception):
    """The body is not a request; the text says where and why, in words that may be sent back."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one row gets."""

    feature_hash: str
    p: float | None
    p_raw: float | None
    base_p: float | None
    reason: str | None = None


class One(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to one row, and who gave it."""

    bundle: str
    generation: int
    is_fallback: bool
    feature_set: str


class Many(msgspec.Struct, frozen=True, kw_only=True):
    """The answers to many rows, all given by one bundle."""

    bundle: str
    generation: int
    is_fallback: bool
    feature_set: str
    forecasts: tuple[Answer, ...]


class RowReader:
    """Reads bodies into rows of the features `names`, strictly."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        places = [f"v{place}" for place in range(len(names))]
        fields = [(p, _RANGES.get(n, float | None)) for p, n in zip(places, names, strict=True)]
        values = msgspec.defstruct(
            "Values",
            fields,
            rename=dict(zip(places, names, strict=True)),
            forbid_unknown_fields=True,
            gc=False,
        )
        row = msgspec.defstruct(
            "Row", [("series", _Series), ("values", values)], forbid_unknown_fields=True
        )
        body = msgspec.defstruct(
            "Body",
            [
                ("series", _Series | msgspec.UnsetType, msgspec.UNSET),
                ("values", values | msgspec.UnsetType, msgspec.UNSET),
                ("rows", _rows_of(row) | msgspec.UnsetType, msgspec.UNSET),
            ],
            forbid_unknown_fields=True,
        )
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(body)
        self._schema_of = body

    def read(self, content: bytes) -> tuple[bool, list[Row]]:
        """Return whether one row was asked (else many), and the rows.

        Raises `RequestFault` for whatever is not exactly a request.
        """
        try:
            body = self._decoder.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RequestFault(_printable(str(error))) from error
        keys_of_row = 2 + len(self._names)
        if body.rows is msgspec.UNSET:
            if body.series is msgspec.UNSET or body.values is msgspec.UNSET:
                raise RequestFault("expected `series` and `values`, or `rows`")
            is_one, rows, keys = True, [body], keys_of_row
        elif body.series is not msgspec.UNSET or body.values is not msgspec.UNSET:
            raise RequestFault("expected `series` and `values`, or `rows`, not both")
        else:
            is_one, rows, keys = False, body.rows, 1 + keys_of_row * len(body.rows)
        if content.count(b":") != keys:
            raise RequestFault("a key comes twice")
        names, values_of = self._names, msgspec.structs.astuple
        return is_one, [
            (row.series, dict(zip(names, values_of(row.values), strict=True))) for row in rows
        ]

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of a body."""
        return msgspec.json.schema(self._schema_of)


def answered(serving: Serving, feature_set: str, *, is_one: bool, rows: Sequence[Row]) -> bytes:
    """Answer all rows with one bundle and encode the answer."""
    bundle = serving.scorer.bundle
    probability = serving.scorer.probability
    who: dict[str, Any] = {
        "bundle": bundle.id,
        "generation": serving.generation,
        "is_fallback": bundle.is_fallback,
        "feature_set": feature_set,
    }
    if is_one:
        ((series, values),) = rows
        return _encode(One(**who, **_fields(values, probability(series, values))))
    forecasts = tuple(
        Answer(**_fields(values, probability(series, values))) for series, values in rows
    )
    return _encode(Many(**who, forecasts=forecasts))


def _fields(values: dict[str, float | None], found: Probability | None) -> dict[str, Any]:
    if found is None:
        reason = NO_TIME if values[TIME_LEFT] is None else NO_BASIS
        found_or_null: tuple[float | None, ...] = (None, None, None)
    else:
        reason, found_or_null = None, found
    p_raw, p, base_p = found_or_null
    return {
        "feature_hash": feature_hash(values),
        "p": p,
        "p_raw": p_raw,
        "base_p": base_p,
        "reason": reason,
    }


def _rows_of(row: type[msgspec.Struct]) -> Any:
    return Annotated[list[row], msgspec.Meta(min_length=1)]  # type: ignore[valid-type]


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:FAULT_CHARACTERS_MAX]


_encode = msgspec.json.Encoder().encode
