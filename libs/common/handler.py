"""What a service is: a pure function of the events it has been fed, in order.

`service.py` (live) and `replay.py` (archive) drive the same handlers; nothing else differs. A
handler has no clock, no chance, no socket, no file and no log: if it needs the time, the event
carries it. Restart without a snapshot of memory is possible because a handler either declares how
far back it must be fed to rebuild its state *exactly* (`lookback_s`, per event type, because a day
of strikes is cheap and a day of quotes is not), or can be checkpointed (`CheckpointedHandler`).
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from libs.common.events import Event


class Handler(Protocol):
    """Pure event handler of one service."""

    @property
    def lookback_s(self) -> Mapping[type[Event], int]:
        """Seconds of each event type that rebuild the state exactly; a type left out needs none."""
        ...

    def handle(self, event: Event) -> Sequence[Event]:
        """Take one event and return the events it causes, in order."""
        ...


class CheckpointedHandler(Handler, Protocol):
    """Handler whose state is written down (the trader's ledger) instead of rebuilt."""

    def checkpoint(self) -> bytes:
        """Encode the whole state; equal states give equal bytes."""
        ...

    def restore(self, state: bytes) -> None:
        """Replace the state by an earlier `checkpoint`; raise `HawkError` if it is damaged."""
        ...
