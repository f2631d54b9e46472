"""Every rule of the table: silent on a clean run, fires on its planted fault, resolves after.

A fault and its cure are written down per rule; a rule without them fails here.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from libs.common import audit, bundle, keys
from libs.common.context import Alerts, StreamClock
from libs.common.redis_bus import connect
from libs.common.streams import CONTROL, stream_name
from services.monitor import metrics
from services.monitor.claims import RULES
from services.monitor.presence import LETTER_S, MISSES_MAX
from services.monitor.records import VERIFY_S
from services.monitor.silence import INTERVALS_MAX
from tests.monitor.scene import BTC, INTERVAL_S, Scene, at_ns
from tests.redis_server import needs_redis, redis_server, wait_until

Act = Callable[[Scene], None]


@dataclass(frozen=True)
class Plant:
    """A fault, what its evidence must say, and its cure; each lets the time pass that it needs."""

    breaks: Act
    says: str
    heals: Act


def fall_silent(scene: Scene) -> None:
    scene.quiet(INTERVALS_MAX * INTERVAL_S + 1)


def change_a_line(scene: Scene) -> None:
    path = scene.root / audit.AUDIT_FILE
    path.write_bytes(path.read_bytes().replace(b"because", b"Because", 1))
    scene.looks()


def put_the_line_back(scene: Scene) -> None:
    path = scene.root / audit.AUDIT_FILE
    path.write_bytes(path.read_bytes().replace(b"Because", b"because", 1))
    scene.looks()


def point_elsewhere(scene: Scene) -> None:
    """A pointer that is signed and newer, but that nobody recorded."""
    shutil.copy(scene.root / "models/current", scene.root / "before")
    key = keys.signing_key(scene.root)
    bundle.write_current(scene.root, key, bundle_id=bundle.BASE, reason="quietly")
    scene.looks()


def point_back(scene: Scene) -> None:
    shutil.copy(scene.root / "before", scene.root / "models/current")
    scene.looks()


def forecast_by_base(scene: Scene) -> None:
    scene.instant(made_by=bundle.BASE)


def give_up(scene: Scene) -> None:
    scene.letter()
    scene.looks()


def wait_an_hour(scene: Scene) -> None:
    scene.now_s += LETTER_S
    scene.looks()


def fall_behind(scene: Scene) -> None:
    scene.reads("features", 1)
    scene.flood(50_001)
    scene.quiet(6)


def catch_up(scene: Scene) -> None:
    scene.reads("features", 100_000)
    scene.flood(1)
    scene.quiet(6)


def trim_past(scene: Scene) -> None:
    scene.reads("features", 1)
    scene.instants(5)
    scene.bus.trim(stream_name("snapshots", BTC), entries_max=1)
    scene.looks()


def answer(scene: Scene, *, but: str = "") -> None:
    for _ in range(MISSES_MAX):
        scene.monitor.answers.put({name: name != but for name in scene.monitor.pages})
    scene.looks()


PLANTS = {
    "feed_silent": Plant(fall_silent, "no tick for 61 s", Scene.instant),
    "audit_broken": Plant(change_a_line, "line 1 does not follow", put_the_line_back),
    "silent_swap": Plant(point_elsewhere, "base as generation 2", point_back),
    "fallback_serving": Plant(forecast_by_base, "was made by base", Scene.instant),
    "dead_letter": Plant(give_up, "features gave up 1-2", wait_an_hour),
    "reader_behind": Plant(fall_behind, "entries behind in snapshots", catch_up),
    "reader_lost": Plant(trim_past, "entries of snapshots were trimmed before features", catch_up),
    "service_down": Plant(lambda s: answer(s, but="trader"), "/healthz from trader", answer),
}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_the_contract_covers_every_rule() -> None:
    assert set(PLANTS) == {rule.name for rule in RULES}


@pytest.mark.parametrize("rule", sorted(PLANTS))
def test_a_rule_fires_once_on_its_fault_and_resolves_after(scene: Scene, rule: str) -> None:
    plant = PLANTS[rule]
    answer(scene)
    scene.instants(3)
    assert scene.alerts() == []
    plant.breaks(scene)
    assert scene.alerts() == [(rule, "firing")]
    assert plant.says in scene.evidence()
    plant.heals(scene)
    assert scene.alerts() == [(rule, "firing"), (rule, "resolved")]


@needs_redis
def test_rules_hold_on_a_real_redis_and_its_memory_is_shown(tmp_path: Path) -> None:
    with redis_server() as server:
        scene = Scene(tmp_path, bus=connect(server.url))
        answer(scene)
        scene.instants(3)
        assert scene.alerts() == []
        for rule in ("reader_lost", "silent_swap", "dead_letter"):
            before = len(scene.alerts())
            PLANTS[rule].breaks(scene)
            PLANTS[rule].heals(scene)
            assert scene.alerts()[before:] == [(rule, "firing"), (rule, "resolved")]
        assert (REGISTRY.get_sample_value("hawk_redis_used_bytes") or 0) > 100_000
        scene.bus.close()


def test_a_clean_run_with_swaps_and_rollbacks_is_silent(scene: Scene) -> None:
    for number in range(1, 6):
        scene.instants(7)
        scene.activate(0.1 + number / 100)
        scene.instants(7)
    assert scene.alerts() == []


@pytest.mark.parametrize("rule", ["feed_silent", "audit_broken", "silent_swap", "dead_letter"])
def test_a_restart_neither_repeats_nor_resolves_what_still_holds(scene: Scene, rule: str) -> None:
    scene.instants(3)
    PLANTS[rule].breaks(scene)
    scene.start()
    scene.quiet(VERIFY_S + 10)
    assert [alert for alert in scene.alerts() if alert[0] == rule] == [(rule, "firing")]


def test_a_forecast_by_another_bundle_is_a_silent_swap_of_its_underlying(scene: Scene) -> None:
    scene.instants(3)
    scene.instant(made_by="f" * 24)
    assert scene.alerts() == [("silent_swap", "firing")]
    assert "f" * 24 in scene.evidence() and scene.serving in scene.evidence()
    scene.instant()
    assert scene.alerts()[1:] == [("silent_swap", "resolved")]


def test_a_swap_that_is_recorded_and_not_in_the_stream_yet_is_no_fault(scene: Scene) -> None:
    scene.instants(3)
    flush, scene.models.flush = scene.models.flush, lambda: True  # type: ignore[method-assign]
    scene.activate(0.3)
    scene.instants(3)
    assert scene.alerts() == []
    scene.models.flush = flush  # type: ignore[method-assign]


def test_a_monitor_that_starts_late_knows_the_swaps_from_the_archive(scene: Scene) -> None:
    scene.instants(3)
    scene.activate(0.3)
    scene.instants(3)
    scene.bus.remove(stream_name("models", CONTROL))
    scene.start()
    scene.instants(3)
    assert scene.alerts() == []


def test_damaged_files_of_the_bundle_that_serves_are_a_silent_swap(scene: Scene) -> None:
    scene.instants(3)
    path = scene.root / "models" / scene.serving / bundle.FORMULA_FILE
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"0.1", b"0.9"))
    scene.instants(int(VERIFY_S) // INTERVAL_S + 1)
    assert scene.alerts() == [("silent_swap", "firing")]
    assert bundle.FORMULA_FILE in scene.evidence()
    path.write_bytes(whole)
    scene.instants(int(VERIFY_S) // INTERVAL_S + 1)
    assert scene.alerts()[1:] == [("silent_swap", "resolved")]


def test_a_bus_that_is_away_is_one_alert_and_no_silent_feed(scene: Scene) -> None:
    scene.instants(3)
    scene.bus.is_down = True
    scene.quiet(5 * INTERVALS_MAX * INTERVAL_S)
    scene.bus.is_down = False
    scene.context.flush()
    scene.quiet(INTERVAL_S)  # the collector is not back yet
    scene.instants(2)

    def is_told() -> bool:
        scene.context.flush()  # tried again when its back-off says so
        return ("bus_down", "resolved") in scene.alerts()

    wait_until(is_told, "the end of the outage is posted")
    # What fired and was over before anybody could be told need not be told.
    assert scene.alerts()[-1] == ("bus_down", "resolved")
    assert scene.alerts().count(("bus_down", "firing")) <= 1
    assert {rule for rule, _ in scene.alerts()} == {"bus_down"}


def test_a_monitor_of_an_empty_folder_waits(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    shutil.rmtree(tmp_path / "archive")
    scene.start()
    scene.quiet(10)
    assert scene.context.health.reasons() == {}


def test_alerts_of_all_services_are_shown_also_after_a_restart(scene: Scene) -> None:
    def shown(service: str, rule: str, severity: str) -> float | None:
        labels = {"service": service, "rule": rule, "severity": severity}
        return REGISTRY.get_sample_value("hawk_alerts_firing", labels)

    metrics.show_firing({})
    clock = StreamClock(scene.root)
    clock.see(at_ns(1))
    trainer = Alerts(scene.root, scene.bus, writer="trainer", clock=clock)
    trainer.fire("training_failed", evidence="no memory")
    PLANTS["silent_swap"].breaks(scene)
    for _ in range(2):
        assert shown("trainer", "training_failed", "warn") == 1
        assert shown("monitor", "silent_swap", "page") == 1
        metrics.show_firing({})
        scene.start()
        scene.looks()
    trainer.resolve("training_failed", evidence="it ran")
    scene.looks()
    assert shown("trainer", "training_failed", "warn") == 0
