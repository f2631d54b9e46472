"""Publication: what serves, why, and that a kill between two steps is completed, not repeated."""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from libs.common import audit, bundle, durable, keys
from libs.common.bundle import Manifest, formula_files
from libs.common.checks import BundleError, UnavailableError
from libs.common.model import Formula
from services.trainer import publish
from services.trainer.publish import Change


class Killed(BaseException):
    """Stands for SIGKILL inside one process: nothing in the product catches it."""


@pytest.fixture
def restore_steps() -> Iterator[None]:
    before = durable.on_step
    yield
    durable.on_step = before


def make_bundle(root: Path, distance_max: float) -> str:
    formula = Formula(rung="anchored", distance_max=distance_max)
    manifest = Manifest(
        version=bundle.MANIFEST_VERSION,
        feature_set="f",
        feature_names=("mid",),
        series=("KXBTC15M",),
        rung=formula.rung,
        calibration="identity",
        data_start_ns=0,
        data_end_ns=1,
        rows=1,
        markets=1,
        windows=1,
        blocks=1,
        scores={},
        libraries={},
        probe=(),
    )
    return bundle.write_bundle(root, keys.signing_key(root), manifest, formula_files(formula, None))


def change(bundle_id: str, ts_ns: int = 5) -> Change:
    return Change(bundle_id, "because", "test", ts_ns, wall_ns=99)


def test_generation_rises_and_every_change_is_chained(tmp_path: Path) -> None:
    first, second = make_bundle(tmp_path, 0.1), make_bundle(tmp_path, 0.2)
    assert publish.activate(tmp_path, change(first)).generation == 1
    assert publish.activate(tmp_path, change(second)).generation == 2
    assert [e.bundle for e in publish.activations(tmp_path)] == [first, second]
    assert audit.verify_chain(tmp_path) == 2


def test_rollback_goes_to_what_served_before_and_then_to_base(tmp_path: Path) -> None:
    first, second = make_bundle(tmp_path, 0.1), make_bundle(tmp_path, 0.2)
    publish.activate(tmp_path, change(first))
    assert publish.rollback_target(tmp_path) == bundle.BASE
    publish.activate(tmp_path, change(second))
    assert publish.rollback_target(tmp_path) == first


def test_rollback_before_any_activation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nothing was ever activated"):
        publish.rollback_target(tmp_path)


def test_a_bundle_that_does_not_verify_is_not_activated(tmp_path: Path) -> None:
    first = make_bundle(tmp_path, 0.1)
    path = tmp_path / "models" / first / bundle.FORMULA_FILE
    path.write_bytes(path.read_bytes().replace(b"0.1", b"0.9"))
    with pytest.raises(BundleError, match="damaged"):
        publish.activate(tmp_path, change(first))
    assert bundle.read_current(tmp_path) is None
    assert publish.model_events(tmp_path) == []


def test_the_same_verdict_is_recorded_once(tmp_path: Path) -> None:
    for _ in range(2):
        publish.record_verdict(
            tmp_path,
            change("b"),
            is_accepted=False,
            fingerprint="f",
            route=None,
            scores={"brier_model": 0.1},
        )
    assert [e.action for e in publish.model_events(tmp_path)] == ["rejected"]
    assert audit.verify_chain(tmp_path) == 1


def steps_of_an_activation(root: Path) -> list[str]:
    steps: list[str] = []
    durable.on_step = steps.append
    publish.activate(root, change(make_bundle(root, 0.1)))
    return steps


def test_killed_at_any_step_an_activation_is_whole_or_completed(
    tmp_path: Path, restore_steps: None
) -> None:
    steps = steps_of_an_activation(tmp_path / "counted")
    assert len(steps) > 10
    for number in range(len(steps)):
        durable.on_step = lambda step: None
        root = tmp_path / str(number)
        old, new = make_bundle(root, 0.1), make_bundle(root, 0.2)
        publish.activate(root, change(old))
        seen = iter(range(number + 1))

        def die(step: str, seen: Iterator[int] = seen) -> None:
            if next(seen, None) is None:
                raise Killed

        durable.on_step = die
        with suppress(Killed):
            publish.activate(root, change(new, ts_ns=6))
        durable.on_step = lambda step: None
        publish.reconcile(root)
        publish.reconcile(root)
        current = bundle.read_current(root)
        assert current is not None
        bundle.load_bundle(root, current.bundle)
        history = publish.activations(root)
        assert (history[-1].bundle, history[-1].generation) == (current.bundle, current.generation)
        assert audit.verify_chain(root) == len(publish.model_events(root))


def test_a_publisher_waits_for_another_that_is_soon_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ExitStack()
    other.enter_context(durable.writer_lock(tmp_path, publish.WRITER))
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        other.close()

    monkeypatch.setattr(publish.time, "sleep", sleep)
    with publish.publishing(tmp_path):
        assert len(waited) == 1


def test_a_publisher_does_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "LOCK_S_MAX", 0.0)
    with (
        durable.writer_lock(tmp_path, publish.WRITER),
        pytest.raises(UnavailableError, match="another process is writing as trainer"),
        publish.publishing(tmp_path),
    ):
        pass
