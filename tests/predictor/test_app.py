"""HTTP: one door, strict and quick to refuse; no bad input makes a 5xx or shows a trace."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.bundle import BASE_BUNDLE, Bundle
from libs.common.checks import BundleError, ConfigError
from libs.common.feature_set import FEATURE_NAMES
from libs.common.model import Formula
from services.predictor import app as module
from services.predictor.app import KEY_CHARACTERS_MIN, Api, is_loopback, read_key
from services.predictor.board import Board
from services.predictor.champion import Serving
from services.predictor.request import BODY_BYTES_MAX
from services.predictor.scorer import Scorer
from tests.predictor import models

KEY = "k" * KEY_CHARACTERS_MIN
SERVING = Serving(Scorer(BASE_BUNDLE), None, 0)
BODY = json.dumps({"series": models.SERIES, "values": models.features(1)}).encode()
JSON = ("content-type", "application/json")


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: Any


def api(**options: Any) -> Api:
    return Api(lambda: SERVING, Board(), **options)


def ask(
    own: Api,
    method: str,
    path: str,
    *,
    headers: Sequence[tuple[str, str]] = (JSON,),
    pieces: Sequence[bytes] = (b"",),
) -> Reply:
    """Send one request; `pieces` are how its body comes."""
    return asyncio.run(_ask(own, method, path, headers, list(pieces)))


async def _ask(
    own: Api,
    method: str,
    path: str,
    headers: Sequence[tuple[str, str]],
    pieces: list[bytes],
) -> Reply:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if not pieces:
            await asyncio.sleep(3_600)
        body = pieces.pop(0)
        if body == b"<gone>":
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": body, "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(k.encode(), v.encode()) for k, v in headers],
    }
    await own(scope, receive, send)
    if not sent:
        return Reply(0, {}, None)
    start, body = sent[0], b"".join(message.get("body", b"") for message in sent[1:])
    fields = {k.decode(): v.decode() for k, v in start["headers"]}
    return Reply(start["status"], fields, msgspec.json.decode(body) if body else None)


def forecast(own: Api, body: bytes = BODY, **options: Any) -> Reply:
    return ask(own, "POST", "/v1/forecast", pieces=(body,), **options)


def test_a_forecast_is_answered_and_says_by_whom() -> None:
    reply = forecast(api())
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.body["p"] == models.features(1)["mid"]
    assert (reply.body["bundle"], reply.body["is_fallback"]) == ("base", True)


def test_a_body_in_pieces_is_one_body() -> None:
    pieces = [BODY[:10], BODY[10:500], BODY[500:]]
    assert ask(api(), "POST", "/v1/forecast", pieces=pieces).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/forecast", 405),
        ("PUT", "/v1/forecast", 405),
        ("HEAD", "/v1/forecast", 405),
        ("OPTIONS", "/v1/forecast", 405),
        ("POST", "/v1/model", 405),
        ("DELETE", "/v1/markets", 405),
        ("OPTIONS", "/v1/forecasts/latest", 405),
        ("GET", "/v1", 404),
        ("GET", "/v1/", 404),
        ("GET", "/v1/model/", 404),
        ("POST", "/v1/forecast/", 404),
        ("POST", "/v1//forecast", 404),
        ("GET", "/v1/../model", 404),
        ("GET", "/v1/docs", 404),
        ("GET", "/v1/redoc", 404),
        ("GET", "/v1/openapi.json", 404),
        ("GET", "/openapi.json", 404),
        ("GET", "/v1/" + "a" * 10_000, 404),
    ],
)
def test_a_wrong_method_or_path_is_a_problem(method: str, path: str, status: int) -> None:
    reply = ask(api(), method, path, pieces=(BODY,))
    assert reply.status == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.body["status"] == status
    assert len(reply.body["detail"]) < 200
    assert status != 405 or reply.headers["allow"]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""]
)
def test_what_is_not_called_json_is_refused(kind: str) -> None:
    assert forecast(api(), headers=[("content-type", kind)]).status == 415
    assert forecast(api(), headers=[]).status == 415


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("PUT", [JSON, ("x-api-key", KEY)], 405),
        ("POST", [("x-api-key", KEY)], 415),
        ("POST", [JSON], 401),
    ],
)
def test_who_is_refused_unread_is_hung_up_on(
    method: str, headers: list[tuple[str, str]], status: int
) -> None:
    reply = ask(api(key=KEY), method, "/v1/forecast", headers=headers, pieces=())
    assert (reply.status, reply.headers["connection"]) == (status, "close")


def test_json_with_a_charset_is_json() -> None:
    kind = "Application/JSON; charset=utf-8"
    assert forecast(api(), headers=[("content-type", kind)]).status == 200


def test_a_body_that_says_it_is_too_long_is_refused_unread() -> None:
    length = ("content-length", str(BODY_BYTES_MAX + 1))
    reply = ask(api(), "POST", "/v1/forecast", headers=[JSON, length], pieces=())
    assert reply.status == 413
    assert reply.headers["connection"] == "close"


def test_a_body_that_turns_out_too_long_is_refused_where_it_does() -> None:
    pieces = [b"x" * 1_000] * (BODY_BYTES_MAX // 1_000 + 1) + [b"never asked for"]
    assert ask(api(), "POST", "/v1/forecast", pieces=pieces).status == 413
    whole = BODY + b" " * (BODY_BYTES_MAX - len(BODY))
    assert forecast(api(), whole).status == 200


def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_S_MAX", 0.001)
    reply = ask(api(), "POST", "/v1/forecast", pieces=())
    assert reply.status == 408
    assert reply.headers["connection"] == "close"


def test_a_client_that_leaves_gets_no_answer() -> None:
    assert ask(api(), "POST", "/v1/forecast", pieces=(b"{", b"<gone>")).status == 0


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b'{"rows":[]}', BODY.replace(b"null", b"NaN")]
)
def test_what_is_no_request_is_a_problem(body: bytes) -> None:
    reply = forecast(api(), body)
    assert reply.status == 422
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.body["detail"]


@given(st.binary(max_size=200), st.sampled_from(["POST", "GET", "PATCH"]), st.text(max_size=20))
def test_no_input_makes_a_server_error(body: bytes, method: str, path: str) -> None:
    own = api()
    for place in ("/v1/forecast", "/v1/" + path):
        assert ask(own, method, place, pieces=(body,)).status < 500


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([JSON], 401),
        ([JSON, ("x-api-key", "")], 401),
        ([JSON, ("x-api-key", KEY + "k")], 401),
        ([JSON, ("x-api-key", KEY[:-1])], 401),
        ([JSON, ("authorization", KEY)], 401),
        ([JSON, ("x-api-key", KEY)], 200),
    ],
)
def test_where_a_key_is_set_it_is_asked_for(headers: list[tuple[str, str]], status: int) -> None:
    own = api(key=KEY)
    assert forecast(own, headers=headers).status == status
    for path in ("/v1/model", "/v1/markets", "/v1/forecasts/latest"):
        assert ask(own, "GET", path, headers=headers).status == status
    assert ask(own, "GET", "/v1/none", headers=headers).status == (404 if status == 200 else 401)


def test_the_pages_are_json() -> None:
    own = api()
    model = ask(own, "GET", "/v1/model")
    assert model.body["feature_names"] == list(FEATURE_NAMES)
    assert ask(own, "GET", "/v1/markets").body == {"markets": []}
    assert ask(own, "GET", "/v1/forecasts/latest").body == {"forecasts": []}


def test_the_pages_show_what_the_stream_told() -> None:
    board = Board()
    seen = models.row(1, ts_ns=1_000)
    made = SERVING.scorer.forecast(seen)
    assert made is not None
    board.see(seen, (made,))
    own = Api(lambda: SERVING, board)
    assert ask(own, "GET", "/v1/markets").body["markets"][0]["market"] == seen.market
    (line,) = ask(own, "GET", "/v1/forecasts/latest").body["forecasts"]
    assert (line["bundle"], line["is_fallback"], line["p"]) == ("base", True, made.p)
    assert line["feature_hash"] == made.feature_hash


def test_the_docs_are_there_when_they_are_switched_on() -> None:
    own = api(shows_docs=True)
    described = ask(own, "GET", "/v1/openapi.json")
    assert described.status == 200
    assert set(described.body["paths"]) == {
        "/v1/forecast", "/v1/model", "/v1/markets", "/v1/forecasts/latest",
    }  # fmt: skip
    reference = "#/components/schemas/"
    text = json.dumps(described.body)
    names = {piece.split('"')[0] for piece in text.split(reference)[1:]}
    assert names <= set(described.body["components"]["schemas"])


def test_a_model_that_fails_is_unavailable_and_not_a_trace() -> None:
    def fail(values: object) -> float:
        raise BundleError("LightGBM failed to score a row")

    bundle = Bundle(id="b" * 24, formula=Formula(rung="residual"), trees_text="t")
    own = Api(lambda: Serving(Scorer(bundle, fail), None, 0), Board())
    reply = forecast(own)
    assert reply.status == 503
    assert reply.body["detail"] == "LightGBM failed to score a row"


def test_one_request_takes_one_reference() -> None:
    taken: list[int] = []

    def serving() -> Serving:
        taken.append(1)
        return SERVING

    row = {"series": models.SERIES, "values": models.features(1)}
    reply = forecast(Api(serving, Board()), json.dumps({"rows": [row] * 5}).encode())
    assert len(reply.body["forecasts"]) == 5
    assert len(taken) == 1


def test_anything_but_http_is_left_alone() -> None:
    async def never() -> AsyncIterator[None]:
        raise AssertionError

    asyncio.run(api()({"type": "websocket"}, never, never))  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "hawk.example", ""])
def test_beyond_loopback_a_key_is_needed(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ConfigError, match="HAWK_API_KEY_FILE"):
        read_key(None, host=host)


def test_on_loopback_none_is_needed_and_a_file_is_read_all_the_same(tmp_path: Path) -> None:
    assert read_key(None, host="127.0.0.1") is None
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    assert read_key(path, host="127.0.0.1") == KEY
    assert read_key(path, host="0.0.0.0") == KEY


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"short", b"\xff" * 40, b"two\nlines of a key file"]
)
def test_a_file_without_a_key_is_no_key(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="HAWK_API_KEY_FILE"):
        read_key(path, host="127.0.0.1")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_key(tmp_path / "none", host="127.0.0.1")
