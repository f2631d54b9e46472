"""Prices of underlyings from Polymarket: the values on which its markets settle. Pure.

Two feeds tell Chainlink's 60 s average; instruments are underlyings (`BTC-USD`). `polymarket.rtds`
is public and told to be withdrawn; it also has Chainlink's price at a point, by which markets
settled until August 2026. `polymarket.prices` (PolyBolt) takes its place and needs the operator's
CLOB key, which it wants as a first text on the open connection: send `login`, await `Acknowledged`
of channel `auth`, then subscribe. Its `price.crypto` is Pyth's and settles nothing, so it is left
out.

Both send the last minutes as a history first; those values are `IndexValue`s like any other, and
`about_ns` says how old they are.

The decision a reader would question: a history that does not name its topic is refused, although
it could be guessed; an average taken for a price at a point would be a wrong strike.

PolyBolt closes with 4001 (key refused: stop), 4002 (too slow: back off), 4003 (draining: reconnect
once after 0 to 10 s) and 4008 (policy broken: stop). Docs: live-data overview, read 2026-11-22.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from libs.common.venues.messages import (
    Acknowledged,
    Frame,
    Heartbeat,
    IndexValue,
    Message,
    VenueError,
    reject,
)
from libs.common.venues.numbers import WireError, milliseconds_ns, name
from libs.common.venues.polymarket_terms import underlying, usd

INDEX = "chainlink"
TWAP_WINDOW_S = 60

# Topic of the legacy feed to averaging window; 0 is the price at a point.
_TOPICS = {"crypto_prices_chainlink": 0, "crypto_prices_twap_sixty": TWAP_WINDOW_S}
_CHANNEL = "price.crypto.twap"

# Codes not listed end with a new connection; "stop" is what the venue answers with a closure 4008
# or what only the operator can mend.
_REMEDIES: dict[str, Literal["ignore", "resubscribe", "reconnect", "stop"]] = {
    "auth_invalid": "stop",
    "auth_attempts": "stop",
    "sub_limit": "stop",
    "rate_limited": "stop",
    "bad_filter": "stop",
}


class _Point(msgspec.Struct, gc=False):
    timestamp: int
    value: float | str | None = None
    full_accuracy_value: str | None = None


class _Payload(msgspec.Struct, gc=False):
    symbol: str
    timestamp: int | None = None
    value: float | str | None = None
    full_accuracy_value: str | None = None
    window_s: int | None = None
    window_seconds: int | None = None
    data: list[_Point] | None = None


class _Frame(msgspec.Struct, gc=False):
    topic: str | None = None
    type: str | None = None
    timestamp: int | None = None
    payload: _Payload | None = None
    # PolyBolt's words.
    v: int | None = None
    op: str | None = None
    channel: str | None = None
    seq: int | None = None
    ts: int | None = None
    dropped: int | None = None
    code: str | None = None
    rid: str | None = None


class _Place(msgspec.Struct, gc=False):
    """What a frame's place in the sequence is read from when its content cannot be."""

    channel: str = ""
    seq: int | None = None


_DECODER = msgspec.json.Decoder(_Frame)
_PLACE = msgspec.json.Decoder(_Place)
_ENCODER = msgspec.json.Encoder()


class PolymarketRtds:
    """The legacy feed of prices; public. Instruments are underlyings."""

    name = "polymarket.rtds"
    address = "wss://ws-live-data.polymarket.com"
    carries: Literal["books", "index"] = "index"
    is_signed = False
    subscribe_s_max = 10.0
    keepalive_text: str | None = "PING"
    keepalive_s = 5.0
    # About one value a second and symbol; gaps of 8 s were seen in sound connections.
    silence_s_max = 15.0
    message_bytes_max = 1024 * 1024
    instruments_max = 8
    is_numbered = False

    def subscribe(
        self,
        instruments: Sequence[str],
        *,
        request_id: int,
        standing: Sequence[Acknowledged] = (),
    ) -> list[str]:
        """Return a text for each topic of each underlying; one faulty topic would silence a list.

        The filter is compared as text: with a space in it, the history comes and then nothing.
        """
        return self._texts("subscribe", instruments)

    def unsubscribe(
        self, instruments: Sequence[str], *, request_id: int, standing: Sequence[Acknowledged]
    ) -> list[str]:
        """Return the texts that end the subscriptions."""
        return self._texts("unsubscribe", instruments)

    def resync(
        self, instruments: Sequence[str], *, request_id: int, standing: Sequence[Acknowledged]
    ) -> list[str]:
        """Return nothing: values stand for themselves, there is no state to mend."""
        return []

    def parse(self, text: str) -> Frame:
        """Read a history or a value; never raises. A PING is answered by PONG or an empty text."""
        if text in ("", "PONG"):
            return Frame([Heartbeat()])
        frame = _decode(text)
        if isinstance(frame, Frame):
            return frame
        window_s = None if frame.topic is None else _TOPICS.get(frame.topic)
        if window_s is None:
            return Frame([reject("unknown_type", f"topic {frame.topic} type {frame.type}")])
        found = _values(frame.payload, window_s)
        if frame.type == "subscribe":
            found.insert(0, Acknowledged(str(frame.topic)))
        return Frame(found, about_ns=_clock_ns(frame.timestamp))

    def _texts(self, action: str, instruments: Sequence[str]) -> list[str]:
        texts = []
        for instrument in instruments:
            symbol = _text({"symbol": instrument.lower().replace("-", "/")})
            for topic in _TOPICS:
                one = {"topic": topic, "type": "*", "filters": symbol}
                texts.append(_text({"action": action, "subscriptions": [one]}))
        return texts


class PolymarketPrices:
    """PolyBolt, the present feed of prices; needs the operator's key. Instruments: underlyings."""

    name = "polymarket.prices"
    address = "wss://ws-live-v2.polymarket.com/ws"
    carries: Literal["books", "index"] = "index"
    is_signed = True
    subscribe_s_max = 10.0
    # The server pings on its own, each 25 s, and the WebSocket answers.
    keepalive_text: str | None = None
    keepalive_s = 25.0
    silence_s_max = 15.0
    message_bytes_max = 1024 * 1024
    instruments_max = 8
    is_numbered = True

    def login(self, *, api_key: str, secret: str, passphrase: str) -> str:
        """Return the first text of a connection; never log it."""
        auth = {"apiKey": api_key, "secret": secret, "passphrase": passphrase}
        return _text({"op": "auth", "rid": "0", "auth": auth})

    def subscribe(
        self,
        instruments: Sequence[str],
        *,
        request_id: int,
        standing: Sequence[Acknowledged] = (),
    ) -> list[str]:
        """Return one text for all underlyings; the connection must have logged in."""
        return self._texts("subscribe", instruments, request_id)

    def unsubscribe(
        self, instruments: Sequence[str], *, request_id: int, standing: Sequence[Acknowledged]
    ) -> list[str]:
        """Return the text that ends the subscriptions."""
        return self._texts("unsubscribe", instruments, request_id)

    def resync(
        self, instruments: Sequence[str], *, request_id: int, standing: Sequence[Acknowledged]
    ) -> list[str]:
        """Return nothing: a repeated subscription is acknowledged without a new history."""
        return []

    def parse(self, text: str) -> Frame:
        """Read an acknowledgement, an error, a history or a value; never raises."""
        frame = _decode(text)
        if isinstance(frame, Frame):
            return frame
        if frame.op is not None:
            return Frame([_operation(frame)])
        place = Frame([], frame.channel or "", frame.seq, _clock_ns(frame.ts))
        return msgspec.structs.replace(place, messages=_envelope(frame))

    def _texts(self, op: str, instruments: Sequence[str], request_id: int) -> list[str]:
        if not instruments:
            return []
        wanted = [
            {
                "channel": _CHANNEL,
                "filter": {
                    "symbol": instrument.lower().replace("-", ""),
                    "window_seconds": TWAP_WINDOW_S,
                },
            }
            for instrument in instruments
        ]
        return [_text({"op": op, "rid": str(request_id), "subscriptions": wanted})]


def _text(value: object) -> str:
    return _ENCODER.encode(value).decode()


def _decode(text: str) -> _Frame | Frame:
    """Return the decoded text, or what to say of one that cannot be."""
    try:
        return _DECODER.decode(text)
    except msgspec.ValidationError as error:
        detail = str(error)
    except (ValueError, RecursionError):
        return Frame([reject("malformed", text)])
    try:
        place = _PLACE.decode(text)
    except (ValueError, RecursionError):
        return Frame([reject("wrong_shape", detail)])
    return Frame([reject("wrong_shape", detail)], place.channel, place.seq)


def _clock_ns(milliseconds: int | None) -> int | None:
    try:
        return None if milliseconds is None else milliseconds_ns(milliseconds)
    except WireError:
        return None


def _operation(frame: _Frame) -> Message:
    digits = frame.rid is not None and frame.rid.isascii() and frame.rid.isdigit()
    request_id = int(frame.rid) if frame.rid and digits and len(frame.rid) < 10 else None
    if frame.op == "pong":
        return Heartbeat()
    if frame.op in ("authed", "subscribed", "unsubscribed"):
        channel = "auth" if frame.op == "authed" else _shown(frame.channel)
        return Acknowledged(channel, request_id=request_id)
    if frame.op == "error":
        code = _shown(frame.code)
        remedy = _REMEDIES.get(code, "reconnect")
        return VenueError(code, _shown(frame.channel), remedy, request_id=request_id)
    return reject("unknown_type", f"op {frame.op}")


def _shown(text: str | None) -> str:
    try:
        return name(text or "-")
    except WireError:
        return "-"


def _envelope(frame: _Frame) -> list[Message]:
    if frame.v != 1:
        return [reject("unknown_schema", f"v {frame.v} channel {frame.channel}")]
    if frame.channel != _CHANNEL:
        return [reject("unknown_type", f"channel {frame.channel}")]
    found = _values(frame.payload, TWAP_WINDOW_S)
    if frame.dropped:
        found.append(VenueError("dropped", f"{frame.dropped} frames", "ignore"))
    return found


def _values(payload: _Payload | None, window_s: int) -> list[Message]:
    if payload is None:
        return [reject("wrong_shape", "no payload")]
    try:
        symbol = payload.symbol
        about = underlying(symbol if "/" in symbol else f"{symbol.removesuffix('usd')}/usd")
    except WireError as error:
        return [reject(error.reason, str(error))]
    told = payload.window_s if payload.window_seconds is None else payload.window_seconds
    if told not in (None, window_s):
        return [reject("unknown_type", f"window of {told} s, expected {window_s}")]
    if payload.data is not None:
        return [_value(point, about, window_s) for point in payload.data]
    if payload.timestamp is None:
        return [reject("wrong_shape", "neither data nor timestamp")]
    point = _Point(payload.timestamp, payload.value, payload.full_accuracy_value)
    return [_value(point, about, window_s)]


def _value(point: _Point, about: str, window_s: int) -> Message:
    exact = point.value if point.full_accuracy_value is None else point.full_accuracy_value
    if exact is None:
        return reject("wrong_shape", "no value", instrument=about)
    try:
        return IndexValue(INDEX, about, usd(exact), milliseconds_ns(point.timestamp), window_s)
    except WireError as error:
        return reject(error.reason, str(error), instrument=about)
