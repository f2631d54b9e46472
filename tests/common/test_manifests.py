"""Half an archive is refused; a file that is being replaced is no fault."""

from pathlib import Path

import msgspec
import pytest

from libs.common import manifests, sealing
from libs.common.archive import HOUR_NS
from libs.common.checks import ArchiveError
from libs.common.manifests import require_whole
from libs.common.stream_writer import StreamWriter
from tests.common.samples import T0_NS, quote


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """The one sealed file of a data folder."""
    writer = StreamWriter(tmp_path, writer="collector", kind="snapshots", underlying="BTC-USD")
    writer.append([quote(1), quote(2)])
    writer.seal(T0_NS + HOUR_NS)
    return next(tmp_path.glob("archive/quote_snapshot/*/*/*.parquet"))


def test_a_whole_archive_passes(sealed: Path, tmp_path: Path) -> None:
    require_whole(tmp_path)


def test_a_changed_file_is_named(sealed: Path, tmp_path: Path) -> None:
    sealed.write_bytes(sealed.read_bytes() + b"x")
    with pytest.raises(ArchiveError, match=str(sealed)):
        require_whole(tmp_path)


def test_a_missing_file_is_named_unless_it_was_only_promised(sealed: Path, tmp_path: Path) -> None:
    sealed.unlink()
    with pytest.raises(ArchiveError, match="gone"):
        require_whole(tmp_path)
    manifest = sealing.read_manifest(sealed.parent)
    fact = manifest.files[sealed.name]
    promised = {sealed.name: msgspec.structs.replace(fact, pending=fact.sha256)}
    sealing.write_manifest(sealed.parent, sealing.Manifest(promised))
    require_whole(tmp_path)


def test_a_file_replaced_while_we_look_is_looked_at_again(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = sealing.read_manifest
    seen: list[Path] = []

    def slow(folder: Path) -> sealing.Manifest:
        manifest = read(folder)
        if not seen:
            seen.append(folder)
            table = sealing._read_file(sealed)
            sealing._replace(folder, {sealed.name: table.slice(0, 1)})
        return manifest

    monkeypatch.setattr(manifests.sealing, "read_manifest", slow)
    require_whole(tmp_path)
