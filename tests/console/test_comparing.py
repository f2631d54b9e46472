"""What was recorded live equals its replay; where it does not, the first difference is named."""

import shutil
import threading
from pathlib import Path

import msgspec
import pytest

from libs.common.archive import TIME_MAX_NS, Archive
from libs.common.checks import ArchiveError
from libs.common.events import Event, Forecast, body, decode
from libs.common.settings import Settings
from libs.common.stream_writer import StreamWriter
from services.collector.recording import import_recording
from services.console import up
from services.console.comparing import Compared, print_comparison, run_compare
from services.console.embedded import Embedded, all_services
from services.console.output import parse_time
from tests.common.samples import quote
from tests.console.ports import free_port
from tests.recording_cut import cut_recording

BEGIN_NS = parse_time("2026-06-01T01:00:00Z") or 0
END_NS = parse_time("2026-06-01T01:20:00Z") or 0


def settings_for(root: Path, recording: Path) -> Settings:
    return Settings(  # type: ignore[call-arg]
        _env_file=None, data=root, source=f"recording:{recording}@max", port=free_port()
    )


@pytest.fixture(scope="module")
def live(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with an imported hour, and twenty minutes recorded live behind it."""
    folder = tmp_path_factory.mktemp("live")
    recording, root = world.parent / "recording", folder / "data"
    cut_recording(recording, folder / "past", BEGIN_NS)
    cut_recording(recording, folder / "all", END_NS)
    import_recording(folder / "past", root)
    settings = settings_for(root, folder / "all")
    embedded = Embedded(root, settings, runs=all_services(), ends_well=("collector",))
    embedded.start(0.0)
    try:
        assert up.watch(embedded, root, threading.Event())
    finally:
        assert embedded.drain()
    return root


@pytest.fixture
def own_live(live: Path, tmp_path: Path) -> Path:
    shutil.copytree(live, tmp_path / "data")
    return tmp_path / "data"


def compare(root: Path) -> dict[str, object]:
    return run_compare(root, Settings(_env_file=None))  # type: ignore[call-arg]


def test_a_replay_makes_what_was_recorded_live(
    live: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = compare(live)
    assert result["equal"] is True
    assert result["from"] == "2026-06-01T00:59:59Z"  # right behind the last imported instant
    events = msgspec.convert(result["events"], dict[str, dict[str, dict[str, object]]])
    for found in events.values():
        assert found["recorded"] == found["replayed"]
    assert int(str(events["features"]["recorded"]["count"])) > 50
    assert int(str(events["orders"]["recorded"]["count"])) > 0
    print_comparison(result)
    assert "equal: the replay makes what was recorded" in capsys.readouterr().out


def test_one_forecast_more_is_a_difference(
    own_live: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forecasts = Archive(own_live).scan({Forecast: 0}, end_ns=TIME_MAX_NS)
    first = next(e for e in forecasts if isinstance(e, Forecast))
    writer = StreamWriter(own_live, writer="predictor", kind="forecasts", underlying="BTC-USD")
    writer.append([msgspec.structs.replace(first, id="0" * 16, seq=0)])
    result = compare(own_live)
    assert result["equal"] is False
    print_comparison(result)
    out = capsys.readouterr().out
    assert "forecasts" in out
    assert "first difference, recorded: 2026-06-01T01:" in out
    assert "DIFFERENT" in out


def test_the_command_exits_1_when_different(own_live: Path, hawk) -> None:  # type: ignore[no-untyped-def]
    assert hawk("replay", "--compare", "--data", own_live, "--json")[0] == 0
    journal = sorted(own_live.glob("archive/journal/trader/orders/*/*.journal"))[0]
    journal.write_bytes(b"")
    code, result, _ = hawk("replay", "--compare", "--data", own_live, "--json")
    assert (code, result["equal"]) == (1, False)
    assert result["events"]["orders"]["first_difference"]["recorded"] is None
    code, _, stderr = hawk("replay", "--compare", "--data", own_live, "--bundle", "base")
    assert (code, "give it alone" in stderr) == (2, True)


def test_where_nothing_was_recorded_live_it_says_so(world: Path) -> None:
    with pytest.raises(ArchiveError, match="nothing that was recorded live"):
        compare(world)


def compared(recorded: list[Event], replayed: list[Event]) -> Compared:
    digest = Compared(iter(recorded))
    for event in replayed:
        digest.add(body(event))
    digest.finish()
    return digest


@pytest.mark.parametrize(
    ("recorded", "replayed", "difference"),
    [
        ((0, 1, 2), (0, 1, 2), None),
        ((0, 1, 2), (0, 2, 2), (1, 2)),
        ((0, 1), (0, 1, 2), (None, 2)),
        ((0, 1, 2), (0, 1), (2, None)),
        ((), (0,), (None, 0)),
        ((), (), None),
    ],
)
def test_the_first_difference_is_named(
    recorded: tuple[int, ...],
    replayed: tuple[int, ...],
    difference: tuple[int | None, int | None] | None,
) -> None:
    found = compared([quote(n) for n in recorded], [quote(n) for n in replayed])
    expected = difference and tuple(
        None if n is None else decode(body(quote(n))) for n in difference
    )
    assert found.difference == expected
    assert (found.recorded_count, found.count) == (len(recorded), len(replayed))
    assert (found.sha256 == found.recorded_sha256) == (difference is None)
