"""Verification: what crashes, loops, eats memory or lies is refused here, and costs a child."""

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from libs.common import bundle
from libs.common.bundle import Bundle
from libs.common.checks import BundleError, ConfigError
from libs.common.feature_set import FEATURE_NAMES
from libs.common.trees import check_trees, served_text
from services.predictor.probe import answers
from services.predictor.scorer import Scorer
from services.predictor.verify import Limits, Verifier
from tests.predictor import models
from tests.redis_server import wait_until

PATIENT = Limits(cpu_s=1, wall_s=600.0)
"""A second of processor time may take long where the machine is busy: the child is nice."""

CHILDREN = re.compile(r"services\.predictor\.child")


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    own = Verifier(Path("nowhere"), limits=PATIENT)
    yield own
    own.close()


@pytest.fixture
def alone() -> Iterator[Verifier]:
    own = Verifier(Path("nowhere"))
    yield own
    own.close()


def sound(seed: int = 3) -> Bundle:
    own = models.scorer(seed, has_trees=True)
    manifest = models.manifest(models.probe(own))
    return msgspec.structs.replace(own.bundle, id=f"{seed:024x}", manifest=manifest)


def ask(own: Verifier, asked: Bundle) -> Scorer:
    assert asked.manifest is not None
    return own.scorer(asked, asked.manifest)


def with_text(text: str) -> Bundle:
    return msgspec.structs.replace(sound(), trees_text=served_text(text))


def children() -> set[int]:
    """Return this process's children that check bundles."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            command = (path.parent / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if parent == os.getpid() and CHILDREN.search(command):
            found.add(int(path.parent.name))
    return found


def test_a_sound_bundle_becomes_a_scorer_of_the_same_bits(verifier: Verifier) -> None:
    made = ask(verifier, sound())
    rows = models.probe(models.scorer(3, has_trees=True))
    assert answers(made, FEATURE_NAMES, rows) == [(row.p_raw, row.p) for row in rows]


def test_one_child_checks_many_bundles(verifier: Verifier) -> None:
    ask(verifier, sound(3))
    first = children()
    ask(verifier, sound(4))
    assert len(first) == 1
    assert children() == first


def test_trees_that_crash_lightgbm_are_refused(verifier: Verifier) -> None:
    with pytest.raises(BundleError, match=r"crashes its child process \(SIG"):
        ask(verifier, with_text(models.crashing(models.trees(3))))
    ask(verifier, sound())


def test_trees_that_never_end_are_refused_by_their_cpu_time(verifier: Verifier) -> None:
    with pytest.raises(BundleError, match="hangs: its child process used 1 s of CPU"):
        ask(verifier, with_text(models.looping(models.trees(3))))
    ask(verifier, sound())


def test_trees_that_answer_otherwise_are_refused_though_their_structure_is_sound(
    verifier: Verifier,
) -> None:
    text = models.lying(models.trees(3))
    check_trees(text, FEATURE_NAMES)
    with pytest.raises(BundleError, match="probe row 0 gets p_raw"):
        ask(verifier, with_text(text))


def test_a_child_that_was_killed_meanwhile_is_started_again(verifier: Verifier) -> None:
    ask(verifier, sound())
    (before,) = children()
    os.kill(before, 9)
    ask(verifier, sound())
    assert before not in children()


def test_the_child_has_no_setting_and_no_secret_and_is_nice(
    alone: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAWK_REDIS_PASSWORD_FILE", "canary")
    before = children()
    ask(alone, sound())
    (child,) = children() - before
    content = Path(f"/proc/{child}/environ").read_bytes()
    assert b"canary" not in content
    assert b"HAWK_" not in content
    assert os.getpriority(os.PRIO_PROCESS, child) > os.getpriority(os.PRIO_PROCESS, 0)


def test_a_bundle_that_needs_too_much_memory_is_refused() -> None:
    own = Verifier(Path("nowhere"), limits=Limits(memory_bytes=0))
    text = served_text(models.trees(5)).replace("version=v4", "x" * 30_000_000 + "version=v4")
    try:
        with pytest.raises(BundleError, match="needs more than 0 MiB of memory"):
            ask(own, msgspec.structs.replace(sound(), trees_text=text))
    finally:
        own.close()


def test_a_child_that_does_not_answer_in_time_is_ended_with_what_it_forked() -> None:
    before = children()
    own = Verifier(Path("nowhere"), limits=Limits(wall_s=2.0, cpu_s=60))
    ask(own, sound())
    (child,) = children() - before
    with pytest.raises(BundleError, match=r"hangs: .* did not answer within 2 s"):
        ask(own, with_text(models.looping(models.trees(3))))
    assert children() == before
    wait_until(lambda: not in_group(child), "what it forked is gone too", seconds=5)


def in_group(leader: int) -> list[int]:
    """Return the processes of a group that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(group) == leader and state != "Z":
            found.append(int(path.parent.name))
    return found


def test_no_child_no_verdict() -> None:
    before = children()
    own = Verifier(Path("nowhere"), limits=Limits(start_s=0.0))
    with pytest.raises(BundleError, match="was not checked: no child process could be started"):
        ask(own, sound())
    assert children() == before


def test_the_end_cuts_a_check_short() -> None:
    before = children()
    own = Verifier(Path("nowhere"), limits=Limits(cpu_s=60))
    refused: list[str] = []

    def check() -> None:
        with pytest.raises(BundleError) as caught:
            ask(own, with_text(models.looping(models.trees(3))))
        refused.append(str(caught.value))

    thread = threading.Thread(target=check)
    thread.start()
    wait_until(lambda: children() - before, "the child is started")
    own.close()
    thread.join()
    assert "was not checked" in refused[0]
    assert children() == before


def test_a_child_that_rests_is_let_go_and_comes_back(
    alone: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = children()
    ask(alone, sound())
    alone.rest()
    assert len(children() - before) == 1
    monkeypatch.setattr("services.predictor.verify.REST_S", -1.0)
    alone.rest()
    assert children() == before
    ask(alone, sound())
    assert len(children() - before) == 1


def test_a_bundle_without_trees_is_probed_without_a_child(tmp_path: Path) -> None:
    before = children()
    own = Verifier(tmp_path)
    made = own.load(models.write(tmp_path, 6))
    assert made.bundle.formula.rung == "anchored"
    wrong = msgspec.structs.replace(models.probe(models.scorer(7))[0], p=0.123)
    with pytest.raises(BundleError, match="probe row 0 gets p "):
        own.load(models.write(tmp_path, 7, probe=(wrong,)))
    assert children() == before


def test_the_base_model_needs_no_proof(tmp_path: Path) -> None:
    assert Verifier(tmp_path).load(bundle.BASE).bundle.is_fallback


def test_a_bundle_for_other_features_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="feature set other"):
        Verifier(tmp_path).load(models.write(tmp_path, 6, feature_set="other"))


def test_without_a_public_key_nothing_is_believed(tmp_path: Path) -> None:
    bundle_id = models.write(tmp_path, 6)
    (tmp_path / "keys/signing.pub").unlink()
    with pytest.raises(ConfigError):
        Verifier(tmp_path).load(bundle_id)
