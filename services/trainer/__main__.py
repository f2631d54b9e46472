"""`python -m services.trainer`: the live service; with `train`, one run for it, as a process."""

import argparse
import sys
from pathlib import Path


def main() -> int:
    """Run the service, or train once; return the exit code."""
    if len(sys.argv) == 1:
        _serve()
    parser = argparse.ArgumentParser("python -m services.trainer", description=main.__doc__)
    parser.add_argument("what", choices=("train",))
    parser.add_argument("--data", type=Path, required=True, help="data folder")
    parser.add_argument("--cause", required=True, help="what the verdict says caused it")
    parser.add_argument("--to", type=int, required=True, help="ns UTC, exclusive")
    wanted = parser.parse_args()
    from libs.common.checks import HawkError
    from libs.common.settings import load_settings
    from libs.common.telemetry import configure_logging
    from services.trainer.job import work

    try:
        settings = load_settings()
        configure_logging(settings.log_level)
    except HawkError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return work(wanted.data, cause=wanted.cause, end_ns=wanted.to, workers=settings.train_workers)


def _serve() -> None:
    from libs.common.service import main as serve
    from services.trainer.live import run

    serve("trainer", run)


if __name__ == "__main__":
    sys.exit(main())
