"""Fixtures that several areas share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# One deadline for property tests: machines differ, so time never fails a test.
settings.register_profile("hawk", deadline=None)
settings.load_profile("hawk")

RECORDINGS = Path(
    os.environ.get("HAWK_RECORDINGS")
    or Path(__file__).parent.parent.parent / "shared/data/recordings"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long tests: begun last, one would run alone while the other core is idle."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Folder of real recordings; skips where there are none."""
    if not (RECORDINGS / "kalshi_btc15m/markets.parquet").exists():
        pytest.skip("no real recordings: set HAWK_RECORDINGS to a folder that has them")
    return RECORDINGS
