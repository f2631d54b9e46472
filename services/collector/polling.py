"""How often a market is to be asked for what its venue has not told yet. Pure.

The decision a reader would question: the tables are of stream time and the same for all venues. A
strike is there within seconds or something is wrong; a result may take a day.
"""

from services.collector.life import Life

NS = 1_000_000_000

STRIKE_POLL_S = ((60, 1), (600, 5), (86_400, 60))
"""While a strike lacks: (up to so many seconds after the open, ask every so many)."""

RESULT_POLL_S = ((120, 2), (3_600, 15), (86_400, 300))
"""The same for a result, after the close. Behind the last bound a market is given up."""

PAUSED_POLL_S = 30
"""While a market is paused inside its life: it is not among those that a listing tells."""


def wait_s(life: Life, now_ns: int) -> int | None:
    """Return how often to ask for this market now; None: there is nothing to ask."""
    if life.is_resolved or life.facts.status == "void":
        return None
    if now_ns >= life.close_ns:
        since_ns, table = life.close_ns, RESULT_POLL_S
    elif now_ns >= life.open_ns and life.facts.strike_usd is None:
        since_ns, table = life.open_ns, STRIKE_POLL_S
    elif now_ns >= life.open_ns and life.facts.status == "paused":
        return PAUSED_POLL_S
    else:
        return None
    passed_s = (now_ns - since_ns) / NS
    return next((seconds for upto_s, seconds in table if passed_s <= upto_s), None)
