"""The trader as a handler: market facts and forecasts in, orders, fills, skips, settlements out.

One engine serves all underlyings, because the limits are about one account. At one ts_ns it is fed
the snapshots of an underlying before its forecasts, then its Tick; commands and alerts between
ticks. Its state is its checkpoint.

Two decisions a reader would question. Nothing is timed by Ticks: replay has fewer of them than live
trading, so what falls due with time (an order nobody can fill, a market that never resolves) is
emitted with the time it fell due by whatever event comes next, and the outputs stay in order. And a
skip is written when the reason *changes* for a strategy and market: one a second would drown the
decisions. The cool-down is not written at all, the order before it says so.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from libs.common.checks import check
from libs.common.events import (
    Alert,
    Command,
    Event,
    Forecast,
    Gap,
    Market,
    Order,
    QuoteSnapshot,
    Resolution,
    Settlement,
    Skip,
    Tick,
    event_id,
)
from libs.common.pricing import TERMS
from libs.common.streams import CONTROL
from services.trader.account import MINUTE_NS, Account
from services.trader.controls import Halts, control_of
from services.trader.decision import COARSE, Chance, best_offer, decide, situation_of, unusable
from services.trader.execution import attempt, ending, skip
from services.trader.ledger import Ledger, Position
from services.trader.limits import SECOND_NS, Situation, TraderSettings
from services.trader.paper import levels, reachable_e2, remaining
from services.trader.state import Markets, MarketState, State, decode, encode
from services.trader.strategies import STRATEGIES, Strategy

QUIET = ("cooldown", "in_flight")
"""Reasons that an order just made explains; they would alternate with `no_edge` for a minute."""


MARKET_LIFE_S = 26 * 3_600
"""The longest market is open for 25 hours (the daily one of an hourly series)."""


class Timer(NamedTuple):
    """Something that falls due: an order that found no quote, or an unresolved position."""

    due_ns: int
    name: str
    order: Order | None
    state: MarketState


class TraderEngine:
    """Paper trader over all underlyings; a `CheckpointedHandler`."""

    def __init__(
        self, settings: TraderSettings, strategies: tuple[Strategy, ...] = STRATEGIES
    ) -> None:
        """Start with an empty account; `strategies` decide in the order given."""
        names = [strategy.name for strategy in strategies]
        check(len(set(names)) == len(names), f"strategies share a name: {names}")
        self._settings = settings
        self._strategies = strategies
        self._margin_e6_min = min((s.margin_e6 for s in strategies), default=0)
        self._account = Account(settings)
        self._markets = Markets(settings)
        self._halts = Halts()
        self._tick_underlying = CONTROL
        self._now_ns = 0
        self._wake_ns = 0
        self._handlers: dict[type[Event], Callable[[Any], Sequence[Event]]] = {
            Tick: self._tick,
            Market: self._market,
            QuoteSnapshot: self._quote,
            Resolution: self._resolution,
            Gap: self._gap,
            Forecast: self._forecast,
            Alert: self._control,
            Command: self._control,
            Skip: self._control,
        }

    @property
    def lookback_s(self) -> dict[type[Event], int]:
        """What a trader without a checkpoint is told: the markets that are already open."""
        return {Market: MARKET_LIFE_S}

    @property
    def ledger(self) -> Ledger:
        """The ledger, to read: balances, open positions, realised profit and loss."""
        return self._account.ledger

    @property
    def account(self) -> Account:
        """The account, to read: drawdown, and what has stopped it."""
        return self._account

    @property
    def halts(self) -> Mapping[str, str]:
        """The halts in force from outside, key -> reason, to read."""
        return self._halts.by_key

    @property
    def has_ticked(self) -> bool:
        """Tell whether an instant was ever done: before the first, no act can be recorded."""
        return self._tick_underlying != CONTROL

    def checkpoint(self) -> bytes:
        """Encode the whole state; equal states give equal bytes."""
        return encode(
            State(
                now_ns=self._now_ns,
                tick_underlying=self._tick_underlying,
                halts=self._halts.by_key,
                control_count=self._halts.count,
                results=self._markets.results,
                account=self._account.state(),
                markets=tuple(state for _, state in sorted(self._markets.by_key.items())),
            )
        )

    def restore(self, state: bytes) -> None:
        """Replace the state by an earlier `checkpoint`; raise `CheckpointError` if damaged."""
        old = decode(state)
        self._now_ns = old.now_ns
        self._tick_underlying = old.tick_underlying
        self._halts.by_key, self._halts.count = old.halts, old.control_count
        self._account.restore(old.account)
        self._markets.restore(old)
        self._arm()

    def handle(self, event: Event) -> Sequence[Event]:
        """Take one event, return what it causes, in order; types not meant for it are ignored."""
        due = self._advance(event.ts_ns) if event.ts_ns > self._now_ns else ()
        handler = self._handlers.get(type(event))
        if handler is None:
            return due
        caused = handler(event)
        return [*due, *caused] if due else caused

    # What falls due with time.

    def _advance(self, now_ns: int) -> Sequence[Event]:
        self._now_ns = now_ns
        if now_ns < self._wake_ns:
            return ()
        emitted: list[Event] = []
        for timer in sorted(self._timers(), key=lambda t: t[:2]):
            if timer.due_ns > now_ns:
                break
            if timer.order is not None:
                emitted.append(self._give_up(timer.order, "unfilled: no_quote", timer.due_ns))
            else:
                emitted += self._report_unresolved(timer.state, timer.due_ns)
        self._account.advance(now_ns)
        # A whole minute, not `now_ns`: live trading comes by here at another instant than replay.
        self._markets.prune(now_ns // MINUTE_NS * MINUTE_NS, self._account.markets_in_use())
        self._arm()
        return emitted

    def _arm(self) -> None:
        """Set the time at which something falls due: a timer, or housekeeping each minute."""
        minute_ns = (self._now_ns // MINUTE_NS + 1) * MINUTE_NS
        self._wake_ns = min([minute_ns, *(timer.due_ns for timer in self._timers())])

    def _timers(self) -> list[Timer]:
        timers: list[Timer] = []
        for order in self._account.orders.values():
            state = self._state_of(order)
            due_ns = order.arrival_ns + self._settings.bracket_s_max * SECOND_NS
            timers.append(Timer(min(due_ns, state.market.close_ns), order.id, order, state))
        for position in self._account.ledger.positions.values():
            state = self._state_of(position)
            if not state.is_reported:
                due_ns = state.market.close_ns + self._settings.unresolved_s * SECOND_NS
                timers.append(Timer(due_ns, position.market, None, state))
        return timers

    def _state_of(self, item: Order | Position) -> MarketState:
        return self._markets.by_key[(item.venue, item.market)]

    def _report_unresolved(self, state: MarketState, due_ns: int) -> list[Event]:
        """Say once that a market's positions wait for a result; they stay open."""
        market = state.market
        keys = self._account.positions_of(market.venue, market.market)
        reported, state.is_reported = state.is_reported, True
        return [] if reported else [skip(k[0], market, "unresolved", ts_ns=due_ns) for k in keys]

    def _give_up(self, order: Order, reason: str, ts_ns: int) -> Skip:
        """End an order in flight; the market's limit has room again for what it held."""
        self._account.finish(order)
        state = self._state_of(order)
        state.full.clear()
        return ending(order, reason, ts_ns)

    # What becomes known of markets.

    def _tick(self, event: Tick) -> Sequence[Event]:
        self._tick_underlying = event.underlying
        return ()

    def _market(self, event: Market) -> Sequence[Event]:
        self._markets.take(event, self._now_ns)
        return ()

    def _gap(self, event: Gap) -> Sequence[Event]:
        self._markets.miss(event)
        return ()

    def _quote(self, event: QuoteSnapshot) -> Sequence[Event]:
        state = self._markets.by_key.get((event.venue, event.market))
        if state is None or (state.quote is not None and event.ts_ns <= state.quote.ts_ns):
            return ()
        caused = self._execute(state, event) if self._account.orders else ()
        state.see(event)
        return caused

    def _execute(self, state: MarketState, after: QuoteSnapshot) -> Sequence[Event]:
        """Fill or give up the orders of this market that have arrived when `after` is seen."""
        emitted: list[Event] = []
        for order in self._account.orders_of(after.venue, after.market):
            if order.arrival_ns > after.ts_ns:
                continue
            got = attempt(order, state, after, self._settings)
            state.taken[order.side] = tuple(got.taken)
            for fill in got.fills:
                self._account.ledger.fill(fill)
                state.was_traded = True
            emitted += got.fills
            if got.rest is None:
                self._account.finish(order)
            else:
                emitted.append(self._give_up(order, got.rest, after.ts_ns))
        if emitted:
            self._arm()
        return emitted

    def _resolution(self, event: Resolution) -> Sequence[Event]:
        settles, contradiction = self._markets.learn(event)
        emitted = self._settle(event) if settles else []
        halt = self._halts.contradicted(event, contradiction) if contradiction else None
        return [*emitted, halt, *self._give_up_halted()] if halt else emitted

    def _settle(self, event: Resolution) -> list[Event]:
        emitted: list[Event] = [
            self._give_up(order, "unfilled: closed", event.ts_ns)
            for order in self._account.orders_of(event.venue, event.market)
        ]
        for key in self._account.positions_of(event.venue, event.market):
            payout_e6, pnl_e6 = self._account.settle(key, event.result)
            emitted.append(
                Settlement(
                    ts_ns=event.ts_ns,
                    id=event_id("Settlement", *key),
                    strategy=key[0],
                    venue=event.venue,
                    market=event.market,
                    underlying=event.underlying,
                    result=event.result,
                    payout_e6=payout_e6,
                    pnl_e6=pnl_e6,
                )
            )
        self._arm()
        return emitted

    # What stops trading.

    def _control(self, event: Command | Alert | Skip) -> Sequence[Event]:
        control = control_of(event, self._settings)
        if control is None:
            return ()
        # A recorded act comes back as it was recorded, whatever ticks this run has seen.
        underlying = event.underlying if isinstance(event, Skip) else self._tick_underlying
        record = self._halts.act(control, now_ns=self._now_ns, underlying=underlying)
        if record is None:
            return ()
        if control.verb == "resume" and not control.argument:
            self._account.forgive_drawdown()
        return [record, *self._give_up_halted()]

    def _give_up_halted(self) -> list[Event]:
        emitted: list[Event] = []
        for order in list(self._account.orders.values()):
            reason = self._halts.reason(order.venue, order.underlying)
            if reason is not None:
                emitted.append(self._give_up(order, f"unfilled: {reason}", self._now_ns))
        self._arm()
        return emitted

    # What is decided.

    def _forecast(self, event: Forecast) -> Sequence[Event]:
        state = self._markets.by_key.get((event.venue, event.market))
        if event.role != "champion" or state is None or event.ts_ns <= state.decided_ns:
            return ()
        state.decided_ns = event.ts_ns
        market, quote = state.market, state.quote
        # What stops everything comes first, though the limits ask again: its reason then stays the
        # same from row to row, and a stopped trader is quiet.
        reason = (
            state.closed()
            or self._halts.reason(event.venue, market.underlying)
            or self._account.stop()
            or unusable(event, market, quote)
        )
        if reason is not None or quote is None or market.fee is None:
            return self._note_all(state, event, reason or "no_quote")
        offer = best_offer(event, quote, market.fee)
        if offer.edge_e6 <= self._margin_e6_min:
            return self._note_all(state, event, "no_edge")
        terms = TERMS.get((market.venue, market.series))
        if terms is None:
            return self._note_all(state, event, "no_fee_schedule")
        book = remaining(levels(quote, offer.side), state.taken.get(offer.side, ()))
        if not reachable_e2(book, offer.best_e4 + self._settings.collar_e4):
            return self._note_all(state, event, "depth")
        chance = Chance(event, market, quote, market.fee, terms, offer, book)
        emitted: list[Event] = []
        for strategy in self._strategies:
            emitted += self._decide(state, chance, strategy)
        return emitted

    def _decide(self, state: MarketState, chance: Chance, strategy: Strategy) -> Sequence[Event]:
        name, forecast = strategy.name, chance.forecast
        if chance.offer.edge_e6 <= strategy.margin_e6:
            return self._note(state, forecast, name, "no_edge")
        last_ns = state.ordered_ns.get(name)
        if last_ns is not None and forecast.ts_ns - last_ns < self._settings.cooldown_s * SECOND_NS:
            return ()
        if name in state.full:
            return self._note(state, forecast, name, "market")
        decided = decide(chance, strategy, self._situation(state, chance, name), self._settings)
        if isinstance(decided, Order):
            return self._place(state, decided)
        if decided == "market":
            state.full.append(name)
        return self._note(state, forecast, name, decided)

    def _situation(self, state: MarketState, chance: Chance, strategy: str) -> Situation:
        venue, market, underlying = state.market.venue, state.market.market, state.market.underlying
        account = self._account.exposure(
            (strategy, venue, market),
            underlying=underlying,
            side=chance.offer.side,
            now_ns=self._now_ns,
        )
        halted = self._halts.reason(venue, underlying)
        return situation_of(chance, state, account=account, halted=halted, strategy=strategy)

    def _place(self, state: MarketState, order: Order) -> Sequence[Event]:
        is_sent = self._settings.stage == "paper"
        self._account.place(order, is_sent=is_sent)
        state.ordered_ns[order.strategy] = order.ts_ns
        state.reasons.pop(order.strategy, None)
        self._arm()
        return (order,) if is_sent else (order, ending(order, "stage: shadow", order.ts_ns))

    def _note_all(self, state: MarketState, forecast: Forecast, reason: str) -> Sequence[Event]:
        emitted: list[Event] = []
        for strategy in self._strategies:
            if state.reasons.get(strategy.name) != reason:
                emitted += self._note(state, forecast, strategy.name, reason)
        return emitted

    def _note(
        self, state: MarketState, forecast: Forecast, strategy: str, reason: str
    ) -> Sequence[Event]:
        """Say why there is no order, if the reason is another than before."""
        known = state.reasons.get(strategy)
        # One recorded row in eight is coarse on Kalshi: it interrupts a reason, it is none.
        if reason in QUIET or known == reason or (reason == COARSE and known is not None):
            return ()
        state.reasons[strategy] = reason
        return (
            skip(strategy, state.market, reason, ts_ns=forecast.ts_ns, forecast_id=forecast.id),
        )
