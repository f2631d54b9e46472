"""Kalshi's WebSocket, version 2: commands, subscriptions and their sequence numbers.

In go command texts and the codec's bodies, out come numbered messages. A subscription has its own
`sid` and, on the channels that count, its own `seq`, which replies consume too.

A reader would question that a second subscription to one channel gets a sid of its own. The venue
does not say; the error that once forbade it is retired.
"""

from dataclasses import dataclass

import msgspec

from services.simulator.kalshi import INDEX, Texts, snapshot_body
from services.simulator.naming import NS_PER_S
from services.simulator.wire import PING, Context, Out, json_text
from services.simulator.world import Event

PING_S = 10
COUNTED = frozenset({"orderbook_delta", "trade", "market_lifecycle_v2", "cfbenchmarks_value"})
CHANNELS = COUNTED | {"ticker"}
SUBSCRIPTIONS_MAX = 100

ERRORS = {
    1: "Unable to process message",
    2: "Params required",
    3: "Channels required",
    4: "Subscription IDs required",
    5: "Unknown command",
    7: "Unknown subscription ID",
    8: "Unknown channel name",
    12: "Exactly one subscription ID is required",
    13: "Unsupported action",
    14: "Market ticker required",
    24: "Index IDs required",
    26: "Subscription market limit exceeded",
}


class _Params(msgspec.Struct):
    channels: list[str] | None = None
    market_ticker: str | None = None
    market_tickers: list[str] | None = None
    index_ids: list[str] | None = None
    sids: list[int] | None = None
    sid: int | None = None
    action: str | None = None
    use_yes_price: bool = False
    send_initial_snapshot: bool = True

    def tickers(self) -> list[str]:
        """Return the named markets, by whichever of the two parameters."""
        return (self.market_tickers or []) + ([self.market_ticker] if self.market_ticker else [])


class _Command(msgspec.Struct):
    id: int = 0
    cmd: str = ""
    params: _Params | None = None


_COMMAND = msgspec.json.Decoder(_Command)


@dataclass
class _Subscription:
    """One sid: its channel, the markets or indices it hears of (None for all), and its counter."""

    sid: int
    channel: str
    names: set[str] | None
    in_yes: bool
    seq: int = 0


class KalshiSession:
    """One client's connection; see `wire.Session`."""

    venue = "kalshi"
    feed = "kalshi.ws"

    def __init__(self, context: Context, now_ns: int) -> None:
        self.sent: list[Out] = []
        self._context = context
        self._subscriptions: dict[int, _Subscription] = {}
        self._sids = 0
        self._ping_ns = now_ns + PING_S * NS_PER_S

    def receive(self, text: str, now_ns: int) -> None:
        """Carry out a command."""
        try:
            command = _COMMAND.decode(text)
        except (msgspec.DecodeError, UnicodeError):
            self._error(0, 1)
            return
        params = command.params
        if command.cmd not in ("subscribe", "unsubscribe", "update_subscription"):
            self._error(command.id, 5)
        elif params is None:
            self._error(command.id, 2)
        elif command.cmd == "subscribe":
            self._subscribe(command.id, params)
        elif command.cmd == "unsubscribe":
            self._unsubscribe(command.id, params)
        else:
            self._update(command.id, params)

    def hear(self, event: Event, texts: object) -> None:
        """Pass on what this client subscribed to."""
        if not isinstance(texts, Texts):
            return
        for subscription in self._subscriptions.values():
            for body in _bodies(texts, subscription):
                self._tell(subscription, _TYPES[subscription.channel], body)

    def tick(self, now_ns: int) -> None:
        """Ping every ten seconds."""
        if now_ns >= self._ping_ns:
            self.sent.append(Out("heartbeat", code=PING))
            self._ping_ns = now_ns + PING_S * NS_PER_S

    def _subscribe(self, command: int, params: _Params) -> None:
        if not params.channels:
            self._error(command, 3)
            return
        for channel in params.channels:
            fault = self._fault_of(channel, params)
            if fault:
                self._error(command, fault)
                continue
            self._sids += 1
            names = params.index_ids if channel == "cfbenchmarks_value" else params.tickers()
            heard = set(names or ()) or None
            if channel == "market_lifecycle_v2":
                heard = None
            subscription = _Subscription(self._sids, channel, heard, params.use_yes_price)
            self._subscriptions[self._sids] = subscription
            message = {"channel": channel, "sid": self._sids}
            self._send({"id": command, "type": "subscribed", "msg": message})
            if channel == "orderbook_delta" and params.send_initial_snapshot:
                self._snapshots(subscription, params.tickers())

    def _fault_of(self, channel: str, params: _Params) -> int:
        if channel not in CHANNELS:
            return 8
        if channel == "orderbook_delta" and not params.tickers():
            return 14
        if channel == "cfbenchmarks_value" and not params.index_ids:
            return 24
        if channel == "cfbenchmarks_value" and not set(params.index_ids or ()) <= set(
            INDEX.values()
        ):
            return 11
        return 26 if len(self._subscriptions) >= SUBSCRIPTIONS_MAX else 0

    def _unsubscribe(self, command: int, params: _Params) -> None:
        if not params.sids:
            self._error(command, 4)
            return
        for sid in params.sids:
            subscription = self._subscriptions.pop(sid, None)
            if subscription is None:
                self._error(command, 7)
                continue
            subscription.seq += 1
            self._send({"id": command, "sid": sid, "seq": subscription.seq, "type": "unsubscribed"})

    def _update(self, command: int, params: _Params) -> None:
        sids = (params.sids or []) + ([params.sid] if params.sid is not None else [])
        if len(sids) != 1:
            self._error(command, 12)
            return
        subscription = self._subscriptions.get(sids[0])
        tickers = params.tickers()
        if subscription is None:
            self._error(command, 7)
        elif not tickers:
            self._error(command, 14)
        elif params.action == "get_snapshot":
            self._snapshots(subscription, tickers)
        elif params.action in ("add_markets", "delete_markets"):
            names = subscription.names if subscription.names is not None else set()
            is_new = [ticker for ticker in dict.fromkeys(tickers) if ticker not in names]
            subscription.names = (
                names | set(tickers) if params.action == "add_markets" else names - set(tickers)
            )
            self._ok(command, subscription)
            if params.action == "add_markets" and subscription.channel == "orderbook_delta":
                self._snapshots(subscription, is_new)
        else:
            self._error(command, 13)

    def _snapshots(self, subscription: _Subscription, tickers: list[str]) -> None:
        for ticker in dict.fromkeys(tickers):
            market = self._context.world.find(ticker)
            if market is not None:
                book = self._context.live.book(market)
                body = snapshot_body(market, book, in_yes=subscription.in_yes)
                self._tell(subscription, "orderbook_snapshot", body)

    def _tell(self, subscription: _Subscription, kind: str, body: str) -> None:
        head = f'{{"type":"{kind}","sid":{subscription.sid}'
        if subscription.channel in COUNTED:
            subscription.seq += 1
            head += f',"seq":{subscription.seq}'
        self.sent.append(Out(f'{head},"msg":{body}}}', is_data=True))

    def _ok(self, command: int, subscription: _Subscription) -> None:
        subscription.seq += 1
        names = sorted(subscription.names or ())
        message = {"market_tickers": names}
        head = {"id": command, "sid": subscription.sid, "seq": subscription.seq}
        self._send({**head, "type": "ok", "msg": message})

    def _error(self, command: int, code: int) -> None:
        message = {"code": code, "msg": ERRORS.get(code, "Invalid parameter")}
        self._send({"id": command, "type": "error", "msg": message})

    def _send(self, value: dict[str, object]) -> None:
        self.sent.append(Out(json_text(value)))


_TYPES = {channel: channel for channel in CHANNELS}


def _bodies(texts: Texts, subscription: _Subscription) -> tuple[str, ...]:
    """Return the bodies of an event that a subscription hears."""
    channel, names = subscription.channel, subscription.names
    if channel == "cfbenchmarks_value":
        wanted = texts.index is not None and (names is None or texts.index_id in names)
        return (texts.index,) if wanted and texts.index else ()
    if channel == "market_lifecycle_v2":
        return (texts.life,) if texts.life else ()
    if names is not None and texts.market not in names:
        return ()
    if channel == "orderbook_delta":
        return texts.deltas_yes if subscription.in_yes else texts.deltas
    body = texts.ticker if channel == "ticker" else texts.trade
    return (body,) if body else ()
