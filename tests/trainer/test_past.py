"""What was judged last and what serves, read from disk; damage never stops the schedule."""

from pathlib import Path

import msgspec
import pytest

from libs.common import bundle, keys
from libs.common.feature_set import FEATURE_SET
from services.trainer import publish
from services.trainer.past import Past, read_past
from services.trainer.publish import Change
from tests.trainer.test_publish import make_bundle
from tests.trainer.test_serving import judged


def served(root: Path, feature_set: str) -> str:
    """Activate a bundle for `feature_set` whose data ended at 77."""
    example = make_bundle(root, 0.1)
    manifest = bundle.load_bundle(root, example).manifest
    assert manifest is not None
    changed = msgspec.structs.replace(manifest, feature_set=feature_set, data_end_ns=77)
    files = {n: (root / "models" / example / n).read_bytes() for n in manifest.files}
    own = bundle.write_bundle(root, keys.signing_key(root), changed, files)
    publish.activate(root, Change(own, "because", "test", 9, wall_ns=1))
    return own


def test_an_empty_folder_has_no_past(tmp_path: Path) -> None:
    assert read_past(tmp_path) == Past()


def test_the_last_verdict_by_stream_time_counts(tmp_path: Path) -> None:
    judged(tmp_path, "a" * 24, True, ts_ns=50)
    judged(tmp_path, "b" * 24, False, ts_ns=40)
    assert read_past(tmp_path) == Past("accepted: because", 50, None)


@pytest.mark.parametrize(("feature_set", "end_ns"), [(FEATURE_SET, 77), ("older", None)])
def test_a_champion_counts_if_it_can_be_compared_with(
    tmp_path: Path, feature_set: str, end_ns: int | None
) -> None:
    served(tmp_path, feature_set)
    assert read_past(tmp_path).champion_end_ns == end_ns


def test_a_damaged_champion_or_pointer_is_none(tmp_path: Path) -> None:
    own = served(tmp_path, FEATURE_SET)
    (tmp_path / "models" / own / bundle.FORMULA_FILE).unlink()
    assert read_past(tmp_path).champion_end_ns is None
    (tmp_path / "models/current").write_text("{}")
    assert read_past(tmp_path).champion_end_ns is None
