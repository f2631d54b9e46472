"""Which alerts fire, of every service, from their journals alone."""

import os
from pathlib import Path

from libs.common import events
from libs.common.bus import Bus
from libs.common.context import Alerts, StreamClock
from libs.common.memory_bus import MemoryBus
from libs.common.outbox import Outbox
from libs.common.streams import CONTROL
from services.monitor.firing import Firing, Place
from tests.common.samples import T0_NS

BUS_DOWN = "bus_down"


def alerts(root: Path, service: str, bus: Bus | None = None, *, now_ns: int = T0_NS) -> Alerts:
    clock = StreamClock(root)
    clock.see(now_ns)
    return Alerts(root, bus or MemoryBus(), writer=service, clock=clock)


def look(firing: Firing) -> dict[Place, int]:
    """Return what fires, without what is over."""
    return {place: count for place, count in firing.look().items() if count}


def place(service: str, rule: str, severity: str = "warn") -> Place:
    return Place(service, rule, severity)


def test_an_outage_that_is_over_for_one_service_still_fires_for_the_other(tmp_path: Path) -> None:
    bus = MemoryBus()
    trader, features = (alerts(tmp_path, name, bus) for name in ("trader", "features"))
    for own in (trader, features):
        own.fire(BUS_DOWN, evidence="no answer")
    firing = Firing(tmp_path)
    assert look(firing) == {place("trader", BUS_DOWN): 1, place("features", BUS_DOWN): 1}
    trader.resolve(BUS_DOWN, evidence="it answers")
    assert look(firing) == {place("features", BUS_DOWN): 1}


def test_a_monitor_that_starts_again_knows_what_fires_and_what_is_over(tmp_path: Path) -> None:
    own = alerts(tmp_path, "trainer")
    for rule in ("training_failed", "command_refused"):
        own.fire(rule, evidence="no")
    own.resolve("command_refused", evidence="done")
    assert Firing(tmp_path).look()[place("trainer", "command_refused")] == 0
    assert look(Firing(tmp_path)) == {place("trainer", "training_failed"): 1}


def test_underlyings_are_counted_and_severity_is_told(tmp_path: Path) -> None:
    own = alerts(tmp_path, "monitor")
    for name in ("BTC-USD", "ETH-USD"):
        own.fire("feed_silent", evidence="no tick", severity="page", underlying=name)
    firing = Firing(tmp_path)
    assert look(firing) == {place("monitor", "feed_silent", "page"): 2}
    own.resolve("feed_silent", evidence="tick", underlying="BTC-USD")
    assert look(firing) == {place("monitor", "feed_silent", "page"): 1}


def test_a_guessed_time_does_not_turn_the_order_round(tmp_path: Path) -> None:
    # Before the first event the clock is a guess: the journal of a later hour is written first.
    hour_ns = 3_600_000_000_000
    early = alerts(tmp_path, "features", now_ns=T0_NS + 5 * hour_ns)
    early.fire(BUS_DOWN, evidence="no answer")
    early.close()
    outbox = Outbox(tmp_path, MemoryBus(), writer="features", kind="alerts", underlying=CONTROL)
    over = events.Alert(
        ts_ns=T0_NS,
        id="1" * 16,
        rule=BUS_DOWN,
        severity="warn",
        state="resolved",
        evidence="it answers",
        runbook="",
    )
    outbox.append([over])
    assert look(Firing(tmp_path)) == {}


def test_an_unknown_rule_or_writer_is_no_label(tmp_path: Path) -> None:
    alerts(tmp_path, "trader").fire("market KXBTC15M-1", evidence="no")
    alerts(tmp_path, "stranger").fire(BUS_DOWN, evidence="no")
    assert look(Firing(tmp_path)) == {place("trader", "other"): 1, place("other", BUS_DOWN): 1}


def test_a_damaged_journal_is_counted_and_takes_nothing_else_along(tmp_path: Path) -> None:
    alerts(tmp_path, "trader").fire(BUS_DOWN, evidence="no")
    alerts(tmp_path, "features").fire(BUS_DOWN, evidence="no")
    firing = Firing(tmp_path)
    assert len(look(firing)) == 2
    (path,) = tmp_path.glob("archive/journal/features/alerts/*/*.journal")
    path.write_bytes(b"\0" * 16 + path.read_bytes())
    assert look(firing) == {place("trader", BUS_DOWN): 1, place("features", BUS_DOWN): 1}
    assert firing.unreadable == 1
    fresh = Firing(tmp_path)
    assert look(fresh) == {place("trader", BUS_DOWN): 1}
    assert fresh.unreadable == 1


def test_what_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    own = alerts(tmp_path, "trader")
    own.fire(BUS_DOWN, evidence="no")
    firing = Firing(tmp_path)
    before = look(firing)
    (path,) = tmp_path.glob("archive/journal/trader/alerts/*/*.journal")
    facts = path.stat()
    path.write_bytes(b"\0" * facts.st_size)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert look(firing) == before and firing.unreadable == 0
    os.utime(path)
    assert look(firing) == {}
