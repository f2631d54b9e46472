"""`docker compose --profile demo up`: the venues simulated, and nothing else is different."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.stack import Stack, clone

pytestmark = pytest.mark.compose

PROFILE = ("--profile", "demo")


@pytest.fixture(scope="module")
def demo(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A second project beside the first, from its images, with the source that is the default."""
    made = Stack(clone(tmp_path_factory.mktemp("demo")), f"{stack.project}-demo")
    del made.settings["HAWK_SOURCE"]
    try:
        wanted = [name for name in made.started() if name not in ("prometheus", "alertmanager")]
        made.compose(*PROFILE, "up", "-d", "--wait", *wanted, "simulator")
        yield made
    finally:
        made.compose(*PROFILE, "down", "--volumes", is_checked=False)


def test_live_is_the_default_and_the_collector_says_that_no_market_is_behind_it(
    demo: Stack,
) -> None:
    page = demo.pages([("collector", "/readyz")])[("collector", "/readyz")].json()
    assert "SIMULATED VENUES at http://simulator:8490" in str(page)


def test_all_three_venues_are_recorded_and_forecast(demo: Stack) -> None:
    def has_all() -> bool:
        said = demo.compose("run", "--rm", "hawk", "tail", "forecasts", "-n", "20").stdout
        return "kalshi KXBTC15M-" in said and "polymarket btc-updown-" in said

    demo.wait(has_all, seconds=60)
    said = demo.compose("run", "--rm", "hawk", "tail", "snapshots", "-n", "20").stdout
    assert "SpotSnapshot coinbase bid" in said and "SpotSnapshot chainlink" in said


def test_simulated_and_real_venues_never_share_an_archive(demo: Stack) -> None:
    source = demo.compose("exec", "-T", "collector", "cat", "/data/archive/source.json").stdout
    assert "a simulator of the venues" in source
    # Without the simulator beside it a collector would turn to the venues themselves.
    demo.compose(*PROFILE, "stop", "simulator")
    demo.compose("run", "--rm", "--no-deps", "collector", is_checked=False)
    assert not Path(demo.folder / "never").exists()
