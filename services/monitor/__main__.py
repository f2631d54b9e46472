"""`python -m services.monitor`: the live monitor."""

from libs.common.service import main
from services.monitor.shell import run

if __name__ == "__main__":
    main("monitor", run)
