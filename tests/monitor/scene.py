"""A small Hawk for the monitor to watch: streams on a bus in memory, records on disk, a clock."""

from pathlib import Path
from typing import Any

from libs.common import bundle
from libs.common.bus import Bus
from libs.common.context import Context
from libs.common.entry_codec import EntryId
from libs.common.events import Alert, DeadLetter, Event, Forecast, ModelEvent, Tick, event_id
from libs.common.journal import Entry
from libs.common.outbox import Outbox
from libs.common.settings import Settings
from libs.common.streams import CONTROL, stream_name
from libs.common.web import Web
from services.monitor.shell import FACTS_S, Monitor
from services.trainer import publish
from tests.trainer.live_scene import T0_NS, FlakyBus
from tests.trainer.test_publish import change, make_bundle

INTERVAL_S = 10
BTC = "BTC-USD"


def forecast(number: int, bundle_id: str, *, underlying: str = BTC, **changes: Any) -> Forecast:
    """Return the forecast of instant `number`."""
    fields: dict[str, Any] = {
        "ts_ns": at_ns(number),
        "id": event_id("Forecast", underlying, number),
        "feature_id": event_id("FeatureRow", underlying, number),
        "feature_hash": "00",
        "venue": "kalshi",
        "market": "M-1",
        "series": "KXBTC15M",
        "underlying": underlying,
        "close_ns": at_ns(number) + 1,
        "role": "champion",
        "bundle": bundle_id,
        "p_raw": 0.5,
        "p": 0.5,
        "base_p": 0.5,
        "is_fallback": bundle_id == bundle.BASE,
    }
    return Forecast(**(fields | changes))


def swap(number: int, bundle_id: str, generation: int, *, underlying: str = BTC) -> ModelEvent:
    """Return the predictor's record that `bundle_id` serves from instant `number` on."""
    return ModelEvent(
        ts_ns=at_ns(number),
        id=event_id("swap", underlying, generation),
        bundle=bundle_id,
        action="swapped",
        reason="test",
        cause="test",
        generation=generation,
        underlying=underlying,
    )


def tick(number: int, underlying: str = BTC) -> Tick:
    """Return the tick of instant `number`."""
    ts_ns = at_ns(number)
    return Tick(ts_ns=ts_ns, id=event_id("Tick", underlying, ts_ns), underlying=underlying)


def at_ns(number: int) -> int:
    """Return the time of instant `number`."""
    return T0_NS + number * INTERVAL_S * 1_000_000_000


class Scene:
    """Collector and predictor of one underlying, an activated bundle, and a monitor."""

    def __init__(self, root: Path, bus: Bus | None = None, **settings: Any) -> None:
        self.root = root
        self.bus: Any = bus or FlakyBus()
        self.settings = {"source": f"simulated@1,interval={INTERVAL_S}", **settings}
        self.now_s, self.number = 1_000.0, 0
        self.collector = self.outbox("collector", "snapshots", BTC)
        self.collector.begin(0)
        self.predictor = self.outbox("predictor", "forecasts", BTC)
        self.models = self.outbox("predictor", "models", CONTROL)
        self.serving = bundle.BASE
        self.activate(0.1)
        self.monitor = self.start()

    def outbox(self, writer: str, kind: str, underlying: str) -> Outbox:
        """Return the outbox of a service that is played here."""
        return Outbox(self.root, self.bus, writer=writer, kind=kind, underlying=underlying)

    def start(self) -> Monitor:
        """Start the monitor, for the first time or again."""
        chosen = Settings(_env_file=None, data=self.root, **self.settings)  # type: ignore[call-arg]
        self.context = Context("monitor", self.root, chosen, self.bus, Web())
        self.monitor = Monitor(self.context, now_s=self.now_s)
        self.monitor.start(self.now_s)
        return self.monitor

    def activate(self, distance_max: float) -> str:
        """Let the trainer publish another bundle and the predictor follow with a record."""
        own = make_bundle(self.root, distance_max)
        current = publish.activate(self.root, change(own, ts_ns=at_ns(self.number)))
        self.write(self.models, [swap(self.number + 1, own, current.generation)])
        self.serving = own
        return own

    def write(self, outbox: Outbox, events: list[Event]) -> None:
        """Journal and publish."""
        outbox.append(events)
        outbox.flush()

    def instant(self, made_by: str | None = None) -> None:
        """Let ten seconds pass, with a tick and a forecast, and the monitor look."""
        self.number += 1
        made = forecast(self.number, made_by or self.serving)
        self.write(self.collector, [tick(self.number)])
        self.write(self.predictor, [made, tick(self.number)])
        self.quiet(INTERVAL_S)

    def instants(self, count: int) -> None:
        """Let some instants pass."""
        for _ in range(count):
            self.instant()

    def quiet(self, seconds: float) -> None:
        """Let time pass without anything, the monitor looking each second."""
        for _ in range(int(seconds)):
            self.now_s += 1.0
            self.monitor.step(self.now_s)

    def looks(self, count: int = 3) -> None:
        """Let so many looks at the records pass, with instants, because time passes."""
        self.instants(count * int(FACTS_S) // INTERVAL_S + 1)

    def alerts(self) -> list[tuple[str, str]]:
        """Return rule and state of the monitor's alerts, in order."""
        found = self.bus.entries(stream_name("alerts", CONTROL), count=1_000)
        return [(d.event.rule, d.event.state) for d in found if isinstance(d.event, Alert)]

    def evidence(self) -> str:
        """Return the evidence of the last alert."""
        found = self.bus.entries(stream_name("alerts", CONTROL), count=1_000)
        last = found[-1].event
        assert isinstance(last, Alert)
        return last.evidence

    def letter(self) -> None:
        """Let the features service give an entry up."""
        event = DeadLetter(
            ts_ns=at_ns(self.number),
            id=event_id("DeadLetter", self.number),
            stream=stream_name("snapshots", BTC),
            entry_id=str(EntryId(1, 2)),
            reason="ValueError: no",
            group="features",
        )
        self.write(self.outbox("features", "dead", CONTROL), [event])

    def flood(self, count: int) -> None:
        """Put `count` ticks into the snapshots stream, past its writer."""
        last = self.bus.last_id(stream_name("snapshots", BTC))
        entries = [
            Entry(Tick(ts_ns=1, id="0" * 16, seq=last.seq + n, underlying=BTC), last.ms)
            for n in range(1, count + 1)
        ]
        self.bus.publish(stream_name("snapshots", BTC), entries, entries_max=100_000)

    def reads(self, group: str, count: int) -> None:
        """Let a group read from the snapshots stream."""
        name = stream_name("snapshots", BTC)
        self.bus.read(name, group=group, consumer=group, count=count, block_s=0)
