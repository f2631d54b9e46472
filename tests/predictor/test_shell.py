"""The live predictor: what is refused leaves the old model serving; swaps lose and mix nothing."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY

from libs.common import bundle
from libs.common.archive import HOUR_NS
from libs.common.audit import AUDIT_FILE
from libs.common.checks import ConfigError
from libs.common.events import Alert, FeatureRow, Tick, body
from libs.common.memory_bus import MemoryBus
from libs.common.outbox import Outbox
from libs.common.redis_bus import RedisBus, connect
from libs.common.stream_writer import StreamWriter
from services.predictor import shell
from services.predictor.slot import Slot
from services.predictor.swaps import recorded_swaps
from services.predictor.verify import Verifier
from services.trainer import publish
from tests.common.samples import T0_NS
from tests.predictor import models
from tests.predictor.live import (
    Live,
    Pages,
    Stream,
    forecasts,
    free_port,
    live,
    model_events,
    recorded,
    require_audited,
    scored,
)
from tests.predictor.test_verify import PATIENT, children
from tests.redis_server import needs_redis, redis_server, wait_until

SWAPS = 50
STALE_S_MAX, STALE_S_LIMIT = 1.0, 10.0
"""An answer is of a bundle that was current within the last second; 95 in 100 must be, and none may
be older than the limit, because the machine of a test may be busy with others."""

Harm = Callable[[Path, str], None]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, Stream]]:
    """A predictor that serves a bundle with trees; checks use a second of CPU at most."""
    root = tmp_path_factory.mktemp("predictor")
    quick = partial(Verifier, limits=PATIENT)
    bus = MemoryBus()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shell, "Verifier", quick)
        # What a structural check would let through if it had a hole.
        patch.setattr(bundle, "check_trees", lambda text, names: 0)
        stream = Stream(root, bus)
        with live(root, bus) as own:
            own.activate(models.write(root, 1, has_trees=True))
            own.scored(stream.instant(1, 2))
            yield own, stream


def pointer(root: Path) -> Path:
    return bundle.models_folder(root) / "current"


def truncated(root: Path, bundle_id: str) -> None:
    path = bundle.models_folder(root) / bundle_id / bundle.TREES_FILE
    path.write_bytes(path.read_bytes()[:-200])


def unsigned(root: Path, bundle_id: str) -> None:
    (bundle.models_folder(root) / bundle_id / "manifest.sig").write_bytes(bytes(64))


def absent(root: Path, bundle_id: str) -> None:
    (bundle.models_folder(root) / bundle_id / bundle.FORMULA_FILE).unlink()


def half_pointer(root: Path, bundle_id: str) -> None:
    path = pointer(root)
    path.write_bytes(path.read_bytes()[:60])


def forged_pointer(root: Path, bundle_id: str) -> None:
    path = pointer(root)
    path.write_bytes(path.read_bytes().replace(b'"test"', b'"fine"'))


def nothing(root: Path, bundle_id: str) -> None:
    """The bundle itself is the harm."""


BAD: list[tuple[str, dict[str, Any], Harm, str]] = [
    ("truncated", {}, truncated, "model.txt is damaged"),
    ("unsigned", {}, unsigned, "is not signed"),
    ("absent file", {}, absent, "cannot read"),
    ("wrong schema", {"version": 99}, nothing, "manifest version 99 is not known"),
    ("wrong feature set", {"feature_set": "other"}, nothing, "is for feature set other"),
    ("wrong names", {"feature_names": models.FEATURE_NAMES[::-1]}, nothing, "feature names"),
    ("no probe", {"probe": ()}, nothing, "0 probe rows"),
    ("wrong probe", {"text": models.lying}, nothing, "does not answer as it was trained to"),
    ("crashing", {"text": models.crashing}, nothing, "crashes its child process"),
    ("hanging", {"text": models.looping}, nothing, "hangs: its child process used 1 s of CPU"),
    ("half-written pointer", {}, half_pointer, "current cannot be read"),
    ("forged pointer", {}, forged_pointer, "current is not signed"),
]


@pytest.mark.parametrize(("what", "changes", "harm", "reason"), BAD, ids=[b[0] for b in BAD])
def test_what_is_bad_is_refused_with_its_reason_and_the_old_model_serves(
    running: tuple[Live, Stream],
    what: str,
    changes: dict[str, Any],
    harm: Harm,
    reason: str,
) -> None:
    own, stream = running
    root, before = own.root, own.serving()
    whole = pointer(root).read_bytes()
    seed = 100 + [b[0] for b in BAD].index(what)
    given = dict(changes)
    if "text" in given:
        given["text"] = given["text"](models.trees(seed))
    wanted = models.write(root, seed, has_trees=True, **given)
    activation = models.activate(root, wanted)
    harm(root, wanted)
    own.wake(activation)

    def refusals() -> list[Any]:
        return [e for e in model_events(root, "refused") if reason in e.reason]

    wait_until(refusals, f"{what} is refused", seconds=300)
    assert own.serving() == before
    assert own.pages.forecast(1)[1]["bundle"] == before[0]
    own.scored(stream.instant(3))
    assert forecasts(root)[-1].bundle == before[0]
    assert own.context.alerts.is_firing("model_refused")
    assert own.pages.get("/readyz")[0] == 200
    (refusal,) = refusals()
    assert refusal.bundle in (wanted, "unknown")
    require_audited(root, [refusal])
    # The pointer of the model that serves is put back for the next; it is the newest good one.
    pointer(root).write_bytes(whole)
    own.wake(msgspec.structs.replace(activation, id=f"{seed:016x}"))
    wait_until(lambda: not own.context.alerts.is_firing("model_refused"), "all is well again")
    assert own.failure is None


def test_a_refusal_is_recorded_once_however_long_it_stands(running: tuple[Live, Stream]) -> None:
    own, _ = running
    whole = pointer(own.root).read_bytes()
    damaged = models.write(own.root, 200, has_trees=True)
    truncated(own.root, damaged)
    event = models.activate(own.root, damaged)
    for number in range(5):
        own.wake(msgspec.structs.replace(event, id=f"{number:016x}"))
    wait_until(lambda: own.context.alerts.is_firing("model_refused"), "it is refused")
    wait_until(
        lambda: [e.bundle for e in model_events(own.root, "refused")].count(damaged) == 1, "once"
    )
    own.activate(models.write(own.root, 201, has_trees=True))
    assert [e.bundle for e in model_events(own.root, "refused")].count(damaged) == 1
    pointer(own.root).write_bytes(whole)
    wait_until(lambda: own.context.alerts.is_firing("model_refused"), "an old pointer is refused")
    (old,) = [e for e in model_events(own.root, "refused") if "is older than" in e.reason]
    require_audited(own.root, [old])
    states = [a.state for a in recorded(own.root, Alert) if a.rule == "model_refused"]
    assert states[-3:] == ["firing", "resolved", "firing"]


class Load:
    """Asks for forecasts and keeps what came: when it was asked, when it came, status, answer."""

    def __init__(self, port: int) -> None:
        self.answers: list[tuple[float, float, int, Any]] = []
        self._pages = Pages(port)

    def ask(self) -> None:
        sent_s = time.monotonic()
        status, answer = self._pages.forecast(1, 2, 3)
        self.answers.append((sent_s, time.monotonic(), status, answer))

    def ask_until(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.ask()

    def close(self) -> None:
        self._pages.close()


def test_fifty_swaps_under_load_fail_no_request_and_mix_no_answer(tmp_path: Path) -> None:
    bus, stop = MemoryBus(), threading.Event()
    streams = [Stream(tmp_path, bus, u) for u in ("BTC-USD", "ETH-USD")]
    ids = {models.write(tmp_path, seed, has_trees=True): seed for seed in range(SWAPS + 1)}
    first, *rest = ids
    with live(tmp_path, bus) as own, ThreadPoolExecutor(2) as pool:
        own.activate(first)  # the first also waits for LightGBM and for the child, once
        written = [(time.monotonic(), first)]
        loads = [Load(own.port) for _ in range(3)]
        asking = [pool.submit(load.ask_until, stop) for load in loads[1:]]
        try:
            swap_often(own, loads[0], streams=streams, ids=rest, written=written)
        finally:
            stop.set()
        for asked in asking:
            asked.result()
        for load in loads:
            load.close()
    require_answers([answer for load in loads for answer in load.answers], ids, written)
    for stream in streams:
        require_replay(tmp_path, stream.underlying, ids)
    assert model_events(tmp_path, "refused") == []
    require_audited(tmp_path, model_events(tmp_path, "swapped"))


def swap_often(
    own: Live,
    load: Load,
    *,
    streams: list[Stream],
    ids: list[str],
    written: list[tuple[float, str]],
) -> None:
    """Swap to each bundle while rows flow, and note when it was named."""
    for number, bundle_id in enumerate(ids):
        for stream in streams:
            stream.instant(number, number + 1)
        written.append((time.monotonic(), bundle_id))
        event = models.activate(own.root, bundle_id)
        if number % 10:  # every tenth is found by the poll alone
            own.wake(event)
        wait_until(lambda at=event: own.serving()[1] == at.generation, f"{bundle_id} serves")  # type: ignore[misc]
        load.ask()
    for stream in streams:
        own.scored(stream.instant(1), stream.underlying)


def require_answers(
    answers: list[tuple[float, float, int, Any]],
    ids: dict[str, int],
    written: list[tuple[float, str]],
) -> None:
    """No failure, no mixture, nothing stale; every bundle was seen."""
    expected = {
        bundle_id: [
            models.scorer(seed, has_trees=True).probability(models.SERIES, models.features(n))
            for n in (1, 2, 3)
        ]
        for bundle_id, seed in ids.items()
    }
    until = {name: end for (_, name), (end, _) in pairwise(written)}
    since = {name: began for began, name in written}
    ages_s = []
    for sent_s, came_s, status, answer in answers:
        assert status == 200
        name = answer["bundle"]
        assert since[name] <= came_s
        ages_s.append(max(0.0, sent_s - until.get(name, sent_s)))
        found = [f["p"] for f in answer["forecasts"]]
        assert found == pytest.approx([e.p for e in expected[name] if e], abs=1e-12, rel=0)
    assert {answer["bundle"] for _, _, _, answer in answers} >= set(ids) - {written[0][1]}
    assert sorted(ages_s)[len(ages_s) * 95 // 100] <= STALE_S_MAX
    assert max(ages_s) <= STALE_S_LIMIT


def require_replay(root: Path, underlying: str, ids: dict[str, int]) -> None:
    """The recorded swaps, fed to a slot with the recorded rows, make the recorded forecasts."""
    rows = [r for r in recorded(root, FeatureRow) if r.underlying == underlying]
    swaps = recorded_swaps(recorded(root, models.ModelEvent), underlying)
    base = models.Scorer(bundle.BASE_BUNDLE)

    def load(bundle_id: str) -> models.Scorer:
        own = models.scorer(ids[bundle_id], has_trees=True)
        manifest = models.manifest(())
        named = msgspec.structs.replace(own.bundle, id=bundle_id, manifest=manifest)
        return models.Scorer(named, own.residual)

    slot, made = Slot(underlying, base, load), []
    for row in rows:
        while swaps and swaps[0].ts_ns <= row.ts_ns:
            assert slot.handle(swaps.pop(0)) == ()
        made += slot.handle(row)
    assert [body(f) for f in made] == [body(f) for f in forecasts(root, underlying)]


def test_a_restart_makes_lost_instants_again_with_the_bundle_that_scored_them(
    tmp_path: Path,
) -> None:
    bus = MemoryBus()
    stream = Stream(tmp_path, bus)
    first, second, third = (models.write(tmp_path, seed) for seed in (1, 2, 3))
    with live(tmp_path, bus) as own:
        own.activate(first)
        kept_ns = stream.instant(1)
        stream.instant(2)
        own.scored(stream.instant(3))
        own.activate(second)
        own.scored(stream.instant(4))
    before = [body(f) for f in forecasts(tmp_path)]
    # As after a kill: the swaps are journalled, the forecasts behind the first instant are lost.
    outbox = Outbox(
        tmp_path, MemoryBus(), writer="predictor", kind="forecasts", underlying="BTC-USD"
    )
    (tick,) = [
        e.event.seq
        for e in outbox.journalled()
        if isinstance(e.event, Tick) and e.event.ts_ns == kept_ns
    ]
    outbox.cut_behind(tick)
    outbox.close()
    assert len(forecasts(tmp_path)) == 1
    models.activate(tmp_path, third)
    with live(tmp_path, MemoryBus()) as own:
        assert own.serving() == (third, 3)
        own.scored(T0_NS + 4 * 1_000_000_000)
        assert [body(f) for f in forecasts(tmp_path)] == before
        swaps = model_events(tmp_path, "swapped")
        assert [(e.generation, e.bundle) for e in swaps] == [(1, first), (2, second)]
        again = Stream(tmp_path, own.bus)
        again.instants = stream.instants
        own.scored(again.instant(5))
    swaps = model_events(tmp_path, "swapped")
    assert [(e.generation, e.bundle) for e in swaps][2:] == [(3, third)]
    assert swaps[2].feature_id_last == forecasts(tmp_path)[-2].feature_id
    assert [f.bundle for f in forecasts(tmp_path)] == [first, first, first, second, third]
    require_audited(tmp_path, swaps)


def test_what_serves_is_a_metric_without_its_name(tmp_path: Path) -> None:
    def shown(name: str, **labels: str) -> float | None:
        return REGISTRY.get_sample_value(f"hawk_predictor_{name}", labels)

    assert shown("forecasts_total", fallback="true") is not None
    with live(tmp_path) as own:
        wait_until(lambda: shown("is_fallback") == 1, "the base model is shown")
        own.activate(models.write(tmp_path, 1))
        wait_until(lambda: shown("is_fallback") == 0, "the bundle is shown")
        wait_until(lambda: shown("model_generation") == 1, "its generation is shown")


def test_a_restart_without_a_pointer_serves_on_what_the_records_name(tmp_path: Path) -> None:
    bus = MemoryBus()
    stream = Stream(tmp_path, bus)
    first = models.write(tmp_path, 1)
    with live(tmp_path, bus) as own:
        own.activate(first)
        own.scored(stream.instant(1))
    pointer(tmp_path).unlink()
    with live(tmp_path, bus) as own:
        assert own.serving() == (first, 1)
        assert own.context.alerts.is_firing("model_refused")
        own.scored(stream.instant(2))
    assert [f.bundle for f in forecasts(tmp_path)] == [first, first]
    assert len(model_events(tmp_path, "swapped")) == 1


def test_a_swap_right_after_a_restart_knows_the_last_row_before_it(tmp_path: Path) -> None:
    bus = MemoryBus()
    stream = Stream(tmp_path, bus)
    with live(tmp_path, bus) as own:
        own.scored(stream.instant(1, 2))
    models.activate(tmp_path, models.write(tmp_path, 1))
    with live(tmp_path, bus) as own:
        own.scored(stream.instant(3))
    (swap,) = model_events(tmp_path, "swapped")
    assert swap.feature_id_last == forecasts(tmp_path)[1].feature_id


def test_the_last_scored_row_is_found_in_sealed_hours_and_in_the_running_one(
    tmp_path: Path,
) -> None:
    assert shell.last_scored(tmp_path, "BTC-USD") is None
    writer = StreamWriter(tmp_path, writer="predictor", kind="forecasts", underlying="BTC-USD")
    rows = [models.row(seed, ts_ns=T0_NS + seed * HOUR_NS) for seed in (1, 1, 2, 3)]
    for row in rows:
        made = models.scorer(1).forecast(row)
        assert made is not None
        writer.append([made])
    assert shell.last_scored(tmp_path, "BTC-USD") == rows[3].id
    writer.seal(T0_NS + 4 * HOUR_NS)
    writer.close()
    assert shell.last_scored(tmp_path, "BTC-USD") == rows[3].id
    assert shell.last_scored(tmp_path, "ETH-USD") is None


def test_a_restart_completes_the_audit_and_repeats_no_refusal(tmp_path: Path) -> None:
    damaged = models.write(tmp_path, 1)
    unsigned(tmp_path, damaged)
    models.activate(tmp_path, damaged)
    with live(tmp_path) as own:
        wait_until(lambda: own.context.alerts.is_firing("model_refused"), "it is refused")
    (tmp_path / AUDIT_FILE).unlink()
    with live(tmp_path) as own:
        assert own.context.alerts.is_firing("model_refused")
        assert own.serving() == (bundle.BASE, 0)
    refused = model_events(tmp_path, "refused")
    assert len(refused) == 1
    assert sum(1 for _ in (tmp_path / "archive/journal/predictor/models").rglob("*.journal")) == 1
    require_audited(tmp_path, refused)


def test_only_so_many_refusals_are_recorded_and_earlier_swaps_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "REFUSALS_RECORDED_MAX", 2)
    bus = MemoryBus()
    stream = Stream(tmp_path, bus)
    with live(tmp_path, bus) as own:
        for seed in (1, 2, 3):
            own.activate(models.write(tmp_path, seed))
            own.scored(stream.instant(seed))
    with live(tmp_path, MemoryBus()) as own:
        for seed in (4, 5, 6):
            damaged = models.write(tmp_path, seed)
            unsigned(tmp_path, damaged)
            own.wake(models.activate(tmp_path, damaged))
            wait_until(lambda: own.context.alerts.is_firing("model_refused"), f"{seed} is refused")
            own.activate(models.write(tmp_path, seed + 10))
        assert len(model_events(tmp_path, "refused")) == 2


def test_the_trainers_reconciliation_and_the_predictors_audit_write_one_line(
    tmp_path: Path,
) -> None:
    bus = MemoryBus()
    stream = Stream(tmp_path, bus)
    with live(tmp_path, bus) as own:
        change = publish.Change(models.write(tmp_path, 1), "better", "gate", T0_NS, 1)
        publish.activate(tmp_path, change)
        wait_until(lambda: own.serving()[1] == 1, "it serves")
        own.scored(stream.instant(1))
        publish.reconcile(tmp_path)
    (swap,) = model_events(tmp_path, "swapped")
    assert swap.cause == publish.activations(tmp_path)[0].id
    require_audited(tmp_path, recorded(tmp_path, models.ModelEvent))


def test_rows_of_another_feature_set_fall_back_and_say_so(tmp_path: Path) -> None:
    bus = MemoryBus()
    stream = Stream(tmp_path, bus)
    with live(tmp_path, bus) as own:
        own.activate(models.write(tmp_path, 1))
        own.scored(stream.instant(1, feature_set="other"))
        status, page = own.pages.get("/readyz")
        assert status == 503
        assert "feature set other" in page["services"]["predictor"]["reasons"]["features"]
        own.scored(stream.instant(1))
        assert own.pages.get("/readyz")[0] == 200
    assert [f.is_fallback for f in forecasts(tmp_path)] == [True, False]


def test_forecasts_show_on_the_pages(tmp_path: Path) -> None:
    bus = MemoryBus()
    stream = Stream(tmp_path, bus)
    with live(tmp_path, bus) as own:
        own.scored(stream.instant(1, 2))
        lines = own.pages.get("/v1/forecasts/latest")[1]["forecasts"]
        assert [line["id"] for line in lines] == [f.id for f in forecasts(tmp_path)]
        assert len(own.pages.get("/v1/markets")[1]["markets"]) == 2


def test_beyond_loopback_without_a_key_it_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="HAWK_API_KEY_FILE"), live(tmp_path, http_host="0.0.0.0"):
        pass


def test_nothing_is_left_when_it_stops(tmp_path: Path) -> None:
    before, children_before = {t.name for t in threading.enumerate()}, children()
    with live(tmp_path) as own:
        own.activate(models.write(tmp_path, 1, has_trees=True))
    assert {t.name for t in threading.enumerate()} <= before
    assert not [pid for pid in children() if pid not in children_before]


@needs_redis
def test_a_process_on_redis_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    with redis_server() as server, connected(server.url) as bus:
        stream = Stream(tmp_path, bus)
        ids = {models.write(tmp_path, seed, has_trees=True): seed for seed in (1, 2)}
        first, second = ids
        models.activate(tmp_path, first)
        for wanted in (first, second):
            port = free_port()
            with process(tmp_path, server.url, port) as running:
                wait_until(lambda at=port: is_ready(at), "it is ready")  # type: ignore[misc]
                assert Pages(port).get("/v1/model")[1]["bundle"] == wanted
                scored(tmp_path, stream.instant(1, 2))
                models.activate(tmp_path, second)
                for seed in range(3, 40):
                    last_ns = stream.instant(seed)
                if wanted is second:
                    scored(tmp_path, last_ns)
                os.kill(running.pid, signal.SIGKILL)
        assert len(forecasts(tmp_path)) == sum(1 for _ in recorded(tmp_path, FeatureRow))
        require_replay(tmp_path, "BTC-USD", ids)
        swaps = model_events(tmp_path, "swapped")
        assert [e.bundle for e in swaps] == [first, second]
        require_audited(tmp_path, swaps)


@contextmanager
def connected(url: str) -> Iterator[RedisBus]:
    bus = connect(url)
    try:
        yield bus
    finally:
        bus.close()


@contextmanager
def process(root: Path, url: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the service as a process of its own."""
    settings = {"HAWK_DATA": str(root), "HAWK_REDIS_URL": url, "HAWK_PORT": str(port)}
    with (root / "log").open("ab") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "services.predictor"],
            env={**os.environ, **settings},
            stdout=log,
            stderr=log,
        )
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def is_ready(port: int) -> bool:
    try:
        return Pages(port).get("/readyz")[0] == 200
    except OSError:
        return False
