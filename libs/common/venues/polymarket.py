"""Polymarket: where its servers are, what to ask them, and its feeds. Pure.

Markets are named by slug, books by token. A window's slug is built from its start
(`btc-updown-15m-<epoch>`), as the venue builds it, to ask for it; all facts come from the answer.
A market that is known by its condition id only (`0x...`, from `market_resolved`) can be asked for
by that too, and answers with its slug.

Rates are half of what the venue allows a second (Gamma events 50, CLOB books and prices 150, read
2026-05-06); the web site, whose interface is not documented, is asked once a second at most.

The decision a reader would question: `top` asks for nothing. The only second opinion by REST is a
middle price, and a book of 0.01 and 0.99, the fault that was seen, has the right middle in a fresh
market. The market channel repeats the best prices with each change; a book from REST is compared
with those.
"""

from collections.abc import Mapping, Sequence

from libs.common.venues.polymarket_feed import PolymarketBooks
from libs.common.venues.polymarket_prices import PolymarketPrices, PolymarketRtds
from libs.common.venues.polymarket_rest import read_answer
from libs.common.venues.polymarket_terms import SERIES, window
from libs.common.venues.venue import Answer, Endpoint, Feed, Get, Purpose, Series

SECOND_NS = 1_000_000_000
HISTORY_S_MAX = 7 * 86_400
"""Longest range of one request for price history; a window's market lives about a day."""

_VARIANTS = {300: "fiveminute", 900: "fifteen"}
_EPOCH_SHIFT_DAYS = 719_468


class Polymarket:
    """The venue; stateless."""

    name = "polymarket"
    endpoints: Mapping[str, Endpoint] = {
        "gamma": Endpoint("https://gamma-api.polymarket.com", 25.0, 25.0),
        "clob": Endpoint("https://clob.polymarket.com", 75.0, 75.0),
        "site": Endpoint("https://polymarket.com", 1.0, 3.0),
    }
    feeds: Sequence[Feed] = (PolymarketBooks(), PolymarketRtds(), PolymarketPrices())
    series: Mapping[str, Series] = SERIES
    products: Mapping[str, str] = {}

    def clock(self) -> Get | None:
        """Return None: the CLOB's `/time` is of whole seconds, no better than a `Date` header."""
        return None

    def status(self) -> Get | None:
        """Return None: a restart shows as 425 to orders, and nowhere before."""
        return None

    def listing(self, series: str, *, now_ns: int, windows: int) -> list[Get]:
        """Ask for the window open at `now_ns` and the next `windows`, one request each."""
        length_s = SERIES[series].length_s
        first_s = now_ns // SECOND_NS // length_s * length_s
        starts = range(first_s, first_s + (windows + 1) * length_s, length_s)
        return [self._event(f"{series}-{start_s}", "list") for start_s in starts]

    def market(self, market: str) -> Get:
        """Ask Gamma for a market by slug, or the CLOB by condition id."""
        if market.startswith("0x"):
            return self._get("clob", f"/markets/{market}", "market", market)
        return self._event(market, "market")

    def strike(self, market: str, *, open_ns: int, close_ns: int, rule: str) -> list[Get]:
        """Ask the web site for the price to beat; Gamma tells it only after the window's end.

        By the rule in force since August 2026 it is an average; `rule` `chainlink_point` asks for
        the price at a point instead. Other rules and markets of no series have no such source.
        """
        found = window(market)
        if found is None or rule not in ("chainlink_point", "chainlink_twap60"):
            return []
        series = found[0]
        target = (
            f"/api/crypto/crypto-price?symbol={series.underlying.removesuffix('-USD')}"
            f"&eventStartTime={_iso(open_ns)}&endDate={_iso(close_ns)}"
            f"&variant={_VARIANTS[series.length_s]}"
        )
        if rule == "chainlink_twap60":
            target += "&twap=true&twapLookbackSeconds=60"
        return [self._get("site", target, "strike", market)]

    def book(self, instrument: str) -> Get:
        """Ask for the book of a token."""
        return self._get("clob", f"/book?token_id={instrument}", "book", instrument)

    def top(self, instrument: str) -> Get | None:
        """Return None: see the head of this file."""
        return None

    def terms(self, series: str) -> Get | None:
        """Return None: fee and rules stand in each market."""
        return None

    def cutoff(self) -> Get | None:
        """Return None: there is one tier."""
        return None

    def settled(
        self, series: str, *, start_ns: int, end_ns: int, is_historical: bool = False
    ) -> list[Get]:
        """Ask for each window of a series that closed in [start, end), by slug."""
        length_s = SERIES[series].length_s
        length_ns = length_s * SECOND_NS
        closes = range(-(-start_ns // length_ns), -(-end_ns // length_ns))
        return [self._event(f"{series}-{(close - 1) * length_s}", "settled") for close in closes]

    def candles(
        self, instrument: str, *, start_ns: int, end_ns: int, is_historical: bool = False
    ) -> list[Get]:
        """Ask for the price of a token each minute, in ranges of at most `HISTORY_S_MAX`."""
        start_s, end_s = start_ns // SECOND_NS, -(-end_ns // SECOND_NS)
        return [
            self._get(
                "clob",
                f"/prices-history?market={instrument}&startTs={part_s}"
                f"&endTs={min(part_s + HISTORY_S_MAX, end_s)}&fidelity=1",
                "candles",
                instrument,
            )
            for part_s in range(start_s, end_s, HISTORY_S_MAX)
        ]

    def trades(
        self, instrument: str, *, start_ns: int, end_ns: int, is_historical: bool = False
    ) -> list[Get]:
        """Return nothing: the past's trades stand in the venue's data interface, not used here."""
        return []

    def answer(self, get: Get, *, status: int, text: str) -> Answer:
        """Read the answer to `get`; never raises."""
        return read_answer(get, status=status, text=text)

    def _event(self, slug: str, purpose: Purpose) -> Get:
        # By event, not by market: only the event tells the price to beat, and `/markets` hides
        # closed ones.
        return self._get("gamma", f"/events?slug={slug}", purpose, slug)

    def _get(self, endpoint: str, target: str, purpose: Purpose, subject: str) -> Get:
        return Get(self.name, endpoint, target, purpose, subject)


def _iso(ts_ns: int) -> str:
    """Return a time to the second as RFC 3339 (H. Hinnant, civil_from_days).

    >>> _iso(1_773_306_900_000_000_000)
    '2026-03-12T09:15:00Z'
    """
    days, second = divmod(ts_ns // SECOND_NS, 86_400)
    era, day_of_era = divmod(days + _EPOCH_SHIFT_DAYS, 146_097)
    year_of_era = (
        day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = year_of_era + era * 400 + (month <= 2)
    clock = f"{second // 3_600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
    return f"{year:04d}-{month:02d}-{day:02d}T{clock}Z"


POLYMARKET = Polymarket()
