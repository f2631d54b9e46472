"""The stop sign: an event that signals set, and that threads wait for.

The decision to question: a signal's handler does not set the event, a thread does. Python runs the
handler in the main thread between any two of its steps, and the main thread spends its life in
`wait`, which holds the event's lock for some of them; a handler that wanted the lock there would
wait for itself, for ever. `SimpleQueue.put` is made to be called from such a place (documentation
of `queue`: "a put() call can be interrupted by another put() call in the same thread").
"""

import signal
import threading
from collections.abc import Iterable
from queue import SimpleQueue
from typing import Any

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""A supervisor's and the keyboard's."""


def set_by_signals(
    stop: threading.Event, numbers: Iterable[signal.Signals] = STOP_SIGNALS
) -> dict[signal.Signals, Any]:
    """Let each of the signals `numbers` set `stop`; return the handlers that were there before.

    To be called in the main thread, as `signal.signal` asks.
    """
    signs: SimpleQueue[int] = SimpleQueue()

    def wait() -> None:
        signs.get()
        stop.set()

    threading.Thread(target=wait, name="stop-sign", daemon=True).start()
    return {number: signal.signal(number, lambda n, _: signs.put(n)) for number in numbers}
