"""The text of a source: what is meant is understood, what is not is refused with the form."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import sources
from libs.common.checks import ConfigError
from libs.common.sources import Source, parse_source
from services.simulator import recording as simulation


def test_a_recording_has_a_folder_and_a_speed() -> None:
    assert parse_source("recording:some/dir@60") == Source("recording", Path("some/dir"), 60.0)
    assert parse_source("recording:dir@0.5").speed == 0.5


def test_max_is_no_speed_at_all() -> None:
    assert parse_source("recording:dir@max") == Source("recording", Path("dir"), None)


def test_a_folder_may_hold_an_at_sign_and_a_colon() -> None:
    assert parse_source("recording:a@b:c@2") == Source("recording", Path("a@b:c"), 2.0)


def test_a_simulation_has_defaults() -> None:
    assert parse_source("simulated@20") == Source(
        "simulated",
        speed=20.0,
        seed=1,
        edge=0.0,
        interval_s=10,
        underlyings=("BTC-USD", "ETH-USD", "SOL-USD"),
    )


def test_a_simulation_takes_options_in_any_order() -> None:
    source = parse_source("simulated@1,underlyings=2,interval=1,edge=1.5,seed=0")
    assert (source.seed, source.edge, source.interval_s) == (0, 1.5, 1)
    assert source.underlyings == ("BTC-USD", "ETH-USD")


def test_limits_and_names_are_the_simulator_s() -> None:
    assert simulation.ALL == sources.SIMULATED_UNDERLYINGS
    assert simulation.EDGE_MAX == sources.EDGE_MAX
    assert simulation.GRID_S == sources.GRID_S
    days = (simulation.START - simulation.EPOCH).days
    assert days * 86_400 * 10**9 == sources.SIMULATION_START_NS
    assert simulation.DAYS_MAX == sources.SIMULATION_DAYS_MAX


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "neither live, a recording nor simulated"),
        ("kalshi", "neither live, a recording nor simulated"),
        ("simulate@1", "neither live, a recording nor simulated"),
        ("recording", "neither live, a recording nor simulated"),
        ("recording:dir", "lacks @SPEED"),
        ("recording:@1", "names no folder"),
        ("recording:a\0b@1", "names no folder"),
        ("recording:dir@", "speed ''"),
        ("recording:dir@fast", "speed 'fast'"),
        ("recording:dir@0", "speed '0'"),
        ("recording:dir@-1", "speed '-1'"),
        ("recording:dir@nan", "speed 'nan'"),
        ("recording:dir@inf", "speed 'inf'"),
        ("recording:dir@1_0", "speed '1_0'"),
        ("recording:dir@1e9", "speed '1e9'"),
        ("recording:dir@1e-9", "speed '1e-9'"),
        ("recording:dir@ 1", "speed ' 1'"),
        ("recording:dir@1,seed=2", "speed '1,seed=2'"),
        ("simulated", "speed ''"),
        ("simulated@", "speed ''"),
        ("simulated@max", "has no end"),
        ("simulated@1,", "'' is not one of seed, edge, interval, underlyings"),
        ("simulated@1,sed=2", "'sed=2' is not one of"),
        ("simulated@1,seed", "seed '' is not a whole number"),
        ("simulated@1,seed=-1", "seed '-1' is not"),
        ("simulated@1,seed=1.5", "seed '1.5' is not"),
        ("simulated@1,seed=٣", "seed '٣' is not"),
        ("simulated@1,seed=99999999999999999999", "seed '99999999999999999999' is not"),
        ("simulated@1,seed=1,seed=2", "seed is given twice"),
        ("simulated@1,edge=-0.1", "edge '-0.1' is not a number from 0 to 4"),
        ("simulated@1,edge=4.1", "edge '4.1' is not"),
        ("simulated@1,edge=nan", "edge 'nan' is not"),
        ("simulated@1,interval=0", "interval '0' is not a divisor of 300"),
        ("simulated@1,interval=7", "interval '7' is not a divisor of 300"),
        ("simulated@1,interval=600", "interval '600' is not"),
        ("simulated@1,underlyings=0", "underlyings '0' is not 1 to 3"),
        ("simulated@1,underlyings=4", "underlyings '4' is not 1 to 3"),
    ],
)
def test_what_is_wrong_is_named_with_the_form(text: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_source(text)
    assert why in str(caught.value)
    assert str(caught.value).endswith(sources.FORM)
    assert "\n" not in str(caught.value)


@given(
    st.text()
    | st.sampled_from(["recording:", "simulated@"]).flatmap(
        lambda start: st.text(alphabet="@,=:.0123456789seedgintrvalmx-").map(
            lambda end: start + end
        )
    )
)
def test_any_text_is_a_source_or_one_clear_line(text: str) -> None:
    try:
        source = parse_source(text)
    except ConfigError as error:
        assert len(str(error)) < 1_500
        return
    assert source.speed is None or sources.SPEED_MIN <= source.speed <= sources.SPEED_MAX
    assert (source.kind == "recording") == (source.directory is not None)
