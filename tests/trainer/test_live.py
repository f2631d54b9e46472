"""The live trainer: when it starts a run, what it obeys, and what it says when a run fails."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from libs.common import bundle
from services.trainer import live, publish
from services.trainer.job import Result
from services.trainer.live import COUNT_S, RETRY_S_FIRST, Trainer
from tests.trainer.live_scene import (
    HOUR_NS,
    T0_NS,
    FlakyBus,
    actions,
    alerts,
    context,
    hours,
    order,
    record,
    stream_at,
)
from tests.trainer.test_publish import make_bundle
from tests.trainer.test_serving import judged


class FakeJob:
    """A run that ends when the test says so."""

    seconds = 1.0

    def __init__(self, root: Path, cause: str, end_ns: int) -> None:
        self.cause, self.end_ns = cause, end_ns
        self.ended: Result | None = None
        self.is_stopped = False

    def result(self) -> Result | None:
        return self.ended

    def stop(self) -> int:
        self.is_stopped = True
        return 0


class Scene:
    """A trainer, its bus, and the runs that it started."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.root, self.bus = root, FlakyBus()
        self.jobs: list[FakeJob] = []
        self.context = context(root, self.bus, **settings)
        self.trainer = Trainer(self.context, self._start)
        self.now_s = 0.0
        self.trainer.start()

    def _start(self, root: Path, cause: str, end_ns: int) -> FakeJob:
        self.jobs.append(FakeJob(root, cause, end_ns))
        return self.jobs[-1]

    def step(self, seconds: float = COUNT_S) -> None:
        self.now_s += seconds
        self.trainer.step(self.now_s)

    def at_hour(self, hour: int) -> None:
        stream_at(self.bus, self.root, T0_NS + hour * HOUR_NS)
        self.step()

    def end(self, *, is_accepted: bool = False, fault: str | None = None) -> None:
        """End the run as it would: with a recorded verdict, or with a fault."""
        verdict = "accepted" if is_accepted else "rejected"
        if fault is None:
            own = make_bundle(self.root, 0.1 + len(self.jobs) / 100)
            judged(self.root, own, is_accepted, ts_ns=self.context.clock.now_ns)
        self.jobs[-1].ended = Result({"verdict": verdict} if fault is None else None, fault)
        self.step()

    @property
    def causes(self) -> list[str]:
        return [job.cause for job in self.jobs]

    @property
    def notes(self) -> dict[str, str]:
        return dict(self.context.health.notes())


@pytest.fixture
def scene(tmp_path: Path) -> Callable[..., Scene]:
    def make(resolved_hours: int = 0, **settings: Any) -> Scene:
        if resolved_hours:
            record(tmp_path, hours(0, resolved_hours))
        return Scene(tmp_path, **settings)

    return make


def test_it_is_ready_at_once_and_says_what_is_missing(scene: Callable[..., Scene]) -> None:
    own = scene(10)
    own.step()
    assert own.context.health.reasons() == {}
    assert (own.notes["windows"], own.notes["hours"]) == ("40 of 167", "10 of 67")
    assert own.notes["missing"] == "127 windows and 57 hours"
    assert (shown("windows"), shown("windows_missing")) == (40, 127)
    assert (shown("hour_blocks"), shown("hour_blocks_missing")) == (10, 57)
    assert own.jobs == []


def test_the_last_verdict_is_shown_with_its_instant_also_after_a_restart(
    scene: Callable[..., Scene],
) -> None:
    own = scene(80)
    own.at_hour(80)
    assert shown("running") == 1
    own.end()
    for is_new in (True, False):
        if not is_new:
            live.VERDICT_ACCEPTED.set(1)
            scene().step()
        assert shown("last_verdict_accepted") == 0
        assert shown("last_verdict_seconds") == own.jobs[0].end_ns / 1e9
    assert shown("running") == 0
    assert shown("windows_missing") == 0


def shown(name: str) -> float | None:
    return REGISTRY.get_sample_value(f"hawk_trainer_{name}")


def test_enough_hours_start_the_first_run_up_to_the_stream_clock(
    scene: Callable[..., Scene],
) -> None:
    own = scene(66)
    own.at_hour(67)
    assert own.jobs == []
    record(own.root, hours(66, 68))
    own.at_hour(69)
    assert own.causes == ["schedule"]
    assert own.jobs[0].end_ns == T0_NS + 69 * HOUR_NS


def test_the_next_run_is_a_day_of_stream_time_after_the_verdict(
    scene: Callable[..., Scene],
) -> None:
    own = scene(80)
    own.at_hour(80)
    own.end()
    record(own.root, hours(80, 103))
    own.at_hour(104)
    assert own.causes == ["schedule"]
    own.at_hour(105)  # the verdict became known a minute behind the hour
    assert own.causes == ["schedule", "schedule"]


def test_so_many_new_resolutions_start_a_run(scene: Callable[..., Scene]) -> None:
    own = scene(80, train_resolutions=20)
    own.at_hour(80)
    own.end()
    record(own.root, hours(80, 84))
    own.at_hour(84)
    assert own.causes == ["resolutions"]
    record(own.root, hours(84, 86))
    own.at_hour(86)
    assert own.causes == ["resolutions", "resolutions"]
    assert own.notes["verdict"].startswith("2026-")


def test_runs_never_overlap(scene: Callable[..., Scene]) -> None:
    own = scene(80)
    own.at_hour(80)
    order(own.bus, "train")
    own.step()
    assert len(own.jobs) == 1
    own.end()
    assert own.causes == ["schedule", "command of ann"]


def test_an_operators_run_waits_for_nothing(scene: Callable[..., Scene]) -> None:
    own = scene(1)
    order(own.bus, "train")
    own.step()
    own.step()
    assert own.causes == ["command of ann"]


def test_a_failed_run_is_told_once_and_tried_again_at_growing_distances(
    scene: Callable[..., Scene],
) -> None:
    own = scene(80)
    own.at_hour(80)
    starts: list[float] = []
    for _ in range(40):
        if own.jobs[-1].ended is None:
            starts.append(own.now_s)
            own.end(fault="a sealed file is gone")
        own.step(RETRY_S_FIRST / 4)
    gaps = [b - a for a, b in pairwise(starts)]
    assert 3 <= len(gaps) < 5
    for tries, gap_s in enumerate(gaps):
        wait_s_max = RETRY_S_FIRST * 2**tries  # half of it is chance; it takes a step or two to see
        assert wait_s_max / 2 <= gap_s <= wait_s_max + RETRY_S_FIRST / 2
    assert alerts(own.bus) == [("training_failed", "firing")]
    assert own.context.health.reasons() == {}
    own.step(2 * RETRY_S_FIRST**2)
    own.end()
    assert alerts(own.bus)[-1] == ("training_failed", "resolved")


def test_a_failed_command_is_tried_again(scene: Callable[..., Scene]) -> None:
    own = scene(1)
    order(own.bus, "train")
    own.step()
    own.end(fault="another bundle was activated")
    own.step(RETRY_S_FIRST)
    assert own.causes == ["command of ann"] * 2


def test_a_damaged_journal_alerts_and_the_service_goes_on(scene: Callable[..., Scene]) -> None:
    own = scene()
    record(own.root, hours(0, 1)[:3])
    path = next(own.root.glob("archive/journal/collector/*/*/*.journal"))
    whole = path.read_bytes()
    path.write_bytes(whole[:40] + b"!" + whole[41:])
    own.step()
    own.step()
    assert alerts(own.bus) == [("archive_unreadable", "firing")]
    path.write_bytes(whole)
    own.step()
    assert alerts(own.bus)[1:] == [("archive_unreadable", "resolved")]
    assert own.notes["windows"] == "3 of 167"


def test_activation_and_rollback_by_command_are_done_and_posted(
    scene: Callable[..., Scene],
) -> None:
    own = scene(1)
    made = make_bundle(own.root, 0.2)
    order(own.bus, "activate", f"{made} override")
    own.step()
    order(own.bus, "rollback")
    own.step()
    own.step()
    assert actions(own.bus) == [("activated", made), ("rolled_back", bundle.BASE)]
    assert publish.activations(own.root)[0].reason.endswith("of ann")


def test_a_restart_does_not_repeat_an_order(scene: Callable[..., Scene]) -> None:
    own = scene(1)
    order(own.bus, "activate", "base")
    own.step()
    again = Trainer(own.context, own._start)
    again.start()
    again.step(own.now_s + 1)
    assert len(publish.activations(own.root)) == 1


@pytest.mark.parametrize("argument", [None, "BUNDLE", "BUNDLE please", "base now override"])
def test_an_order_that_cannot_be_is_refused_with_an_alert(
    scene: Callable[..., Scene], argument: str | None
) -> None:
    own = scene(1)
    made = make_bundle(own.root, 0.2)
    order(own.bus, "activate", argument.replace("BUNDLE", made) if argument else None)
    own.step()
    assert bundle.read_current(own.root) is None
    assert alerts(own.bus) == [("command_refused", "firing")]
    order(own.bus, "activate", "base")
    own.step()
    assert alerts(own.bus)[1:] == [("command_refused", "resolved")]


def test_an_order_for_another_service_is_none_of_its(scene: Callable[..., Scene]) -> None:
    own = scene(1)
    order(own.bus, "kill")
    own.step()
    assert (alerts(own.bus), own.jobs) == ([], [])


def test_without_a_bus_it_waits_and_goes_on(scene: Callable[..., Scene]) -> None:
    own = scene(80)
    own.bus.is_down = True
    own.step()
    own.bus.is_down = False
    own.at_hour(80)
    own.at_hour(81)
    assert own.causes == ["schedule"]


def test_stopping_stops_the_run(scene: Callable[..., Scene]) -> None:
    own = scene(80)
    own.at_hour(80)
    own.trainer.close()
    assert own.jobs[0].is_stopped


def test_a_damaged_archive_does_not_keep_it_from_starting(tmp_path: Path) -> None:
    record(tmp_path, hours(0, 1)[:3])
    path = next(tmp_path.glob("archive/journal/collector/*/*/*.journal"))
    path.write_bytes(path.read_bytes()[5:])
    own = Scene(tmp_path)
    own.step()
    assert own.context.health.reasons() == {}
    assert alerts(own.bus) == [("archive_unreadable", "firing")]


def test_a_forged_pointer_blocks_publication_and_not_the_service(tmp_path: Path) -> None:
    made = make_bundle(tmp_path, 0.1)
    publish.activate(tmp_path, publish.Change(made, "because", "test", 5, wall_ns=1))
    pointer = tmp_path / "models/current"
    whole = pointer.read_bytes()
    pointer.write_bytes(whole.replace(b'"generation": 1', b'"generation": 2'))
    own = Scene(tmp_path)
    own.step()
    assert alerts(own.bus) == [("publication_blocked", "firing")]
    order(own.bus, "activate", "base")
    own.step()
    assert ("command_refused", "firing") in alerts(own.bus)
    pointer.write_bytes(whole)
    own.step()
    assert ("publication_blocked", "resolved") in alerts(own.bus)


def test_a_pointer_that_is_lost_is_written_anew_with_its_generation(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        made = make_bundle(tmp_path, number / 10)
        publish.activate(tmp_path, publish.Change(made, "because", "test", number, wall_ns=1))
    own = Scene(tmp_path)
    own.step()
    (tmp_path / "models/current").unlink()
    own.step()
    current = bundle.read_current(tmp_path)
    assert current is not None and (current.bundle, current.generation) == (made, 3)


def test_starting_completes_what_a_kill_interrupted(tmp_path: Path) -> None:
    made = make_bundle(tmp_path, 0.1)
    publish.activate(tmp_path, publish.Change(made, "because", "test", 5, wall_ns=1))
    (tmp_path / "models/current").unlink()
    Scene(tmp_path)
    current = bundle.read_current(tmp_path)
    assert current is not None and current.bundle == made
