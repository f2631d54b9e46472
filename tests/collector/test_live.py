"""The live collector on simulated venues: what it refuses, and what it leaves behind.

The strongest sentence is in `TestCapture`: what a faulty world let arrive, imported from the raw
capture, gives the rows that were recorded live, byte for byte.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from benchmarks.wire_faults import Run
from libs.common.archive import HOUR_NS, TIME_MAX_NS, Archive
from libs.common.checks import ConfigError, HawkError
from libs.common.context import Context
from libs.common.events import Event, Gap, Market, QuoteSnapshot, Resolution, SpotSnapshot, body
from libs.common.settings import Settings
from libs.common.web import Web
from services.collector.capture_import import KINDS, CaptureImported, import_captures
from services.collector.instants import Instant
from services.collector.life import Life, fee_fingerprint, market_event
from services.collector.live import rules_recorded, run_live
from services.collector.publisher import Publisher
from tests.collector import stage
from tests.collector.toy_venue import FEE, at, facts

SPEED = 10.0
START = "2026-03-02T13:57:40Z"
"""So that windows of five and of fifteen minutes end, and an hour, while it runs."""

WAIT_S_MAX = 120.0
FAULTS = (
    ("sequence_gap", "all", 25.0),
    ("reorder", "all", 15.0),
    ("duplicate", "all", 15.0),
    ("drop", "kalshi", 4.0),
    ("drop", "coinbase", 4.0),
    ("schema_change", "polymarket", 6.0),
    ("big_snapshot", "coinbase", 60.0),
)


def stored(root: Path) -> dict[str, Event]:
    """Return the rows of an archive by id."""
    kinds: dict[type[Event], int] = dict.fromkeys(KINDS, 0)
    return {event.id: event for event in Archive(root).scan(kinds, end_ns=TIME_MAX_NS)}


def recorded(root: Path, kind: type[Event]) -> list[Event]:
    """Return the rows of one kind so far."""
    if not (root / "archive").is_dir():
        return []
    return list(Archive(root).scan({kind: 0}, end_ns=TIME_MAX_NS))


def waited(is_true: Callable[[], bool]) -> None:
    """Wait until something is true; how long it takes depends on the machine."""
    end_s = time.monotonic() + WAIT_S_MAX
    while not is_true():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.3)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A recording with captures that was stopped after a Kalshi market had its result."""
    run = Run(tmp_path_factory.mktemp("live"), speed=SPEED, seed=3, start=START)
    try:
        run.start_simulator()
        run.start_collector(HAWK_CAPTURE="true")
        waited(lambda: len(recorded(run.root, QuoteSnapshot)) > 60)
        for fault in FAULTS:
            run.hurt(*fault)
        waited(lambda: any(e.venue == "kalshi" for e in recorded(run.root, Resolution)))
        waited(lambda: len({e.ts_ns // HOUR_NS for e in recorded(run.root, SpotSnapshot)}) > 1)
    finally:
        code = run.stop()
    assert code == 0
    yield run


@pytest.fixture(scope="module")
def imported(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CaptureImported]:
    """A new archive made from the captures alone, and what the import counted."""
    root = tmp_path_factory.mktemp("imported")
    return root, import_captures(sorted((run.root / "captures").iterdir()), root)


class TestCapture:
    def test_captures_of_a_faulty_day_give_the_archive_that_was_recorded_live(
        self, run: Run, imported: tuple[Path, CaptureImported]
    ) -> None:
        live, again = stored(run.root), stored(imported[0])
        begins_ns = {"spot": min(e.ts_ns for e in live.values() if isinstance(e, SpotSnapshot))}
        for event in sorted(live.values(), key=lambda e: e.ts_ns):
            if isinstance(event, Market):
                begins_ns.setdefault(event.series, event.ts_ns)
        missing = [e for id_, e in live.items() if id_ not in again]
        # An import does not miss an underlying or series that the capture has not shown yet.
        assert all(
            isinstance(e, Gap) and e.market is None and e.end_ns < begins_ns[e.feed]
            for e in missing
        ), missing[:3]
        # What arrived in the moment of the stop is captured, and not journalled any more.
        end_ns = max(e.ts_ns for e in live.values())
        assert not [e for id_, e in again.items() if id_ not in live and e.ts_ns <= end_ns]
        both = [id_ for id_ in again if id_ in live]
        assert [id_ for id_ in both if body(live[id_]) != body(again[id_])] == []

    def test_it_was_faulty_and_had_everything_in_it(
        self, run: Run, imported: tuple[Path, CaptureImported]
    ) -> None:
        kinds = {type(event) for event in stored(run.root).values()}
        assert kinds == {Market, Resolution, Gap, SpotSnapshot, QuoteSnapshot}
        counted = imported[1]
        assert counted.gaps > 0 and counted.rejected.get("wrong_shape", 0) > 0
        assert len(list((run.root / "captures").iterdir())) == 2


class TestRestart:
    def test_a_market_that_closed_while_nobody_ran_gets_its_result(self, tmp_path: Path) -> None:
        run = Run(tmp_path, speed=SPEED, seed=4, start="2026-03-02T13:59:20Z")

        def ticked_ns() -> int:
            lines = run.truth.read_text().splitlines() if run.truth.exists() else []
            told = [json.loads(line) for line in lines[-3:] if line.endswith("}")]
            return max((line.get("ts_ns", 0) for line in told), default=0)

        try:
            run.start_simulator()
            run.start_collector()
            waited(lambda: any(e.venue == "kalshi" for e in recorded(run.root, QuoteSnapshot)))
            assert run.collector is not None
            run.collector.terminate()
            assert run.collector.wait(30) == 0
            close_ns = HOUR_NS * (min(e.ts_ns for e in recorded(run.root, Market)) // HOUR_NS + 1)
            waited(lambda: ticked_ns() > close_ns)
            assert recorded(run.root, Resolution) == []
            run.start_collector()
            waited(lambda: any(e.venue == "kalshi" for e in recorded(run.root, Resolution)))
        finally:
            code = run.stop()
        assert code == 0
        found = run.checked()
        assert (found.unexplained, found.resolutions_wrong, found.strikes_wrong) == (0, 0, 0)


class Clock(BaseHTTPRequestHandler):
    """A simulator of which only the clock answers."""

    def do_GET(self) -> None:
        """Tell a world that begins on 2026-03-02 and all but stands still."""
        told = {"start_ns": CLOCK_NS, "began_ns": time.time_ns(), "speed": 1e-6}
        self.send_response(200 if self.path == "/clock" else 404)
        self.end_headers()
        self.wfile.write(json.dumps(told).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


CLOCK_NS = 1_772_409_600 * 10**9


@pytest.fixture(scope="module")
def clock_url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Clock)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(10)


def context(root: Path, url: str, **settings: object) -> Context:
    """Return the context of a live collector whose waits take no time."""
    made = Settings(  # type: ignore[call-arg]
        _env_file=None,
        data=root,
        source="live",
        simulator_url=url,
        **{"series": "KXBTC15M", **settings},
    )
    bus, sign = stage.Bus(), stage.StopSign()
    return Context(name="collector", root=root, settings=made, bus=bus, web=Web(), stop=sign)


class TestRefusals:
    def test_a_folder_ahead_of_the_clock_is_refused_with_its_line(
        self, tmp_path: Path, clock_url: str
    ) -> None:
        made = context(tmp_path, clock_url)
        publisher = Publisher(made, ["BTC-USD"])
        publisher.publish(stage.spots(CLOCK_NS + 5 * HOUR_NS))
        publisher.close()
        with pytest.raises(ConfigError, match=r"folder is 5\.0 hours ahead .* \(--data\)"):
            run_live(context(tmp_path, clock_url))

    @pytest.mark.parametrize(
        ("series", "named"), [("KXNOTHING", "no known series"), ("KXBTC15M@7", "divisor of 60")]
    )
    def test_a_series_that_is_not_known_is_refused(
        self, tmp_path: Path, clock_url: str, series: str, named: str
    ) -> None:
        with pytest.raises(ConfigError, match=named):
            run_live(context(tmp_path, clock_url, series=series))
        assert not (tmp_path / "archive").exists()

    @pytest.mark.parametrize("kind", ["locked", "curve", "small", "cut", "text", "missing"])
    def test_a_wrong_key_is_refused_without_a_word_of_it(
        self, tmp_path: Path, clock_url: str, kind: str
    ) -> None:
        path, content = tmp_path / "key.pem", wrong_key(kind)
        if content:
            path.write_bytes(content)
        with pytest.raises(HawkError) as caught:
            run_live(context(tmp_path, clock_url, kalshi_key_id="id", kalshi_key_file=path))
        shown = "".join(map(str, chained(caught.value)))
        lines = [line for line in content.decode().splitlines() if "-----" not in line]
        assert "key" in shown.lower()
        assert not [line for line in lines if line[:12] in shown]

    def test_half_of_a_key_is_refused(self, tmp_path: Path, clock_url: str) -> None:
        with pytest.raises(ConfigError, match="belong together"):
            run_live(context(tmp_path, clock_url, kalshi_key_id="id"))

    def test_a_simulator_that_does_not_answer_is_waited_for_until_the_stop_sign(
        self, tmp_path: Path
    ) -> None:
        made = context(tmp_path, "http://127.0.0.1:1")
        stop = stage.sign(made)
        stop.on_wait = lambda: stop.set() if stop.waits > 20 else None
        run_live(made)
        assert stop.waits == 21


class TestRules:
    """What the next start takes for the rule and fee of a series."""

    @staticmethod
    def publish(root: Path, *told: tuple[float, str, str, str]) -> dict[str, tuple[str, str]]:
        """Record (second, market, fingerprint, status) each; return the rules of its series."""
        publisher = Publisher(context(root, "http://127.0.0.1:1"), ["BTC-USD"])
        for second, market, fingerprint, status in told:
            life = Life(facts(market, fingerprint=fingerprint, status=status))
            life.quarantine = "changed" if status == "quarantined" else None
            event = market_event("toy", life, at(second))
            assert event is not None
            publisher.publish([Instant(at(second), {"BTC-USD": [event]})])
        publisher.close()
        found = rules_recorded(root, at(1_000)).get("toy", {})
        return {series: found[series] for series in found}

    def test_it_is_that_of_the_newest_market_that_was_not_quarantined(self, tmp_path: Path) -> None:
        found = self.publish(tmp_path, (1, "T-1", "f-1", "open"), (2, "T-2", "f-2", "quarantined"))
        assert found["TOY15"] == ("f-1", fee_fingerprint(FEE))

    def test_what_is_told_again_of_a_quarantined_market_makes_no_new_rule(
        self, tmp_path: Path
    ) -> None:
        told = [(1, "T-1", "f-1", "open"), (2, "T-2", "f-2", "quarantined")]
        found = self.publish(tmp_path, *told, (3, "T-2", "f-2", "open"))
        assert found["TOY15"] == ("f-1", fee_fingerprint(FEE))

    def test_a_rule_that_was_accepted_is_that_of_later_markets(self, tmp_path: Path) -> None:
        told = [(1, "T-1", "f-1", "open"), (2, "T-2", "f-2", "quarantined")]
        found = self.publish(tmp_path, *told, (3, "T-3", "f-2", "open"))
        assert found["TOY15"] == ("f-2", fee_fingerprint(FEE))


def wrong_key(kind: str) -> bytes:
    """Return the content of a key file that cannot be used."""
    if kind == "missing":
        return b""
    if kind == "text":
        return b"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n"
    private = PrivateFormat.PKCS8
    key = rsa.generate_private_key(65_537, 1_024 if kind == "small" else 2_048)
    if kind == "curve":
        curve = ec.generate_private_key(ec.SECP256R1())
        return curve.private_bytes(Encoding.PEM, private, NoEncryption())
    locked = BestAvailableEncryption(b"word")
    pem = key.private_bytes(Encoding.PEM, private, locked if kind == "locked" else NoEncryption())
    return pem[: len(pem) // 2] if kind == "cut" else pem


def chained(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what stands behind it, as a log would."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
