from pathlib import Path

from libs.common.events import event_id
from libs.common.ops import NAN, SCALARS
from libs.common.rows import FAIR_VALUE, MID, ROW_COLUMNS, TIME_LEFT
from services.features import catalog
from services.features.catalog import FEATURE_SET, FEATURES, NAMES
from services.features.inputs import Book, Clock, Contract, Inputs, Price, Settlement, Venue

ROOT = Path(__file__).resolve().parents[2]
NOTHING = Inputs(Clock(), Contract(), Book(), Price(), Settlement(), Venue())


def test_the_page_is_what_the_table_makes() -> None:
    written = (ROOT / "docs" / "features.md").read_text()
    assert written == catalog.page(), "run python -m services.features.catalog > docs/features.md"


def test_names_are_unique_and_collide_with_no_column() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert not set(NAMES) & set(ROW_COLUMNS.names)


def test_the_features_that_the_ladder_names_are_there() -> None:
    assert {MID, FAIR_VALUE, TIME_LEFT} <= set(NAMES)


def test_every_feature_states_formula_unit_source_and_reason() -> None:
    for feature in FEATURES:
        assert all((feature.formula, feature.unit, feature.source, feature.why)), feature.name
        assert feature.formula != feature.function.__doc__
        assert feature.version >= 1


def test_the_id_covers_names_order_units_versions_and_formulas() -> None:
    parts = [part for f in FEATURES for part in (f.name, f.unit, f.version, f.formula)]
    assert event_id("feature-set", *parts) == FEATURE_SET
    changed = FEATURES[0]._replace(version=2)
    parts[:4] = [changed.name, changed.unit, changed.version, changed.formula]
    assert event_id("feature-set", *parts) != FEATURE_SET


def test_without_any_input_every_feature_is_missing() -> None:
    values = catalog.finite(catalog.compute(NOTHING, SCALARS))
    assert list(values) == list(NAMES)
    assert set(values.values()) == {None}


def test_fair_value_needs_every_input_it_names() -> None:
    price = Price(80_000.0, 1.0, squares_15m=1e10, times_15m=1e12)
    whole = NOTHING._replace(
        clock=Clock(30.0, 870.0, 900.0, 0.0),
        contract=Contract(80_000.0, 1.0),
        price=price,
        settlement=Settlement(30 * 80_000.0, 0.0, 0.0),
    )
    assert catalog.compute(whole, SCALARS)["fair_value"] > 0.4
    gaps = (
        whole._replace(contract=whole.contract._replace(boundary_usd=NAN)),
        whole._replace(contract=whole.contract._replace(is_average=NAN)),
        whole._replace(price=price._replace(spot_usd=NAN)),
        whole._replace(price=price._replace(squares_15m=NAN)),
        whole._replace(settlement=whole.settlement._replace(prints_usd=NAN)),
        whole._replace(clock=whole.clock._replace(time_left_s=-1.0)),
    )
    for gap in gaps:
        assert catalog.finite(catalog.compute(gap, SCALARS))["fair_value"] is None
