"""One market: what is known of it, and the events that this makes. Pure.

Facts of several messages are merged into one; a `Market` event is made of them once the essential
ones are there, and again whenever it would differ.

The decision a reader would question: a market that must not be traded has a status that says so
(`quarantined`, `approximate`, `paused`), not a field of its own. The trader takes orders in `open`
alone, so a status that it has never heard of is refused without it being told.
"""

from dataclasses import dataclass, field

import msgspec

from libs.common.events import FeeSchedule, Market, Resolution, event_id
from libs.common.venues.messages import MarketFacts, MarketStatus
from services.collector.markets import identified

UNKNOWN_RULE = "unknown"

ROUNDED_USD = 0.005
"""Prices that are told in cents may be so far from what is told exactly."""

APPROXIMATE = 2
"""Trust of a strike that is our own reading of the settlement feed at the open. It is recorded with
status `approximate`, and not traded on."""


STATUSES: dict[str, MarketStatus] = {
    "open": "open",
    "paused": "paused",
    "closed": "closed",
    "determined": "determined",
    "void": "void",
}
"""What a market's event says of its status, as far as the venue has said it."""


@dataclass(eq=False)
class Life:
    """What is known of one market.

    `said` is the last `Market` event made of it; it is recorded if it `is_chosen`. What an earlier
    run said of it `is_unseen` until the venue is asked again. Its result is final since `final_ns`.
    """

    facts: MarketFacts
    said: Market | None = None
    is_chosen: bool = False
    is_resolved: bool = False
    is_unseen: bool = False
    quarantine: str | None = None
    ask_ns: int = 0
    final_ns: int | None = None
    last_e4: int | None = None
    seen_usd: float | None = None
    notices: set[str] = field(default_factory=set)

    @property
    def open_ns(self) -> int:
        """When it opens; far away where that is not known."""
        return self.facts.open_ns if self.facts.open_ns is not None else 2**62

    @property
    def close_ns(self) -> int:
        """When it closes; far away where that is not known."""
        return self.facts.close_ns if self.facts.close_ns is not None else 2**62

    @property
    def is_final(self) -> bool:
        """Whether the venue calls its result final."""
        return self.facts.status == "settled" and self.facts.result is not None

    @property
    def is_waiting(self) -> bool:
        """Whether a final result waits for the price it was settled at."""
        return self.final_ns is not None and not self.is_resolved

    def is_open(self, now_ns: int) -> bool:
        """Tell whether its life has begun and not ended."""
        return self.open_ns <= now_ns < self.close_ns and self.facts.status != "void"


def remembered(market: Market) -> Life:
    """Return what an earlier run has said of a market; its instruments are not among it."""
    facts = MarketFacts(
        market.market,
        series=market.series,
        underlying=market.underlying,
        open_ns=market.open_ns,
        close_ns=market.close_ns,
        comparator=market.comparator,
        strike_usd=market.strike_usd,
        strike_trust=APPROXIMATE if market.status == "approximate" else 0,
        rule=market.settlement_rule,
        fee=market.fee,
        tick_ranges=market.tick_ranges,
        fingerprint=market.rule_fingerprint or None,
        status=STATUSES.get(market.status),
    )
    return Life(facts, said=market, is_chosen=True, is_unseen=True)


def fee_fingerprint(fee: FeeSchedule | None) -> str:
    """Return a hash of a fee, empty where none is known.

    >>> fee_fingerprint(None)
    ''
    """
    if fee is None:
        return ""
    return event_id("fee", fee.name, fee.rate_e4, fee.exponent, fee.round_e6)


def merged(old: MarketFacts, new: MarketFacts) -> MarketFacts:
    """Return `old` with what `new` tells; a strike gives way only to an equally good source.

    A strike that is told again rounded is no other strike: the first that was told stays, because
    orders were made on it.

    >>> merged(MarketFacts("m", strike_usd=1.0), MarketFacts("m", result="yes")).strike_usd
    1.0
    >>> page = MarketFacts("m", strike_usd=89299.0560483538, strike_trust=1)
    >>> merged(page, MarketFacts("m", strike_usd=89299.06)).strike_usd
    89299.0560483538
    """
    told = {
        name: value
        for name in new.__struct_fields__
        if name not in ("market", "strike_trust", "strike_usd")
        and (value := getattr(new, name)) is not None
    }
    if new.strike_usd is not None and (old.strike_usd is None or not _is_worse(old, new)):
        strike_usd = old.strike_usd if _is_same_strike(old, new) else new.strike_usd
        told |= {"strike_usd": strike_usd, "strike_trust": new.strike_trust}
    return msgspec.structs.replace(old, **told)


def _is_worse(old: MarketFacts, new: MarketFacts) -> bool:
    return new.strike_trust > old.strike_trust


def is_other_strike(old: MarketFacts, new: MarketFacts) -> bool:
    """Tell whether a source that is trusted alike tells another strike now."""
    return new.strike_trust == old.strike_trust and not _is_same_strike(old, new)


def _is_same_strike(old: MarketFacts, new: MarketFacts) -> bool:
    """Tell whether a strike that was told (not our own reading) is told again, as one rounds it."""
    before, after = old.strike_usd, new.strike_usd
    if before is None or after is None or old.strike_trust >= APPROXIMATE:
        return False
    return abs(after - before) <= ROUNDED_USD


def market_event(venue: str, life: Life, ts_ns: int) -> Market | None:
    """Return the event of what is known; None while something essential is not."""
    facts = life.facts
    underlying, series = facts.underlying, facts.series
    if facts.open_ns is None or facts.close_ns is None or facts.comparator is None:
        return None
    if underlying is None or series is None:
        return None
    status = facts.status or "open"
    if life.quarantine is not None:
        status_text = "quarantined"
    elif facts.strike_usd is not None and facts.strike_trust >= APPROXIMATE:
        status_text = "approximate"
    else:
        status_text = "open" if status == "listed" else status
    return identified(
        Market(
            ts_ns=ts_ns,
            id="",
            venue=venue,
            market=facts.market,
            series=series,
            underlying=underlying,
            open_ns=facts.open_ns,
            close_ns=facts.close_ns,
            comparator=facts.comparator,
            settlement_rule=facts.rule or UNKNOWN_RULE,
            fee=facts.fee,
            tick_ranges=facts.tick_ranges or (),
            rule_fingerprint=facts.fingerprint or "",
            strike_usd=facts.strike_usd,
            status=status_text,
        )
    )


def differs(said: Market | None, market: Market) -> bool:
    """Tell whether `market` says anything that `said` did not."""
    if said is None:
        return True
    # What was said has been numbered meanwhile.
    same = msgspec.structs.replace(market, ts_ns=said.ts_ns, id=said.id, seq=said.seq)
    return same != said


def resolution_event(market: Market, facts: MarketFacts, ts_ns: int) -> Resolution:
    """Return the event of a final result that became known at `ts_ns`."""
    return Resolution(
        ts_ns=ts_ns,
        id=event_id("Resolution", market.venue, market.market, facts.result, "venue"),
        venue=market.venue,
        market=market.market,
        underlying=market.underlying,
        about_ns=market.close_ns,
        result="yes" if facts.result == "yes" else "no",
        source="venue",
        settlement_usd=facts.settlement_usd,
    )
