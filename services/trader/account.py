"""The account's side of a decision: exposure, loss and pace, from the ledger and orders in flight.

In go orders, settlements and the clock; out comes the `Exposure` that limits judge.
Exposure counts an order in flight at its worst (limit price, highest fee) from the instant it is
made. The day is the UTC day of the stream clock; its loss and the peak of the drawdown are part of
the checkpoint, so that a restart forgives nothing.
"""

import msgspec

from libs.common.events import Order, Side
from services.trader.ledger import Key, Ledger, LedgerState, Position
from services.trader.limits import SECOND_NS, Exposure, TraderSettings

DAY_NS = 86_400 * SECOND_NS
MINUTE_NS = 60 * SECOND_NS


class AccountState(msgspec.Struct, frozen=True, kw_only=True):
    """An account as it is written down."""

    ledger: LedgerState
    orders: tuple[Order, ...]
    order_times_ns: tuple[int, ...]
    day: int
    day_realised_e6: int
    peak_e6: int


class Account:
    """Ledger, orders in flight, and what daily loss, drawdown and pace are measured from."""

    def __init__(self, settings: TraderSettings) -> None:
        """Open an account with the capital of `settings` and nothing in flight."""
        self.ledger = Ledger(settings.capital_e6)
        self.orders: dict[str, Order] = {}
        self._order_times_ns: list[int] = []
        self._settings = settings
        self._day = 0
        self._day_realised_e6 = 0
        self._peak_e6 = 0

    def state(self) -> AccountState:
        """Return what `restore` takes; equal accounts give equal states."""
        return AccountState(
            ledger=self.ledger.state(),
            orders=tuple(self.orders.values()),
            order_times_ns=tuple(self._order_times_ns),
            day=self._day,
            day_realised_e6=self._day_realised_e6,
            peak_e6=self._peak_e6,
        )

    def restore(self, state: AccountState) -> None:
        """Replace everything by `state`."""
        self.ledger = Ledger.from_state(state.ledger)
        self.orders = {order.id: order for order in state.orders}
        self._order_times_ns = list(state.order_times_ns)
        self._day = state.day
        self._day_realised_e6 = state.day_realised_e6
        self._peak_e6 = state.peak_e6

    def advance(self, now_ns: int) -> None:
        """Begin a new UTC day if `now_ns` is in one: its loss counts from here."""
        day = now_ns // DAY_NS
        if day > self._day:
            self._day, self._day_realised_e6 = day, self.ledger.realised_e6()

    def place(self, order: Order, *, is_sent: bool) -> None:
        """Note an order for the pace limit and, if it is sent, as exposure until it is finished."""
        self._order_times_ns.append(order.ts_ns)
        # Only as many as the limit counts matter.
        del self._order_times_ns[: -self._settings.orders_per_minute_max]
        if is_sent:
            self.orders[order.id] = order

    def finish(self, order: Order) -> None:
        """Forget an order that is filled or given up."""
        del self.orders[order.id]

    def settle(self, key: Key, result: Side) -> tuple[int, int]:
        """Close a position; return its pay-out and its profit or loss."""
        settled = self.ledger.settle(key=key, result=result)
        self._peak_e6 = max(self._peak_e6, self.ledger.realised_e6())
        return settled

    def forgive_drawdown(self) -> None:
        """Measure the drawdown from here on: a person has looked and said resume."""
        self._peak_e6 = self.ledger.realised_e6()

    @property
    def drawdown_e6(self) -> int:
        """Realised loss since the best moment, or since a person said resume."""
        return self._peak_e6 - self.ledger.realised_e6()

    def stop(self) -> str | None:
        """Return the loss limit that has stopped all trading, by its name in LIMITS, or None."""
        realised_e6 = self.ledger.realised_e6()
        if self._day_realised_e6 - realised_e6 >= self._settings.loss_day_e6_max:
            return "loss_day"
        return "drawdown" if self.drawdown_e6 >= self._settings.drawdown_e6_max else None

    def positions_of(self, venue: str, market: str) -> list[Key]:
        """Return the keys of the open positions in a market, in order of strategy."""
        return sorted(k for k in self.ledger.positions if k[1] == venue and k[2] == market)

    def orders_of(self, venue: str, market: str) -> list[Order]:
        """Return the orders in flight in a market, oldest first."""
        return [o for o in self.orders.values() if o.venue == venue and o.market == market]

    def markets_in_use(self) -> set[tuple[str, str]]:
        """Return (venue, market) of everything held or in flight."""
        held = {(venue, market) for _, venue, market in self.ledger.positions}
        return held | {(order.venue, order.market) for order in self.orders.values()}

    def exposure(self, key: Key, *, underlying: str, side: Side, now_ns: int) -> Exposure:
        """Return what is at risk as seen by a new order of `key` for `side`."""
        _, venue, market = key
        market_e6 = underlying_e6 = venue_e6 = total_e6 = flying_e6 = 0
        held: dict[Key, Side] = {}
        has_order = False
        items: list[Position | Order] = [*self.ledger.positions.values(), *self.orders.values()]
        for item in items:
            if isinstance(item, Order):
                cost_e6 = item.stake_e6 + item.fee_e6_max
                flying_e6 += cost_e6
                has_order |= (item.strategy, item.venue, item.market) == key
            else:
                cost_e6 = item.cost_e6 + item.fee_e6
            held[item.strategy, item.venue, item.market] = item.side
            total_e6 += cost_e6
            if item.underlying == underlying:
                underlying_e6 += cost_e6
            if item.venue == venue:
                venue_e6 += cost_e6
                if item.market == market:
                    market_e6 += cost_e6
        realised_e6 = self.ledger.realised_e6()
        return Exposure(
            market_e6=market_e6,
            underlying_e6=underlying_e6,
            venue_e6=venue_e6,
            total_e6=total_e6,
            cash_e6=self.ledger.cash_e6 - flying_e6,
            positions=len(held),
            orders_last_minute=sum(now_ns - t < MINUTE_NS for t in self._order_times_ns),
            loss_day_e6=self._day_realised_e6 - realised_e6,
            drawdown_e6=self.drawdown_e6,
            has_order=has_order,
            has_position=key in held,
            is_opposite=held.get(key, side) != side,
        )
