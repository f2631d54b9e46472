"""The stop sign: set by a signal wherever the main thread stands, in its own locks too."""

import signal
import subprocess
import sys
import threading

import pytest

from libs.common.stop_sign import STOP_SIGNALS, set_by_signals

HELD_S = 30.0
"""Far more than a thread takes to start; a handler that waits for itself waits for ever."""

WITHIN_THE_LOCK = """
import signal, sys, threading
from libs.common.stop_sign import set_by_signals

stop = threading.Event()
set_by_signals(stop)
with stop._cond:  # where `wait` stands when a signal comes at the wrong moment
    signal.raise_signal(signal.Signals[sys.argv[1]])
    assert not stop.is_set()
sys.exit(0 if stop.wait(20) else 1)
"""


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_that_comes_while_the_main_thread_holds_the_events_lock(
    number: signal.Signals,
) -> None:
    command = [sys.executable, "-c", WITHIN_THE_LOCK, number.name]
    assert subprocess.run(command, timeout=HELD_S, check=False).returncode == 0


def test_each_signal_that_is_named_sets_the_sign_and_the_handlers_before_come_back() -> None:
    numbers = (*STOP_SIGNALS, signal.SIGHUP)
    for number in numbers:
        stop = threading.Event()
        before = {n: signal.getsignal(n) for n in numbers}
        told = set_by_signals(stop, numbers)
        try:
            assert told == before
            signal.raise_signal(number)
            signal.raise_signal(number)  # an impatient user's second one
            assert stop.wait(HELD_S)
        finally:
            for each, handler in told.items():
                signal.signal(each, handler)
