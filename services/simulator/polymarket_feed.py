"""Polymarket's WebSockets: the market channel, live data (RTDS), and its successor (PolyBolt).

In go subscriptions, events and the time, out come messages. The market channel numbers nothing:
what is lost shows nowhere, so whoever listens again gets the book again. Texts `PING` are answered
with `PONG`; neither is JSON.
"""

from dataclasses import dataclass, field

import msgspec

from services.simulator.naming import NS_PER_MS, NS_PER_S, token_place
from services.simulator.path import PRINTS
from services.simulator.polymarket import Texts, Value, book_message
from services.simulator.wire import PING, Context, Out, json_text
from services.simulator.world import Event, PrintEvent

ASSETS_MAX = 500
HISTORY_S = 120
PING_S = 25
FRAME_MAX = 65_536
SUBSCRIPTIONS_MAX = 64


class _Market(msgspec.Struct):
    assets_ids: list[str] = []
    type: str = ""
    operation: str = "subscribe"
    initial_dump: bool = True
    custom_feature_enabled: bool = False


class MarketSession:
    """One client's connection to the market channel; see `wire.Session`."""

    venue = "polymarket"
    feed = "polymarket.ws"

    def __init__(self, context: Context, now_ns: int) -> None:
        self.sent: list[Out] = []
        self._context = context
        self._tokens: dict[str, tuple[str, int]] = {}
        self._names: set[str] = set()
        self._has_custom = False

    def receive(self, text: str, now_ns: int) -> None:
        """Subscribe to tokens, or answer a PING."""
        if text.upper() == "PING":
            self.sent.append(Out("PONG"))
            return
        try:
            asked = msgspec.json.decode(text, type=_Market)
        except (msgspec.DecodeError, UnicodeError):
            self.sent.append(Out("INVALID OPERATION"))
            return
        self._has_custom = self._has_custom or asked.custom_feature_enabled
        if asked.operation == "unsubscribe":
            for token in asked.assets_ids:
                self._tokens.pop(token, None)
        else:
            for token in asked.assets_ids:
                place = self._context.world.market_of(token_place(token))
                if place is not None:
                    self._tokens[token] = place[0].name, place[1]
        self._names = {name for name, _ in self._tokens.values()}
        if asked.operation != "unsubscribe" and asked.initial_dump:
            self.dump(asked.assets_ids, now_ns)

    def dump(self, tokens: list[str], now_ns: int) -> None:
        """Send the books of tokens as one array; none above the venue's limit of assets."""
        if len(self._tokens) > ASSETS_MAX:
            return
        books = []
        for token in dict.fromkeys(tokens):
            if token in self._tokens:
                place = self._context.world.market_of(token_place(token))
                if place is not None:
                    books.append(book_message(*place, self._context, now_ns))
        self.sent.append(Out(json_text(books), is_data=True))

    def refresh(self, now_ns: int) -> None:
        """Send every book anew, as the venue does when a silent feed comes back."""
        self.dump(list(self._tokens), now_ns)

    def hear(self, event: Event, texts: object) -> None:
        """Pass on what this client subscribed to."""
        if not isinstance(texts, Texts):
            return
        is_mine = texts.market.name in self._names
        if is_mine:
            self.sent += [Out(text, is_data=True) for text in texts.messages]
        if self._has_custom and (is_mine or texts.to_all):
            self.sent += [Out(text, is_data=True) for text in texts.custom]
        if is_mine and texts.is_fresh:
            for token in texts.market.tokens:
                if token in self._tokens:
                    self._book(token, event.ns)

    def tick(self, now_ns: int) -> None:
        """Nothing is due on this channel."""

    def _book(self, token: str, now_ns: int) -> None:
        place = self._context.world.market_of(token_place(token))
        if place is not None:
            value = book_message(*place, self._context, now_ns)
            self.sent.append(Out(json_text(value), is_data=True))


class _Topic(msgspec.Struct):
    topic: str = ""
    type: str = "*"
    filters: str = ""


class _LiveData(msgspec.Struct):
    action: str = ""
    subscriptions: list[_Topic] = []


class _Filter(msgspec.Struct):
    symbol: str = ""


CHAINLINK, TWAP, BINANCE = "crypto_prices_chainlink", "crypto_prices_twap_sixty", "crypto_prices"


class LiveDataSession:
    """One client's connection to the older live-data socket; see `wire.Session`."""

    venue = "polymarket"
    feed = "polymarket.rtds"

    def __init__(self, context: Context, now_ns: int) -> None:
        self.sent: list[Out] = []
        self._context = context
        self._heard: set[tuple[str, int]] = set()

    def receive(self, text: str, now_ns: int) -> None:
        """Subscribe to topics, or answer a PING."""
        if text.upper() == "PING":
            self.sent.append(Out("PONG" if text == "PING" else "pong"))
            return
        try:
            asked = msgspec.json.decode(text, type=_LiveData)
        except (msgspec.DecodeError, UnicodeError):
            self.sent.append(Out(json_text({"message": "Invalid request body"})))
            return
        for topic in asked.subscriptions:
            for row in self._rows(topic):
                if asked.action == "unsubscribe":
                    self._heard.discard((topic.topic, row))
                elif asked.action == "subscribe" and topic.topic in (CHAINLINK, TWAP, BINANCE):
                    self._heard.add((topic.topic, row))
                    self._history(topic.topic, row, now_ns)

    def hear(self, event: Event, texts: object) -> None:
        """Pass on index prints."""
        if not isinstance(event, PrintEvent):
            return
        for topic in (CHAINLINK, TWAP, BINANCE):
            if (topic, event.row) in self._heard:
                value = _value_e8(self._context, event, topic)
                payload: Value = {
                    "symbol": self._symbol(topic, event.row),
                    "timestamp": event.second * 1_000,
                    "value": value / 10**8,
                    "full_accuracy_value": _exact(value),
                }
                self._send(topic, "update", payload, event.ns)

    def tick(self, now_ns: int) -> None:
        """Nothing is due on this socket."""

    def _rows(self, topic: _Topic) -> list[int]:
        rows = range(self._context.world.rows)
        if not topic.filters:
            return list(rows)
        try:
            wanted = [msgspec.json.decode(topic.filters, type=_Filter).symbol]
        except (msgspec.DecodeError, UnicodeError):
            wanted = [part.strip(' "[]') for part in topic.filters.split(",")]
        return [row for row in rows if self._symbol(topic.topic, row) in wanted]

    def _symbol(self, topic: str, row: int) -> str:
        code = self._context.world.names[row].split("-")[0].lower()
        return f"{code}usdt" if topic == BINANCE else f"{code}/usd"

    def _history(self, topic: str, row: int, now_ns: int) -> None:
        prints = [p for p in self._context.live.prints[row] if p.ns > now_ns - HISTORY_S * NS_PER_S]
        data = [
            {"timestamp": p.second * 1_000, "value": _value_e8(self._context, p, topic) / 10**8}
            for p in prints
        ]
        payload: Value = {"symbol": self._symbol(topic, row), "data": data}
        self._send(topic, "subscribe", payload, now_ns)

    def _send(self, topic: str, kind: str, payload: Value, now_ns: int) -> None:
        ms = self._context.venue_ns("polymarket", now_ns) // NS_PER_MS
        head = {"topic": topic, "type": kind, "timestamp": ms, "payload": payload}
        self.sent.append(Out(json_text(head), is_data=kind == "update"))


class _Where(msgspec.Struct):
    symbol: str = ""
    window_seconds: int = PRINTS


class _Channel(msgspec.Struct):
    channel: str = ""
    filter: _Where | None = None


class _Keys(msgspec.Struct):
    apiKey: str = ""
    secret: str = ""
    passphrase: str = ""


class _Operation(msgspec.Struct):
    op: str = ""
    rid: str = ""
    auth: _Keys | None = None
    subscriptions: list[_Channel] = []


@dataclass
class _Stream:
    """One subscribed (channel, row)."""

    channel: str
    row: int
    symbol: str = field(default="")


class PolyBoltSession:
    """One client's connection to the newer live-data socket; see `wire.Session`."""

    venue = "polymarket"
    feed = "polymarket.polybolt"

    def __init__(self, context: Context, now_ns: int) -> None:
        self.sent: list[Out] = []
        self._context = context
        self._is_known = False
        self._streams: list[_Stream] = []
        self._seq: dict[str, int] = {}
        self._ping_ns = now_ns + PING_S * NS_PER_S

    def receive(self, text: str, now_ns: int) -> None:
        """Authenticate, subscribe, unsubscribe."""
        if len(text) > FRAME_MAX:
            self.sent.append(Out("frame too large", code=4008))
            return
        try:
            asked = msgspec.json.decode(text, type=_Operation)
        except (msgspec.DecodeError, UnicodeError):
            self.sent.append(Out(json_text({"op": "error", "code": "bad_request"})))
            return
        if asked.op == "auth":
            self._is_known = asked.auth is not None and bool(
                asked.auth.apiKey and asked.auth.secret
            )
            if self._is_known:
                self.sent.append(Out(json_text({"op": "authed", "rid": asked.rid})))
            else:
                self._error("auth_failed", "", asked.rid)
                self.sent.append(Out("authentication failed", code=4001))
            return
        for channel in asked.subscriptions:
            if asked.op == "subscribe":
                self._subscribe(channel, asked.rid, now_ns)
            elif asked.op == "unsubscribe":
                rows = self._row_of(channel)
                self._streams = [
                    s for s in self._streams if (s.channel, s.row) != (channel.channel, rows)
                ]

    def hear(self, event: Event, texts: object) -> None:
        """Pass on index prints."""
        if isinstance(event, PrintEvent):
            for stream in self._streams:
                if stream.row == event.row:
                    self._send(stream, [event], event.ns, is_snapshot=False)

    def tick(self, now_ns: int) -> None:
        """Ping every 25 seconds."""
        if now_ns >= self._ping_ns:
            self.sent.append(Out("", code=PING))
            self._ping_ns = now_ns + PING_S * NS_PER_S

    def _row_of(self, channel: _Channel) -> int:
        symbols = [
            f"{name.split('-', maxsplit=1)[0].lower()}usd" for name in self._context.world.names
        ]
        symbol = channel.filter.symbol if channel.filter else ""
        return symbols.index(symbol) if symbol in symbols else -1

    def _subscribe(self, channel: _Channel, rid: str, now_ns: int) -> None:
        row = self._row_of(channel)
        if not self._is_known:
            self._error("auth_required", channel.channel, rid)
        elif channel.channel not in ("price.crypto", "price.crypto.twap") or row < 0:
            self._error("invalid_filter", channel.channel, rid)
        elif len(self._streams) >= SUBSCRIPTIONS_MAX:
            self._error("too_many_subscriptions", channel.channel, rid)
        else:
            self.sent.append(
                Out(json_text({"op": "subscribed", "channel": channel.channel, "rid": rid}))
            )
            symbol = channel.filter.symbol if channel.filter else ""
            stream = _Stream(channel.channel, row, symbol)
            self._streams.append(stream)
            back_ns = now_ns - HISTORY_S * NS_PER_S
            prints = [p for p in self._context.live.prints[row] if p.ns > back_ns]
            self._send(stream, prints, now_ns, is_snapshot=True)

    def _send(
        self, stream: _Stream, prints: list[PrintEvent], now_ns: int, *, is_snapshot: bool
    ) -> None:
        topic = TWAP if stream.channel.endswith("twap") else CHAINLINK
        data = []
        for event in prints:
            value = _value_e8(self._context, event, topic)
            instant = {"timestamp": event.second * 1_000, "value": value / 10**8}
            data.append({**instant, "full_accuracy_value": _exact(value)})
        self._seq[stream.channel] = self._seq.get(stream.channel, 0) + 1
        payload: Value = {"symbol": stream.symbol, "data": data}
        if topic == TWAP:
            payload["window_seconds"] = PRINTS
        message: Value = {"v": 1, "channel": stream.channel}
        message["seq"] = self._seq[stream.channel]
        message["ts"] = self._context.venue_ns("polymarket", now_ns) // NS_PER_MS
        if is_snapshot:
            message["snapshot"] = True
        self.sent.append(Out(json_text({**message, "payload": payload}), is_data=True))

    def _error(self, code: str, channel: str, rid: str) -> None:
        value = {"op": "error", "code": code, "channel": channel, "rid": rid}
        self.sent.append(Out(json_text(value)))


def _value_e8(context: Context, event: PrintEvent, topic: str) -> int:
    """Return a print, or the mean of the sixty up to it, in 1e-8 USD."""
    if topic != TWAP:
        return event.value_e4 * 10_000
    return context.world.prices.sum_e4(event.row, event.second) * 10_000 // PRINTS


def _exact(value_e8: int) -> str:
    return f"{value_e8 // 10**8}.{value_e8 % 10**8:08d}"
