"""Run the trader: `python -m services.trader`."""

from libs.common.service import main
from services.trader.shell import run

if __name__ == "__main__":
    main("trader", run)
