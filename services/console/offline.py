"""Run the other roles offline: features from the archive, handlers for replay, training rows.

This is the one place that knows which service's entry does what; live, the same entries run in
processes of their own and meet in streams.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from libs.common import bundle
from libs.common.archive import TIME_MAX_NS, Archive
from libs.common.checks import ArchiveError, UsageError
from libs.common.events import Market, ModelEvent, QuoteSnapshot, Resolution, SpotSnapshot
from libs.common.replay import Handlers
from libs.common.settings import Settings
from services.console import positions
from services.features.batch import build_rows
from services.features.catalog import FEATURE_SET
from services.features.engine import FeatureEngine
from services.predictor.native import row_scorer
from services.predictor.scorer import Scorer
from services.predictor.slot import Slot
from services.trader.engine import TraderEngine
from services.trader.shell import trader_settings
from services.trainer import publish


def open_archive(root: Path) -> Archive:
    """Return the archive of `root`; raise `ArchiveError` where there is none."""
    if not (root / "archive").is_dir():
        raise ArchiveError(f"{root} has no archive: `hawk import DIR --data {root}` makes one")
    return Archive(root)


def newest_ns(root: Path) -> int:
    """Return the newest event time of the archive; raise `ArchiveError` if it is empty."""
    span = open_archive(root).span_ns()
    if span is None:
        raise ArchiveError(f"{root} has an empty archive: import a recording first")
    return span[1]


def feature_rows(
    root: Path, *, end_ns: int = TIME_MAX_NS, series: str | None = None, start_ns: int = 0
) -> pa.Table:
    """Return the feature rows of [start_ns, end_ns), made from the archive."""
    archive = open_archive(root)
    markets = archive.table(Market, end_ns=end_ns)
    quotes = archive.table(QuoteSnapshot, end_ns=end_ns)
    spot = archive.table(SpotSnapshot, end_ns=end_ns)
    rows = build_rows(markets, spot, quotes)
    if series is not None:
        rows = rows.filter(pc.equal(rows["series"], series))
    if start_ns:
        rows = rows.filter(pc.greater_equal(rows["ts_ns"], start_ns))
    return rows


def require_series(root: Path, series: str | None) -> None:
    """Raise `UsageError` if no market of `series` was ever recorded: a typo is not a verdict."""
    if series is None:
        return
    known = pc.unique(open_archive(root).table(Market, names=("series",))["series"]).to_pylist()
    if series not in known:
        raise UsageError(f"no series {series!r} in {root}; known: {', '.join(sorted(known))}")


def resolutions(root: Path, *, end_ns: int = TIME_MAX_NS) -> pa.Table:
    """Return the resolutions known before `end_ns`."""
    return open_archive(root).table(Resolution, end_ns=end_ns)


def load_scorer(root: Path, bundle_id: str) -> Scorer:
    """Return a bundle ready to serve; raise `BundleError` with the reason if it is refused."""
    loaded = bundle.load_bundle(root, bundle_id, feature_set=FEATURE_SET)
    if loaded.trees_text is None or loaded.manifest is None:
        return Scorer(loaded)
    return Scorer(loaded, row_scorer(loaded.trees_text, len(loaded.manifest.feature_names)))


def handlers(root: Path, settings: Settings, *, bundle_id: str | None = None) -> Handlers:
    """Return the handlers of a replay; `bundle_id` scores every row with one bundle."""
    first = load_scorer(root, bundle_id or bundle.BASE)
    loaded: dict[str, Scorer] = {}

    def load(wanted: str) -> Scorer:
        if wanted not in loaded:
            loaded[wanted] = load_scorer(root, wanted)
        return loaded[wanted]

    return Handlers(
        features=FeatureEngine,
        predictor=lambda underlying: Slot(underlying, first, load),
        trader=lambda: TraderEngine(trader_settings(settings)),
    )


def switches(root: Path, *, bundle_id: str | None) -> list[ModelEvent]:
    """Return what changes the served bundle in a replay.

    Activations as far as no predictor ran, from the first live instant on the recorded swaps: an
    activation that a predictor refused, or took up later, must not act in its place.
    """
    if bundle_id is not None:
        return []
    live_ns = positions.live_begin_ns(root)
    return [
        event
        for event in publish.model_events(root)
        if event.action == "swapped"
        or (
            event.action in ("activated", "rolled_back")
            and (live_ns is None or event.ts_ns < live_ns)
        )
    ]
