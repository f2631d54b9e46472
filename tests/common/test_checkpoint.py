"""The checkpoint: whole, of the run it says, or one clear line."""

import json
from pathlib import Path

import pytest

from libs.common.checkpoint import CHECKPOINT_FILE, read_checkpoint, write_checkpoint
from libs.common.checks import ArchiveError


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path) is None
    write_checkpoint(tmp_path, b'{"cash":1}', tick_ns=7, run="live", seqs={"BTC-USD": 3})
    found = read_checkpoint(tmp_path)
    assert found is not None
    assert (found.tick_ns, found.run, bytes(found.trader)) == (7, "live", b'{"cash":1}')
    assert found.seqs == {"BTC-USD": 3}


@pytest.mark.parametrize(
    ("field", "value"),
    [("tick_ns", 8), ("run", "other"), ("trader", {"cash": 2}), ("seqs", {"BTC-USD": 4})],
)
def test_a_changed_field_does_not_fit_the_hash(tmp_path: Path, field: str, value: object) -> None:
    write_checkpoint(tmp_path, b'{"cash":1}', tick_ns=7, run="live", seqs={"BTC-USD": 3})
    path = tmp_path / CHECKPOINT_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(ArchiveError, match="does not fit its hash"):
        read_checkpoint(tmp_path)


def test_a_torn_file_is_one_clear_line(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, b'{"cash":1}', tick_ns=7, run="live")
    path = tmp_path / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ArchiveError, match="cannot be read"):
        read_checkpoint(tmp_path)
