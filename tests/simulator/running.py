"""A running world without sockets, for the tests of what is written from it."""

import json
from collections.abc import Callable
from typing import Any

from services.simulator.engine import Client, Engine, Setup
from services.simulator.faults import Switch
from services.simulator.life import Market
from services.simulator.naming import NS_PER_S
from services.simulator.routing import Session
from services.simulator.wire import Out

START_S = 1_795_366_800 + 830
"""A minute and ten seconds before a quarter hour: 2026-11-22 17:13:50 UTC."""


class Run:
    """An engine that runs from START_S, its truth, and clients that note what they hear."""

    def __init__(self, seed: int = 5, *, start_s: int = START_S, every_s: float = 0.0) -> None:
        self.lines: list[dict[str, Any]] = []
        self.reported: list[tuple[Switch, bool]] = []
        self.now_ns = start_s * NS_PER_S
        self.engine = Engine(
            Setup(seed, self.now_ns, 1, every_s),
            write=lambda text: self.lines.extend(json.loads(t) for t in text.splitlines()),
            report=lambda switch, is_on: self.reported.append((switch, is_on)),
        )

    def client(self, session: Session, heard: Callable[[Out], None]) -> Client:
        """Connect a session."""

        def push(messages: list[Out]) -> None:
            for out in messages:
                if out.code == 0:
                    heard(out)

        client = Client(session, push, lambda: self.engine.clients.discard(client))
        self.engine.clients.add(client)
        return client

    def until(self, second: float, *, step_ns: int = 50_000_000) -> None:
        """Let time pass in steps."""
        while self.now_ns < second * NS_PER_S:
            self.now_ns += step_ns
            while self.engine.is_behind(self.now_ns):
                self.engine.draw()
            self.engine.advance(self.now_ns)

    def ticks(self) -> list[dict[str, Any]]:
        """Return the truth's lines of whole seconds."""
        return [line for line in self.lines if line["kind"] == "tick"]


def tickers(run: Run) -> list[str]:
    """Return the Kalshi markets that have a book."""
    live = run.engine.world.live_markets()
    return [market.name for market in live if market.kind.venue == "kalshi"]


def market_of(run: Run, series: str) -> Market:
    """Return the open market of a series without rungs."""
    live = run.engine.world.live_markets()
    return next(m for m in live if m.kind.name == series and m.open_ns <= run.now_ns)
