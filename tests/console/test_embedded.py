"""Services as threads: kept running, given up, drained, each under its role's lock."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.common import durable
from libs.common.checks import ConfigError, UnavailableError
from libs.common.context import Context
from libs.common.settings import Settings
from services.console.embedded import Embedded, Run, all_services
from tests.console.ports import free_port
from tests.redis_server import wait_until

WAIT_S = 30.0


def patient(context: Context) -> None:
    """Be a service that does nothing until the stop sign."""
    context.stop.wait(WAIT_S)


def finished(context: Context) -> None:
    """Be a service that has nothing more to do."""


class Mortal:
    """A service that dies of `error` each time, and counts."""

    def __init__(self, error: BaseException | None) -> None:
        self.error, self.lives = error, 0

    def __call__(self, context: Context) -> None:
        self.lives += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def made() -> Iterator[list[Embedded]]:
    made: list[Embedded] = []
    yield made
    for embedded in made:
        embedded.drain(within_s=WAIT_S)


def started(made: list[Embedded], root: Path, **runs: Run) -> Embedded:
    settings = Settings(_env_file=None, port=free_port())  # type: ignore[call-arg]
    embedded = Embedded(root, settings, runs=runs, ends_well=("collector",))
    made.append(embedded)
    embedded.start(0.0)
    return embedded


def step_until_dead(embedded: Embedded, mortal: Mortal, lives: int, *, now_s: float) -> None:
    """Let the service live its nth life, and let its death be noticed at `now_s`."""
    wait_until(lambda: mortal.lives == lives, "the service has run")
    wait_until(lambda: embedded.step(now_s) or not embedded.is_running("trader"), "it was buried")


def test_a_dead_service_is_started_again_after_its_wait(
    tmp_path: Path, made: list[Embedded], capsys: pytest.CaptureFixture[str]
) -> None:
    mortal = Mortal(ValueError("a bug"))
    embedded = started(made, tmp_path, trader=mortal)
    step_until_dead(embedded, mortal, 1, now_s=1.0)
    embedded.step(1.49)
    assert mortal.lives == 1
    embedded.step(1.5)
    step_until_dead(embedded, mortal, 2, now_s=2.0)
    embedded.step(2.99)
    assert mortal.lives == 2
    captured = capsys.readouterr()
    assert "ValueError: a bug" in captured.err + captured.out
    assert "Traceback" in captured.err + captured.out


def test_a_service_that_stops_by_itself_is_started_again(
    tmp_path: Path, made: list[Embedded]
) -> None:
    mortal = Mortal(None)
    embedded = started(made, tmp_path, trader=mortal)
    step_until_dead(embedded, mortal, 1, now_s=1.0)
    embedded.step(1.5)
    wait_until(lambda: mortal.lives == 2, "a second life")


def test_a_wrong_setting_is_not_tried_again(tmp_path: Path, made: list[Embedded]) -> None:
    mortal = Mortal(ConfigError("wrong"))
    embedded = started(made, tmp_path, trader=mortal)
    step_until_dead(embedded, mortal, 1, now_s=1.0)
    embedded.step(1_000.0)
    assert embedded.hopeless == ("trader", 3)
    assert mortal.lives == 1


def test_the_end_of_a_recording_is_an_end(tmp_path: Path, made: list[Embedded]) -> None:
    embedded = started(made, tmp_path, collector=finished, trader=patient)
    wait_until(lambda: embedded.step(0.0) or embedded.is_done("collector"), "it has ended")
    embedded.step(1_000.0)
    assert not embedded.is_running("collector")
    assert embedded.is_running("trader")


def test_drain_waits_for_services_that_listen(tmp_path: Path, made: list[Embedded]) -> None:
    embedded = started(made, tmp_path, collector=patient, trader=patient)
    assert embedded.drain(within_s=WAIT_S)


def test_drain_tells_of_a_service_that_does_not_listen(
    tmp_path: Path, made: list[Embedded], capsys: pytest.CaptureFixture[str]
) -> None:
    release, runs = threading.Event(), threading.Event()

    def deaf(context: Context) -> None:
        runs.set()
        release.wait(WAIT_S)

    embedded = started(made, tmp_path, trader=deaf)
    runs.wait(WAIT_S)
    assert not embedded.drain(within_s=0.0)
    release.set()
    captured = capsys.readouterr()
    assert "child.left" in captured.err + captured.out


def test_a_service_holds_its_role(tmp_path: Path, made: list[Embedded]) -> None:
    runs = threading.Event()

    def holding(context: Context) -> None:
        runs.set()
        context.stop.wait(WAIT_S)

    started(made, tmp_path, trader=holding)
    assert runs.wait(WAIT_S)
    with (
        pytest.raises(UnavailableError, match="writing as trader"),
        durable.writer_lock(tmp_path, "trader"),
    ):
        pass


def test_every_service_of_the_table_has_an_entry() -> None:
    pytest.importorskip("lightgbm")
    assert list(all_services()) == [
        "collector",
        "features",
        "predictor",
        "trader",
        "trainer",
        "monitor",
    ]
