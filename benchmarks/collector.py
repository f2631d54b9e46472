"""How many messages of Coinbase does the collector take, beside cryptofeed's handler?

Both take the same texts in turns, each in one process: Hawk reads (`AdvancedFeed.parse`), checks
the sequence, keeps the books (`Book`) and hands trades to a callback; cryptofeed decodes, keeps its
books (in C, sorted) and calls back trades. It checks no sequence. The books of both must be
identical at the end, level by level, and so must the number of trades. `line` beside it is the
whole of what the collector does with a text (`Line`: ages, healing, counts), under no bar.

Two recordings: the Exchange feed's capture of ten thin pairs, re-wrapped as Advanced Trade writes
today (HAWK_RECORDINGS names the recordings beside whose folder `wire` lies), and a synthetic deep
book. Acknowledgements stay; heartbeats and tickers are left out, since cryptofeed logs a warning
for each. Its handler looks for `ask` in snapshots where Coinbase writes `offer`, and so starts
with empty asks; it is given snapshots that say `ask`, which are shorter.

What it does not show: sockets, TLS, or a network. cryptofeed is no dependency of Hawk; to compare:

    .venv/bin/python -m venv .venv/cryptofeed
    .venv/cryptofeed/bin/pip install cryptofeed

or HAWK_CRYPTOFEED_PYTHON=<a Python that has it>. Without it the bars are skipped, and said to be.
"""

import gc
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from benchmarks.common import bar, ratio, report
from libs.common.venues import coinbase_feed
from libs.common.venues.coinbase_feed import AdvancedFeed
from libs.common.venues.messages import BookChange, BookSnapshot, Trade
from services.collector.book import Book
from services.collector.line import Line

ROUNDS, LATENCY_ROUNDS = 31, 3
TIME_MAX = 1 / 3
"""Of cryptofeed's: at least three times its messages a second."""

SEED, LEVELS, UPDATES = 7, 4_000, 20_000
TRADES_SHARE = 0.03

ROOT = Path(__file__).parent.parent
PYTHON = os.environ.get("HAWK_CRYPTOFEED_PYTHON") or str(ROOT / ".venv/cryptofeed/bin/python")
RECORDINGS = Path(os.environ.get("HAWK_RECORDINGS") or ROOT.parent / "shared/data/recordings")
CAPTURE = RECORDINGS.parent / "wire/coinbase/exchange_feed_capture.txt.zst"
SERVE = "from benchmarks.collector_peer import serve; serve()"
HOW = __doc__.rpartition("to compare:\n\n")[2].partition("\n\nor")[0]

T0_S = 1_780_272_000
FEED = AdvancedFeed()


def main() -> None:
    """Print the bars of both recordings."""
    if not Path(PYTHON).exists():
        skipped(f"no cryptofeed at {PYTHON}; to compare:\n{HOW}")
        return
    recordings = {"synthetic": synthetic()}
    if CAPTURE.exists():
        recordings["capture"] = capture()
    else:
        skipped("no capture of the Exchange feed; set HAWK_RECORDINGS to a folder beside wire/")
    with peer() as (ask, facts):
        bars = [measured(name, texts, ask) for name, texts in recordings.items()]
    versions = ", ".join(f"{name} {number}" for name, number in facts.items())
    note = f"{versions}, seed {SEED}, {ROUNDS} rounds in turn, each in its own process"
    report([{**one, **facts} for one in bars], note=note)


def skipped(why: str) -> None:
    """Say what is not measured, in the form that was asked for."""
    sys.stdout.write(
        json.dumps({"skipped": why}) + "\n" if "--json" in sys.argv else f"skipped: {why}\n"
    )


def measured(name: str, texts: list[str], ask: Any) -> dict[str, Any]:
    """Time both on one recording and compare their books."""
    products = sorted({found for text in texts for found in products_of(text)})
    with tempfile.TemporaryDirectory(prefix="hawk-bench-") as folder:
        path = Path(folder) / "texts.json"
        # Its name for the side; see above.
        path.write_text(json.dumps([for_cryptofeed(text) for text in texts]))
        ask(do="load", path=str(path), products=products)
        ours, theirs, decoding, parsing = [], [], [], []
        lined = []
        for _ in range(ROUNDS):
            gc.collect()
            keeper, line = Keeper(products), opened(products)
            ours += keeper.play(texts)
            theirs.append(ask(do="round")["times"][0])
            decoding.append(timed(coinbase_feed._decode, texts))
            parsing.append(timed(FEED.parse, texts))
            lined.append(through(line, texts))
        latencies = [Keeper(products).play(texts, time.perf_counter) for _ in range(LATENCY_ROUNDS)]
        peer_latencies = [ask(do="latency") for _ in range(LATENCY_ROUNDS)]
        compare(keeper, ask(do="books"), peer_latencies[-1]["trades"])
    count = len(texts)
    return bar(
        f"{name}_time_of_cryptofeed",
        ratio(ours, theirs),
        limit=TIME_MAX,
        times_as_fast=round(1 / ratio(ours, theirs), 2),
        n=count,
        levels=sum(len(b.bids) + len(b.asks) for b in keeper.books.values()),
        trades=len(keeper.trades),
        messages_per_s={
            "hawk": rate(ours, count),
            "cryptofeed": rate(theirs, count),
            "line": rate(lined, count),
        },
        share={
            "decode_alone": round(ratio(decoding, ours), 3),
            "parse": round(ratio(parsing, ours), 3),
        },
        microseconds=percentiles(latencies),
        cryptofeed_microseconds=percentiles([one["times"] for one in peer_latencies]),
        sequence_checked=True,
        books="identical",
    )


class Keeper:
    """Hawk's path: read, check the sequence, apply, call back trades."""

    def __init__(self, products: list[str]) -> None:
        self.books = {product: Book() for product in products}
        self.trades: list[Trade] = []
        self.gaps = 0

    def on_trade(self, trade: Trade) -> None:
        """Take a trade: the callback."""
        self.trades.append(trade)

    def play(self, texts: list[str], clock: Any = None) -> list[float]:
        """Take all texts; return the seconds that it took, of each text where a clock is given."""
        parse, books, last, times = FEED.parse, self.books, -1, []
        began_s = each_s = time.perf_counter()
        for text in texts:
            frame = parse(text)
            if frame.sequence != last + 1:
                self.gaps += 1
            last = frame.sequence
            for message in frame.messages:
                if isinstance(message, BookChange):
                    books[message.instrument].apply(message)
                elif isinstance(message, BookSnapshot):
                    books[message.instrument].replace(message)
                elif isinstance(message, Trade):
                    self.on_trade(message)
            if clock is not None:
                ended_s = clock()
                times.append(ended_s - each_s)
                each_s = ended_s
        return times or [time.perf_counter() - began_s]


def opened(products: list[str]) -> Line:
    """Return a fresh line that waits for the snapshots of all products."""
    line = Line(FEED, 1, 0)
    line.want(products, 0)
    return line


def through(line: Line, texts: list[str]) -> float:
    """Take all texts through a line; return the seconds that it took."""
    began_s = time.perf_counter()
    for ts_ns, text in enumerate(texts):
        line.receive(ts_ns, text)
    return time.perf_counter() - began_s


def timed(read: Any, texts: list[str]) -> float:
    """Return the seconds in which `read` takes all texts."""
    began_s = time.perf_counter()
    for text in texts:
        read(text)
    return time.perf_counter() - began_s


def compare(keeper: Keeper, books: dict[str, Any], peer_trades: int) -> None:
    """Stop unless both saw the same."""
    if keeper.gaps or set(keeper.books) != set(books):
        raise SystemExit(f"not all was taken: {keeper.gaps} gaps, books of {sorted(books)}")
    for product, sides in books.items():
        book = keeper.books[product]
        theirs = [{float(price): float(size) for price, size in side} for side in sides]
        if [book.bids, book.asks] != theirs:
            raise SystemExit(f"the books of {product} differ")
    if len(keeper.trades) != peer_trades:
        raise SystemExit(f"{len(keeper.trades)} trades, cryptofeed called back {peer_trades}")


@contextmanager
def peer() -> Iterator[tuple[Any, dict[str, str]]]:
    """Run cryptofeed's process; the value asks it and returns its answer, and its versions."""
    running = subprocess.Popen(
        [PYTHON, "-c", SERVE], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert running.stdin is not None and running.stdout is not None
    sends, comes = running.stdin, running.stdout

    def ask(**command: Any) -> Any:
        sends.write(json.dumps(command) + "\n")
        sends.flush()
        return answer()

    def answer() -> Any:
        line = comes.readline()
        if not line:
            raise SystemExit(f"cryptofeed's process ended: {running.wait()}")
        return json.loads(line)

    try:
        yield ask, answer()
    finally:
        sends.close()
        running.wait(timeout=20)


def capture() -> list[str]:
    """Return the Exchange feed's capture as Advanced Trade would write it."""
    raw = pa.input_stream(str(CAPTURE), compression="zstd").read().decode()
    texts = [wrapped("subscriptions", [{"subscriptions": {"level2": []}}], time_text(T0_S), 0)]
    for row in raw.splitlines():
        received, found, body = row.partition(": ")
        message = json.loads(body) if found and body[:1] == "{" else {}
        channel, event = rewrapped(message)
        if event is not None:
            texts.append(wrapped(channel, [event], time_text(float(received)), len(texts)))
    return texts


def rewrapped(message: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """Return channel and event of a message of the Exchange; None for what is left out."""
    kind, product = message.get("type"), message.get("product_id", "")
    if kind == "snapshot":
        sides = (("bid", message["bids"]), ("offer", message["asks"]))
        updates = [
            level(side, *row, "1970-01-01T00:00:00Z") for side, rows in sides for row in rows
        ]
        return "l2_data", {"type": "snapshot", "product_id": product, "updates": updates}
    if kind == "l2update":
        updates = [
            level("bid" if side == "buy" else "offer", price, size, message["time"])
            for side, price, size in message["changes"]
        ]
        return "l2_data", {"type": "update", "product_id": product, "updates": updates}
    if kind == "match":
        trade = trade_row(message["trade_id"], product, message["price"], message["size"])
        trade |= {"side": message["side"].upper(), "time": message["time"]}
        return "market_trades", {"type": "update", "trades": [trade]}
    return "", None


def synthetic() -> list[str]:
    """Return a deep book that changes most near its best prices, and trades; seeded."""
    chance = random.Random(SEED)
    books = {"bid": {}, "offer": {}}  # type: dict[str, dict[int, str]]
    for place in range(LEVELS):
        for side, sign in (("bid", -1), ("offer", 1)):
            cents = 10_000_000 + sign * (1 + 3 * place + chance.randrange(3))
            books[side][cents] = f"{chance.expovariate(2.0):.8f}"
    rows = [
        level(side, f"{cents / 100:.2f}", size, "1970-01-01T00:00:00Z")
        for side, book in books.items()
        for cents, size in book.items()
    ]
    first = {"type": "snapshot", "product_id": "BTC-USD", "updates": rows}
    texts = [wrapped("l2_data", [first], time_text(T0_S), 0)]
    for number in range(1, UPDATES + 1):
        at_s = T0_S + number / 200
        if chance.random() < TRADES_SHARE:
            trade = trade_row(number, "BTC-USD", "100000.00", f"{chance.expovariate(9.0):.8f}")
            trade |= {"side": chance.choice(("BUY", "SELL")), "time": time_text(at_s - 0.004)}
            texts.append(
                wrapped(
                    "market_trades",
                    [{"type": "update", "trades": [trade]}],
                    time_text(at_s),
                    number,
                )
            )
            continue
        many = min(20, 1 + int(chance.expovariate(0.7)))
        rows = [changed(books, chance, time_text(at_s - 0.004)) for _ in range(many)]
        event = {"type": "update", "product_id": "BTC-USD", "updates": rows}
        texts.append(wrapped("l2_data", [event], time_text(at_s), number))
    return texts


def changed(books: dict[str, dict[int, str]], chance: random.Random, at: str) -> dict[str, str]:
    """Change one level: 45 of 100 are removals of one that is there."""
    side, sign = chance.choice((("bid", -1), ("offer", 1)))
    cents = 10_000_000 + sign * (1 + int(chance.expovariate(1 / 800)))
    if cents in books[side] and chance.random() < 0.9:
        del books[side][cents]
        return level(side, f"{cents / 100:.2f}", "0", at)
    books[side][cents] = size = f"{chance.expovariate(2.0):.8f}"
    return level(side, f"{cents / 100:.2f}", size, at)


def level(side: str, price: str, size: str, at: str) -> dict[str, str]:
    """Return a level as Advanced Trade writes it."""
    return {"side": side, "event_time": at, "price_level": price, "new_quantity": size}


def trade_row(trade_id: int, product: str, price: str, size: str) -> dict[str, str]:
    """Return a trade, still without side and time."""
    return {"trade_id": str(trade_id), "product_id": product, "price": price, "size": size}


def wrapped(channel: str, events: list[dict[str, Any]], at: str, sequence: int) -> str:
    """Return the text of one message."""
    envelope = {"channel": channel, "client_id": "", "timestamp": at, "sequence_num": sequence}
    return json.dumps({**envelope, "events": events}, separators=(",", ":"))


def time_text(at_s: float) -> str:
    """Return a time with microseconds, as Advanced Trade writes it."""
    whole, micros = divmod(round(at_s * 1e6), 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{micros:06d}Z"


def for_cryptofeed(text: str) -> str:
    """Return a snapshot with `ask`; any other text as it is."""
    return text.replace('"side":"offer"', '"side":"ask"') if '"type":"snapshot"' in text else text


def products_of(text: str) -> Iterator[str]:
    """Return the products of the books in a text."""
    for event in msgspec.json.decode(text)["events"]:
        if "product_id" in event:
            yield event["product_id"]


def rate(times: list[float], count: int) -> int:
    """Return the median messages a second."""
    return round(count / statistics.median(times))


def percentiles(rounds: list[list[float]]) -> dict[str, float]:
    """Return p50 and p99 of one message in microseconds, the median of the rounds."""
    found = {}
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        each = [sorted(times)[int(len(times) * share)] * 1e6 for times in rounds]
        found[name] = round(statistics.median(each), 2)
    return found


if __name__ == "__main__":
    main()
