"""Score one feature row with one bundle. Pure: the trees come in as a function.

A row that is unusable, or has neither a two-sided quote nor a fair value, gets no forecast: doubt
means no number. The id of a forecast is a hash of (feature row, role), never of the bundle, so that
a row can be scored only once per role. The stream, HTTP and the probe of a new bundle all go
through `probability`: there is one arithmetic to check and to serve.
"""

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import nan

from libs.common.bundle import Bundle
from libs.common.checks import check
from libs.common.events import FeatureRow, Forecast, Role, event_id
from libs.common.model import Probability, forecast
from libs.common.rows import FAIR_VALUE, MID, TIME_LEFT

RowScore = Callable[[Sequence[float | None]], float]


@dataclass(frozen=True)
class Scorer:
    """One bundle ready to serve; `residual` scores a row's trees (rung "residual" only)."""

    bundle: Bundle
    residual: RowScore | None = None

    def __post_init__(self) -> None:
        """Refuse to serve trees without their scores, or the other way round."""
        has_trees = self.bundle.formula.rung == "residual"
        check(has_trees == (self.residual is not None), f"bundle {self.bundle.id} and its trees")

    def fits(self, feature_set: str) -> bool:
        """Tell whether rows of `feature_set` mean to this bundle what they say."""
        manifest = self.bundle.manifest
        return manifest is None or manifest.feature_set == feature_set

    def probability(self, series: str, values: Mapping[str, float | None]) -> Probability | None:
        """Return what `values` (in feature order) get, None where there is nothing to go by."""
        mid, time_left_s = values.get(MID), values.get(TIME_LEFT)
        if time_left_s is None:
            return None
        residual = 0.0
        if self.residual is not None and mid is not None:
            residual = self.residual(list(values.values()))
        return forecast(
            self.bundle.formula,
            series,
            mid=mid,
            fair_value=values.get(FAIR_VALUE),
            time_left_s=time_left_s,
            residual=residual,
        )

    def forecast(self, row: FeatureRow, role: Role = "champion") -> Forecast | None:
        """Return the forecast for `row`, or None where there is nothing to base one on."""
        if row.unusable is not None:
            return None
        found = self.probability(row.series, row.values)
        if found is None:
            return None
        return Forecast(
            ts_ns=row.ts_ns,
            id=event_id("Forecast", row.id, role),
            feature_id=row.id,
            feature_hash=feature_hash(row.values),
            venue=row.venue,
            market=row.market,
            series=row.series,
            underlying=row.underlying,
            close_ns=row.close_ns,
            role=role,
            bundle=self.bundle.id,
            p_raw=found.p_raw,
            p=found.p,
            base_p=found.base_p,
            is_fallback=self.bundle.is_fallback,
            bid_e4=row.bid_e4,
            ask_e4=row.ask_e4,
        )


def feature_hash(values: Mapping[str, float | None]) -> str:
    """Hash the exact inputs of a forecast, bit for bit; a missing value is the NaN pattern."""
    row = array("d", [nan if value is None else value for value in values.values()])
    return blake2b(row.tobytes(), digest_size=8).hexdigest()
