"""Real and invented markets never mix in one data folder."""

from pathlib import Path

import pytest

from libs.common.checks import ArchiveError, ConfigError
from services.collector.provenance import FILE, REAL, claim


def test_the_first_source_leaves_its_name_and_may_come_again(tmp_path: Path) -> None:
    claim(tmp_path, REAL)
    claim(tmp_path, REAL)
    assert REAL in (tmp_path / FILE).read_text()


def test_a_source_of_another_kind_is_refused_with_both_names_and_what_to_do(
    tmp_path: Path,
) -> None:
    claim(tmp_path, "a simulator of the venues")
    with pytest.raises(ConfigError, match=r"recorded from a simulator.*the two must not mix.*use"):
        claim(tmp_path, REAL)
    assert REAL not in (tmp_path / FILE).read_text()


@pytest.mark.parametrize("content", [b"", b"{", b'{"source": 1}', b"\xff"])
def test_a_damaged_note_is_refused_and_not_written_over(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / FILE
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match=r"source\.json"):
        claim(tmp_path, REAL)
    assert path.read_bytes() == content
