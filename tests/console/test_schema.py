"""docs/data.md is the code's own account."""

from pathlib import Path

from services.console.schema import page


def test_the_committed_page_is_up_to_date() -> None:
    path = Path(__file__).parent.parent.parent / "docs/data.md"
    assert path.read_text() == page(), "run `make docs`"
