"""An archive that is made anew from a capture is the one that was recorded live."""

import json
import os
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from libs.common.archive import TIME_MAX_NS, Archive
from libs.common.checks import ArchiveError
from libs.common.events import Event, Flag, Gap, Market, QuoteSnapshot, Resolution, SpotSnapshot
from libs.common.venues import VENUES
from services.collector.capture import CaptureWriter
from services.collector.capture_import import KINDS, import_captures, plan_of_all
from services.collector.observer import Observer
from services.collector.traffic import Answered, Arrival, Closed, Opened, Received

S = 1_000_000_000
OPEN_NS = 1_786_941_900 * S  # 2026-08-17T04:45:00Z
MARKET = "KXBTC15M-26AUG170100-00"
RULE = (
    "If the simple average of the sixty seconds of CF Benchmarks' BRTI before 1:00 AM EDT on Aug"
    " 17, 2026 is at least the simple average of the sixty seconds of CF Benchmarks' BRTI before"
    " 12:45 AM EDT on August 17, 2026, then the market resolves to Yes."
)
RECORDINGS = Path(
    os.environ.get("HAWK_RECORDINGS") or Path(__file__).parents[2].parent / "shared/data/recordings"
)
REAL = RECORDINGS.parent / "wire/kalshi/kxbtc15m_2026-05-13.capture.jsonl.zst"


def told(second: float, **changes: object) -> Arrival:
    """Answer what the market is."""
    market = {
        "ticker": MARKET,
        "event_ticker": MARKET[:-3],
        "open_time": "2026-08-17T04:45:00Z",
        "close_time": "2026-08-17T05:00:00Z",
        "status": "active",
        "result": "",
        "expiration_value": "",
        "strike_type": "greater_or_equal",
        "floor_strike": 63_441.03,
        "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}],
        "rules_primary": RULE,
        "rules_secondary": "",
    } | changes
    get = VENUES["kalshi"].market(MARKET)
    return Answered(at(second), get, 200, json.dumps({"market": market}))


def at(second: float) -> int:
    return OPEN_NS + round(second * 1_000) * 1_000_000


class Feed:
    """Texts of one connection of Kalshi, numbered in order."""

    def __init__(self, connection: int = 1) -> None:
        self.connection, self.seq = connection, 0

    def frame(self, second: float, kind: str, msg: object, *, sid: int = 1) -> Arrival:
        told: dict[str, object] = {"type": kind, "sid": sid, "msg": msg}
        if sid == 1:
            self.seq += 1
            told["seq"] = self.seq
        return Received(at(second), "kalshi.ws", self.connection, json.dumps(told))

    def snapshot(self, second: float, contracts: int = 100) -> Arrival:
        msg = {
            "market_ticker": MARKET,
            "yes_dollars_fp": [["0.4900", f"{contracts}.00"]],
            "no_dollars_fp": [["0.4900", "7.00"]],
        }
        return self.frame(second, "orderbook_snapshot", msg)

    def delta(self, second: float, contracts: int) -> Arrival:
        msg = {
            "market_ticker": MARKET,
            "price_dollars": "0.4900",
            "delta_fp": f"{contracts}.00",
            "side": "yes",
            "ts_ms": at(second) // 1_000_000,
        }
        return self.frame(second, "orderbook_delta", msg)

    def ticker(self, second: float, bid: str = "0.4900") -> Arrival:
        msg = {
            "market_ticker": MARKET,
            "price_dollars": "0.5000",
            "yes_bid_dollars": bid,
            "yes_ask_dollars": "0.5100",
            "yes_bid_size_fp": "1.00",
            "yes_ask_size_fp": "1.00",
            "ts_ms": at(second) // 1_000_000,
        }
        return self.frame(second, "ticker", msg, sid=2)


def session() -> list[Arrival]:
    """Return a quarter hour with a lost frame, a reconnect and a result."""
    first, second = Feed(1), Feed(2)
    arrivals: list[Arrival] = [Opened(at(0.1), "kalshi.ws", 1), told(0.2, floor_strike=None)]
    # The book is subscribed at the first tick behind the listing.
    arrivals += [first.snapshot(1.2), first.ticker(1.3), told(1.7)]
    arrivals += [first.delta(2 + n / 4, n % 9 + 1) for n in range(60)]
    first.seq += 1
    arrivals += [first.delta(20.2, 5), first.snapshot(22.4, 50), first.delta(23.1, 3)]
    arrivals += [first.snapshot(24.2, 53), Closed(at(25.2), "kalshi.ws", 1, "test")]
    arrivals += [Opened(at(27.1), "kalshi.ws", 2), second.snapshot(27.4), second.ticker(27.9)]
    arrivals += [second.delta(28 + n / 2, n % 7 + 1) for n in range(1_740)]
    arrivals += [told(901.2, status="determined", result="yes")]
    arrivals += [
        told(903.2, status="finalized", result="yes", expiration_value="63500.00"),
        second.delta(910.0, 1),
    ]
    return arrivals


def capture(folder: Path, arrivals: list[Arrival]) -> list[Path]:
    writer = CaptureWriter(folder)
    for arrival in arrivals:
        writer.write(arrival)
    writer.flush()
    return sorted(folder.glob("*.zst"))


def live(arrivals: list[Arrival]) -> list[Event]:
    observer = Observer(plan_of_all(), start_ns=-1, born_ns=arrivals[0].ts_ns)
    instants = [i for arrival in arrivals for i in observer.handle(arrival).instants]
    return [event for instant in instants for events in instant.events.values() for event in events]


def stored(root: Path) -> list[Event]:
    return list(Archive(root).scan(dict.fromkeys(KINDS, 0), end_ns=TIME_MAX_NS))


def bodies(events: list[Event]) -> list[tuple[int, str, str]]:
    return sorted((event.ts_ns, type(event).__name__, event.id) for event in events)


class TestImport:
    def test_a_capture_becomes_the_archive_of_the_run(self, tmp_path: Path) -> None:
        arrivals = session()
        facts = live(arrivals)
        found = import_captures(capture(tmp_path / "captures", arrivals), tmp_path)
        assert bodies(stored(tmp_path)) == bodies(facts)
        kinds = Counter(type(event) for event in facts)
        assert (found.quotes, found.gap_rows, found.spot, found.markets, found.new) == (
            kinds[QuoteSnapshot],
            kinds[Gap],
            kinds[SpotSnapshot],
            1,
            len(facts),
        )
        assert kinds[Resolution] == 1 and kinds[QuoteSnapshot] > 800

    def test_what_is_counted_is_what_happened(self, tmp_path: Path) -> None:
        found = import_captures(capture(tmp_path / "captures", session()), tmp_path)
        assert (found.gaps, found.negative_levels) == (1, 0)
        assert (found.snapshots_equal, found.snapshots_different) == (1, 0)
        assert (found.ticker_agreement.compared, found.ticker_agreement.equal) == (2, 2)

    def test_every_second_of_the_market_has_one_row(self, tmp_path: Path) -> None:
        import_captures(capture(tmp_path / "captures", session()), tmp_path)
        rows: Counter[int] = Counter()
        for event in stored(tmp_path):
            if isinstance(event, QuoteSnapshot):
                rows[event.ts_ns] += 1
            elif isinstance(event, Gap) and event.market:
                rows.update(range((event.start_ns // S + 1) * S, event.end_ns + 1, S))
        assert {ts_ns for ts_ns, count in rows.items() if count > 1} == set()
        assert set(range(at(1), at(900), S)) <= set(rows)

    def test_importing_twice_changes_nothing(self, tmp_path: Path) -> None:
        paths = capture(tmp_path / "captures", session())
        import_captures(paths, tmp_path)
        before = stored(tmp_path)
        assert import_captures(paths, tmp_path).new == 0
        assert stored(tmp_path) == before

    def test_a_strike_is_stored_at_the_time_it_was_received(self, tmp_path: Path) -> None:
        import_captures(capture(tmp_path / "captures", session()), tmp_path)
        markets = [event for event in stored(tmp_path) if isinstance(event, Market)]
        assert [m.strike_usd for m in markets][:2] == [None, 63_441.03]
        assert markets[1].ts_ns == at(1.7)

    def test_snapshots_behind_a_gap_say_so(self, tmp_path: Path) -> None:
        import_captures(capture(tmp_path / "captures", session()), tmp_path)
        found = [event for event in stored(tmp_path) if isinstance(event, QuoteSnapshot)]
        flagged = [event.ts_ns for event in found if event.flags & Flag.GAP]
        assert at(23) in flagged and at(28) in flagged

    def test_files_of_one_run_are_taken_in_the_order_of_time(self, tmp_path: Path) -> None:
        arrivals = session()
        middle = len(arrivals) // 2
        first = capture(tmp_path / "z", arrivals[:middle])
        last = capture(tmp_path / "a", arrivals[middle:])
        import_captures([*last, *first], tmp_path)
        assert bodies(stored(tmp_path)) == bodies(live(arrivals))

    def test_a_file_without_its_beginning_is_not_silent_about_what_it_cannot_use(
        self, tmp_path: Path
    ) -> None:
        found = import_captures(capture(tmp_path / "a", session()[200:1_000]), tmp_path)
        assert found.quotes == 0 and sum(found.rejected.values()) > 0

    @pytest.mark.parametrize(
        "line",
        [
            {"recv_ns": 10**30, "feed": "kalshi.ws", "conn": 1, "frame": "{}"},
            {"recv_ns": True, "feed": "kalshi.ws", "conn": 1, "frame": "{}"},
            {"recv_ns": at(9), "feed": "kalshi.ws", "conn": 1, "frame": "\ud800"},
            {"recv_ns": at(9), "feed": "kalshi.ws", "conn": 1, "frame": "[" * 100_000},
            {"recv_ns": at(9), "feed": "kalshi.ws", "conn": 1, "event": "oversized"},
            *(
                {
                    "recv_ns": at(9),
                    "feed": endpoint,
                    "url": "/x",
                    "purpose": purpose,
                    "subject": "../../x",
                    "frame": frame,
                }
                for endpoint in ("kalshi.rest", "kalshi.nowhere")
                for purpose in ("book", "steal", "status")
                for frame in (
                    '{"orderbook_fp":{}}',
                    '{"exchange_active":false,"trading_active":false}',
                )
            ),
        ],
        ids=lambda line: str(line)[30:120],
    )
    def test_a_hostile_line_is_counted_and_the_rest_is_imported(
        self, line: dict[str, object], tmp_path: Path
    ) -> None:
        good = capture(tmp_path / "good", session()[:60])
        with pa.input_stream(str(good[0]), compression="zstd") as stream:
            lines = stream.read().splitlines()
        lines.insert(len(lines) // 2, json.dumps(line).encode())
        path = tmp_path / "bad.zst"
        path.write_bytes(pa.Codec("zstd").compress(b"\n".join(lines) + b"\n", asbytes=True))
        found = import_captures([path], tmp_path)
        assert found.quotes >= 10
        assert "BTC-USD" in Archive(tmp_path).underlyings()

    def test_a_file_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ArchiveError, match="absent"):
            import_captures([tmp_path / "absent.zst"], tmp_path)

    def test_progress_rises_to_one(self, tmp_path: Path) -> None:
        shares: list[float] = []
        paths = capture(tmp_path / "captures", session())
        import_captures(paths, tmp_path, on_progress=shares.append)
        assert shares == sorted(shares) and shares[0] >= 0.0 and shares[-1] <= 1.0


def polymarket() -> list[Arrival]:
    """Return half a minute of a window of Polymarket, its price to beat told late."""
    epoch, up, down = OPEN_NS // S, "1" * 77, "2" * 77
    slug = f"btc-updown-15m-{epoch}"
    venue = VENUES["polymarket"]

    def gamma(second: float, metadata: object) -> Arrival:
        market = {
            "slug": slug,
            "outcomes": '["Down", "Up"]',
            "clobTokenIds": json.dumps([down, up]),
            "active": True,
            "closed": False,
            "acceptingOrders": True,
            "eventStartTime": "2026-08-17T04:45:00Z",
            "endDate": "2026-08-17T05:00:00Z",
            "orderPriceMinTickSize": 0.01,
            "feesEnabled": True,
            "feeSchedule": {"exponent": 1, "rate": 0.07, "takerOnly": True},
            "feeType": "crypto_fees_v2",
            "resolutionSource": "https://data.chain.link/streams/btc-usd-twap-60s-streams",
            "description": "Up if the TWAP is greater than or equal to the price to beat.",
            "cryptoMarketConfig": {
                "asset": "btc",
                "duration": "15m",
                "twapEnabled": True,
                "twapLookbackSeconds": 60,
            },
        }
        event = {"slug": slug, "eventMetadata": metadata, "markets": [market]}
        return Answered(at(second), venue.market(slug), 200, json.dumps([event]))

    def heard(second: float, text: object) -> Arrival:
        return Received(at(second), "polymarket.ws", 1, json.dumps(text))

    def whole(token: str, bid: str, ask: str) -> dict[str, object]:
        sides = {"bids": [{"price": bid, "size": "20"}], "asks": [{"price": ask, "size": "30.5"}]}
        return {"event_type": "book", "asset_id": token, "timestamp": "1786941901000", **sides}

    arrivals: list[Arrival] = [Opened(at(0.1), "polymarket.ws", 1), gamma(0.2, None)]
    arrivals.append(heard(1.2, [whole(up, "0.48", "0.50"), whole(down, "0.50", "0.52")]))
    for second in range(2, 30):
        change = {
            "asset_id": up,
            "price": "0.47",
            "side": "BUY",
            "size": str(second),
            "best_bid": "0.48",
            "best_ask": "0.50",
        }
        told = {"event_type": "price_change", "timestamp": str(at(second) // 1_000_000)}
        arrivals.append(heard(second + 0.3, told | {"price_changes": [change]}))
    arrivals.insert(-10, gamma(19.7, {"priceToBeat": 63_441.03}))
    return arrivals


def test_a_window_of_polymarket_is_rebuilt_from_its_answers_and_texts(tmp_path: Path) -> None:
    arrivals = polymarket()
    found = import_captures(capture(tmp_path / "captures", arrivals), tmp_path)
    assert found.rejected == {} and bodies(stored(tmp_path)) == bodies(live(arrivals))
    events = stored(tmp_path)
    assert [m.strike_usd for m in events if isinstance(m, Market)] == [None, 63_441.03]
    quotes = [event for event in events if isinstance(event, QuoteSnapshot)]
    assert [quote.ts_ns for quote in quotes] == list(range(at(2), at(30), S))
    assert quotes[5].yes_bids_price_e4 == (4_800, 4_700)
    assert quotes[5].yes_asks_size_e2 == (3_050,)


def coinbase() -> list[Arrival]:
    """Return ten seconds of Coinbase: a whole book, trades with history, and a lost text."""
    arrivals: list[Arrival] = [Opened(at(0.1), "coinbase.ws", 1)]
    number = -1

    def heard(second: float, channel: str, event: dict[str, object]) -> None:
        nonlocal number
        number += 1
        text = {
            "channel": channel,
            "timestamp": f"2026-08-17T04:45:{second:012.9f}Z",
            "sequence_num": number,
            "events": [event],
        }
        arrivals.append(Received(at(second), "coinbase.ws", 1, json.dumps(text)))

    def levels(second: float, kind: str, *sizes: str) -> None:
        updates = [
            {"side": side, "price_level": price, "new_quantity": size}
            for (side, price), size in zip(
                (("bid", "63440.00"), ("offer", "63441.00")), sizes, strict=False
            )
        ]
        heard(second, "l2_data", {"type": kind, "product_id": "BTC-USD", "updates": updates})

    def trade(second: float, kind: str, trade_id: int, side: str) -> None:
        told = {
            "trade_id": str(trade_id),
            "product_id": "BTC-USD",
            "price": "63440.50",
            "size": "0.25",
            "side": side,
            "time": "2026-08-17T04:45:00Z",
        }
        heard(second, "market_trades", {"type": kind, "trades": [told]})

    heard(0.2, "subscriptions", {"subscriptions": {"level2": ["BTC-USD"]}})
    levels(0.3, "snapshot", "1.5", "2.5")
    trade(0.4, "snapshot", 1, "SELL")
    for second in range(1, 10):
        levels(second + 0.1, "update", f"{second}.5")
        trade(second + 0.2, "update", second, "SELL")
    # Texts of second 5 are lost; the book comes again in second 9.
    arrivals[:] = [a for a in arrivals if not at(5) <= a.ts_ns < at(6)]
    levels(9.5, "snapshot", "7.5", "8.5")
    levels(11.0, "update", "9.5")
    return arrivals


def test_spot_is_rebuilt_with_flow_only_where_all_of_it_was_seen(tmp_path: Path) -> None:
    arrivals = coinbase()
    import_captures(capture(tmp_path / "captures", arrivals), tmp_path)
    assert bodies(stored(tmp_path)) == bodies(live(arrivals))
    spots = [event for event in stored(tmp_path) if isinstance(event, SpotSnapshot)]
    flow = {(event.ts_ns - OPEN_NS) // S: event.taker_buy_volume for event in spots}
    # A seller made the trade, so a buyer took it; trade 1 was in the history already. What was
    # lost in second 5 shows in second 6, and the book is whole again in second 9.
    assert flow == {1: None, 2: 0.0, 3: 0.25, 4: 0.25, 5: 0.25, 6: 0.0, 10: None, 11: 0.0}


@pytest.mark.skipif(not REAL.exists(), reason="no real wire data: set HAWK_RECORDINGS")
def test_a_real_quarter_hour_is_rebuilt_without_a_gap_or_a_reject(tmp_path: Path) -> None:
    found = import_captures([REAL], tmp_path)
    assert (found.gaps, found.rejected, found.negative_levels) == (0, {}, 0)
    assert found.snapshots_different == 0
    assert found.ticker_agreement.equal >= 739
    assert found.quotes > 860
    crossed = Flag.CROSSED | Flag.LOCKED
    quotes = [event for event in stored(tmp_path) if isinstance(event, QuoteSnapshot)]
    assert not [event for event in quotes if event.flags & crossed]
    times = Counter((event.market, event.ts_ns) for event in quotes)
    assert set(times.values()) == {1} and all(ts_ns % S == 0 for _, ts_ns in times)
