"""The running world without sockets: what is due at an instant, and who hears of it.

In go the stream time and sessions, out come messages to each client and lines of the truth.
It draws the world two seconds ahead, hands out events at their time, keeps the record of faults and
does what they say. It reads no clock and opens nothing, so a day can be run in a test in seconds.

A reader would question that drawing runs ahead: a switch that changes books reaches them up to two
stream seconds late. It keeps the slow work out of the moment of delivery, and the truth is written
from what was drawn.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from libs.common.checks import UsageError
from services.simulator import coinbase, kalshi, polymarket
from services.simulator.coinbase_feed import ExchangeSession
from services.simulator.faults import CONTENT, Board, Mangler, Switch, cycle
from services.simulator.life import Market
from services.simulator.live import Live
from services.simulator.naming import NS_PER_S
from services.simulator.polymarket_feed import MarketSession
from services.simulator.routing import Session
from services.simulator.stepping import BookEvent
from services.simulator.truth import Truth, switch_line
from services.simulator.wire import Context, Out
from services.simulator.world import Event, LifeEvent, PrintEvent, World

AHEAD_S = 2
LAST_MINUTE_S = 60


@dataclass(frozen=True)
class Setup:
    """What decides a world: `rows` underlyings of `seed` from `start_ns` on; a seeded fault every
    `faults_every_s` stream seconds, 0 for none."""

    seed: int
    start_ns: int
    rows: int = 1
    faults_every_s: float = 0.0


@dataclass(eq=False)
class Client:
    """One connection: its session, where its messages go, and how it is broken off."""

    session: Session
    push: Callable[[list[Out]], None]
    abort: Callable[[], None]
    was_frozen: bool = False
    mangler: Mangler = field(init=False)

    def __post_init__(self) -> None:
        """Give the connection faults of its own."""
        self.mangler = Mangler(self.session.venue, self.session.feed)


class Engine:
    """The world as it runs. `write` takes lines of the truth, `report` a fault that goes on (True)
    or off."""

    def __init__(
        self,
        setup: Setup,
        *,
        write: Callable[[str], None] = lambda line: None,
        report: Callable[[Switch, bool], None] = lambda switch, is_on: None,
    ) -> None:
        self._setup, self._write, self._report = setup, write, report
        self._next_s = self._tick_s = setup.start_ns // NS_PER_S
        self.board = Board()
        self.world = World(
            setup.seed, start_s=self._next_s, rows=setup.rows, was_on=self.board.was_on
        )
        self.live = Live(self.world, self._next_s)
        self.context = Context(self.world, self.live)
        self.clients: set[Client] = set()
        self.late_ns_max = 0
        self._coinbase = coinbase.Codec(self.context)
        self._kalshi = kalshi.Codec(self.context)
        self._polymarket = polymarket.Codec(self.context)
        self._truth = Truth(self.live)
        self._pending: deque[Event] = deque()
        self._on: set[Switch] = set()
        self._cycled, self._cycle_ns = 0, setup.start_ns
        write(self._truth.standing(setup.start_ns))

    def switch_on(
        self, name: str, venue: str, *, now_ns: int, seconds: float | None
    ) -> list[Switch]:
        """Switch a fault on; see `Board.switch_on`."""
        new = self.board.switch_on(name, venue, now_ns=now_ns, seconds=seconds)
        for switch in new:
            self._report(switch, True)
            self._write(switch_line(switch, is_on=True, ns=now_ns))
            self._on.add(switch)
            if switch.name in ("drop", "maintenance"):
                for client in list(self.clients):
                    if client.session.venue == switch.venue:
                        client.abort()
        self.context.faults = self.board.active(now_ns)
        return new

    def switch_off(self, name: str, venue: str, *, now_ns: int) -> list[Switch]:
        """Switch a fault off; return what had been on."""
        ended = self.board.switch_off(name, venue, now_ns=now_ns)
        self._mind_faults(now_ns)
        return ended

    def is_behind(self, now_ns: int) -> bool:
        """Tell whether a second is to be drawn before the instant can be served in full."""
        return (self._next_s - AHEAD_S) * NS_PER_S <= now_ns

    def draw(self) -> None:
        """Draw the next second of the world."""
        faults = self.context.faults
        if any("tie" in names for names in faults.values()):
            self._tie()
        content = {venue: names & set(CONTENT) for venue, names in faults.items()}
        self._pending.extend(self.world.step(self._next_s, content))
        self._next_s += 1

    def advance(self, now_ns: int) -> None:
        """Do everything that is due at an instant, which has been drawn."""
        self._mind_faults(now_ns)
        self.deliver(now_ns)
        for client in self.clients:
            client.session.tick(now_ns)
        self.flush(now_ns)

    def deliver(self, now_ns: int) -> None:
        """Hand out the events that are due."""
        if self._pending and self._pending[0].ns <= now_ns:
            self.late_ns_max = max(self.late_ns_max, now_ns - self._pending[0].ns)
        while self._pending and self._pending[0].ns <= now_ns:
            event = self._pending.popleft()
            self._tick_until(event.ns, now_ns)
            market = self._market_of(event)
            self.live.apply(event)
            self._truth.hear(event)
            if isinstance(event, LifeEvent):
                self._write(self._truth.life(event))
            self._tell(event, market)
        # What has not been drawn yet is no truth.
        self._tick_until(min(now_ns, self._next_s * NS_PER_S), now_ns)

    def _tick_until(self, ns: int, now_ns: int) -> None:
        """Write down the whole seconds up to an instant, before anything happens in it."""
        while ns >= self._tick_s * NS_PER_S:
            active = self.board.active(self._tick_s * NS_PER_S)
            late_ns = now_ns - self._tick_s * NS_PER_S
            self._write(self._truth.tick(self._tick_s, active, late_ns=late_ns))
            self._tick_s += 1

    def flush(self, now_ns: int) -> None:
        """Pass on what sessions have said, as the faults of delivery leave it."""
        faults = self.context.faults
        for client in self.clients:
            session = client.session
            is_frozen = self.context.is_on(session.venue, "freeze")
            if client.was_frozen and not is_frozen:
                # Without a sequence nobody would learn of what was lost.
                if isinstance(session, MarketSession):
                    session.refresh(now_ns)
                elif isinstance(session, ExchangeSession):
                    session.sent.append(Out("resuming", code=1012))
            client.was_frozen = is_frozen
            sent, session.sent = session.sent, []
            out = client.mangler.mangle(sent, faults, now_ns)
            if out:
                client.push(out)

    def _market_of(self, event: Event) -> Market | None:
        if isinstance(event, BookEvent) and event.name not in self.world.names:
            return self.world.find(event.name)
        return None

    def _tell(self, event: Event, market: Market | None) -> None:
        """Write an event once a venue, and let every client of it hear."""
        venues = {client.session.venue for client in self.clients}
        texts: dict[str, object] = {}
        if "coinbase" in venues and isinstance(event, BookEvent) and market is None:
            texts["coinbase"] = self._coinbase.texts(event)
        if "kalshi" in venues:
            texts["kalshi"] = self._kalshi.texts(event, market)
        if "polymarket" in venues:
            texts["polymarket"] = self._polymarket.texts(event, market)
        is_print = isinstance(event, PrintEvent)
        for client in self.clients:
            found = texts.get(client.session.venue)
            if found is not None or is_print:
                client.session.hear(event, found)

    def _mind_faults(self, now_ns: int) -> None:
        """Switch on what a cycle is due to, and note what has ended."""
        every_ns = round(self._setup.faults_every_s * NS_PER_S)
        if every_ns and now_ns >= self._cycle_ns + every_ns:
            self._cycle_ns += every_ns
            name, venue, seconds = cycle(self._setup.seed, self._cycled)
            self._cycled += 1
            with suppress(UsageError):  # days of a fast clock have filled the memory: go on without
                self.switch_on(name, venue, now_ns=now_ns, seconds=seconds)
        self.context.faults = self.board.active(now_ns)
        for switch in list(self._on):
            if switch.name not in self.context.faults.get(switch.venue, ()):
                self._on.discard(switch)
                self._report(switch, False)
                self._write(switch_line(switch, is_on=False, ns=now_ns))

    def _tie(self) -> None:
        """Tie the windows whose last minute begins with the second that is drawn next."""
        length_s = 900 if self.context.is_on("kalshi", "tie") else 300
        close_s = self._next_s + LAST_MINUTE_S - 1
        if close_s % length_s == 0:
            for row in range(self.world.rows):
                self.world.tie(row, close_s, length_s)
