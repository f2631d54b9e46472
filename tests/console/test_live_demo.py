"""The demo's live hour, with a small recording: a bundle is swapped in while `hawk up` plays."""

from pathlib import Path

import msgspec
import pytest

from libs.common import bundle, keys
from libs.common.checks import UnavailableError
from libs.common.events import Event, Forecast, ModelEvent, event_id
from libs.common.settings import Settings
from libs.common.stream_writer import StreamWriter
from services.collector.recording import import_recording
from services.console.live_demo import LivePart, play_live, swap_shown
from services.console.output import parse_time
from tests.common.samples import T0_NS, model_event
from tests.scenarios.bundles import write_anchored

LIVE_NS = parse_time("2026-06-12T04:00:00Z") or 0

BASE = Forecast(
    ts_ns=T0_NS,
    id="0" * 16,
    feature_id="0" * 16,
    feature_hash="h",
    venue="kalshi",
    market="M-1",
    series="S",
    underlying="BTC-USD",
    close_ns=T0_NS,
    role="champion",
    bundle="old",
    p_raw=0.5,
    p=0.5,
    base_p=0.5,
    is_fallback=False,
)


def part(tmp_path: Path) -> LivePart:
    return LivePart(tmp_path / "data", tmp_path / "log", LIVE_NS, 7, ("BTC-USD",))


def write(root: Path, kind: str, events: list[Event]) -> None:
    underlying = getattr(events[0], "underlying", None) or "control"
    StreamWriter(root, writer="predictor", kind=kind, underlying=underlying).append(events)


def forecasts(*told: tuple[int, str, str]) -> list[Event]:
    return [
        msgspec.structs.replace(
            BASE,
            ts_ns=T0_NS + second * 10**9,
            id=event_id("Forecast", second, market),
            market=market,
            bundle=by,
        )
        for second, market, by in told
    ]


def swap(second: int, by: str) -> ModelEvent:
    return model_event(
        0, ts_ns=T0_NS + second * 10**9, action="swapped", bundle=by, underlying="BTC-USD"
    )


def test_the_two_forecasts_around_the_swap_are_of_one_market(tmp_path: Path) -> None:
    write(tmp_path, "models", [swap(3, "new")])
    told = ((1, "M-1", "old"), (2, "M-2", "old"), (3, "M-2", "new"), (4, "M-1", "new"))
    write(tmp_path, "forecasts", forecasts(*told))
    shown = swap_shown(tmp_path, T0_NS)
    assert shown is not None
    assert (shown["before"]["market"], shown["after"]["market"]) == ("M-2", "M-2")
    assert (shown["before"]["bundle"], shown["after"]["bundle"]) == ("old", "new")
    assert shown["reason"] == "reason 0"


def test_without_a_swap_there_is_none_to_show(tmp_path: Path) -> None:
    write(tmp_path, "forecasts", forecasts((1, "M-1", "old"), (2, "M-1", "old")))
    assert swap_shown(tmp_path, T0_NS) is None
    write(tmp_path, "models", [swap(3, "new")])
    assert swap_shown(tmp_path, T0_NS) is None
    # A restart of an older predictor, say: two bundles, and no swap that explains them.
    write(tmp_path, "forecasts", forecasts((3, "M-2", "old"), (4, "M-2", "other")))
    assert swap_shown(tmp_path, T0_NS) is None


@pytest.mark.slow
def test_a_rejected_retrain_is_activated_by_hand_between_two_forecasts(
    world: Path, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    import_recording(world.parent / "recording", root)
    bundle.write_current(root, keys.signing_key(root), bundle_id="base", reason="test")
    candidate = write_anchored(root, gap=0.5)
    verdict = {"verdict": "rejected", "bundle": candidate}
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    live = play_live(part(tmp_path), settings, retrain=lambda: verdict)
    assert "hawk models activate" in live["swapped_by"]
    assert live["swap"]["before"]["bundle"] == "base"
    assert live["swap"]["after"]["bundle"] == candidate
    assert live["compared"]["equal"] is True
    assert live["compared"]["events"]["forecasts"]["recorded"]["count"] == live["forecasts"] > 0


@pytest.mark.slow
def test_a_live_part_that_cannot_start_says_why(tmp_path: Path) -> None:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    (tmp_path / "data" / "archive").mkdir(parents=True)
    (tmp_path / "data" / "archive" / "source.json").write_text('{"source": "elsewhere"}')
    with pytest.raises(UnavailableError, match=r"the live part .*; it said: .*"):
        play_live(part(tmp_path), settings, retrain=lambda: {"verdict": "rejected"})
    assert "the two must not mix" in (tmp_path / "log").read_text()
