"""Judge the markets of a recording and say what was known when. Pure.

A row of markets.parquet becomes up to three facts: the market at its open, its strike when that
became known, its result when that became known. Where the recording does not say when, late is
assumed rather than early: looking ahead by a second would be an edge that nobody has.
"""

from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from libs.common.events import Event, FeeSchedule, Market, Resolution, event_id
from libs.common.pricing import TERMS
from services.collector.validation import TIME_NS_MAX, is_name, is_place

STRIKE_DELAY_NS = 1_000_000_000
"""Kalshi publishes a strike about 0.7 s after the open; one second never looks ahead."""

RESULT_DELAY_NS = 60_000_000_000
"""Venues publish a result seconds to minutes after the close."""

KNOWN_RULES = ("mean60", "chainlink_point", "chainlink_twap60", "binance_1h_close")


class RecordedMarket(msgspec.Struct):
    """One row of markets.parquet that passed."""

    market: Market
    strike_usd: float | None
    strike_known_ns: int
    result_known_ns: int
    settlement_usd: float | None
    result: str | None


def judge_markets(
    table: pa.Table, dropped: Counter[str], flagged: Counter[str]
) -> dict[tuple[str, str], RecordedMarket]:
    """Return the markets of `table` that pass, by (venue, market); count the rest by reason."""
    kept: dict[tuple[str, str], RecordedMarket] = {}
    for row in table.to_pylist():
        reason = _market_fault(row)
        key = (row["venue"], row["market"])
        if not reason and key in kept:
            reason = "duplicate_market"
        if reason:
            dropped[reason] += 1
            continue
        kept[key] = _recorded(row)
        flagged.update(_market_flags(row, kept[key]))
    return kept


def _market_fault(row: dict[str, Any]) -> str | None:
    names = ("venue", "market", "series", "underlying", "settlement_rule")
    if not all(is_name(row[name]) for name in names) or not is_place(row["underlying"]):
        return "bad_name"
    if row["open_ns"] is None or row["close_ns"] is None or row["open_ns"] >= row["close_ns"]:
        return "bad_life"
    if row["comparator"] not in (">=", ">"):
        return "bad_comparator"
    if row["result"] not in ("yes", "no", None):
        return "bad_result"
    for name in ("strike_usd", "settlement_usd"):
        value = row[name]
        if value is not None and not np.isfinite(value):
            return "not_finite"
        if value is not None and value <= 0:
            return f"{name.removesuffix('_usd')}_not_positive"
    # Years 1970 to 2200: beyond, a nanosecond count is damage, and times derived from it overflow.
    if row["open_ns"] < 0 or row["close_ns"] > TIME_NS_MAX:
        return "bad_life"
    known = (row.get("strike_known_ns"), row.get("result_known_ns"))
    if any(ns is not None and not 0 <= ns <= TIME_NS_MAX for ns in known):
        return "bad_known_time"
    return None


def _market_flags(row: dict[str, Any], recorded: RecordedMarket) -> list[str]:
    """Name what is odd about a stored market."""
    flags = []
    if (row["venue"], row["series"]) not in TERMS:
        flags.append("no_fee_schedule")
    if row["settlement_rule"] not in KNOWN_RULES:
        flags.append("unknown_settlement_rule")
    if row["strike_usd"] is None:
        flags.append("no_strike")
    if row["result"] is None:
        flags.append("unresolved")
    strike, settled, result = row["strike_usd"], row["settlement_usd"], row["result"]
    if strike is not None and settled is not None and result is not None:
        is_yes = settled >= strike if row["comparator"] == ">=" else settled > strike
        if is_yes != (result == "yes"):
            flags.append("result_contradicts_settlement")
    if recorded.result_known_ns != (row.get("result_known_ns") or recorded.result_known_ns):
        flags.append("result_known_before_close")
    return flags


def _recorded(row: dict[str, Any]) -> RecordedMarket:
    terms = TERMS.get((row["venue"], row["series"]))
    fee = terms.fee if terms else None
    market = Market(
        ts_ns=row["open_ns"],
        id="",
        venue=row["venue"],
        market=row["market"],
        series=row["series"],
        underlying=row["underlying"],
        open_ns=row["open_ns"],
        close_ns=row["close_ns"],
        comparator=row["comparator"],
        settlement_rule=row["settlement_rule"],
        fee=fee,
        tick_ranges=terms.tick_ranges if terms else (),
        rule_fingerprint=imported_fingerprint(row["comparator"], row["settlement_rule"], fee),
    )
    strike_known = row.get("strike_known_ns")
    if strike_known is None:
        strike_known = row["open_ns"] + STRIKE_DELAY_NS
    result_known = row.get("result_known_ns")
    if result_known is None:
        result_known = row["close_ns"] + RESULT_DELAY_NS
    return RecordedMarket(
        market,
        row["strike_usd"],
        max(
            row["open_ns"] + STRIKE_DELAY_NS if strike_known is None else strike_known,
            row["open_ns"],
        ),
        max(
            row["close_ns"] + RESULT_DELAY_NS if result_known is None else result_known,
            row["close_ns"],
        ),
        row["settlement_usd"],
        row["result"],
    )


def market_facts(recorded: dict[tuple[str, str], RecordedMarket]) -> dict[type[Event], list[Event]]:
    """Say what was known when: the market at its open, its strike, its result."""
    facts: dict[type[Event], list[Event]] = {Market: [], Resolution: []}
    for entry in recorded.values():
        market = entry.market
        if entry.strike_usd is None or entry.strike_known_ns > market.open_ns:
            facts[Market].append(identified(market))
        if entry.strike_usd is not None:
            known = msgspec.structs.replace(
                market, ts_ns=entry.strike_known_ns, strike_usd=entry.strike_usd
            )
            facts[Market].append(identified(known))
        if entry.result is not None:
            facts[Resolution].append(_resolution(entry))
    return facts


def imported_fingerprint(comparator: str, rule: str, fee: FeeSchedule | None) -> str:
    """Return the fingerprint of an imported market, whose rule nobody has the text of."""
    return event_id("rule", comparator, rule, fee.name if fee else None)


def identified(market: Market) -> Market:
    """Return `market` with the id that its content gives it."""
    parts = (market.venue, market.market, market.ts_ns, market.status, market.strike_usd)
    own = event_id("Market", *parts, market.rule_fingerprint, market.close_ns)
    return msgspec.structs.replace(market, id=own)


def _resolution(entry: RecordedMarket) -> Resolution:
    market = entry.market
    return Resolution(
        ts_ns=entry.result_known_ns,
        id=event_id("Resolution", market.venue, market.market, entry.result, "venue"),
        venue=market.venue,
        market=market.market,
        underlying=market.underlying,
        about_ns=market.close_ns,
        result="yes" if entry.result == "yes" else "no",
        source="venue",
        settlement_usd=entry.settlement_usd,
    )
