"""`docker compose --profile demo up`: the venues simulated, and nothing else is different."""

from collections.abc import Iterator

import pytest

from tests.compose.stack import Stack, clone, wait_until

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
    said = demo.page("collector", "/readyz").body.decode()
    assert "SIMULATED VENUES at http://simulator:8490" in said


def test_both_venues_of_contracts_are_recorded_and_forecast(demo: Stack) -> None:
    def has_both() -> bool:
        said = demo.hawk("tail", "forecasts", "-n", "20").stdout
        return "kalshi KXBTC15M-" in said and "polymarket btc-updown-" in said

    wait_until(has_both, "forecasts of both venues")
    said = demo.hawk("tail", "snapshots", "-n", "20").stdout
    assert "SpotSnapshot coinbase bid" in said and "SpotSnapshot chainlink" in said


def test_real_venues_are_never_recorded_where_simulated_ones_were(demo: Stack) -> None:
    # The simulator takes its address away when it stops: the venues themselves are what is left.
    demo.compose(*PROFILE, "stop", "simulator", "collector")
    ended = demo.compose("run", "--rm", "-T", "--no-deps", "collector", is_checked=False)
    assert ended.returncode == 3
    assert "the two must not mix" in ended.stdout + ended.stderr
