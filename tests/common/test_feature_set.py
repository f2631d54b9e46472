"""The pinned feature set is the one that `services.features` makes."""

from libs.common import feature_set
from libs.common.rows import FAIR_VALUE, MID, TIME_LEFT
from services.features import catalog


def test_the_pinned_feature_set_is_the_table_of_features() -> None:
    found = (feature_set.FEATURE_SET, feature_set.FEATURE_NAMES)
    assert found == (catalog.FEATURE_SET, catalog.NAMES), (
        f"the table of features changed: write FEATURE_SET = {catalog.FEATURE_SET!r} and "
        f"FEATURE_NAMES = {catalog.NAMES!r} into libs/common/feature_set.py"
    )


def test_the_features_that_the_formulas_name_are_among_them() -> None:
    assert {MID, FAIR_VALUE, TIME_LEFT} <= set(feature_set.FEATURE_NAMES)
