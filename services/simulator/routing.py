"""Which host is which venue, who may come in, and how often: everything before an answer is made.

In go host, path, headers and the time, out comes a session, an answer or a refusal. Paths are the
real ones. Limits are token buckets in stream time, one per venue: all clients here are one address.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from services.simulator import coinbase_rest, kalshi_rest, polymarket_rest
from services.simulator.coinbase_feed import AdvancedSession, ExchangeSession
from services.simulator.kalshi_feed import KalshiSession
from services.simulator.naming import DAY_S, NS_PER_S, rfc3339
from services.simulator.polymarket_feed import LiveDataSession, MarketSession, PolyBoltSession
from services.simulator.signature import KEY, fault_of
from services.simulator.wire import Answer, Context, Query, answer

KALSHI_API, KALSHI_SOCKET = "/trade-api/v2", "/trade-api/ws/v2"
KALSHI_REST_HOSTS = frozenset(
    {
        "external-api.kalshi.com",
        "api.elections.kalshi.com",
        "external-api.demo.kalshi.co",
        "demo-api.kalshi.co",
    }
)
KALSHI_WS_HOSTS = frozenset(
    {
        "external-api-ws.kalshi.com",
        "api.elections.kalshi.com",
        "external-api-ws.demo.kalshi.co",
        "demo-api.kalshi.co",
    }
)
ADVANCED_WS, EXCHANGE_WS = "advanced-trade-ws.coinbase.com", "ws-feed.exchange.coinbase.com"
ADVANCED_REST, EXCHANGE_REST = "api.coinbase.com", "api.exchange.coinbase.com"
GAMMA, CLOB, SITE = "gamma-api.polymarket.com", "clob.polymarket.com", "polymarket.com"
MARKET_WS, RTDS = "ws-subscriptions-clob.polymarket.com", "ws-live-data.polymarket.com"
POLYBOLT = "ws-live-v2.polymarket.com"

LIMITS = {
    ADVANCED_REST: (10.0, 15.0),
    EXCHANGE_REST: (10.0, 15.0),
    "kalshi": (20.0, 20.0),
    GAMMA: (30.0, 300.0),
    CLOB: (150.0, 1_500.0),
    SITE: (10.0, 50.0),
}
"""Requests a stream second and at once, by host (Kalshi: all hosts together)."""

_HTML = (
    "<html><head><title>Just a moment...</title></head><body>Checking your browser</body></html>"
)

_TOO_MANY = {
    "coinbase": {"errors": [{"id": "rate_limit_exceeded", "message": "Too many requests"}]},
    "kalshi": {"error": "too many requests"},
    "polymarket": {"error": "Too Many Requests"},
}

Session = (
    AdvancedSession
    | ExchangeSession
    | KalshiSession
    | MarketSession
    | LiveDataSession
    | PolyBoltSession
)


class Refused(NamedTuple):
    """A handshake that is not accepted; `breaks` tears the connection instead of answering."""

    answer_status: int
    text: str = ""
    media: str = "application/json"
    breaks: bool = False


class _Token(msgspec.Struct):
    token_id: str = ""


class Gate:
    """Lets clients in; `key` checks Kalshi's signatures where it is given."""

    def __init__(self, context: Context, key: RSAPublicKey | None) -> None:
        self._context, self._key = context, key
        self._buckets: dict[str, tuple[float, int]] = {}

    def opened(
        self, host: str, path: str, headers: Mapping[str, str], now_ns: int
    ) -> Session | Refused:
        """Open a session for a WebSocket handshake, or refuse it."""
        venue = venue_of(host)
        if venue is None:
            return Refused(404)
        faults = self._context.faults.get(venue, frozenset())
        if "drop" in faults:
            return Refused(503, breaks=True)
        for name, status in (("throttle", 429), ("server_error", 503), ("maintenance", 503)):
            if name in faults:
                return Refused(status)
        if "html" in faults:
            return Refused(200, _HTML, "text/html")
        bare = path.rstrip("/")
        if host in KALSHI_WS_HOSTS and bare == KALSHI_SOCKET:
            told_ns = self._context.venue_ns("kalshi", now_ns)
            fault = fault_of(headers, method="GET", path=bare, now_ns=told_ns, key=self._key)
            if fault is not None:
                return Refused(401, _unauthorized(fault))
            return KalshiSession(self._context, now_ns)
        if host == ADVANCED_WS and not bare:
            return AdvancedSession(self._context, now_ns)
        if host == EXCHANGE_WS and not bare:
            return ExchangeSession(self._context, now_ns)
        if host == MARKET_WS and bare == "/ws/market":
            return MarketSession(self._context, now_ns)
        if host == RTDS and not bare:
            return LiveDataSession(self._context, now_ns)
        if host == POLYBOLT and bare == "/ws":
            return PolyBoltSession(self._context, now_ns)
        return Refused(404)

    def answer(
        self,
        method: str,
        address: tuple[str, str],
        query: Query,
        *,
        headers: Mapping[str, str],
        body: str,
        now_ns: int,
    ) -> Answer:
        """Answer a REST request to (host, path)."""
        host, path = address
        venue = venue_of(host)
        if venue is None:
            return answer({"error": f"no such host: {host}"}, 404)
        refused = self._refused(venue, host, now_ns)
        if refused is not None:
            return refused
        if venue == "kalshi":
            return self._kalshi(method, path, query, headers, now_ns)
        if host == CLOB and method == "POST" and path.rstrip("/") == "/books":
            try:
                asked = msgspec.json.decode(body, type=list[_Token])
            except (msgspec.DecodeError, UnicodeError):
                return answer({"error": "Invalid payload"}, 400)
            tokens = [token.token_id for token in asked[:500]]
            return polymarket_rest.respond_books(tokens, self._context, now_ns)
        if method != "GET":
            return answer({"error": "method not allowed"}, 405)
        context = self._context
        if host == ADVANCED_REST and path.startswith("/api/v3/brokerage"):
            inner = path.removeprefix("/api/v3/brokerage")
            return coinbase_rest.respond_advanced(inner, query, context, now_ns)
        if host == EXCHANGE_REST:
            return coinbase_rest.respond_exchange(path, query, context, now_ns)
        if host == GAMMA:
            return polymarket_rest.respond_gamma(path, query, context, now_ns)
        if host == CLOB:
            return polymarket_rest.respond_clob(path, query, context, now_ns)
        if host == SITE:
            return polymarket_rest.respond_site(path, query, context, now_ns)
        return answer({"error": "not found"}, 404)

    def date(self, host: str, now_ns: int) -> str:
        """Return the Date header of a venue: its own clock."""
        told_ns = self._context.venue_ns(venue_of(host) or "", now_ns)
        text, day = rfc3339(told_ns, digits=0), told_ns // NS_PER_S // DAY_S
        weekday = ("Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed")[day % 7]
        month = _MONTHS[int(text[5:7]) - 1]
        return f"{weekday}, {text[8:10]} {month} {text[:4]} {text[11:19]} GMT"

    def _refused(self, venue: str, host: str, now_ns: int) -> Answer | None:
        faults = self._context.faults.get(venue, frozenset())
        if "throttle" in faults or not self._has_token(
            "kalshi" if venue == "kalshi" else host, now_ns
        ):
            return answer(_TOO_MANY[venue], 429)
        if "restart" in faults:
            return answer({"error": "Too Early"}, 425)
        if "server_error" in faults:
            status = (500, 502, 503)[now_ns // NS_PER_S % 3]
            return Answer(status, "upstream error", "text/plain")
        return Answer(200, _HTML, "text/html") if "html" in faults else None

    def _has_token(self, name: str, now_ns: int) -> bool:
        """Take a token of a bucket, where one is left."""
        if name not in LIMITS:
            return True
        rate, burst = LIMITS[name]
        tokens, at_ns = self._buckets.get(name, (burst, now_ns))
        tokens = min(burst, tokens + rate * max(now_ns - at_ns, 0) / NS_PER_S)
        self._buckets[name] = (tokens - 1 if tokens >= 1 else tokens), now_ns
        return tokens >= 1

    def _kalshi(
        self, method: str, path: str, query: Query, headers: Mapping[str, str], now_ns: int
    ) -> Answer:
        if method != "GET" or not path.startswith(KALSHI_API):
            return answer({"error": {"code": "not_found", "message": "not found"}}, 404)
        if headers.get(KEY):
            told_ns = self._context.venue_ns("kalshi", now_ns)
            fault = fault_of(headers, method=method, path=path, now_ns=told_ns, key=self._key)
            if fault is not None:
                return Answer(401, _unauthorized(fault))
        return kalshi_rest.respond(path.removeprefix(KALSHI_API), query, self._context, now_ns)


def venue_of(host: str) -> str | None:
    """Return the venue of a host, None for one that is not simulated."""
    if host in KALSHI_REST_HOSTS | KALSHI_WS_HOSTS:
        return "kalshi"
    if host in (ADVANCED_WS, EXCHANGE_WS, ADVANCED_REST, EXCHANGE_REST):
        return "coinbase"
    if host in (GAMMA, CLOB, SITE, MARKET_WS, RTDS, POLYBOLT):
        return "polymarket"
    return None


def _unauthorized(details: str) -> str:
    error = {"code": "authentication_error", "message": "unauthorized", "details": details}
    return msgspec.json.encode({"error": error}).decode()


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
