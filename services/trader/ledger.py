"""The ledger: double entry in integers of 1e-6 USD, one account set for all strategies.

In go fills and settlements, out come balances. Every entry has legs that sum to zero; after each
one the books must balance to the last unit (cash + cost of open positions = capital + realised
profit and loss), or the process dies. Fees and the venue's rounding are accounts of their own, and
are expensed with the fill, so that realised profit and loss is never better than it will turn out.

`Ledger.from_events` rebuilds a ledger from what the trader wrote, and refuses a record that does
not agree with itself: that is how a checkpoint is verified against the archive.
"""

from collections.abc import Iterable

import msgspec

from libs.common.checks import HawkError, check
from libs.common.events import Event, Fill, Order, Settlement, Side

PAYOUT_E4 = 10_000
"""What a winning contract pays, in 1e-4 USD; times a count in 1e-2 it is 1e-6 USD."""

RESULT_ACCOUNTS = ("gains", "fees", "rounding")
"""Accounts of each strategy whose sum, negated, is its realised profit and loss."""

Key = tuple[str, str, str]
"""Strategy, venue, market."""


class LedgerError(HawkError):
    """The record of orders, fills and settlements does not agree with itself."""


class Position(msgspec.Struct, kw_only=True):
    """Contracts of one side held to settlement; `fee_e6` includes the venue's rounding."""

    strategy: str
    venue: str
    market: str
    underlying: str
    side: Side
    size_e2: int
    cost_e6: int
    fee_e6: int


class LedgerState(msgspec.Struct, frozen=True, kw_only=True):
    """A ledger as it is written down: balances by account, positions by (strategy, market)."""

    capital_e6: int
    balances_e6: dict[str, int]
    positions: tuple[Position, ...]


class Ledger:
    """Cash, open positions, fees, rounding and realised profit and loss of the paper account."""

    def __init__(self, capital_e6: int) -> None:
        """Open the books with `capital_e6` in cash."""
        self.capital_e6 = capital_e6
        self.balances_e6: dict[str, int] = {}
        self.positions: dict[Key, Position] = {}
        self._realised_e6 = 0
        self._post(("cash", capital_e6), ("capital", -capital_e6))

    @classmethod
    def from_state(cls, state: LedgerState) -> "Ledger":
        """Restore a ledger from `state`."""
        ledger = cls(state.capital_e6)
        ledger.balances_e6 = dict(state.balances_e6)
        ledger.positions = {
            (p.strategy, p.venue, p.market): msgspec.structs.replace(p) for p in state.positions
        }
        ledger._check()
        return ledger

    @classmethod
    def from_events(cls, events: Iterable[Event], *, capital_e6: int) -> "Ledger":
        """Rebuild the ledger from Order, Fill and Settlement events in order.

        Raise `LedgerError` where a fill has no order or breaks its bounds, is recorded twice, or
        where a settlement does not pay what the position is worth.
        """
        rebuild = Rebuild(capital_e6)
        for event in events:
            rebuild.take(event)
        return rebuild.ledger

    def state(self) -> LedgerState:
        """Return what `from_state` restores; equal ledgers give equal states."""
        return LedgerState(
            capital_e6=self.capital_e6,
            balances_e6=dict(sorted(self.balances_e6.items())),
            positions=tuple(
                msgspec.structs.replace(self.positions[key]) for key in sorted(self.positions)
            ),
        )

    def fill(self, fill: Fill) -> None:
        """Book a purchase: cash becomes cost of an open position, fee and rounding."""
        key = (fill.strategy, fill.venue, fill.market)
        position = self.positions.get(key)
        if position is None:
            position = Position(
                strategy=fill.strategy,
                venue=fill.venue,
                market=fill.market,
                underlying=fill.underlying,
                side=fill.side,
                size_e2=0,
                cost_e6=0,
                fee_e6=0,
            )
            self.positions[key] = position
        check(position.side == fill.side, f"both sides of {fill.market} held by {fill.strategy}")
        cost_e6 = fill.price_e4 * fill.size_e2
        position.size_e2 += fill.size_e2
        position.cost_e6 += cost_e6
        position.fee_e6 += fill.fee_e6
        self._post(
            ("cash", -cost_e6 - fill.fee_e6),
            (f"open:{fill.strategy}", cost_e6),
            (f"fees:{fill.strategy}", fill.fee_e6 - fill.rounding_e6),
            (f"rounding:{fill.strategy}", fill.rounding_e6),
        )

    def settle(self, *, key: Key, result: Side) -> tuple[int, int]:
        """Close the position of `key` at the venue's `result`; return pay-out and total P&L.

        The P&L is the position's whole: pay-out less cost less the fees booked with its fills.
        """
        position = self.positions.pop(key)
        payout_e6 = payout(position, result)
        self._post(
            ("cash", payout_e6),
            (f"open:{position.strategy}", -position.cost_e6),
            (f"gains:{position.strategy}", position.cost_e6 - payout_e6),
        )
        return payout_e6, payout_e6 - position.cost_e6 - position.fee_e6

    @property
    def cash_e6(self) -> int:
        """Cash that is not tied up in positions."""
        return self.balances_e6["cash"]

    @property
    def open_e6(self) -> int:
        """Cost of all open positions, without their fees."""
        return sum(position.cost_e6 for position in self.positions.values())

    def realised_e6(self, strategy: str | None = None) -> int:
        """Return realised profit and loss of `strategy`, or of all: gains less fees, rounding."""
        if strategy is None:
            return self._realised_e6
        names = [f"{kind}:{strategy}" for kind in RESULT_ACCOUNTS]
        return -sum(self.balances_e6.get(name, 0) for name in names)

    def _post(self, *legs: tuple[str, int]) -> None:
        check(sum(amount_e6 for _, amount_e6 in legs) == 0, f"ledger entry {legs} is one-sided")
        for account, amount_e6 in legs:
            self.balances_e6[account] = self.balances_e6.get(account, 0) + amount_e6
        self._check()

    def _check(self) -> None:
        balances = self.balances_e6
        # Asked for at each decision, so it is summed here, where it changes.
        self._realised_e6 = -sum(
            v for account, v in balances.items() if account.partition(":")[0] in RESULT_ACCOUNTS
        )
        booked_e6 = sum(v for account, v in balances.items() if account.startswith("open:"))
        check(sum(balances.values()) == 0, f"ledger is out of balance: {balances}")
        check(booked_e6 == self.open_e6, f"positions cost {self.open_e6}, booked {booked_e6}")
        check(
            self.cash_e6 + self.open_e6 == self.capital_e6 + self._realised_e6,
            f"cash and positions do not equal capital and result: {balances}",
        )


def payout(position: Position, result: Side) -> int:
    """Return what the venue pays for `position`, in 1e-6 USD: one dollar per winning contract."""
    return position.size_e2 * PAYOUT_E4 if position.side == result else 0


class Rebuild:
    """A ledger made again from Order, Fill and Settlement events in order, one at a time."""

    def __init__(self, capital_e6: int) -> None:
        """Start with an empty ledger."""
        self.ledger = Ledger(capital_e6)
        self._audit = _Audit()

    def take(self, event: Event) -> None:
        """Book one event, others are passed over; raise `LedgerError` as `from_events` does."""
        if isinstance(event, Order):
            self._audit.order(event)
        elif isinstance(event, Fill):
            self._audit.fill(event)
            self.ledger.fill(event)
        elif isinstance(event, Settlement):
            _check_settlement(self.ledger, event)
            key = (event.strategy, event.venue, event.market)
            self.ledger.settle(key=key, result=event.result)

    def forget(self, before_ns: int) -> None:
        """Forget orders made before `before_ns`, to which no fill can come any more."""
        self._audit.forget(before_ns)


class _Audit:
    """Compares each fill with the order that it claims to belong to."""

    def __init__(self) -> None:
        self._orders: dict[Key, Order] = {}
        self._fills: dict[str, list[Fill]] = {}

    def order(self, order: Order) -> None:
        # A strategy has one order at a time in a market, so the latest is the only one that counts.
        key = (order.strategy, order.venue, order.market)
        old = self._orders.get(key)
        if old is not None:
            if old.id == order.id:
                raise LedgerError(f"order {order.id} of {order.market} is recorded twice")
            del self._fills[old.id]
        self._orders[key] = order
        self._fills[order.id] = []

    def forget(self, before_ns: int) -> None:
        self._orders = {k: o for k, o in self._orders.items() if o.ts_ns >= before_ns}
        self._fills = {o.id: self._fills[o.id] for o in self._orders.values()}

    def fill(self, fill: Fill) -> None:
        order = self._orders.get((fill.strategy, fill.venue, fill.market))
        if order is None or order.id != fill.order_id or order.side != fill.side:
            raise LedgerError(f"fill {fill.id} of {fill.market} belongs to no order")
        fills = self._fills[order.id]
        if any(fill.id == other.id for other in fills):
            raise LedgerError(f"fill {fill.id} of {fill.market} is recorded twice")
        fills.append(fill)
        if (
            fill.price_e4 > order.price_limit_e4
            or sum(f.size_e2 for f in fills) > order.size_e2
            or sum(f.fee_e6 for f in fills) > order.fee_e6_max
        ):
            raise LedgerError(f"fill {fill.id} of {fill.market} breaks the bounds of its order")


def _check_settlement(ledger: Ledger, event: Settlement) -> None:
    position = ledger.positions.get((event.strategy, event.venue, event.market))
    if position is None:
        raise LedgerError(f"settlement {event.id} of {event.market} closes no position")
    payout_e6 = payout(position, event.result)
    pnl_e6 = payout_e6 - position.cost_e6 - position.fee_e6
    if (payout_e6, pnl_e6) != (event.payout_e6, event.pnl_e6):
        raise LedgerError(
            f"settlement {event.id} of {event.market} pays {event.payout_e6} with a result of "
            f"{event.pnl_e6}, expected {payout_e6} and {pnl_e6}"
        )
