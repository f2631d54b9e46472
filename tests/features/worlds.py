"""Random recordings for the feature tests: small, dense in edge cases, seeded."""

from dataclasses import dataclass, field

import msgspec
import numpy as np
import pyarrow as pa

from libs.common import columns
from libs.common.events import (
    Event,
    FeatureRow,
    Flag,
    Gap,
    Market,
    QuoteSnapshot,
    Resolution,
    SpotSnapshot,
    Tick,
    event_id,
    order_key,
    set_seq,
)
from services.features.batch import build_rows
from services.features.engine import FeatureEngine

SECOND = 1_000_000_000
START = 1_778_475_600 * SECOND
SERIES = (
    ("kalshi", "KXBTC15M", "mean60", ">="),
    ("kalshi", "KXBTCD", "mean60", ">"),
    ("polymarket", "btc-updown-5m", "chainlink_twap60", ">="),
    ("polymarket", "btc-updown-15m", "chainlink_point", ">="),
    ("polymarket", "updown-1h", "binance_1h_close", ">="),
    ("kalshi", "UNHEARD", "mean60", ">="),
    ("kalshi", "KXETH15M", "some_other_rule", ">="),
)
SOURCES = ("coinbase", "coinbase_trade", "binance_spot", "chainlink", "chainlink_twap_60")


@dataclass(frozen=True)
class World:
    """Knobs of a random recording."""

    seed: int = 0
    underlyings: tuple[str, ...] = ("BTC-USD",)
    windows: int = 4
    life_s: int = 300
    spot_every_s: float = 2.0
    quote_every_s: float = 11.0
    flaws: float = 0.1
    sources: tuple[str, ...] = SOURCES
    series: tuple[tuple[str, str, str, str], ...] = field(default=SERIES)


def record(world: World) -> list[Event]:
    """Return the events of a world, numbered and in the order of events."""
    rng = np.random.default_rng(world.seed)
    events: list[Event] = []
    for underlying in world.underlyings:
        own = [*_spot(world, underlying, rng), *_markets(world, underlying, rng)]
        own.sort(key=lambda e: (e.ts_ns, type(e) is QuoteSnapshot and rng.random() < 0.9))
        for seq, event in enumerate(own):
            # Ties of seq are legal (imports count per instant): ids then decide.
            set_seq(event, seq // 2 if rng.random() < 0.5 else seq % 3)
        events += own
    return sorted(events, key=order_key)


def _spot(world: World, underlying: str, rng: np.random.Generator) -> list[Event]:
    events: list[Event] = []
    price, span = 80_000.0, world.windows * world.life_s + 700
    t = START - 600 * SECOND
    while t < START + span * SECOND:
        price *= float(np.exp(rng.normal() * 5e-5))
        events.append(_snapshot(world, underlying, rng, t_ns=t, price=price))
        step = rng.uniform(0.2, 1.6) * world.spot_every_s
        step = 0.0 if rng.random() < world.flaws else step
        step = rng.choice([70.0, 140.0, 400.0]) if rng.random() < world.flaws / 40 else step
        t += int(step * SECOND) if rng.random() < 0.7 else round(step) * SECOND
    return events


def _snapshot(
    world: World, underlying: str, rng: np.random.Generator, *, t_ns: int, price: float
) -> SpotSnapshot:
    def maybe(value: float) -> float | None:
        return None if rng.random() < world.flaws else value

    source = str(rng.choice(world.sources))
    fields = {}
    if source.startswith("chainlink"):
        fields = {"index_usd": maybe(round(price + 9.6, 4))}
    else:
        flawed = rng.random() < world.flaws
        fields = {
            "bid_usd": maybe(round(price - 0.5, 2)),
            "ask_usd": maybe(round(price + (-0.7 if flawed else 0.5), 2)),
            "bid_size": maybe(rng.exponential()),
            "ask_size": maybe(rng.exponential()),
            "depth_bid": maybe(rng.exponential() * 9),
            "depth_ask": maybe(rng.exponential() * 9),
            "last_usd": maybe(float(rng.choice([price, price, -1.0, np.nan, 2e9]))),
            "taker_buy_volume": None if flawed else float(rng.choice([0.0, 1.5, 1e9, -1.0])),
            "taker_sell_volume": 0.25,
            "index_usd": round(price + 8.0, 2) if rng.random() < 0.3 else None,
        }
    flags = int(rng.choice([0, Flag.STALE, Flag.GAP])) if rng.random() < world.flaws else 0
    return SpotSnapshot(
        ts_ns=t_ns,
        id=event_id("spot", underlying, t_ns, float(rng.random())),
        underlying=underlying,
        source=source,
        age_ns=1_900_000_000 if rng.random() < world.flaws else int(rng.integers(-9, 99)) * 10**6,
        flags=flags,
        **fields,
    )


def _markets(world: World, underlying: str, rng: np.random.Generator) -> list[Event]:
    events: list[Event] = []
    for window in range(world.windows):
        open_ns = START + window * world.life_s * SECOND
        for venue, series, rule, comparator in world.series:
            market = Market(
                ts_ns=open_ns - int(rng.integers(0, 9)) * SECOND,
                id=event_id("market", underlying, venue, series, window),
                venue=venue,
                market=f"{series}-{window}",
                series=series,
                underlying=underlying,
                open_ns=open_ns,
                close_ns=open_ns + world.life_s * SECOND + int(rng.choice([0, 0, 0, 500_000_000])),
                comparator=comparator,
                settlement_rule=rule,
                fee=None,
                tick_ranges=(),
                rule_fingerprint="",
            )
            events += _life(world, market, rng)
    return events


def _life(world: World, market: Market, rng: np.random.Generator) -> list[Event]:
    events: list[Event] = []
    strike = 80_000.0 + float(rng.normal()) * 30
    if strike % 10 < 1:
        market = msgspec.structs.replace(market, status="quarantined")
    late = rng.random() < 0.8
    if rng.random() < 0.95:
        known = market if late else msgspec.structs.replace(market, strike_usd=strike)
        events.append(known)
    if late and rng.random() < 0.9:
        ts_ns = market.open_ns + int(rng.choice([1, 1, 1, 30, 4000])) * SECOND
        events.append(
            msgspec.structs.replace(
                market,
                ts_ns=ts_ns,
                id=event_id(market.id, "strike"),
                strike_usd=strike,
                status="quarantined" if strike % 7 < 1 else "open",
            )
        )
    t = market.open_ns - 3 * SECOND
    while t < market.close_ns + 3 * SECOND:
        events += [_quote(world, market, rng, t_ns=t)]
        hurry = 0.1 if market.close_ns - t < 70 * SECOND else 1.0
        step = rng.exponential(world.quote_every_s * hurry)
        step = 0.0 if rng.random() < world.flaws / 2 else step
        t += round(step) * SECOND if rng.random() < 0.7 else int(step * SECOND)
    events.append(
        Resolution(
            ts_ns=market.close_ns + 60 * SECOND,
            id=event_id(market.id, "result"),
            venue=market.venue,
            market=market.market,
            underlying=market.underlying,
            about_ns=market.close_ns,
            result="yes",
            source="venue",
        )
    )
    return events


def _quote(world: World, market: Market, rng: np.random.Generator, *, t_ns: int) -> QuoteSnapshot:
    bid = int(rng.integers(1, 98)) * 100
    ask = bid + int(rng.choice([100, 100, 200, 0, -100, 10]))
    levels = rng.integers(0 if rng.random() < world.flaws else 1, 6, size=2)
    prices = [tuple(bid - 100 * i for i in range(levels[0]) if bid - 100 * i >= 0)]
    prices.append(tuple(ask + 100 * i for i in range(levels[1]) if 0 <= ask + 100 * i <= 10_000))
    sizes = [tuple(int(rng.integers(0, 10**9)) for _ in side) for side in prices]
    if rng.random() < world.flaws:
        sizes = [side[: int(rng.integers(0, 3))] for side in sizes]
    flaw = rng.random() < world.flaws
    return QuoteSnapshot(
        ts_ns=t_ns,
        id=event_id("quote", market.id, t_ns, float(rng.random())),
        venue=market.venue,
        market=market.market,
        underlying=market.underlying,
        yes_bids_price_e4=prices[0],
        yes_bids_size_e2=sizes[0],
        yes_asks_price_e4=prices[1],
        yes_asks_size_e2=sizes[1],
        last_price_e4=None if flaw else bid,
        age_ns=int(rng.choice([0, 700_000_000, -3_000_000])),
        flags=int(rng.integers(0, 32)) if flaw else 0,
    )


def with_noise(events: list[Event], underlying: str) -> list[Event]:
    """Return the events of one underlying with ticks and gaps, which must change nothing."""
    noisy: list[Event] = []
    for event in events:
        if event.underlying == underlying:
            noisy.append(event)
            if event.ts_ns % 3 == 0:
                noisy.append(Tick(ts_ns=event.ts_ns, id="", underlying=underlying))
                noisy.append(
                    Gap(
                        ts_ns=event.ts_ns,
                        id="",
                        underlying=underlying,
                        feed="spot",
                        start_ns=event.ts_ns - SECOND,
                        end_ns=event.ts_ns,
                        reason="test",
                    )
                )
    return noisy


def stream(events: list[Event], underlying: str) -> list[FeatureRow]:
    """Feed the events of one underlying to a new engine and return its rows."""
    engine = FeatureEngine(underlying)
    made: list[FeatureRow] = []
    for event in with_noise(events, underlying):
        made += [row for row in engine.handle(event) if isinstance(row, FeatureRow)]
    return made


def stream_all(events: list[Event]) -> list[FeatureRow]:
    """Return the streamed rows of all underlyings in the order of batch rows."""
    places = sorted({event.underlying for event in events})
    seq = {event.id: event.seq for event in events}
    rows = [row for place in places for row in stream(events, place)]
    return sorted(rows, key=lambda r: (r.ts_ns, r.underlying, seq[r.quote_id], r.quote_id))


def batch(events: list[Event]) -> pa.Table:
    """Return the batch rows of a recording."""
    tables = [
        columns.to_table(kind, [event for event in events if type(event) is kind])
        for kind in (Market, SpotSnapshot, QuoteSnapshot)
    ]
    return build_rows(*tables)


def row_bytes(row: FeatureRow) -> list[object]:
    """Return all of a streamed row that a batch row has too, floats as exact text."""
    values = [None if v is None else v.hex() for v in row.values.values()]
    fields = [row.ts_ns, row.quote_id, row.venue, row.market, row.series, row.underlying]
    fields += [row.open_ns, row.close_ns, row.bid_e4, row.ask_e4, row.flags, row.unusable]
    return [*fields, *values]


def table_bytes(table: pa.Table) -> list[list[object]]:
    """Return the rows of a batch table as `row_bytes` does."""
    cells = []
    for row in table.to_pylist():
        row["quote_id"] = row["quote_id"].hex()
        cells.append([v.hex() if isinstance(v, float) else v for v in row.values()])
    return cells
