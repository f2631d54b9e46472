"""Kalshi's WebSocket: texts to send, and texts received into messages. Pure.

Two kinds of connection to one server. `kalshi.ws` carries the books, tickers and trades of markets.
`kalshi.index` carries what is subscribed once and never again: the settlement index itself
(`cfbenchmarks_value`) and the life of every market of the exchange (`market_lifecycle_v2`, which
cannot be filtered). Frames are numbered per subscription, and the channel of a `Frame` is the
subscription's number.

The decision a reader would question: `use_yes_price` is sent as false. Kalshi has bids only, those
for NO in prices of NO; here a bid for NO at p is an ask of YES at 1 - p. The venue plans to tell
them in prices of YES one day; then books cross at once, which is seen, and `kalshi_frames` changes.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import msgspec

from libs.common.venues import kalshi_wire as wire
from libs.common.venues.kalshi_frames import INDEXES, READERS
from libs.common.venues.messages import (
    Acknowledged,
    BookVoid,
    Frame,
    Message,
    RejectReason,
    reject,
)
from libs.common.venues.numbers import WireError, name

ADDRESS = "wss://external-api-ws.kalshi.com/trade-api/ws/v2"
SUBSCRIBE_S_MAX = 30.0
"""The venue states no time by which a connection must have subscribed."""
MESSAGE_BYTES_MAX = 1_000_000
"""A snapshot of a book on a grid of 0.01 cent has 2 x 9,999 levels of 20 bytes."""

MARKET_CHANNELS = ("orderbook_delta", "ticker", "trade")

_T = TypeVar("_T")


class KalshiFeed:
    """Books, tickers and trades of markets."""

    name = "kalshi.ws"
    address = ADDRESS
    carries: Literal["books", "index"] = "books"
    is_signed = True
    subscribe_s_max = SUBSCRIBE_S_MAX
    # It pings every 10 s itself; the socket's library answers.
    keepalive_text: str | None = None
    keepalive_s = 0.0
    # A quarter hour of SOL at night may be still for seconds; asking for a snapshot proves life.
    silence_s_max = 20.0
    message_bytes_max = MESSAGE_BYTES_MAX
    # Three ladders of 190 strikes; the venue's own limit (error 26) is not published.
    instruments_max = 600
    is_numbered = True

    def subscribe(
        self,
        instruments: Sequence[str],
        *,
        request_id: int,
        standing: Sequence[Acknowledged] = (),
    ) -> list[str]:
        """Return the texts that subscribe to markets.

        With `standing` they join the subscriptions that stand; without, each call opens three more,
        and the venue limits those.
        """
        sids = _sids(standing, MARKET_CHANNELS)
        if not sids:
            params = {
                "channels": MARKET_CHANNELS,
                "market_tickers": list(instruments),
                "send_initial_snapshot": True,
                "use_yes_price": False,
            }
            return _commands("subscribe", [params], request_id)
        updates = [_update(sid, instruments, "add_markets") for sid in sids]
        # That adding alone brings a snapshot of the book is nowhere promised.
        books = _sids(standing, ("orderbook_delta",))
        updates += [_update(sid, instruments, "get_snapshot") for sid in books]
        return _commands("update_subscription", updates, request_id)

    def unsubscribe(
        self, instruments: Sequence[str], *, request_id: int, standing: Sequence[Acknowledged]
    ) -> list[str]:
        """Return the texts that take markets out of the standing subscriptions."""
        sids = _sids(standing, MARKET_CHANNELS)
        updates = [_update(sid, instruments, "delete_markets") for sid in sids]
        return _commands("update_subscription", updates, request_id)

    def resync(
        self, instruments: Sequence[str], *, request_id: int, standing: Sequence[Acknowledged]
    ) -> list[str]:
        """Return the texts that ask for fresh snapshots; empty before a subscription stands."""
        sids = _sids(standing, ("orderbook_delta",))
        updates = [_update(sid, instruments, "get_snapshot") for sid in sids]
        return _commands("update_subscription", updates, request_id)

    def parse(self, text: str) -> Frame:
        """Read one frame; see `parse`."""
        return parse(text)


class KalshiIndexFeed:
    """The settlement index of underlyings, and the life of all markets."""

    name = "kalshi.index"
    address = ADDRESS
    carries: Literal["books", "index"] = "index"
    is_signed = True
    subscribe_s_max = SUBSCRIBE_S_MAX
    keepalive_text: str | None = None
    keepalive_s = 0.0
    # It prints each second, also while trading pauses.
    silence_s_max = 10.0
    message_bytes_max = MESSAGE_BYTES_MAX
    instruments_max = len(INDEXES)
    is_numbered = True

    def subscribe(
        self,
        instruments: Sequence[str],
        *,
        request_id: int,
        standing: Sequence[Acknowledged] = (),
    ) -> list[str]:
        """Return the texts that subscribe to the indices of underlyings, and to lifecycles once."""
        sids = _sids(standing, ("cfbenchmarks_value",))
        if sids:
            updates = [_update_index(sid, instruments, "subscribe_indices") for sid in sids]
            return _commands("update_subscription", updates, request_id)
        params: list[dict[str, Any]] = [{"channels": ("market_lifecycle_v2",)}]
        indices = _indices(instruments)
        if indices:
            params.insert(0, {"channels": ("cfbenchmarks_value",), "index_ids": indices})
        return _commands("subscribe", params, request_id)

    def unsubscribe(
        self, instruments: Sequence[str], *, request_id: int, standing: Sequence[Acknowledged]
    ) -> list[str]:
        """Return the texts that end the indices of underlyings."""
        sids = _sids(standing, ("cfbenchmarks_value",))
        updates = [_update_index(sid, instruments, "unsubscribe_indices") for sid in sids]
        return _commands("update_subscription", updates, request_id)

    def resync(
        self, instruments: Sequence[str], *, request_id: int, standing: Sequence[Acknowledged]
    ) -> list[str]:
        """Empty: a print replaces the one before, there is nothing to restore."""
        return []

    def parse(self, text: str) -> Frame:
        """Read one frame; see `parse`."""
        return parse(text)


def parse(text: str) -> Frame:
    """Read one frame of either feed; never raises.

    Where a book's frame is rejected and its market is known, the book is void; where not even
    the market is known, the frame gives no sequence, so that the gap it leaves voids them all.
    """
    if len(text) > MESSAGE_BYTES_MAX:
        return Frame([reject("too_large", text)])
    try:
        envelope = wire.envelope(text)
    except msgspec.ValidationError:
        return _damaged(text)
    except (ValueError, RecursionError):
        return Frame([reject("malformed", text)])
    read = READERS.get(envelope.type)
    if read is None:
        return _frame(envelope, [reject("unknown_type", text)])
    try:
        messages, about_ns = read(envelope)
    except WireError as error:
        return _rejected(envelope, error.reason, text)
    except (ValueError, RecursionError):
        return _rejected(envelope, "wrong_shape", text)
    return _frame(envelope, messages, about_ns)


def _sids(standing: Sequence[Acknowledged], channels: Sequence[str]) -> list[int]:
    found = [ack.subscription for ack in standing if ack.channel in channels]
    return [sid for sid in dict.fromkeys(found) if sid is not None]


def _update(sid: int, instruments: Sequence[str], action: str) -> dict[str, Any]:
    return {"sids": [sid], "market_tickers": list(instruments), "action": action}


def _update_index(sid: int, underlyings: Sequence[str], action: str) -> dict[str, Any]:
    return {"sids": [sid], "action": action, "index_ids": _indices(underlyings)}


def _indices(underlyings: Sequence[str]) -> list[str]:
    return [index for index, underlying in INDEXES.items() if underlying in underlyings]


def _commands(command: str, params: list[dict[str, Any]], request_id: int) -> list[str]:
    return [
        msgspec.json.encode({"id": request_id + i, "cmd": command, "params": one}).decode()
        for i, one in enumerate(params)
    ]


def _frame(envelope: wire.Envelope, messages: list[Message], about_ns: int | None = None) -> Frame:
    sid = envelope.sid
    if sid is None:
        return Frame(messages, "", None, about_ns)
    return Frame(messages, str(sid), envelope.seq, about_ns)


def _damaged(text: str) -> Frame:
    """Read what can be read of a frame whose envelope is of another shape."""
    try:
        loose = wire.loose(text)
    except msgspec.ValidationError:
        return Frame([reject("wrong_shape", text)])
    except (ValueError, RecursionError):
        return Frame([reject("malformed", text)])
    kind = _readable(wire.text, loose.type)
    sid, seq = _readable(wire.number, loose.sid), _readable(wire.number, loose.seq)
    envelope = wire.Envelope(type=kind or "", sid=sid, seq=seq, msg=loose.msg)
    return _rejected(envelope, "wrong_shape", text)


def _readable(read: Callable[[msgspec.Raw], _T], raw: msgspec.Raw) -> _T | None:
    try:
        return read(raw)
    except (ValueError, RecursionError):
        return None


def _rejected(envelope: wire.Envelope, reason: RejectReason, text: str) -> Frame:
    """Return the frame of a text whose content is rejected."""
    instrument = None
    found = _readable(wire.named, envelope.msg)
    if found is not None:
        instrument = _readable_name(found.market_ticker)
    messages: list[Message] = [reject(reason, text, instrument=instrument)]
    if envelope.type in ("orderbook_snapshot", "orderbook_delta"):
        if instrument is None:
            return Frame(messages)
        messages.append(BookVoid(instrument, "rejected"))
    return _frame(envelope, messages)


def _readable_name(text: str) -> str | None:
    try:
        return name(text)
    except WireError:
        return None
