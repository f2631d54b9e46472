"""`python -m services.collector`: the collector as a process."""

from libs.common.service import main
from services.collector.shell import run

if __name__ == "__main__":
    main("collector", run)
