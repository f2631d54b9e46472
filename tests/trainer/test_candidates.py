"""One run: recorded whatever the verdict, activated only where accepted, alone, and up to date."""

from pathlib import Path

import pytest

from libs.common import audit, bundle, durable
from libs.common.checks import UnavailableError
from services.trainer import candidates, publish, serving
from services.trainer.candidates import Tables
from tests.trainer.live_scene import T0_NS, no_tables, small_tables


def run(root: Path, tables: Tables, ts_ns: int = T0_NS) -> dict[str, object]:
    return candidates.run(root, lambda: tables, cause="test", known_ns=lambda: ts_ns)[1]


def test_an_accepted_candidate_serves_and_all_of_it_is_recorded(tmp_path: Path) -> None:
    figures = run(tmp_path, small_tables())
    assert figures["verdict"] == "accepted", figures["reason"]
    current = bundle.read_current(tmp_path)
    assert current is not None and current.bundle == figures["bundle"]
    assert [e.action for e in publish.model_events(tmp_path)] == ["accepted", "activated"]
    assert {e.ts_ns for e in publish.model_events(tmp_path)} == {T0_NS}
    assert audit.verify_chain(tmp_path) == 2


def test_a_rejected_candidate_is_recorded_and_does_not_serve(tmp_path: Path) -> None:
    figures = run(tmp_path, small_tables(edge=0.0, windows=60))
    assert figures["verdict"] == "rejected"
    assert bundle.read_current(tmp_path) is None
    assert bundle.bundle_ids(tmp_path) == [figures["bundle"]]
    assert candidates.history(tmp_path).fingerprints != ()


def test_tables_without_a_row_give_a_verdict_and_the_base_formula(tmp_path: Path) -> None:
    figures = run(tmp_path, no_tables())
    assert figures["verdict"] == "rejected"
    assert bundle.load_bundle(tmp_path, str(figures["bundle"])).formula.rung == "identity"


def test_two_runs_never_overlap(tmp_path: Path) -> None:
    with (
        durable.writer_lock(tmp_path, candidates.RUN_LOCK),
        pytest.raises(UnavailableError, match="another process is writing as training"),
    ):
        run(tmp_path, no_tables())


def test_an_operator_may_publish_while_a_run_makes_its_tables(tmp_path: Path) -> None:
    first = str(run(tmp_path, small_tables(edge=0.0, windows=60))["bundle"])

    def activates() -> Tables:
        serving.activate(tmp_path, first, reason="now", overrides_gate=True, ts_ns=T0_NS)
        return no_tables()

    candidates.run(tmp_path, activates, cause="test", known_ns=lambda: T0_NS + 1)
    current = bundle.read_current(tmp_path)
    assert current is not None and current.bundle == first


def test_a_run_is_given_up_if_another_bundle_was_activated_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = str(run(tmp_path, small_tables(edge=0.0, windows=60))["bundle"])
    train = candidates.train

    def slow(*arguments, **options):  # type: ignore[no-untyped-def]
        outcome = train(*arguments, **options)
        serving.activate(tmp_path, first, reason="now", overrides_gate=True, ts_ns=T0_NS)
        return outcome

    monkeypatch.setattr(candidates, "train", slow)
    before = len(publish.verdicts(tmp_path))
    with pytest.raises(UnavailableError, match="judged against another model"):
        run(tmp_path, small_tables())
    assert len(publish.verdicts(tmp_path)) == before
    current = bundle.read_current(tmp_path)
    assert current is not None and current.bundle == first


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    left = candidates.run_folder(tmp_path) / "rows.arrow"
    left.parent.mkdir()
    left.write_bytes(b"half")
    run(tmp_path, no_tables())
    assert not left.parent.exists()
