"""The live trader's desk: what it reads when, with the bus in memory."""

from pathlib import Path

import msgspec
from prometheus_client import REGISTRY

from libs.common.checkpoint import write_checkpoint
from libs.common.context import Context
from libs.common.events import Event
from libs.common.memory_bus import MemoryBus
from libs.common.outbox import Outbox
from libs.common.service import Attempts
from libs.common.settings import Settings
from libs.common.streams import stream
from libs.common.web import Web
from services.trader.engine import TraderEngine
from services.trader.limits import TraderSettings
from services.trader.proof import Proof
from services.trader.shell import RUN, Desk, prove
from tests.common.samples import T0_NS, quote, tick

NAME = "hawk:{BTC-USD}:snapshots"


def write(root: Path, bus: MemoryBus, kind: str, numbers: range) -> None:
    """Write instants as the stream's writer does; forecasts are ticks alone."""
    outbox = Outbox(root, bus, writer=stream(kind).writers[0], kind=kind, underlying="BTC-USD")
    outbox.begin(T0_NS - 1)
    events: list[Event] = []
    for n in numbers:
        events += [quote(n), tick(n)] if kind == "snapshots" else [tick(n)]
    outbox.append(events)
    assert outbox.flush()
    outbox.close()


def desk(root: Path, bus: MemoryBus) -> Desk:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    context = Context("trader", root, settings, bus, Web())
    return Desk(context, Attempts(context))


def unread(bus: MemoryBus) -> int:
    facts = bus.facts(NAME)
    assert facts is not None
    groups = {group.name: group for group in facts.groups}
    return groups["trader"].lag_true + groups["trader"].pending if "trader" in groups else -1


def test_a_stream_that_is_ahead_is_read_while_another_one_is_waited_for(tmp_path: Path) -> None:
    # A collector at full speed waits for this lag; it must go although no forecast comes.
    bus = MemoryBus()
    write(tmp_path, bus, "snapshots", range(1, 51))
    trader = desk(tmp_path, bus)
    for _ in range(8):
        trader.step(block_s=0.0)
    assert unread(bus) == 0
    write(tmp_path, bus, "snapshots", range(51, 61))
    for _ in range(4):
        trader.step(block_s=0.0)
    assert unread(bus) == 0
    trader.close()


def test_a_ledger_that_is_not_its_record_is_a_page_and_a_metric_until_it_is(tmp_path: Path) -> None:
    context = Context("trader", tmp_path, Settings(_env_file=None), MemoryBus(), Web())  # type: ignore[call-arg]
    proof = Proof(tmp_path)
    prove(context, proof)  # before the first checkpoint there is nothing to compare
    state = TraderEngine(TraderSettings()).checkpoint()
    cooked = msgspec.json.decode(state)
    balances = cooked["account"]["ledger"]["balances_e6"]
    balances["cash"], balances["gains:edge"] = balances["cash"] + 1, -1
    for content, expected in ((state, 0), (msgspec.json.encode(cooked), 1), (state, 0)):
        write_checkpoint(tmp_path, content, tick_ns=T0_NS, run=RUN)
        prove(context, proof)
        assert REGISTRY.get_sample_value("hawk_trader_ledger_mismatch") == expected
        assert context.alerts.is_firing("ledger_mismatch") == bool(expected)
    (tmp_path / "ledger/checkpoint.json").write_bytes(b"{")
    prove(context, proof)  # what cannot be read proves nothing, and stops nobody
    assert not context.alerts.is_firing("ledger_mismatch")
    context.close()
