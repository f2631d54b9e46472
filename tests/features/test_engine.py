import math
import statistics

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.checks import InvariantError
from libs.common.events import (
    Event,
    FeatureRow,
    Flag,
    Market,
    QuoteSnapshot,
    SpotSnapshot,
    Tick,
    event_id,
    order_key,
)
from services.features.basis import SHRINKAGE
from services.features.catalog import FEATURE_SET, NAMES
from services.features.engine import FeatureEngine
from tests.features.worlds import SECOND, START, World, record, row_bytes, stream

U = "BTC-USD"
LEARNING = World(
    seed=4, windows=9, spot_every_s=0.8, quote_every_s=40, flaws=0.0, sources=("coinbase",)
)
WORLDS = st.builds(
    World,
    seed=st.integers(0, 2**32),
    windows=st.integers(1, 3),
    quote_every_s=st.just(25.0),
    spot_every_s=st.sampled_from([0.5, 2.0, 30.0]),
    flaws=st.sampled_from([0.02, 0.3]),
)
SLOW = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])

MARKET = Market(
    ts_ns=START,
    id="m",
    venue="kalshi",
    market="M",
    series="KXBTC15M",
    underlying=U,
    open_ns=START,
    close_ns=START + 900 * SECOND,
    comparator=">=",
    settlement_rule="mean60",
    fee=None,
    tick_ranges=(),
    rule_fingerprint="",
)
QUOTE = QuoteSnapshot(
    ts_ns=START + 10 * SECOND,
    id="q",
    venue="kalshi",
    market="M",
    underlying=U,
    yes_bids_price_e4=(4_800,),
    yes_asks_price_e4=(5_000,),
)


def spot_at(ts_ns: int, usd: float, **fields: object) -> SpotSnapshot:
    return SpotSnapshot(
        ts_ns=ts_ns, id=f"s{ts_ns}", underlying=U, source="coinbase", last_usd=usd, **fields
    )


def one_row(*events: Event) -> FeatureRow:
    engine = FeatureEngine(U)
    made = [row for event in events for row in engine.handle(event)]
    assert len(made) == 1
    assert isinstance(made[0], FeatureRow)
    return made[0]


def test_a_quote_makes_one_row_identified_by_quote_and_feature_set() -> None:
    row = one_row(MARKET, QUOTE)
    assert row.id == event_id("FeatureRow", "q", FEATURE_SET)
    assert (row.quote_id, row.feature_set, row.series) == ("q", FEATURE_SET, "KXBTC15M")
    assert (row.bid_e4, row.ask_e4, row.values["mid"]) == (4_800, 5_000, 0.49)
    assert tuple(row.values) == NAMES
    assert row.unusable is None


def test_a_tick_is_passed_on_unchanged() -> None:
    tick = Tick(ts_ns=START, id="t", underlying=U)
    assert FeatureEngine(U).handle(tick) == (tick,)


def test_an_event_of_another_underlying_is_a_wiring_bug() -> None:
    with pytest.raises(InvariantError):
        FeatureEngine("ETH-USD").handle(QUOTE)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"market": "other"}, "unknown_market"),
        ({"ts_ns": START - 1}, "outside_life"),
        ({"ts_ns": MARKET.close_ns}, "outside_life"),
        ({"ts_ns": MARKET.close_ns - 1}, None),
        ({"yes_bids_price_e4": (5_100,)}, "crossed"),
        ({"flags": Flag.CROSSED}, "crossed"),
        ({"flags": Flag.CROSSED | Flag.COARSE}, "crossed"),
        ({"yes_bids_price_e4": (5_000,)}, "locked"),
        ({"flags": Flag.LOCKED}, "locked"),
        ({"yes_bids_price_e4": (5_000,), "flags": Flag.LOCKED | Flag.COARSE}, None),
        ({"flags": Flag.STALE}, "stale"),
        ({"flags": Flag.GAP}, None),
        ({"yes_bids_price_e4": ()}, None),
        ({"yes_bids_price_e4": (), "yes_asks_price_e4": ()}, None),
    ],
)
def test_the_first_reason_that_holds_makes_a_row_unusable(
    changes: dict[str, object], reason: str | None
) -> None:
    known = msgspec.structs.replace(MARKET, ts_ns=START - SECOND)
    assert one_row(known, msgspec.structs.replace(QUOTE, **changes)).unusable == reason


def test_nothing_is_forecast_or_learnt_of_a_quarantined_market() -> None:
    known = msgspec.structs.replace(MARKET, ts_ns=START - SECOND, status="quarantined")
    assert one_row(known, msgspec.structs.replace(QUOTE, flags=Flag.STALE)).unusable == (
        "quarantined"
    )
    approximate = msgspec.structs.replace(known, status="approximate")
    assert one_row(approximate, QUOTE).unusable is None


def test_a_one_sided_book_has_a_row_without_mid() -> None:
    row = one_row(MARKET, msgspec.structs.replace(QUOTE, yes_bids_price_e4=()))
    assert (row.bid_e4, row.ask_e4) == (None, 5_000)
    assert row.values["mid"] is None
    assert row.values["spread"] is None


def test_a_market_last_heard_of_eight_days_ago_is_unknown() -> None:
    old = msgspec.structs.replace(MARKET, ts_ns=QUOTE.ts_ns - 8 * 86_400 * SECOND - 1)
    row = one_row(old, QUOTE)
    assert row.unusable == "unknown_market"
    assert (row.series, row.open_ns, row.values["time_left_s"]) == ("", 0, None)


@pytest.mark.parametrize(("age_s", "usd"), [(130, 80_000.0), (131, None)])
def test_spot_older_than_its_limit_is_no_spot(age_s: int, usd: float | None) -> None:
    row = one_row(
        MARKET, spot_at(QUOTE.ts_ns - (age_s - 4) * SECOND, 8e4, age_ns=4 * SECOND), QUOTE
    )
    assert row.values["spot_age_s"] == (None if usd is None else float(age_s))


def test_a_stale_spot_snapshot_is_no_observation() -> None:
    row = one_row(
        MARKET,
        spot_at(QUOTE.ts_ns - 9 * SECOND, 8e4),
        spot_at(QUOTE.ts_ns - SECOND, 8e4, flags=int(Flag.STALE)),
        QUOTE,
    )
    assert row.values["spot_age_s"] == 9.0


def minutes(feed: str, *, until_ns: int, usd: float, every_s: int = 1) -> list[Event]:
    """Return twenty minutes of one feed, wobbling by a dollar."""
    events: list[Event] = []
    for k in range(1_200, -1, -every_s):
        ts_ns, price = until_ns - k * SECOND, usd + math.sin(k * 0.7)
        changes = {"index_usd": price, "last_usd": None} if feed == "chainlink" else {}
        events.append(msgspec.structs.replace(spot_at(ts_ns, price), source=feed, **changes))
    return events


def late_row(
    feed: str, rule: str, series: str, *, every_s: int, hole: bool = False, age_ns: int = 0
) -> FeatureRow:
    """Return the row 20 s before the close of a market that follows `feed`."""
    market = msgspec.structs.replace(
        MARKET, venue="polymarket", series=series, settlement_rule=rule, strike_usd=80_000.0
    )
    now_ns = MARKET.close_ns - 20 * SECOND
    spots = minutes(feed, until_ns=now_ns, usd=80_001.0, every_s=every_s)
    spots = [msgspec.structs.replace(spot, age_ns=age_ns) for spot in spots]
    if hole:
        spots = [s for s in spots if not 25 * SECOND < now_ns - s.ts_ns < 30 * SECOND]
    quote = msgspec.structs.replace(QUOTE, venue="polymarket", ts_ns=now_ns)
    return one_row(market, *spots, quote)


def test_inside_the_last_minute_an_average_needs_every_past_print() -> None:
    twap = "chainlink_twap60", "btc-updown-5m"
    assert late_row("chainlink", *twap, every_s=1).values["fair_value"] is not None
    assert late_row("coinbase", *twap, every_s=2).values["fair_value"] is not None
    assert late_row("coinbase", *twap, every_s=4).values["fair_value"] is None
    assert late_row("coinbase", *twap, every_s=1, hole=True).values["fair_value"] is None
    old = 2_001_000_000
    assert late_row("coinbase", *twap, every_s=1, age_ns=old - SECOND).values["fair_value"]
    assert late_row("coinbase", *twap, every_s=1, age_ns=old).values["fair_value"] is None


def test_a_point_rule_needs_no_past_print() -> None:
    point = "chainlink_point", "btc-updown-15m"
    assert late_row("coinbase", *point, every_s=60).values["fair_value"] is not None


def test_an_unknown_rule_or_series_has_no_fair_value() -> None:
    assert late_row("coinbase", "coin", "btc-updown-5m", every_s=1).values["fair_value"] is None
    assert late_row("coinbase", "mean60", "unheard", every_s=1).values["fair_value"] is None


def test_s_is_the_fresh_settlement_feed_then_the_venue() -> None:
    market = msgspec.structs.replace(MARKET, settlement_rule="chainlink_point")
    index = msgspec.structs.replace(
        spot_at(QUOTE.ts_ns - 5 * SECOND, 8e4), source="chainlink", last_usd=None, index_usd=8.1e4
    )
    venue = spot_at(QUOTE.ts_ns - 3 * SECOND, 8e4)
    assert one_row(market, index, venue, QUOTE).values["spot_age_s"] == 5.0
    assert one_row(MARKET, index, venue, QUOTE).values["spot_age_s"] == 3.0
    late = msgspec.structs.replace(QUOTE, ts_ns=QUOTE.ts_ns + 6 * SECOND)
    assert one_row(market, index, venue, late).values["spot_age_s"] == 9.0
    gap_bp = one_row(market, index, venue, QUOTE).values["basis_deviation_bp"]
    assert gap_bp == pytest.approx(1e4 * 1_000 / 8e4)


def test_taker_flow_is_missing_where_one_snapshot_had_none() -> None:
    flows = {"taker_buy_volume": 3.0, "taker_sell_volume": 1.0}
    old, new = spot_at(QUOTE.ts_ns - 30 * SECOND, 8e4), spot_at(QUOTE.ts_ns - SECOND, 8e4, **flows)
    row = one_row(MARKET, old, new, QUOTE)
    assert row.values["taker_flow_15s"] == 0.5
    assert row.values["taker_flow_60s"] is None


def test_volatility_equals_a_naive_loop_over_overlapping_minutes() -> None:
    events = record(LEARNING)
    rows = {row.quote_id: row for row in stream(events, U) if row.series == "btc-updown-15m"}
    places = [i for i, event in enumerate(events) if event.id in rows]
    for place in places[len(places) // 2 :: len(places) // 8]:
        # The venue is S here: this series settles on a feed that the recording lacks.
        seen = [e for e in events[:place] if type(e) is SpotSnapshot]
        known = [(e.ts_ns, (e.bid_usd + e.ask_usd) / 2) for e in seen]
        squares = times = 0.0
        for t, p in known:
            before = [(t0, p0) for t0, p0 in known if t - 130 * SECOND <= t0 <= t - 60 * SECOND]
            if before and t > events[place].ts_ns - 900 * SECOND:
                squares += math.log(p / before[-1][1]) ** 2
                times += (t - before[-1][0]) / 1e9
        # Returns are kept in 1e-9, of 4e-4 in size.
        expected = pytest.approx(math.sqrt(squares / times), rel=1e-6)
        assert rows[events[place].id].values["vol_15m"] == expected


def test_basis_equals_a_naive_mean_over_struck_windows() -> None:
    events = record(LEARNING)
    spots = [e for e in events if type(e) is SpotSnapshot]
    seen = [(e.ts_ns, max(e.age_ns, 0), (e.bid_usd + e.ask_usd) / 2) for e in spots]

    def minute(end_ns: int) -> float | None:
        prints = []
        for t in range(end_ns - 59 * SECOND, end_ns + 1, SECOND):
            ts_ns, age_ns, price = [s for s in seen if s[0] <= t][-1]
            if t - ts_ns + age_ns > 2 * SECOND:
                return None
            prints.append(price)
        return statistics.fmean(prints)

    # This series settles on a feed that the recording lacks, so the venue is S.
    differences: dict[tuple[int, int], float] = {}
    waiting = set()
    for e in (e for e in events if type(e) is Market and e.series == "btc-updown-15m"):
        if e.strike_usd is None:
            waiting.add(e.market)
        elif e.market in waiting and e.open_ns < e.ts_ns <= e.open_ns + 3_600 * SECOND:
            own = minute(e.open_ns)
            if own is not None:
                differences[(e.open_ns, e.close_ns)] = e.strike_usd - own
    assert len(differences) >= 3
    expected = sum(differences.values()) / (len(differences) + SHRINKAGE)
    row = [r for r in stream(events, U) if r.series == "btc-updown-15m"][-1]
    naive = {(1e4 * expected / p) for t, _, p in seen if 0 <= row.ts_ns - t < 3 * SECOND}
    assert any(row.values["basis_bp"] == pytest.approx(v, rel=1e-6) for v in naive)


@SLOW
@given(WORLDS)
def test_every_feature_is_finite_or_missing(world: World) -> None:
    for row in stream(record(world), U):
        assert all(v is None or math.isfinite(v) for v in row.values.values())


@SLOW
@given(WORLDS, st.floats(0.2, 0.9))
def test_no_row_depends_on_what_comes_after_it(world: World, share: float) -> None:
    events = record(world)
    past = stream(events[: int(len(events) * share)], U)
    whole = stream(events, U)[: len(past)]
    assert [row_bytes(row) for row in past] == [row_bytes(row) for row in whole]


@pytest.mark.parametrize("world", [LEARNING, World(seed=1, windows=2), World(seed=2, windows=2)])
def test_the_declared_look_back_rebuilds_the_state_exactly(world: World) -> None:
    # Four copies of a recording, apart so that each limit in time is crossed inside one of them:
    # eight days of markets, an hour more than a day of spot, a day of basis.
    hour, last = 3_600 * SECOND, 223 * 3_600 * SECOND
    first = record(world)
    copies = [_later(e, shift) for shift in (6 * hour, last - 25 * hour, last) for e in first]
    nearby = [_later(e, last - 23 * hour - 2_000 * SECOND) for e in first]
    events = sorted([*first, *copies, *nearby], key=order_key)
    start = START + last + world.windows * world.life_s * SECOND // 3
    look_back = FeatureEngine(U).lookback_s
    fed = [e for e in events if e.ts_ns >= start - look_back.get(type(e), 0) * SECOND]
    assert any(type(e) is Market and e not in fed for e in copies)
    whole = [row_bytes(row) for row in stream(events, U) if row.ts_ns >= start]
    rebuilt = [row_bytes(row) for row in stream(fed, U) if row.ts_ns >= start]
    assert len(whole) > 50
    assert rebuilt == whole


def _later(event: Event, shift_ns: int) -> Event:
    changes = {"ts_ns": event.ts_ns + shift_ns, "id": event_id(event.id, shift_ns)}
    if isinstance(event, Market):
        changes["open_ns"] = event.open_ns + shift_ns
        changes["close_ns"] = event.close_ns + shift_ns
    if isinstance(event, Market | QuoteSnapshot):
        changes["market"] = f"{event.market}+{shift_ns}"
    return msgspec.structs.replace(event, **changes)


def test_memory_stays_flat() -> None:
    engine = FeatureEngine(U)
    for day in range(12):
        for k in range(200):
            ts_ns = START + day * 86_400 * SECOND + k * 30 * SECOND
            name = f"{day}-{k}"
            waiting = msgspec.structs.replace(
                MARKET, ts_ns=ts_ns, market=name, open_ns=ts_ns, close_ns=ts_ns + 900 * SECOND
            )
            engine.handle(spot_at(ts_ns, 8e4 + k))
            engine.handle(waiting)
            engine.handle(msgspec.structs.replace(QUOTE, ts_ns=ts_ns + SECOND, market=name))
        assert len(engine._mids) <= 8
        assert len(engine._markets) <= 9 * 200 + 1
        assert len(engine._strikes._unstruck) <= 9 * 200 + 1
    assert engine._tracks["coinbase"]._spot.times[0] > START
