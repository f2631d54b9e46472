"""A server on loopback that tells history as the three venues do, and fails when it is told to.

Its world has two whole days and half of a third, in which a few markets closed. It serves every
venue below a folder named for its host, and a clock a thousand times as fast, so that pauses pass.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from tests.common.venues.kalshi_texts import market as kalshi_market
from tests.common.venues.test_polymarket_gamma import CLOSED

DAY_S = 86_400
START_S = 1_789_948_800  # 2026-09-21
NOW_S = START_S + 2 * DAY_S + DAY_S // 2
CUTOFF_S = START_S + DAY_S
SPEED = 1_000.0

TRADED_S = 7_200
"""The spot venue trades in the first hours of a day only, and in no first minute of an hour."""

DAYS = ("2026-09-21", "2026-09-22")
"""The days that are over."""

CLOSES_S = tuple(
    START_S + day * DAY_S + second
    for day, seconds in enumerate(((900, 45_000), (0, 900, 86_399 // 900 * 900), (1_800,)))
    for second in seconds
)

Answer = tuple[int, str]


def iso(second: int) -> str:
    """Return a time as venues write it."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class VenueServer:
    """Runs in a thread; `asked` holds all targets, `rules` answer before the world does."""

    def __init__(self) -> None:
        """Start to serve on a free port."""
        self.asked: list[str] = []
        self.rules: list[Callable[[str], Answer | None]] = []
        self._loop = asyncio.new_event_loop()
        self._is_ready = threading.Event()
        self.url = ""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self._is_ready.wait(10)

    def fail(self, part: str, answer: Answer, *, times: int = 1) -> None:
        """Answer the next `times` requests whose target holds `part` with `answer`."""
        left = [times]

        def rule(target: str) -> Answer | None:
            if part not in target or left[0] == 0:
                return None
            left[0] -= 1
            return answer

        self.rules.append(rule)

    def targets(self, part: str) -> list[str]:
        """Return what was asked that holds `part`."""
        return [target for target in self.asked if part in target]

    def close(self) -> None:
        """Stop serving."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        application = web.Application()
        application.router.add_get("/{rest:.*}", self._handle)
        runner = web.AppRunner(application, access_log=None)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._is_ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _handle(self, request: web.Request) -> web.Response:
        if request.path == "/clock":
            told = {"start_ns": NOW_S * 10**9, "began_ns": time.time_ns(), "speed": SPEED}
            return web.json_response(told)
        target = request.path_qs
        self.asked.append(target)
        found = next((a for rule in self.rules if (a := rule(target)) is not None), None)
        status, text = found or _answer(request.path, dict(request.query))
        return web.Response(status=status, text=text)


def _answer(path: str, query: dict[str, str]) -> Answer:
    host, _, rest = path.strip("/").partition("/")
    told = {
        "api.coinbase.com": _coinbase,
        "external-api.kalshi.com": _kalshi,
        "gamma-api.polymarket.com": _gamma,
    }[host](rest.split("/"), query)
    return (404, "{}") if told is None else (200, json.dumps(told))


def _coinbase(parts: list[str], query: dict[str, str]) -> Any:
    """Tell candles newest first, beyond the asked range, the newest of them still forming."""
    end_s = min(int(query["end"]) + 60, NOW_S + 60)
    starts = range(int(query["start"]) - 60, end_s, 60)
    if len(starts) > 350:
        return None
    traded = [s for s in starts if s % DAY_S < TRADED_S and s % 3_600]
    return {"candles": [_candle(start_s) for start_s in reversed(traded)]}


def _candle(start_s: int) -> dict[str, str]:
    price = f"{65_000 + start_s % 7_200 / 100:.2f}"
    return {"start": str(start_s), **dict.fromkeys(("low", "high", "open", "close"), price)} | {
        "volume": "1.5"
    }


def _kalshi(parts: list[str], query: dict[str, str]) -> Any:
    match parts[2:]:
        case ["historical", "cutoff"]:
            return {"market_settled_ts": iso(CUTOFF_S)}
        case ["historical", "markets"]:
            return _kalshi_page([s for s in CLOSES_S if s < CUTOFF_S], query)
        case ["markets"]:
            low_s, high_s = int(query["min_close_ts"]), int(query["max_close_ts"])
            live = [s for s in CLOSES_S if s >= CUTOFF_S and low_s <= s <= high_s]
            return _kalshi_page(live, query)
        case ["series", _, "markets", ticker, "candlesticks"]:
            close_s = _close_of(ticker)
            return None if close_s < CUTOFF_S else _kalshi_candles(close_s, query, "_dollars")
        case ["historical", "markets", ticker, "candlesticks"]:
            close_s = _close_of(ticker)
            return _kalshi_candles(close_s, query, "") if close_s < CUTOFF_S else None
    return None


def _kalshi_page(closes_s: list[int], query: dict[str, str]) -> Any:
    """Tell one market a page."""
    at = int(query.get("cursor", "0"))
    more = str(at + 1) if at + 1 < len(closes_s) else ""
    return {"markets": [_market(s) for s in closes_s[at : at + 1]], "cursor": more}


def _market(close_s: int) -> dict[str, Any]:
    return kalshi_market(
        ticker=f"KXBTC15M-X{close_s}-00",
        open_time=iso(close_s - 900),
        close_time=iso(close_s),
        settlement_ts=iso(close_s + 5),
        status="finalized",
        result="yes" if close_s // 900 % 2 else "no",
        expiration_value="65000.50" if close_s // 900 % 2 else "65000.00",
        floor_strike=65_000.25,
    )


def _close_of(ticker: str) -> int:
    return int(ticker.split("-")[1].removeprefix("X"))


def _kalshi_candles(close_s: int, query: dict[str, str], suffix: str) -> Any:
    ends = range(close_s - 840, close_s + 1, 60)
    low_s, high_s = int(query["start_ts"]), int(query["end_ts"])
    names = [f"{name}{suffix}" for name in ("open", "low", "high", "close")]
    volume = "volume_fp" if suffix else "volume"
    return {
        "candlesticks": [
            {
                "end_period_ts": end_s,
                "yes_bid": dict.fromkeys(names, f"0.{40 + end_s // 60 % 10}00"),
                "yes_ask": dict.fromkeys(names, f"0.{52 + end_s // 60 % 10}00"),
                "price": dict.fromkeys(names),
                volume: "10.00",
            }
            for end_s in ends
            if low_s <= end_s <= high_s
        ]
    }


def _gamma(parts: list[str], query: dict[str, str]) -> Any:
    """Tell the window of a slug, an empty list where there is none."""
    open_s = int(query["slug"].rpartition("-")[2])
    if open_s + 900 not in CLOSES_S:
        return []
    changes = {"slug": query["slug"], "eventStartTime": iso(open_s), "endDate": iso(open_s + 900)}
    return [
        {
            "slug": query["slug"],
            "startTime": iso(open_s),
            "eventMetadata": {"priceToBeat": 65_000.25, "finalPrice": 65_000.5},
            "markets": [CLOSED | changes],
        }
    ]
