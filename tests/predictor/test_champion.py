"""The champion: generations rise, refusals leave the old one serving, a restart forgets nothing."""

import os
import stat
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from libs.common import bundle, keys
from libs.common.bundle import BASE, Bundle
from libs.common.checks import BundleError, ConfigError
from libs.common.events import ModelEvent, event_id
from libs.common.model import Formula
from services.predictor.champion import (
    RETRY_S_MAX,
    SCORERS_MAX,
    UNKNOWN,
    Champion,
    Refusal,
)
from services.predictor.scorer import Scorer
from services.trainer import publish
from tests.common.samples import T0_NS

ONE, TWO, BAD = "1" * 24, "2" * 24, "bad0" * 6


class Shelf:
    """Bundles to load from; counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.damaged = {BAD}

    def load(self, bundle_id: str) -> Scorer:
        self.asked.append(bundle_id)
        if bundle_id in self.damaged:
            raise BundleError(f"bundle {bundle_id} is damaged")
        return Scorer(Bundle(id=bundle_id, formula=Formula(rung="anchored")))


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def champion(tmp_path: Path, shelf: Shelf) -> Champion:
    return Champion(tmp_path, shelf.load)


def pointer(root: Path) -> Path:
    return bundle.models_folder(root) / "current"


def point(root: Path, bundle_id: str) -> bytes:
    """Move the pointer on and return its bytes."""
    bundle.write_current(
        root, keys.signing_key(root), bundle_id=bundle_id, reason=f"to {bundle_id}"
    )
    return pointer(root).read_bytes()


def serving(champion: Champion) -> tuple[str, int]:
    return champion.serving.scorer.bundle.id, champion.serving.generation


def swap(generation: int, bundle_id: str, *, underlying: str = "BTC-USD") -> ModelEvent:
    return ModelEvent(
        ts_ns=T0_NS + generation,
        id=event_id("swap", generation, underlying),
        bundle=bundle_id,
        action="swapped",
        reason="recorded",
        cause=event_id("activation", generation),
        generation=generation,
        underlying=underlying,
    )


def test_the_base_model_serves_before_any_pointer(champion: Champion) -> None:
    assert champion.poll(0.0) is None
    assert serving(champion) == (BASE, 0)
    assert champion.serving.activation is None


def test_a_pointer_is_followed_and_each_rise_of_it(tmp_path: Path, champion: Champion) -> None:
    for generation, bundle_id in enumerate((ONE, TWO, ONE, BASE), start=1):
        point(tmp_path, bundle_id)
        assert champion.poll(0.0) is None
        assert serving(champion) == (bundle_id, generation)


def test_the_reference_changes_only_with_the_pointer(tmp_path: Path, champion: Champion) -> None:
    point(tmp_path, ONE)
    champion.poll(0.0)
    before = champion.serving
    champion.poll(1.0)
    assert champion.serving is before


def test_an_old_pointer_that_is_put_back_is_refused(
    tmp_path: Path, champion: Champion, shelf: Shelf
) -> None:
    old = point(tmp_path, ONE)
    point(tmp_path, TWO)
    champion.poll(0.0)
    pointer(tmp_path).write_bytes(old)
    refusal = champion.poll(1.0)
    assert refusal is not None
    assert (refusal.bundle, refusal.generation) == (ONE, 1)
    assert "generation 1 of models/current is older than generation 2" in refusal.reason
    assert serving(champion) == (TWO, 2)
    assert shelf.asked == [TWO]


def test_a_generation_never_names_two_bundles(tmp_path: Path, champion: Champion) -> None:
    point(tmp_path, ONE)
    champion.poll(0.0)
    pointer(tmp_path).unlink()
    point(tmp_path, TWO)
    refusal = champion.poll(1.0)
    assert refusal is not None
    assert refusal.reason == f"generation 1 of models/current named {ONE} before: it must rise"
    assert serving(champion) == (ONE, 1)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot be read"),
        (b'{"bundle": "1111', "cannot be read"),
        (b"\0" * 300, "cannot be read"),
        (b'{"bundle":"base","generation":9,"reason":"","signature":""}', "not signed"),
    ],
)
def test_a_pointer_that_is_half_written_or_forged_is_refused(
    tmp_path: Path, champion: Champion, content: bytes, reason: str
) -> None:
    whole = point(tmp_path, ONE)
    champion.poll(0.0)
    pointer(tmp_path).write_bytes(content)
    refusal = champion.poll(1.0)
    assert refusal is not None
    assert (refusal.bundle, refusal.generation) == (UNKNOWN, None)
    assert reason in refusal.reason
    assert serving(champion) == (ONE, 1)
    pointer(tmp_path).write_bytes(whole)
    assert champion.poll(2.0) is None


def test_a_pointer_signed_with_another_key_is_refused(tmp_path: Path, champion: Champion) -> None:
    point(tmp_path, ONE)
    champion.poll(0.0)
    bundle.write_current(tmp_path, Ed25519PrivateKey.generate(), bundle_id=TWO, reason="x")
    refusal = champion.poll(1.0)
    assert refusal is not None
    assert "not signed" in refusal.reason
    assert serving(champion) == (ONE, 1)


def test_a_pointer_that_is_gone_or_no_file_is_refused(tmp_path: Path, champion: Champion) -> None:
    point(tmp_path, ONE)
    champion.poll(0.0)
    pointer(tmp_path).unlink()
    refusal = champion.poll(1.0)
    assert refusal is not None
    assert "is gone" in refusal.reason
    os.mkfifo(pointer(tmp_path))
    refusal = champion.poll(2.0)
    assert refusal is not None
    assert "it is no file" in refusal.reason
    assert serving(champion) == (ONE, 1)


def test_a_pointer_that_may_not_be_read_is_refused(
    tmp_path: Path, champion: Champion, monkeypatch: pytest.MonkeyPatch
) -> None:
    point(tmp_path, ONE)
    champion.poll(0.0)
    point(tmp_path, TWO)

    def refuse(*arguments: Any) -> int:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as closed:
        closed.setattr(os, "open", refuse)
        refusal = champion.poll(1.0)
    assert refusal is not None
    assert "Permission denied" in refusal.reason
    assert serving(champion) == (ONE, 1)
    assert stat.S_ISREG(pointer(tmp_path).stat().st_mode)


def test_without_the_public_key_the_pointer_is_refused(tmp_path: Path, champion: Champion) -> None:
    point(tmp_path, ONE)
    (tmp_path / keys.PUBLIC_KEY).unlink()
    refusal = champion.poll(0.0)
    assert refusal is not None
    assert "cannot read key" in refusal.reason


def test_a_missing_key_while_loading_is_a_refusal_of_the_bundle(tmp_path: Path) -> None:
    def load(bundle_id: str) -> Scorer:
        raise ConfigError("cannot read key")

    with pytest.raises(BundleError, match="cannot read key"):
        Champion(tmp_path, load).scorer(ONE)


def test_a_bundle_that_fails_leaves_the_old_one_and_is_tried_ever_more_slowly(
    tmp_path: Path, champion: Champion, shelf: Shelf
) -> None:
    point(tmp_path, ONE)
    champion.poll(0.0)
    point(tmp_path, BAD)
    first = champion.poll(0.0)
    assert first == Refusal(BAD, 2, f"bundle {BAD} is damaged")
    assert serving(champion) == (ONE, 1)
    tries = [tick for tick in range(1, 1000) if _asks(champion, shelf, float(tick))]
    waits = [b - a for a, b in pairwise(tries)]
    assert waits == sorted(waits)
    assert max(waits) == RETRY_S_MAX
    assert champion.poll(1000.0) == first


def _asks(champion: Champion, shelf: Shelf, now_s: float) -> bool:
    before = len(shelf.asked)
    champion.poll(now_s)
    return len(shelf.asked) > before


def test_a_bundle_that_was_repaired_in_place_is_served(
    tmp_path: Path, champion: Champion, shelf: Shelf
) -> None:
    point(tmp_path, BAD)
    assert champion.poll(0.0) is not None
    shelf.damaged.clear()
    assert champion.poll(0.5) is not None
    assert champion.poll(2.0) is None
    assert serving(champion) == (BAD, 1)


def test_the_next_pointer_is_tried_at_once(
    tmp_path: Path, champion: Champion, shelf: Shelf
) -> None:
    point(tmp_path, BAD)
    champion.poll(0.0)
    point(tmp_path, TWO)
    assert champion.poll(0.0) is None
    assert serving(champion) == (TWO, 2)


def test_a_bundle_is_verified_once_and_few_are_kept(champion: Champion, shelf: Shelf) -> None:
    ids = [str(n) * 24 for n in range(SCORERS_MAX + 1)]
    first = champion.scorer(ids[0])
    assert champion.scorer(ids[0]) is first
    for bundle_id in ids:
        champion.scorer(bundle_id)
    assert shelf.asked == ids
    champion.scorer(ids[0])
    assert shelf.asked == [*ids, ids[0]]


def test_a_recorded_activation_is_the_cause(tmp_path: Path, champion: Champion) -> None:
    keys.signing_key(tmp_path)
    change = publish.Change(BASE, "operator's wish", "operator", T0_NS, 1)
    publish.activate(tmp_path, change)
    publish.activate(tmp_path, change, is_rollback=True)
    champion.poll(0.0)
    activation = champion.serving.activation
    assert activation is not None
    assert activation.id == publish.activations(tmp_path)[-1].id
    assert (activation.action, activation.generation) == ("rolled_back", 2)


def test_a_pointer_without_a_record_is_its_own_cause(tmp_path: Path, champion: Champion) -> None:
    point(tmp_path, ONE)
    champion.poll(0.0)
    activation = champion.serving.activation
    assert activation is not None
    assert (activation.bundle, activation.reason) == (ONE, f"to {ONE}")


def test_a_restart_serves_what_the_newest_swap_named(champion: Champion) -> None:
    events = [swap(1, ONE), swap(2, TWO), swap(2, TWO, underlying="ETH-USD")]
    assert champion.restore(events) == []
    assert serving(champion) == (TWO, 2)
    activation = champion.serving.activation
    assert activation is not None
    assert (activation.action, activation.underlying) == ("activated", None)
    assert activation.id == event_id("activation", 2)


def test_a_restart_passes_over_what_cannot_be_loaded_and_says_so(
    tmp_path: Path, champion: Champion, shelf: Shelf
) -> None:
    refusals = champion.restore([swap(1, ONE), swap(2, BAD)])
    assert refusals == [Refusal(BAD, 2, f"bundle {BAD} is damaged")]
    assert serving(champion) == (ONE, 1)


def test_after_a_restart_a_pointer_below_the_recorded_swaps_is_refused(
    tmp_path: Path, champion: Champion, shelf: Shelf
) -> None:
    point(tmp_path, TWO)
    shelf.damaged = {ONE}
    champion.restore([swap(7, ONE)])
    assert serving(champion) == (BASE, 0)
    refusal = champion.poll(0.0)
    assert refusal is not None
    assert "older than generation 7, which served" in refusal.reason
    assert serving(champion) == (BASE, 0)


def test_the_same_refusal_has_the_same_id_and_another_another() -> None:
    one, again = (Refusal(BAD, 2, "why").event(ts_ns, "c") for ts_ns in (1, 2))
    others = [
        Refusal(*facts).event(1, "c")
        for facts in ((ONE, 2, "why"), (BAD, 3, "why"), (BAD, None, "why"), (BAD, 2, "because"))
    ]
    assert one.id == again.id
    assert len({one.id, *(other.id for other in others)}) == 5
    assert msgspec.structs.replace(again, ts_ns=1, wall_ns=0) == msgspec.structs.replace(
        one, wall_ns=0
    )
