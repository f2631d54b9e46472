"""What serves by the operator's order: the gate's word counts unless it is overridden by name."""

from pathlib import Path

import pytest

from libs.common import bundle
from libs.common.checks import BundleError
from services.trainer import publish, serving
from services.trainer.publish import Change
from tests.trainer.test_publish import make_bundle


def judged(root: Path, bundle_id: str, is_accepted: bool, ts_ns: int = 5) -> None:
    publish.record_verdict(
        root,
        Change(bundle_id, "because", "test", ts_ns, wall_ns=1),
        is_accepted=is_accepted,
        fingerprint=f"{bundle_id}{ts_ns}",
        route=None,
        scores={},
    )


def activate(root: Path, bundle_id: str, overrides_gate: bool = False) -> dict[str, object]:
    return serving.activate(
        root, bundle_id, reason="wanted", overrides_gate=overrides_gate, ts_ns=7
    )


@pytest.mark.parametrize("verdict", [None, False])
def test_a_bundle_without_acceptance_needs_an_override(
    tmp_path: Path, verdict: bool | None
) -> None:
    own = make_bundle(tmp_path, 0.1)
    if verdict is not None:
        judged(tmp_path, own, verdict)
    with pytest.raises(BundleError, match="the gate did not accept"):
        activate(tmp_path, own)
    assert bundle.read_current(tmp_path) is None
    assert activate(tmp_path, own, overrides_gate=True)["reason"] == (
        "gate overridden by the operator: wanted"
    )


def test_an_accepted_bundle_and_the_base_model_need_none(tmp_path: Path) -> None:
    own = make_bundle(tmp_path, 0.1)
    judged(tmp_path, own, True)
    judged(tmp_path, own, False, ts_ns=6)  # a later rejection of the same bytes changes nothing
    assert activate(tmp_path, own)["reason"] == "wanted"
    assert activate(tmp_path, bundle.BASE)["bundle"] == bundle.BASE
    assert {e.ts_ns for e in publish.activations(tmp_path)} == {7}


def test_rollback_serves_what_served_before(tmp_path: Path) -> None:
    own = make_bundle(tmp_path, 0.1)
    activate(tmp_path, own, overrides_gate=True)
    switched = serving.rollback(tmp_path, reason="decay", ts_ns=8)
    assert (switched["bundle"], switched["generation"]) == (bundle.BASE, 2)
    assert publish.activations(tmp_path)[-1].action == "rolled_back"


def test_one_damaged_bundle_does_not_hide_the_others(tmp_path: Path) -> None:
    whole, damaged = make_bundle(tmp_path, 0.1), make_bundle(tmp_path, 0.2)
    (tmp_path / "models" / damaged / bundle.FORMULA_FILE).write_bytes(b"{}")
    judged(tmp_path, whole, True)
    activate(tmp_path, whole)
    lines = {line["bundle"]: line for line in serving.list_models(tmp_path)}
    assert lines[damaged]["rung"] == "damaged"
    assert (lines[whole]["verdict"], lines[whole]["serves"]) == ("accepted", True)
    assert not lines["base"]["serves"]
