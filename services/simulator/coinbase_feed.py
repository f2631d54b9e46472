"""Coinbase's two WebSocket feeds: Advanced Trade and Exchange.

In go subscribe texts, events and the time, out come messages. Advanced Trade numbers every message
of a connection in one line from 0, whatever its channel or product; Exchange numbers products, and
only trade ids are without gaps. Both close a connection that subscribes to nothing in five seconds;
Advanced Trade also one on which nothing was sent for 75 seconds.
"""

from base64 import urlsafe_b64decode

import msgspec

from services.simulator.coinbase import (
    Codec,
    Texts,
    coins,
    match_value,
    price,
    sequence_of,
    ticker_value,
    trade_value,
)
from services.simulator.naming import NS_PER_S, rfc3339
from services.simulator.wire import Context, Out, json_text
from services.simulator.world import Event

SUBSCRIBE_S, IDLE_S = 5, 75
MESSAGES_PER_S = 8
JWT_S = 120

CHANNELS = ("level2", "market_trades", "ticker", "ticker_batch", "heartbeats", "candles", "status")
EXCHANGE_CHANNELS = ("level2", "level2_batch", "ticker", "matches", "heartbeat")


class _Subscribe(msgspec.Struct):
    type: str = ""
    channel: str = ""
    product_ids: list[str] = []
    jwt: str | None = None


class _Named(msgspec.Struct):
    name: str = ""
    product_ids: list[str] = []


class _ExchangeSubscribe(msgspec.Struct):
    type: str = ""
    product_ids: list[str] = []
    channels: list[str | _Named] = []


class _Claims(msgspec.Struct):
    exp: int = 0
    nbf: int = 0


class AdvancedSession:
    """One client's connection to Advanced Trade; see `wire.Session`."""

    venue = "coinbase"
    feed = "coinbase.ws"

    def __init__(self, context: Context, now_ns: int) -> None:
        self.sent: list[Out] = []
        self._context = context
        self._codec = Codec(context)
        self._channels: dict[str, list[str]] = {}
        self._sequence = 0
        self._counter = 0
        self._began_ns = self._sent_ns = now_ns
        self._beat_ns = 0
        self._second, self._received = 0, 0

    def receive(self, text: str, now_ns: int) -> None:
        """Subscribe to or unsubscribe from one channel."""
        if now_ns // NS_PER_S != self._second:
            self._second, self._received = now_ns // NS_PER_S, 0
        self._received += 1
        if self._received > MESSAGES_PER_S:
            self._error("rate limit exceeded")
            return
        try:
            asked = msgspec.json.decode(text, type=_Subscribe)
        except (msgspec.DecodeError, UnicodeError):
            self._error("failed to parse message")
            return
        if asked.type not in ("subscribe", "unsubscribe") or asked.channel not in CHANNELS:
            self._error(f"{asked.channel or asked.type} is not a valid channel")
        elif asked.jwt is not None and not _is_fresh(asked.jwt, now_ns):
            self._error("authentication failure")
        else:
            self._change(asked, now_ns)

    def hear(self, event: Event, texts: object) -> None:
        """Pass on what this client subscribed to."""
        if not isinstance(texts, Texts):
            return
        for channel, name, events in (
            ("level2", "l2_data", texts.l2_events),
            ("market_trades", "market_trades", texts.trade_events),
            ("ticker", "ticker", texts.ticker_events),
        ):
            if events is not None and texts.product in self._channels.get(channel, ()):
                self._send(name, events, texts.time, event.ns)

    def tick(self, now_ns: int) -> None:
        """Beat once a second; close what never subscribed, and what heard nothing for long."""
        if not self._channels:
            if now_ns - self._began_ns > SUBSCRIBE_S * NS_PER_S:
                self.sent.append(Out("no subscription", code=1008))
        elif now_ns - self._sent_ns > IDLE_S * NS_PER_S:
            self.sent.append(Out("idle", code=1000))
        if "heartbeats" in self._channels and now_ns >= self._beat_ns:
            self._beat_ns = now_ns // NS_PER_S * NS_PER_S + NS_PER_S
            self._counter += 1
            told_ns = self._context.venue_ns("coinbase", now_ns)
            # The format of the Go language: it does not parse as an instant, as at the venue.
            text = rfc3339(told_ns, digits=9).replace("T", " ").removesuffix("Z")
            beat = {
                "current_time": f"{text} +0000 UTC m=+{(now_ns - self._began_ns) / NS_PER_S:.9f}",
                "heartbeat_counter": self._counter,
            }
            self._send("heartbeats", json_text([beat]), rfc3339(told_ns), now_ns, is_data=False)

    def _change(self, asked: _Subscribe, now_ns: int) -> None:
        # A -USDC product of a public channel is served as its -USD one.
        known = self._context.world.names
        products = [product.removesuffix("C") for product in asked.product_ids]
        if asked.channel == "heartbeats":
            products = ["heartbeats"]
        elif not products or not set(products) <= set(known):
            self._error("product_ids are invalid")
            return
        held = self._channels.setdefault(asked.channel, [])
        time = rfc3339(self._context.venue_ns("coinbase", now_ns))
        if asked.type == "unsubscribe":
            held[:] = [product for product in held if product not in products]
        else:
            held += [product for product in products if product not in held]
        acknowledged = [{"subscriptions": {name: p for name, p in self._channels.items() if p}}]
        self._send("subscriptions", json_text(acknowledged), time, now_ns, is_data=False)
        if asked.type == "subscribe":
            for product in products:
                self._snapshot(asked.channel, product, time, now_ns)

    def _snapshot(self, channel: str, product: str, time: str, now_ns: int) -> None:
        live = self._context.live
        if channel == "level2":
            self._send("l2_data", self._codec.snapshot_events(product, time), time, now_ns)
        elif channel == "market_trades":
            back = reversed(live.trades.get(product, ()))
            trades = [trade_value(event, rfc3339(event.ns)) for event in back]
            self._send(channel, json_text([{"type": "snapshot", "trades": trades}]), time, now_ns)
        elif channel == "ticker" and (last := live.last_trade(product)) is not None:
            events = [{"type": "snapshot", "tickers": [ticker_value(last)]}]
            self._send(channel, json_text(events), time, now_ns)

    def _send(
        self, channel: str, events: str, time: str, now_ns: int, *, is_data: bool = True
    ) -> None:
        text = (
            f'{{"channel":"{channel}","timestamp":"{time}",'
            f'"sequence_num":{self._sequence},"events":{events}}}'
        )
        self._sequence += 1
        self._sent_ns = now_ns
        self.sent.append(Out(text, is_data=is_data))

    def _error(self, message: str) -> None:
        self.sent.append(Out(json_text({"type": "error", "message": message})))


class ExchangeSession:
    """One client's connection to the Exchange feed; see `wire.Session`."""

    venue = "coinbase"
    feed = "coinbase.exchange"

    def __init__(self, context: Context, now_ns: int) -> None:
        self.sent: list[Out] = []
        self._context = context
        self._channels: dict[str, list[str]] = {}
        self._began_ns = now_ns
        self._beat_ns = 0

    def receive(self, text: str, now_ns: int) -> None:
        """Subscribe to or unsubscribe from channels."""
        try:
            asked = msgspec.json.decode(text, type=_ExchangeSubscribe)
        except (msgspec.DecodeError, UnicodeError):
            self._error("Malformed JSON", "")
            return
        if asked.type not in ("subscribe", "unsubscribe"):
            self._error("Failed to subscribe", f"{asked.type} is not a valid type")
            return
        for named in asked.channels:
            name = named if isinstance(named, str) else named.name
            products = asked.product_ids if isinstance(named, str) else named.product_ids
            if not self._is_good(name, products or asked.product_ids):
                return
        changed = []
        for named in asked.channels:
            name = named if isinstance(named, str) else named.name
            products = (() if isinstance(named, str) else named.product_ids) or asked.product_ids
            self._change(name, list(products), is_new=asked.type == "subscribe")
            changed.append((name, products))
        # Identical to the message of level2, and acknowledged under that name.
        names = {"level2_batch": "level2"}
        channels = [
            {"name": names.get(n, n), "product_ids": p} for n, p in self._channels.items() if p
        ]
        self.sent.append(Out(json_text({"type": "subscriptions", "channels": channels})))
        for name, products in changed if asked.type == "subscribe" else ():
            for product in products:
                self._begin(name, product)

    def hear(self, event: Event, texts: object) -> None:
        """Pass on what this client subscribed to."""
        if not isinstance(texts, Texts):
            return
        for channel, text in (
            ("level2_batch", texts.exchange_l2),
            ("matches", texts.exchange_match),
            ("ticker", texts.exchange_ticker),
        ):
            if text is not None and texts.product in self._channels.get(channel, ()):
                self.sent.append(Out(text, is_data=True))

    def tick(self, now_ns: int) -> None:
        """Beat once a second and product; close what never subscribed."""
        if not self._channels and now_ns - self._began_ns > SUBSCRIBE_S * NS_PER_S:
            self.sent.append(Out("no subscription", code=1008))
        if now_ns < self._beat_ns:
            return
        self._beat_ns = now_ns // NS_PER_S * NS_PER_S + NS_PER_S
        for product in self._channels.get("heartbeat", ()):
            last = self._context.live.last_trade(product)
            if last is not None and last.trade is not None:
                beat = {
                    "type": "heartbeat",
                    "sequence": sequence_of(last),
                    "last_trade_id": last.trade.trade_id,
                    "product_id": product,
                    "time": rfc3339(self._context.venue_ns("coinbase", now_ns)),
                }
                self.sent.append(Out(json_text(beat)))

    def _is_good(self, name: str, products: list[str]) -> bool:
        if name not in EXCHANGE_CHANNELS:
            self._error("Failed to subscribe", f"{name} is not a valid channel")
        elif name == "level2":
            self._error("Failed to subscribe", "level2 requires authentication")
        elif not products or not set(products) <= set(self._context.world.names):
            self._error("Failed to subscribe", f"{', '.join(products)} is not a valid product")
        else:
            return True
        return False

    def _change(self, name: str, products: list[str], *, is_new: bool) -> None:
        held = self._channels.setdefault(name, [])
        if is_new:
            held += [product for product in products if product not in held]
        else:
            held[:] = [product for product in held if product not in products]

    def _begin(self, name: str, product: str) -> None:
        """Send what a channel begins with: the book, or the last trade."""
        last = self._context.live.last_trade(product)
        if name == "level2_batch":
            bids, asks = self._context.live.books[product]
            value = {
                "type": "snapshot",
                "product_id": product,
                "asks": [[price(p), coins(asks[p])] for p in sorted(asks)],
                "bids": [[price(p), coins(bids[p])] for p in sorted(bids, reverse=True)],
            }
            self.sent.append(Out(json_text(value), is_data=True))
        elif name == "matches" and last is not None:
            text = json_text(match_value(last, "last_match", rfc3339(last.ns)))
            self.sent.append(Out(text, is_data=True))

    def _error(self, message: str, reason: str) -> None:
        value = {"type": "error", "message": message, "reason": reason}
        self.sent.append(Out(json_text(value)))


def _is_fresh(jwt: str, now_ns: int) -> bool:
    """Tell whether a token's claims hold now, 120 seconds at most; its signature is not checked."""
    parts = jwt.split(".")
    try:
        body = urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        claims = msgspec.json.decode(body, type=_Claims)
    except (IndexError, ValueError, msgspec.DecodeError):
        return False
    now_s = now_ns // NS_PER_S
    return now_s <= claims.exp <= now_s + JWT_S + 5
