"""The trader's metrics: all money is simulated (paper); labels are bounded, never a market.

Shown whenever the state is written down, so they cost nothing per event; a reader in doubt runs
`hawk verify`, which rebuilds the ledger from its events.
"""

import math
from collections.abc import Mapping

from prometheus_client import Counter, Gauge

from services.trader.controls import KILL
from services.trader.engine import TraderEngine

USD = 1e-6

ORDERS = Counter("hawk_trader_orders_total", "Orders made.")
FILLS = Counter("hawk_trader_fills_total", "Fills.")
SETTLEMENTS = Counter("hawk_trader_settlements_total", "Positions settled.")
INSTANT = Gauge("hawk_trader_instant_seconds", "Event time of the last instant done.")

CASH = Gauge("hawk_trader_cash_usd", "Paper: cash.")
EQUITY = Gauge("hawk_trader_equity_usd", "Paper: cash and open positions at cost.")
OPEN = Gauge("hawk_trader_open_usd", "Paper: cost of open positions.")
POSITIONS = Gauge("hawk_trader_open_positions", "Paper: open positions.")
PROFIT = Gauge("hawk_trader_profit_usd", "Paper: realised profit, after fees; loss below 0.")
DRAWDOWN = Gauge(
    "hawk_trader_drawdown_usd", "Paper: realised loss since the best moment, or since a resume."
)

REASONS = ("kill", "venue_kill", "contradiction", "alert", "loss_day", "drawdown")
"""Why nothing is traded: by a person, everywhere or on a venue; because a venue settled otherwise
than before or than our rebuild; by an alert; by one of the two loss limits."""

HALTS = Gauge("hawk_trader_halts", "Halts in force, by reason; 0 of all: it may trade.", ["reason"])

LEDGER_MISMATCH = Gauge(
    "hawk_trader_ledger_mismatch",
    "1: the ledger is not what its recorded events add up to; NaN: not yet compared.",
)
LEDGER_MISMATCH.set(math.nan)
LEDGER_PROVEN = Gauge(
    "hawk_trader_ledger_proven_timestamp_seconds", "When the ledger was last compared; 0: never."
)


def show(engine: TraderEngine) -> None:
    """Show an engine's account and halts."""
    ledger = engine.ledger
    CASH.set(ledger.cash_e6 * USD)
    EQUITY.set((ledger.cash_e6 + ledger.open_e6) * USD)
    OPEN.set(ledger.open_e6 * USD)
    POSITIONS.set(len(ledger.positions))
    PROFIT.set(ledger.realised_e6() * USD)
    DRAWDOWN.set(engine.account.drawdown_e6 * USD)
    counts = counted(engine.halts, engine.account.stop())
    for reason in REASONS:
        HALTS.labels(reason).set(counts[reason])


def counted(halts: Mapping[str, str], stop: str | None) -> dict[str, int]:
    """Count halts in force by reason; `stop` is the loss limit that stopped the account, if any.

    >>> counts = counted({"kill": "kill: alice", "venue kalshi": "second result of M"}, "drawdown")
    >>> [reason for reason, count in counts.items() if count]
    ['kill', 'contradiction', 'drawdown']
    """
    counts = dict.fromkeys(REASONS, 0)
    for key, why in halts.items():
        kind = key.partition(" ")[0]
        if kind == "venue":
            kind = "venue_kill" if why.startswith(KILL) else "contradiction"
        counts[kind] += 1
    if stop is not None:
        counts[stop] += 1
    return counts
