"""The markets of one venue, from listing to result: what is known, what to ask, what to say. Pure.

Facts come piece by piece (a listing, a life-cycle message, a strike 0.7 s after the open, a result)
and are merged; each change that matters becomes a `Market` or `Resolution` event at the time it
became known, never earlier than the market's open. `due` lists the requests that are wanted now.

Three decisions a reader would question. A market whose rule or fee is not the one its series had
before is *quarantined*: recorded, never traded, and a person is told; the first rule ever seen of a
series is taken as it is, unless its text is unknown. A `Resolution` is only said when the venue
calls it final: a result that may be disputed is no label. And a strike that differs from the
settlement of the window before it is alerted but believed: the venue's own word decides.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from libs.common.events import Event, Market, Resolution, event_id
from libs.common.venues.messages import MarketFacts
from libs.common.venues.venue import Get, Venue
from services.collector.markets import identified
from services.collector.traffic import Notice

NS = 1_000_000_000

WINDOWS_AHEAD = 2
"""Windows that are listed before they open: one would do, two survive a listing that fails."""

PRELOAD_S = 60
"""A market's books are subscribed so long before it opens."""

LINGER_S = 30
"""A market's books stay subscribed so long behind its close: the last messages are late."""

LISTING_S = 60
"""Between two listings of a series; at each open one more."""

MARKETS_MAX = 24
"""Markets of one venue recorded at once; a ladder of strikes has hundreds, of which the first ones
that the venue lists are taken."""

KNOWN_MAX = 2_000
"""Markets remembered; the oldest resolved ones are forgotten first."""

STRIKE_POLL_S = ((60, 1), (600, 5), (86_400, 60))
"""While a strike lacks: (up to so many seconds after the open, ask every so many)."""

RESULT_POLL_S = ((120, 2), (3_600, 15), (86_400, 300))
"""The same for a result, after the close. Behind the last bound a market is given up."""

CHAIN_USD = 0.005
"""A strike and the settlement before it are both rounded to cents; half a cent is a difference."""

UNKNOWN_RULE = "unknown"


@dataclass
class Life:
    """What is known of one market; `said` is the last `Market` event made of it."""

    facts: MarketFacts
    said: Market | None = None
    is_resolved: bool = False
    quarantine: str | None = None
    ask_ns: int = 0
    last_e4: int | None = None
    notices: set[str] = field(default_factory=set)

    @property
    def open_ns(self) -> int:
        """When it opens; far away where that is not known."""
        return self.facts.open_ns if self.facts.open_ns is not None else 2**62

    @property
    def close_ns(self) -> int:
        """When it closes; far away where that is not known."""
        return self.facts.close_ns if self.facts.close_ns is not None else 2**62

    def is_open(self, now_ns: int) -> bool:
        """Tell whether its life has begun and not ended."""
        return self.open_ns <= now_ns < self.close_ns and self.facts.status != "void"


class Markets:
    """All markets of the recorded `series` of one venue.

    `rules` are the fingerprints that each series had so far, `accepted` those that a person has
    accepted since.
    """

    def __init__(
        self,
        venue: Venue,
        series: Sequence[str],
        *,
        rules: dict[str, str] | None = None,
        accepted: Iterable[str] = (),
    ) -> None:
        """Start with no market known."""
        self.venue, self.series = venue, tuple(series)
        self.lives: dict[str, Life] = {}
        self.notices: list[Notice] = []
        self._rules = dict(rules or {})
        self._accepted = frozenset(accepted)
        self._list_ns = dict.fromkeys(self.series, 0)
        self._by_instrument: dict[str, str] = {}

    def learn(self, facts: MarketFacts, ts_ns: int) -> list[Event]:
        """Take facts that became known at `ts_ns`; return what follows from them by then."""
        name = facts.market
        if name not in self.lives and facts.instruments:
            name = self._by_instrument.get(facts.instruments[0], name)
        life = self.lives.get(name)
        if life is None:
            if facts.series not in self.series:
                return []
            life = self.lives[name] = Life(MarketFacts(market=name))
            self._forget()
        self._note_changes(life, facts)
        life.facts = self._completed(merged(life.facts, facts))
        for instrument in life.facts.instruments or ():
            self._by_instrument[instrument] = name
        self._judge(life)
        self._check_chain(life)
        return self._said(life, ts_ns)

    def opened(self, now_ns: int) -> list[Event]:
        """Return the markets that open at or before `now_ns` and were not said yet."""
        made: list[Event] = []
        for life in self.lives.values():
            if life.said is None and life.is_open(now_ns):
                made += self._said(life, now_ns)
        return made

    def market_of(self, instrument: str) -> Life | None:
        """Return the market whose book `instrument` is."""
        return self.lives.get(self._by_instrument.get(instrument, ""))

    def open_now(self, now_ns: int) -> list[Life]:
        """Return the markets to sample at `now_ns`, in the order of their closes and names."""
        found = [
            life for life in self.lives.values() if life.said is not None and life.is_open(now_ns)
        ]
        found.sort(key=lambda life: (life.close_ns, life.facts.market))
        return found[:MARKETS_MAX]

    def instruments(self, now_ns: int) -> list[str]:
        """Return the books to subscribe: of open markets and of those that open soon."""
        soon = [
            life
            for life in self.lives.values()
            if life.open_ns - PRELOAD_S * NS <= now_ns < life.close_ns + LINGER_S * NS
            and life.facts.status != "void"
        ]
        soon.sort(key=lambda life: (life.open_ns, life.facts.market))
        return [name for life in soon[:MARKETS_MAX] for name in life.facts.instruments or ()]

    def due(self, now_ns: int) -> list[Get]:
        """Return the requests that are wanted now; each is asked again only after its wait."""
        wanted: list[Get] = []
        for series in self.series:
            if now_ns >= self._list_ns[series]:
                self._list_ns[series] = self._next_listing_ns(series, now_ns)
                wanted += self.venue.listing(series, now_ns=now_ns, windows=WINDOWS_AHEAD)
        for life in self.lives.values():
            wait_s = _wait_s(life, now_ns)
            if wait_s is None or now_ns < life.ask_ns:
                continue
            life.ask_ns = now_ns + wait_s * NS
            wanted.append(self.venue.market(life.facts.market))
            if life.facts.strike_usd is None and now_ns < life.close_ns:
                wanted += self.venue.strike(
                    life.facts.market, open_ns=life.open_ns, close_ns=life.close_ns
                )
        return wanted

    def ask_listing(self, now_ns: int) -> None:
        """List all series at the next `due`: something was missed."""
        self._list_ns = dict.fromkeys(self.series, now_ns)

    def _next_listing_ns(self, series: str, now_ns: int) -> int:
        """Return when to list again: in a while, or right behind the next open."""
        length_ns = self.venue.series[series].length_s * NS
        boundary_ns = (now_ns // length_ns + 1) * length_ns + NS
        return min(now_ns + LISTING_S * NS, boundary_ns)

    def _completed(self, facts: MarketFacts) -> MarketFacts:
        """Add what the series fixes and no message told: underlying, and the open of a window."""
        series = self.venue.series.get(facts.series or "")
        if series is None:
            return facts
        changes: dict[str, object] = {}
        if facts.underlying is None:
            changes["underlying"] = series.underlying
        if facts.open_ns is None and facts.close_ns is not None:
            changes["open_ns"] = facts.close_ns - series.length_s * NS
        if facts.instruments is None:
            changes["instruments"] = (facts.market,)
        return msgspec.structs.replace(facts, **changes) if changes else facts

    def _note_changes(self, life: Life, new: MarketFacts) -> None:
        """Tell a person of what must not change in a market's life."""
        for attribute in ("strike_usd", "close_ns", "comparator", "rule", "fingerprint", "result"):
            before, after = getattr(life.facts, attribute), getattr(new, attribute)
            is_change = before is not None and after is not None and before != after
            if is_change and not (attribute == "strike_usd" and _is_better(life.facts, new)):
                self._notice(life, "market_changed", f"{attribute} {before} -> {after}")

    def _judge(self, life: Life) -> None:
        """Quarantine a market whose rule is unknown or not the one of its series."""
        facts = life.facts
        if facts.fingerprint is None or facts.series is None:
            return
        before = self._rules.get(facts.series)
        is_accepted = facts.fingerprint in self._accepted
        if facts.rule == UNKNOWN_RULE and not is_accepted:
            life.quarantine = f"rule {facts.fingerprint} has a text that is not known"
        elif before is not None and before != facts.fingerprint and not is_accepted:
            life.quarantine = f"rule or fee changed from {before} to {facts.fingerprint}"
        else:
            life.quarantine = None
            self._rules[facts.series] = facts.fingerprint
            return
        self._notice(
            life,
            "market_quarantined",
            f"{life.quarantine}; accept it with HAWK_RULES_ACCEPTED={facts.fingerprint}",
        )

    def _check_chain(self, life: Life) -> None:
        """Hold the settlement of a window against the strike of the next one."""
        facts = life.facts
        if facts.comparator == ">" or facts.series is None:
            return
        for other in self.lives.values():
            if other.facts.series != facts.series or other is life:
                continue
            if other.close_ns == life.open_ns:
                self._compare(other, life)
            elif other.open_ns == life.close_ns:
                self._compare(life, other)

    def _compare(self, before: Life, after: Life) -> None:
        settled, strike = before.facts.settlement_usd, after.facts.strike_usd
        if settled is None or strike is None or "chain_checked" in after.notices:
            return
        after.notices.add("chain_checked")
        if abs(settled - strike) > CHAIN_USD:
            self._notice(
                after,
                "chain_broken",
                f"strike {strike}, but the window before settled at {settled}",
            )

    def _notice(self, life: Life, rule: str, evidence: str) -> None:
        """Tell once per market and rule."""
        if rule in life.notices:
            return
        life.notices.add(rule)
        text = f"{self.venue.name} {life.facts.market}: {evidence}"
        self.notices.append(Notice(rule, True, text))

    def _said(self, life: Life, ts_ns: int) -> list[Event]:
        made: list[Event] = []
        facts = life.facts
        if ts_ns >= life.open_ns and not life.is_resolved:
            market = _market(self.venue.name, life, ts_ns)
            if market is not None and _differs(life.said, market):
                life.said = market
                made.append(market)
        is_final = facts.status == "settled" and facts.result is not None
        if life.said is not None and is_final and not life.is_resolved:
            life.is_resolved = True
            made.append(_resolution(life.said, facts, ts_ns))
        return made

    def _forget(self) -> None:
        if len(self.lives) <= KNOWN_MAX:
            return
        resolved = [name for name, life in self.lives.items() if life.is_resolved]
        for name in resolved[: KNOWN_MAX // 4] or [next(iter(self.lives))]:
            for instrument in self.lives[name].facts.instruments or ():
                self._by_instrument.pop(instrument, None)
            del self.lives[name]


def merged(old: MarketFacts, new: MarketFacts) -> MarketFacts:
    """Return `old` with what `new` tells; a strike gives way only to an equally good source.

    >>> merged(MarketFacts("m", strike_usd=1.0), MarketFacts("m", result="yes")).strike_usd
    1.0
    """
    told = {
        name: value
        for name in new.__struct_fields__
        if name not in ("market", "strike_trust", "strike_usd")
        and (value := getattr(new, name)) is not None
    }
    if new.strike_usd is not None and (old.strike_usd is None or not _is_worse(old, new)):
        told |= {"strike_usd": new.strike_usd, "strike_trust": new.strike_trust}
    return msgspec.structs.replace(old, **told)


def _is_worse(old: MarketFacts, new: MarketFacts) -> bool:
    return new.strike_trust > old.strike_trust


def _is_better(old: MarketFacts, new: MarketFacts) -> bool:
    return new.strike_trust < old.strike_trust


def _wait_s(life: Life, now_ns: int) -> int | None:
    """Return how often to ask for this market now; None: there is nothing to ask."""
    if life.is_resolved or life.facts.status == "void":
        return None
    if now_ns >= life.close_ns:
        since_ns, table = life.close_ns, RESULT_POLL_S
    elif now_ns >= life.open_ns and life.facts.strike_usd is None:
        since_ns, table = life.open_ns, STRIKE_POLL_S
    else:
        return None
    passed_s = (now_ns - since_ns) / NS
    return next((wait_s for upto_s, wait_s in table if passed_s <= upto_s), None)


def _market(venue: str, life: Life, ts_ns: int) -> Market | None:
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


def _differs(said: Market | None, market: Market) -> bool:
    if said is None:
        return True
    # What was said has been numbered meanwhile.
    same = msgspec.structs.replace(market, ts_ns=said.ts_ns, id=said.id, seq=said.seq)
    return same != said


def _resolution(market: Market, facts: MarketFacts, ts_ns: int) -> Resolution:
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
