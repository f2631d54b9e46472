"""The predictor's HTTP: one hot route by hand, three slow pages by FastAPI, one door before both.

* `POST /v1/forecast`: forecasts of one row or many; `request.py` has the two shapes.
* `GET /v1/model`: what serves since when, and the feature names that a row must have.
* `GET /v1/markets`: the open markets as last seen in the stream.
* `GET /v1/forecasts/latest`: the latest champion forecast of each open market.

Where a key is set, every path wants it in the header `X-API-Key`. Errors are problem+json: 401 no
key or a wrong one, 404, 405, 408 a body that does not come, 413 above BODY_BYTES_MAX, 415 not JSON,
422 not exactly a request, 503 the model failed. No bad input makes a 5xx.

The decision to question is the hand-written route. FastAPI with a raw body reaches half the
requests a second of bare ASGI before it has checked anything; here auth, strict reading and metrics
fit into 0.6 (benchmarks/serving.py). One reference to what serves is taken per request: an answer
is of one bundle, whatever is swapped meanwhile.
"""

import asyncio
import hmac
import ipaddress
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException

from libs.common.checks import BundleError, ConfigError
from libs.common.web import Application, Receive, Scope, Send, problem, respond
from services.predictor import metrics
from services.predictor.board import Board
from services.predictor.champion import Serving
from services.predictor.pages import forecast_lines, market_lines, model_page
from services.predictor.request import BODY_BYTES_MAX, RequestFault, RowReader, answered
from services.predictor.verify import DEFAULT_CONTRACT, Contract

PREFIX = "/v1"
FORECAST_PATH = f"{PREFIX}/forecast"
DOCS_PATH, SCHEMA_PATH = f"{PREFIX}/docs", f"{PREFIX}/openapi.json"

BODY_S_MAX = 10.0
"""Time in which a body must have come: it is one packet, or somebody keeps the door open."""

KEY_CHARACTERS_MIN = 16
"""A shorter key is a guess away."""

_KEY_HEADER, _TYPE_HEADER, _LENGTH_HEADER = b"x-api-key", b"content-type", b"content-length"
_JSON = b"application/json"

# Whoever is refused before the body was read has the connection closed, not the body read.
_CLOSE = ((b"connection", b"close"),)
_ALLOW_POST = ((b"allow", b"POST"), *_CLOSE)

_STATUS_CLASSES = {n: metrics.REQUESTS.labels(f"{n}xx") for n in (2, 3, 4, 5)}


class _Refused(Exception):
    """A request that ends with an error; `headers` go with it."""

    def __init__(self, status: int, detail: str, *, headers: Any = ()) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


class Api:
    """The ASGI application; `serving` gives what serves at the instant of a request."""

    def __init__(
        self,
        serving: Callable[[], Serving],
        board: Board,
        *,
        contract: Contract = DEFAULT_CONTRACT,
        key: str | None = None,
        shows_docs: bool = False,
    ) -> None:
        self._serving = serving
        self._contract = contract
        self._reader = RowReader(contract.feature_names)
        self._key_hash = sha256(key.encode()).digest() if key is not None else None
        self._pages: Application = _pages(
            serving, board, contract, schema=self._reader.schema() if shows_docs else None
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        began_s = time.perf_counter()
        headers = dict(scope["headers"])
        if self._key_hash is not None and not self._has_key(headers):
            _STATUS_CLASSES[4].inc()
            detail = "the header X-API-Key does not hold this server's key"
            await problem(send, 401, detail, headers=_CLOSE)
        elif scope["path"] == FORECAST_PATH:
            await self._forecast(scope, receive, send, headers=headers)
            metrics.REQUEST_SECONDS.observe(time.perf_counter() - began_s)
        else:
            await self._pages(scope, receive, _counted(send))

    def _has_key(self, headers: dict[bytes, bytes]) -> bool:
        # Hashes are compared, so that not even the key's length can be timed.
        given = sha256(headers.get(_KEY_HEADER, b"")).digest()
        return hmac.compare_digest(given, self._key_hash or b"")

    async def _forecast(
        self, scope: Scope, receive: Receive, send: Send, *, headers: dict[bytes, bytes]
    ) -> None:
        try:
            if scope["method"] != "POST":
                raise _Refused(405, "forecasts are asked with POST", headers=_ALLOW_POST)
            _require_json(headers)
            content = await _body(headers, receive)
            if content is None:
                return  # the client has gone
            is_one, rows = self._reader.read(content)
            serving = self._serving()
            answer = answered(serving, self._contract.feature_set, is_one=is_one, rows=rows)
        except RequestFault as fault:
            _STATUS_CLASSES[4].inc()
            await problem(send, 422, str(fault))
        except _Refused as refused:
            _STATUS_CLASSES[4].inc()
            await problem(send, refused.status, refused.detail, headers=refused.headers)
        except BundleError as error:
            _STATUS_CLASSES[5].inc()
            await problem(send, 503, str(error))
        else:
            _STATUS_CLASSES[2].inc()
            await respond(send, 200, answer)


def read_key(path: Path | None, *, host: str) -> str | None:
    """Return the API key; None where none is needed: on loopback, unless a file is named.

    Raises `ConfigError` if the file holds no key, or if other machines could ask without one.
    """
    if path is None:
        if not is_loopback(host):
            raise ConfigError(
                f"HAWK_HTTP_HOST {host} can be reached by others: name a file with a key in "
                "HAWK_API_KEY_FILE, or listen on 127.0.0.1"
            )
        return None
    try:
        key = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"HAWK_API_KEY_FILE {path} cannot be read: {error}") from error
    if len(key) < KEY_CHARACTERS_MIN or not key.isascii() or not key.isprintable():
        raise ConfigError(
            f"HAWK_API_KEY_FILE {path} holds no key: expected {KEY_CHARACTERS_MIN} or more "
            "printable ASCII characters on one line"
        )
    return key


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach `host`.

    >>> [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "hawk.local")]
    [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _require_json(headers: dict[bytes, bytes]) -> None:
    kind = headers.get(_TYPE_HEADER, b"").partition(b";")[0].strip().lower()
    if kind != _JSON:
        raise _Refused(415, "expected content-type application/json", headers=_CLOSE)


async def _body(headers: dict[bytes, bytes], receive: Receive) -> bytes | None:
    """Read the body; None if the client leaves. Too long a one is refused before it is read."""
    try:
        length = int(headers.get(_LENGTH_HEADER, b"0"))
    except ValueError:
        length = 0
    if length > BODY_BYTES_MAX:
        raise _Refused(413, f"a body has at most {BODY_BYTES_MAX} bytes", headers=_CLOSE)
    content = b""
    try:
        async with asyncio.timeout(BODY_S_MAX):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                content += bytes(message.get("body", b""))
                if len(content) > BODY_BYTES_MAX:
                    detail = f"a body has at most {BODY_BYTES_MAX} bytes"
                    raise _Refused(413, detail, headers=_CLOSE)
                if not message.get("more_body", False):
                    return content
    except TimeoutError as error:
        detail = f"the body did not come within {BODY_S_MAX:g} s"
        raise _Refused(408, detail, headers=_CLOSE) from error


def _pages(
    serving: Callable[[], Serving],
    board: Board,
    contract: Contract,
    *,
    schema: dict[str, Any] | None,
) -> FastAPI:
    """Return the slow pages; `schema` of a forecast request where the docs are switched on."""
    app = FastAPI(
        title="Hawk predictor",
        docs_url=DOCS_PATH if schema is not None else None,
        openapi_url=SCHEMA_PATH if schema is not None else None,
        redoc_url=None,
        redirect_slashes=False,
    )

    @app.get(f"{PREFIX}/model", summary="What serves, since when, and the names a row must have")
    async def model() -> Response:
        return _json(model_page(serving(), contract))

    @app.get(f"{PREFIX}/markets", summary="Open markets as last seen")
    async def markets() -> Response:
        return _json({"markets": market_lines(board.places())})

    @app.get(f"{PREFIX}/forecasts/latest", summary="Latest champion forecast per open market")
    async def forecasts() -> Response:
        return _json({"forecasts": forecast_lines(board.places())})

    async def refuse(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        headers = getattr(error, "headers", None)
        detail = f"{request.method[:20]} {request.url.path[:100]}: {_WORDS.get(status, 'refused')}"
        content = {"type": "about:blank", "status": status, "detail": detail}
        return _json(content, status=status, headers=headers, kind="application/problem+json")

    for status in _WORDS:
        app.add_exception_handler(status, refuse)
    if schema is not None:
        described = _described(app, schema)
        app.openapi = lambda: described  # type: ignore[method-assign]
    return app


_WORDS = {404: "there is no such page", 405: "it is asked with another method"}


def _described(app: FastAPI, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI description, with the route that FastAPI does not know."""
    found = get_openapi(title=app.title, version="1", routes=app.routes)
    definitions = schema.pop("$defs", {})
    found.setdefault("components", {}).setdefault("schemas", {}).update(definitions)
    text = msgspec.json.encode(schema).replace(b"#/$defs/", b"#/components/schemas/")
    body = {
        "required": True,
        "content": {"application/json": {"schema": msgspec.json.decode(text)}},
    }
    found["paths"][FORECAST_PATH] = {
        "post": {
            "summary": "Forecasts of one row or many",
            "requestBody": body,
            "responses": {"200": {"description": "Forecasts, and the bundle that made them"}},
        }
    }
    return found


def _json(
    value: Any,
    *,
    status: int = 200,
    headers: Any = None,
    kind: str = "application/json",
) -> Response:
    content = msgspec.json.encode(value)
    return Response(content, status_code=status, media_type=kind, headers=headers)


def _counted(send: Send) -> Send:
    async def count(message: Any) -> None:
        if message["type"] == "http.response.start":
            _STATUS_CLASSES.get(message["status"] // 100, _STATUS_CLASSES[5]).inc()
        await send(message)

    return count
