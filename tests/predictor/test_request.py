"""Requests: exactly a request is answered, everything else is refused with a reason."""

import json
from math import isfinite
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.bundle import BASE_BUNDLE
from libs.common.events import ModelEvent
from services.predictor.champion import Serving
from services.predictor.request import (
    FAULT_CHARACTERS_MAX,
    NO_BASIS,
    NO_TIME,
    RequestFault,
    RowReader,
    answered,
)
from services.predictor.scorer import Scorer, feature_hash

NAMES = ("mid", "x.y", "fair_value", "time_left_s")
READER = RowReader(NAMES)
VALUES: dict[str, float | None] = {"mid": 0.5, "x.y": None, "fair_value": 0.6, "time_left_s": 60.0}
ROW: dict[str, Any] = {"series": "KXBTC15M", "values": VALUES}
GOOD = json.dumps(ROW)
SERVING = Serving(Scorer(BASE_BUNDLE), None, 0)


def refused(content: bytes | str) -> str:
    with pytest.raises(RequestFault) as caught:
        READER.read(content.encode() if isinstance(content, str) else content)
    return str(caught.value)


def with_value(name: str, text: str) -> str:
    return GOOD.replace(f'"{name}": {json.dumps(VALUES[name])}', f'"{name}": {text}')


def test_one_row_is_read_in_feature_order_whatever_its_own() -> None:
    turned = {"values": dict(reversed(VALUES.items())), "series": "KXBTC15M"}
    is_one, rows = READER.read(json.dumps(turned).encode())
    assert is_one
    assert [(series, list(values.items())) for series, values in rows] == [
        ("KXBTC15M", list(VALUES.items()))
    ]


def test_many_rows_are_read_in_order() -> None:
    rows = [ROW, {**ROW, "series": "other"}]
    is_one, found = READER.read(json.dumps({"rows": rows}).encode())
    assert not is_one
    assert [series for series, _ in found] == ["KXBTC15M", "other"]


def test_a_whole_number_is_a_number() -> None:
    _, ((_, values),) = READER.read(with_value("x.y", "3").encode())
    assert values["x.y"] == 3.0


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_keeps_its_bits(value: float) -> None:
    _, ((_, values),) = READER.read(with_value("x.y", json.dumps(value)).encode())
    assert feature_hash({"x": values["x.y"]}) == feature_hash({"x": value})


NO_NUMBERS = (
    *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", '"1.5"', "true", "false", "[1]", "{}"),
    *("01", "+1", "1.", ".5", "0x1", "nan", "'1'", "1" * 5_000, "[" * 50_000, '{"a":' * 10_000),
)


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_number_is_refused(text: str) -> None:
    refused(with_value("x.y", text))


@pytest.mark.parametrize(
    ("name", "text"),
    [("mid", "1.01"), ("mid", "-0.01"), ("fair_value", "2"), ("time_left_s", "-1")],
)
def test_a_probability_and_a_duration_have_their_range(name: str, text: str) -> None:
    assert name in refused(with_value(name, text))


def test_a_missing_an_unknown_and_a_misspelt_feature_are_named() -> None:
    fewer = {k: v for k, v in VALUES.items() if k != "x.y"}
    assert "missing required field `x.y`" in refused(json.dumps({**ROW, "values": fewer}))
    more = {**VALUES, "zeta": 1.0}
    assert "unknown field `zeta`" in refused(json.dumps({**ROW, "values": more}))
    assert "unknown field `extra`" in refused(json.dumps({**ROW, "extra": 1}))
    assert "unknown field `extra`" in refused(json.dumps({"rows": [{**ROW, "extra": 1}]}))


@pytest.mark.parametrize(
    "content",
    [
        GOOD.replace('"mid": 0.5', '"mid": 0.4, "mid": 0.5'),
        GOOD.replace('"mid": 0.5', '"m\\u0069d": 0.4, "mid": 0.5'),
        GOOD.replace('"series"', '"series": "a:b", "series"'),
        GOOD.replace('"series"', '"series": "a", "series"'),
        GOOD.replace('{"series"', '{"values": ' + json.dumps(VALUES) + ', "series"'),
        json.dumps({"rows": [ROW]})[:-1] + ', "rows": ' + json.dumps([ROW]) + "}",
        json.dumps({"rows": [ROW]}).replace('"mid": 0.5', '"mid": 0.4, "mid": 0.5'),
    ],
)
def test_a_key_that_comes_twice_is_refused(content: str) -> None:
    json.loads(content)
    fault = refused(content)
    assert fault == "a key comes twice" or "a:b" in content


@pytest.mark.parametrize("series", ["", "a:b", "a b", "é", "a" * 65, "../x", "a\n", '\\"'])
def test_a_series_is_a_name(series: str) -> None:
    refused(json.dumps({**ROW, "series": series}))


def test_an_escaped_colon_does_not_make_room_for_a_repeated_key() -> None:
    refused(GOOD.replace("KXBTC15M", "a\\u003ab").replace('"mid": 0.5', '"mid": 1, "mid": 0.5'))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        b'""',
        b"{}",
        b'{"rows": []}',
        b'{"rows": null}',
        b'{"rows": {}}',
        b'{"series": "a"}',
        b"\xff\xfe",
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.encode("utf-16"),
        GOOD.encode() + b" x",
        GOOD.encode()[:-1],
        b"[" * 60_000,
        b'{"rows":' * 8_000,
        b'{"series": "\xff", "values": {}}',
        b'{"series": "\\ud800", "values": {}}',
        (GOOD[:-1] + ', "rows": [' + GOOD + "]}").encode(),
    ],
)
def test_what_is_no_request_is_refused_with_one_printable_line(content: bytes) -> None:
    fault = refused(content)
    assert fault.isprintable()
    assert 0 < len(fault) <= FAULT_CHARACTERS_MAX


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_a_fault(content: bytes) -> None:
    try:
        READER.read(content)
    except RequestFault as fault:
        assert str(fault).isprintable()


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_any_json_in_a_rows_place_is_a_request_or_a_fault(value: object) -> None:
    for body in ({**ROW, "values": value}, {"rows": value}, {"rows": [value]}):
        try:
            READER.read(json.dumps(body).encode())
        except RequestFault as fault:
            assert str(fault).isprintable()


def test_the_answer_to_one_row_names_its_maker() -> None:
    is_one, rows = READER.read(GOOD.encode())
    found = msgspec.json.decode(answered(SERVING, "set", is_one=is_one, rows=rows))
    assert found == {
        "bundle": "base",
        "generation": 0,
        "is_fallback": True,
        "feature_set": "set",
        "feature_hash": feature_hash(VALUES),
        "p": 0.5,
        "p_raw": 0.5,
        "base_p": 0.5,
    }


def test_the_answers_to_many_rows_are_of_one_bundle() -> None:
    activation = ModelEvent(
        ts_ns=0, id="", bundle="base", action="activated", reason="", cause="", generation=7
    )
    serving = Serving(SERVING.scorer, activation, 0)
    bare = {**VALUES, "mid": None}
    rows = [("a", VALUES), ("b", bare)]
    found = msgspec.json.decode(answered(serving, "set", is_one=False, rows=rows))
    assert (found["bundle"], found["generation"], found["is_fallback"]) == ("base", 7, True)
    assert [answer["p"] for answer in found["forecasts"]] == [0.5, 0.6]
    assert found["forecasts"][1]["feature_hash"] == feature_hash(bare)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"mid": None, "fair_value": None}, NO_BASIS), ({"time_left_s": None}, NO_TIME)],
)
def test_where_there_is_nothing_to_go_by_there_is_no_number(
    changes: dict[str, None], reason: str
) -> None:
    content = answered(SERVING, "set", is_one=True, rows=[("a", {**VALUES, **changes})])
    found = msgspec.json.decode(content)
    assert [found[name] for name in ("p", "p_raw", "base_p")] == [None] * 3
    assert found["reason"] == reason


@given(
    st.fixed_dictionaries(
        {
            "mid": st.none() | st.floats(0, 1),
            "x.y": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "fair_value": st.none() | st.floats(0, 1),
            "time_left_s": st.none() | st.floats(0, allow_infinity=False),
        }
    )
)
def test_every_row_that_is_read_can_be_answered(values: dict[str, float | None]) -> None:
    is_one, rows = READER.read(json.dumps({**ROW, "values": values}).encode())
    found = msgspec.json.decode(answered(SERVING, "set", is_one=is_one, rows=rows))
    assert found["p"] is None or (isfinite(found["p"]) and 0 <= found["p"] <= 1)
