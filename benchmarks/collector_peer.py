"""What `collector.py` measures beside: cryptofeed's Coinbase handler, in a process of its own.

It runs under the Python that has cryptofeed, needs nothing of Hawk, and is told what to do by lines
of JSON: a file of texts to read, then `round` (time all texts), `latency` (time each) or `books`.
A fresh handler takes the texts of every round; only handling them is timed.
"""

import asyncio
import gc
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any


def serve() -> None:
    """Answer commands until the input ends."""
    reply({"cryptofeed": version("cryptofeed"), "order_book": version("order_book")})
    texts: list[str] = []
    products: list[str] = []
    books: dict[str, Any] = {}
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "load":
            texts = json.loads(Path(command["path"]).read_text())
            products = command["products"]
            reply({"loaded": len(texts)})
        elif command["do"] == "books":
            reply(books)
        else:
            handler, seen = handler_of(products)
            play = each_timed if command["do"] == "latency" else all_timed
            gc.collect()
            times = asyncio.run(play(handler, texts))
            books = books_of(handler)
            reply({"times": times, "trades": len(seen)})


def handler_of(products: list[str]) -> tuple[Any, list[Any]]:
    """Return a handler of books and trades that never connects, and the trades it calls back."""
    from cryptofeed.defines import COINBASE, L2_BOOK, TRADES
    from cryptofeed.exchanges.coinbase import Coinbase
    from cryptofeed.symbols import Symbols

    Symbols.set(COINBASE, {product: product for product in products}, {})
    seen: list[Any] = []

    async def on_trade(trade: Any, _received: float) -> None:
        seen.append(trade)

    # As it comes for books, where nobody is to be called; so it is on Hawk's side.
    callbacks = {TRADES: on_trade}
    config = {"log": {"disabled": True}}
    channels = [L2_BOOK, TRADES]
    return Coinbase(symbols=products, channels=channels, callbacks=callbacks, config=config), seen


async def all_timed(handler: Any, texts: list[str]) -> list[float]:
    """Handle all texts; return the seconds that it took."""
    handle = handler.message_handler
    began_s = time.perf_counter()
    for text in texts:
        await handle(text, None, 0.0)
    return [time.perf_counter() - began_s]


async def each_timed(handler: Any, texts: list[str]) -> list[float]:
    """Handle all texts; return the seconds of each."""
    handle, clock = handler.message_handler, time.perf_counter
    times = []
    each_s = clock()
    for text in texts:
        await handle(text, None, 0.0)
        ended_s = clock()
        times.append(ended_s - each_s)
        each_s = ended_s
    return times


def books_of(handler: Any) -> dict[str, list[list[list[str]]]]:
    """Return bids and asks of each product, as text: their decimals are exact."""
    return {
        product: [
            [[str(price), str(side[price])] for price in side]
            for side in (book.book.bids, book.book.asks)
        ]
        for product, book in handler._l2_book.items()
    }


def reply(value: Any) -> None:
    """Write one line of JSON."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
