"""Is the ledger what its recorded events add up to? Asked again and again while trading goes on.

In go the checkpoint and the archive's orders, fills and settlements, out comes the fault or None.
It is the ledger check of `hawk verify`, kept up to date: the first look reads all there ever was,
each later one only what was recorded since. A difference counts only after everything was read
anew, because it stops trading.

A reader would question that the trader proves itself. The rebuild shares the rules of booking with
the ledger it checks, and none of its state: what it finds is a record and a state that went apart
(a lost or doubled journal entry, a checkpoint of another folder, damage on disk), and a settlement
that does not pay what its position is worth.
"""

from pathlib import Path

import msgspec

from libs.common.archive import DAY_NS, Archive
from libs.common.checkpoint import Checkpoint, read_checkpoint
from libs.common.checks import InvariantError
from libs.common.events import Event, Fill, Order, Settlement
from services.trader.ledger import LedgerError, LedgerState, Rebuild
from services.trader.state import decode

BOOKED: dict[type[Event], int] = {Order: 0, Fill: 0, Settlement: 0}
"""What a ledger is made of, from the beginning on."""

KEPT_NS = DAY_NS
"""Orders are kept this long to hold their fills against; an order ends within two minutes."""


class Proven(msgspec.Struct, frozen=True):
    """Up to which instant the ledger was compared, with how many events, and what is wrong."""

    tick_ns: int
    events: int
    fault: str | None


class Proof:
    """Compares the ledger of one data folder with its events, as both grow."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._archive = Archive(root)
        self._rebuild: Rebuild | None = None
        self._upto_ns = -1
        self._events = 0

    def look(self) -> Proven | None:
        """Compare once; None while there is no checkpoint. Raise `ArchiveError` if unreadable."""
        checkpoint = read_checkpoint(self._root)
        if checkpoint is None:
            return None
        kept = decode(bytes(checkpoint.trader)).account.ledger
        is_whole = self._rebuild is None
        fault = self._fault(checkpoint, kept)
        if fault is not None and not is_whole:
            self._rebuild = None
            fault = self._fault(checkpoint, kept)
        if fault is not None:
            self._rebuild = None
        return Proven(checkpoint.tick_ns, self._events, fault)

    def _fault(self, checkpoint: Checkpoint, kept: LedgerState) -> str | None:
        if self._rebuild is None:
            self._rebuild, self._upto_ns, self._events = Rebuild(kept.capital_e6), -1, 0
        events = self._archive.scan(
            BOOKED, start_ns=self._upto_ns + 1, end_ns=checkpoint.tick_ns + 1
        )
        try:
            for event in events:
                self._rebuild.take(event)
                self._events += 1
        except (LedgerError, InvariantError, KeyError) as error:
            return f"the record does not agree with itself: {error}"
        self._upto_ns = checkpoint.tick_ns
        self._rebuild.forget(self._upto_ns - KEPT_NS)
        if self._rebuild.ledger.state() != kept:
            return f"the ledger is not what its {self._events} events add up to"
        return None
