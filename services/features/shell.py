"""The features service: one engine per underlying on the snapshots stream."""

from libs.common.context import Context
from libs.common.service import run_handlers
from services.features.engine import FeatureEngine


def run(context: Context) -> None:
    """Turn snapshots into feature rows until the stop sign."""
    run_handlers(context, source="snapshots", sink="features", make=FeatureEngine)
