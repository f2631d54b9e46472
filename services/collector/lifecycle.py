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

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from libs.common.events import Event, FeeSchedule, Market
from libs.common.venues.messages import IndexValue, MarketFacts
from libs.common.venues.venue import Get, Venue
from services.collector.life import (
    APPROXIMATE,
    ROUNDED_USD,
    UNKNOWN_RULE,
    Life,
    differs,
    fee_fingerprint,
    is_other_strike,
    market_event,
    merged,
    remembered,
    resolution_event,
)
from services.collector.polling import wait_s
from services.collector.troubles import CHAIN_BROKEN, MARKET_CHANGED, MARKET_QUARANTINED, Told

NS = 1_000_000_000

WINDOWS_AHEAD = 2
"""Windows that are listed before they open: one would do, two survive a listing that fails."""

PRELOAD_S = 60
"""A market's books are subscribed so long before it opens."""

LINGER_S = 30
"""A market's books stay subscribed so long behind its close: the last messages are late."""

LISTING_S = 60
"""Between two listings of a series; at each open one more."""

SERIES_MARKETS_MAX = 12
"""Markets of one series recorded at once. A window has one and the next; a ladder of strikes has
hundreds, of which those nearest to the spot price are chosen, each for the rest of its life."""

KNOWN_MAX = 2_000
"""Markets remembered; the oldest resolved ones are forgotten first."""

SETTLEMENT_S_MAX = 30
"""A final result without the price it was settled at waits so long for REST to tell it: Kalshi's
socket says who has won, and only a market's page at what."""

APPROXIMATE_S, SEEN_S_MAX = 60, 3
"""A market whose venue tells no strike for so long gets the one that we saw in the settlement feed
within SEEN_S_MAX of the open, marked as approximate."""

RULES_SEEN = {("chainlink", 0): "chainlink_point", ("chainlink", 60): "chainlink_twap60"}
"""Settlement rule that an index, or its average over so many seconds, is the strike of."""


class Markets:
    """All markets of the recorded `series` of one venue.

    `rules` are the fingerprints of rule and fee that each series had so far, `accepted` those that
    a person has accepted since. `unresolved` are markets of an earlier run without a result.
    """

    def __init__(
        self,
        venue: Venue,
        series: Sequence[str],
        *,
        rules: Mapping[str, tuple[str, str]] | None = None,
        accepted: Iterable[str] = (),
        unresolved: Iterable[Market] = (),
    ) -> None:
        """Start with no market known."""
        self.venue, self.series = venue, tuple(series)
        self.lives: dict[str, Life] = {}
        self.notices: list[Told] = []
        self._rules = dict(rules or {})
        self._accepted = frozenset(accepted)
        self._list_ns = dict.fromkeys(self.series, 0)
        self._by_instrument: dict[str, str] = {}
        self._fees: dict[str, FeeSchedule] = {}
        self._event_fees: dict[str, FeeSchedule] = {}
        self._near_usd: dict[str, float] = {}
        self._at: dict[tuple[str, int], Life] = {}
        self._chosen: list[Life] = []
        for market in unresolved:
            if market.series in self.series:
                self.lives[market.market] = life = remembered(market)
                self._chosen.append(life)

    def learn(self, facts: MarketFacts, ts_ns: int) -> list[Event]:
        """Take facts that became known at `ts_ns`; return what follows from them by then."""
        name = facts.market
        if facts.fee is not None and facts.close_ns is None and name not in self.lives:
            return self._learn_fee(facts, ts_ns)
        if name not in self.lives and facts.instruments:
            name = self._by_instrument.get(facts.instruments[0], name)
        life = self.lives.get(name)
        if life is not None and self._is_other(life, facts):
            return []
        if life is None:
            series = self.venue.series.get(facts.series or "")
            if facts.series not in self.series or series is None:
                return []
            if facts.underlying not in (None, series.underlying):
                return []  # not what this series is on: not ours to guess
            life = self.lives[name] = Life(MarketFacts(market=name))
            self._forget()
        self._note_changes(life, facts)
        life.facts = self._completed(merged(life.facts, facts))
        for instrument in life.facts.instruments or ():
            self._by_instrument[instrument] = name
        self._judge(life)
        self._check_chain(life)
        # Of a ladder the nearest rungs are chosen, at a tick, when all of them are known.
        is_window = life.facts.comparator != ">"
        if is_window and not life.is_chosen and self._is_near(life, ts_ns):
            self._take(life, ts_ns)
        return self._said(life, ts_ns)

    def _is_other(self, life: Life, facts: MarketFacts) -> bool:
        """Tell whether facts are of another series or underlying than the market that they name."""
        for attribute in ("series", "underlying"):
            before, after = getattr(life.facts, attribute), getattr(facts, attribute)
            if before is not None and after not in (None, before):
                self._notice(life, MARKET_CHANGED, f"{attribute} {before} -> {after}, not believed")
                return True
        return False

    def _learn_fee(self, facts: MarketFacts, ts_ns: int) -> list[Event]:
        """Take the fee of a series, or of all markets of one event."""
        is_series = facts.market in self.series
        if facts.fee is not None:
            (self._fees if is_series else self._event_fees)[facts.market] = facts.fee
        if len(self._event_fees) > KNOWN_MAX:
            del self._event_fees[next(iter(self._event_fees))]
        made: list[Event] = []
        for name, life in list(self.lives.items()):
            is_meant = (
                life.facts.series == facts.market if is_series else _is_of(name, facts.market)
            )
            if is_meant:
                made += self.learn(MarketFacts(name, fee=facts.fee), ts_ns)
        return made

    def saw_index(self, value: IndexValue) -> None:
        """Keep the first print at or behind a market's open: its strike, if nobody tells one."""
        for life in self.lives.values():
            facts = life.facts
            is_first = life.seen_usd is None and facts.strike_usd is None
            since_ns = value.about_ns - life.open_ns
            is_at_open = 0 <= since_ns < SEEN_S_MAX * NS
            rule = RULES_SEEN.get((value.index, value.window_s))
            if is_first and is_at_open and rule is not None and rule == facts.rule:
                life.seen_usd = value.value_usd if facts.underlying == value.underlying else None

    def opened(self, now_ns: int, near_usd: Mapping[str, float]) -> list[Event]:
        """Choose what to record, and say the markets whose life has begun.

        `near_usd` is the spot price by underlying, where it is known.
        """
        self._near_usd = dict(near_usd)
        self._choose(now_ns)
        made: list[Event] = []
        for life in list(self.lives.values()):
            if life.is_waiting or (life.said is None and life.is_open(now_ns)):
                made += self._said(life, now_ns)
            is_untold = life.facts.strike_usd is None and life.seen_usd is not None
            if is_untold and life.open_ns + APPROXIMATE_S * NS <= now_ns < life.close_ns:
                seen = MarketFacts(
                    life.facts.market, strike_usd=life.seen_usd, strike_trust=APPROXIMATE
                )
                made += self.learn(seen, now_ns)
        return made

    def _choose(self, now_ns: int) -> None:
        """Choose of the markets that are open, or open soon, those nearest to the spot price."""
        waiting: list[tuple[float, int, str]] = []
        for name, life in self.lives.items():
            if life.is_chosen or now_ns >= life.close_ns or not self._is_near(life, now_ns):
                continue
            near = self._near_usd.get(life.facts.underlying or "")
            strike = life.facts.strike_usd
            if near is None and life.facts.comparator == ">":
                continue  # rungs of a ladder: which are near is not known yet
            away = 0.0 if near is None or strike is None else abs(strike - near)
            waiting.append((away, life.open_ns, name))
        for _, _, name in sorted(waiting):
            self._take(self.lives[name], now_ns)

    def _take(self, life: Life, now_ns: int) -> None:
        """Choose a market if its series has room for one more."""
        series = life.facts.series
        taken = [
            other
            for other in self._chosen
            if other.facts.series == series and self._is_near(other, now_ns)
        ]
        if len(taken) < SERIES_MARKETS_MAX:
            life.is_chosen = True
            self._chosen.append(life)
            self._judge(life)

    def _is_near(self, life: Life, now_ns: int) -> bool:
        """Tell whether a market's books should be subscribed now."""
        begins_ns, ends_ns = life.open_ns - PRELOAD_S * NS, life.close_ns + LINGER_S * NS
        return begins_ns <= now_ns < ends_ns and life.facts.status != "void"

    def released(self, now_ns: int) -> list[Life]:
        """Return the markets whose books are over since the last call."""
        over = [life for life in self._chosen if now_ns >= life.close_ns + LINGER_S * NS]
        if over:
            self._chosen = [life for life in self._chosen if life not in over]
        return over

    def market_of(self, instrument: str) -> Life | None:
        """Return the market whose book `instrument` is."""
        return self.lives.get(self._by_instrument.get(instrument, ""))

    def open_now(self, now_ns: int) -> list[Life]:
        """Return the markets to sample at `now_ns`, in the order of their closes and names."""
        found = [
            life for life in self.lives.values() if life.said is not None and life.is_open(now_ns)
        ]
        found.sort(key=lambda life: (life.close_ns, life.facts.market))
        return found

    def lived(self, start_ns: int, end_ns: int) -> list[Life]:
        """Return the markets of which we spoke that were open at any time in [start, end)."""
        return [
            life
            for life in self.lives.values()
            if life.said is not None and life.open_ns < end_ns and life.close_ns > start_ns
        ]

    def instruments(self, now_ns: int) -> list[str]:
        """Return the books to subscribe: of chosen markets, open or soon to be."""
        soon = [
            life for life in self.lives.values() if life.is_chosen and self._is_near(life, now_ns)
        ]
        soon.sort(key=lambda life: (life.open_ns, life.facts.market))
        return [name for life in soon for name in life.facts.instruments or ()]

    def due(self, now_ns: int) -> list[Get]:
        """Return the requests that are wanted now; each is asked again only after its wait."""
        wanted: list[Get] = []
        for series in self.series:
            if now_ns >= self._list_ns[series]:
                self._list_ns[series] = self._next_listing_ns(series, now_ns)
                wanted += self.venue.listing(series, now_ns=now_ns, windows=WINDOWS_AHEAD)
        for life in self.lives.values():
            seconds = wait_s(life, now_ns) if life.is_chosen else None
            if life.is_unseen:
                seconds, life.is_unseen = seconds or 1, False
            if seconds is None or now_ns < life.ask_ns:
                continue
            life.ask_ns = now_ns + seconds * NS
            wanted.append(self.venue.market(life.facts.market))
            if life.facts.strike_usd is None and now_ns < life.close_ns:
                wanted += self.venue.strike(
                    life.facts.market,
                    open_ns=life.open_ns,
                    close_ns=life.close_ns,
                    rule=life.facts.rule or UNKNOWN_RULE,
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
        if facts.fee is None:
            event = facts.market.rpartition("-")[0]
            changes["fee"] = self._event_fees.get(event) or self._fees.get(facts.series or "")
        return msgspec.structs.replace(facts, **changes) if changes else facts

    def _note_changes(self, life: Life, new: MarketFacts) -> None:
        """Tell a person of what must not change in a market's life."""
        for attribute in ("strike_usd", "close_ns", "comparator", "rule", "fingerprint", "result"):
            before, after = getattr(life.facts, attribute), getattr(new, attribute)
            is_change = before is not None and after is not None and before != after
            if is_change and (attribute != "strike_usd" or is_other_strike(life.facts, new)):
                self._notice(life, MARKET_CHANGED, f"{attribute} {before} -> {after}")

    def _judge(self, life: Life) -> None:
        """Quarantine a market whose rule is unknown, or whose rule or fee is new to its series."""
        facts = life.facts
        if facts.fingerprint is None or facts.series is None:
            return
        found = (facts.fingerprint, fee_fingerprint(facts.fee))
        before = self._rules.get(facts.series, ("", ""))
        fault = ""
        if facts.rule == UNKNOWN_RULE and found[0] not in self._accepted:
            fault = f"rule {found[0]} has a text that is not known"
        for what, old, new in zip(("rule", "fee"), before, found, strict=True):
            if old and new and old != new and new not in self._accepted:
                fault = fault or f"{what} changed from {old} to {new}"
        life.quarantine = fault or None
        if not fault:
            self._rules[facts.series] = (found[0], found[1] or before[1])
            return
        unknown = [f for f in found if f and f not in before and f not in self._accepted]
        accepted = ",".join(unknown or found[:1])
        self._notice(life, MARKET_QUARANTINED, f"{fault}; accept: HAWK_RULES_ACCEPTED={accepted}")

    def _check_chain(self, life: Life) -> None:
        """Hold the settlement of a window against the strike of the next one."""
        facts = life.facts
        if facts.comparator == ">" or facts.series is None:
            return
        self._at[facts.series, life.open_ns] = life
        length_ns = self.venue.series[facts.series].length_s * NS
        before = self._at.get((facts.series, life.open_ns - length_ns))
        after = self._at.get((facts.series, life.open_ns + length_ns))
        if before is not None and before.close_ns == life.open_ns:
            self._compare(before, life)
        if after is not None and life.close_ns == after.open_ns:
            self._compare(life, after)

    def _compare(self, before: Life, after: Life) -> None:
        settled, strike = before.facts.settlement_usd, after.facts.strike_usd
        is_told = strike is not None and after.facts.strike_trust < APPROXIMATE
        if settled is None or strike is None or not is_told or "chain_checked" in after.notices:
            return
        after.notices.add("chain_checked")
        if abs(settled - strike) > ROUNDED_USD:
            self._notice(
                after if after.is_chosen else before,
                CHAIN_BROKEN,
                f"strike {strike}, but the window before settled at {settled}",
            )

    def _notice(self, life: Life, rule: str, evidence: str) -> None:
        """Tell once per market and rule, of markets that are recorded."""
        if rule in life.notices or not life.is_chosen:
            return
        life.notices.add(rule)
        self.notices.append(Told(rule, f"{self.venue.name} {life.facts.market}", evidence))

    def _said(self, life: Life, ts_ns: int) -> list[Event]:
        made: list[Event] = []
        facts = life.facts
        if life.is_chosen and ts_ns >= life.open_ns and not life.is_resolved:
            market = market_event(self.venue.name, life, ts_ns)
            if market is not None and differs(life.said, market):
                life.said = market
                made.append(market)
        if life.said is not None and life.is_final and not life.is_resolved:
            if life.final_ns is None:
                life.final_ns, life.ask_ns = ts_ns, ts_ns
            waited_ns = ts_ns - life.final_ns
            if facts.settlement_usd is not None or waited_ns >= SETTLEMENT_S_MAX * NS:
                life.is_resolved = True
                made.append(resolution_event(life.said, facts, ts_ns))
        return made

    def _forget(self) -> None:
        """Forget the oldest, resolved ones first, none that is being recorded."""
        if len(self.lives) <= KNOWN_MAX:
            return
        over = [name for name, life in self.lives.items() if life.is_resolved]
        idle = [name for name, life in self.lives.items() if not life.is_chosen]
        for name in (over or idle)[: KNOWN_MAX // 4]:
            life = self.lives.pop(name)
            self._at.pop((life.facts.series or "", life.open_ns), None)
            for instrument in life.facts.instruments or ():
                self._by_instrument.pop(instrument, None)


def _is_of(market: str, event: str) -> bool:
    return market.startswith(f"{event}-")
