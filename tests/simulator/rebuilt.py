"""Books rebuilt from wire texts alone, the plainest way: what the truth is compared with.

Prices are 1e-4 USD and sizes 1e-2 contracts (1e-8 coins of spot), whole, in terms of YES or Up.
"""

import json
from decimal import Decimal
from typing import Any

Side = dict[int, int]


class Rebuilt:
    """Books by market or product, from the texts of one session of each venue."""

    def __init__(self) -> None:
        self.bids: dict[str, Side] = {}
        self.asks: dict[str, Side] = {}
        self.sequences: list[int] = []

    def coinbase(self, text: str) -> None:
        """Take a message of Advanced Trade."""
        message = json.loads(text)
        self.sequences.append(message["sequence_num"])
        for event in message["events"] if message["channel"] == "l2_data" else ():
            product = event["product_id"]
            if event["type"] == "snapshot":
                self.bids[product], self.asks[product] = {}, {}
            for update in event["updates"]:
                side = (self.bids if update["side"] == "bid" else self.asks)[product]
                _set(side, _e4(update["price_level"]), _scaled(update["new_quantity"], 8))

    def kalshi(self, text: str) -> None:
        """Take a message of Kalshi's order book channel."""
        message = json.loads(text)
        if "seq" in message:
            self.sequences.append(message["seq"])
        told: dict[str, Any] = message.get("msg", {})
        name = told.get("market_ticker", "")
        if message["type"] == "orderbook_snapshot":
            self.bids[name] = {_e4(p): _scaled(s, 2) for p, s in told.get("yes_dollars_fp", ())}
            no = told.get("no_dollars_fp", ())
            self.asks[name] = {10_000 - _e4(p): _scaled(s, 2) for p, s in no}
        elif message["type"] == "orderbook_delta":
            price = _e4(told["price_dollars"])
            is_yes = told["side"] == "yes"
            side = self.bids[name] if is_yes else self.asks[name]
            price = price if is_yes else 10_000 - price
            _set(side, price, side.get(price, 0) + _scaled(told["delta_fp"], 2))
            assert side.get(price, 1) > 0, "a level below nothing"

    def polymarket(self, text: str, names: dict[str, tuple[str, int]]) -> None:
        """Take a message of the market channel; `names` tells market and outcome of a token."""
        if text == "PONG":
            return
        found = json.loads(text)
        for message in found if isinstance(found, list) else [found]:
            if message["event_type"] == "book":
                name = self._token(message["asset_id"], names)
                self.bids[name] = {_e4(b["price"]): _e6(b["size"]) for b in message["bids"]}
                self.asks[name] = {_e4(a["price"]): _e6(a["size"]) for a in message["asks"]}
            for change in message.get("price_changes", ()):
                name = self._token(change["asset_id"], names)
                side = (self.bids if change["side"] == "BUY" else self.asks)[name]
                _set(side, _e4(change["price"]), _e6(change["size"]))

    def top(self, name: str, *, cut: int = 1) -> tuple[list[list[int]], list[list[int]]]:
        """Return the best five levels a side, sizes cut to units of `cut`."""
        bids = sorted(self.bids[name].items(), reverse=True)[:5]
        asks = sorted(self.asks[name].items())[:5]
        return [[p, s // cut] for p, s in bids], [[p, s // cut] for p, s in asks]

    @staticmethod
    def _token(token: str, names: dict[str, tuple[str, int]]) -> str:
        name, outcome = names[token]
        return f"{name} {outcome}"


def _set(side: Side, price: int, size: int) -> None:
    if size:
        side[price] = size
    else:
        side.pop(price, None)


def _scaled(text: str, places: int) -> int:
    value = Decimal(text).scaleb(places)
    assert value == int(value), f"{text} has more than {places} places"
    return int(value)


def _e4(text: str) -> int:
    return _scaled(text, 4)


def _e6(text: str) -> int:
    return _scaled(text, 6)
