"""What the schedule must know of what was judged and what serves, read from disk when it changes.

In goes a data folder, out comes a `Past`. A champion that cannot be read any more does not stop the
schedule: the next candidate is then measured as if the base model served.
"""

from dataclasses import dataclass
from pathlib import Path

from libs.common import bundle
from libs.common.checks import HawkError
from libs.common.feature_set import FEATURE_SET
from services.trainer import publish


@dataclass(frozen=True)
class Past:
    """The last verdict and the champion; times are stream time in ns, None where there is none.

    `champion_end_ns`: where the data of the bundle that serves ended (None: the base model, or one
    for other features).
    """

    verdict: str | None = None
    verdict_ns: int | None = None
    champion_end_ns: int | None = None


def read_past(root: Path) -> Past:
    """Return where training stands in the data folder `root`."""
    verdicts = publish.verdicts(root)
    champion_end_ns = _champion_end_ns(root)
    if not verdicts:
        return Past(champion_end_ns=champion_end_ns)
    last = verdicts[-1]
    return Past(f"{last.action}: {last.reason}", last.ts_ns, champion_end_ns)


def _champion_end_ns(root: Path) -> int | None:
    try:
        current = bundle.read_current(root)
        if current is None:
            return None
        manifest = bundle.load_bundle(root, current.bundle, feature_set=FEATURE_SET).manifest
    except HawkError:
        return None  # damaged or forged: the predictor refuses it, the monitor says so
    return manifest.data_end_ns if manifest else None
