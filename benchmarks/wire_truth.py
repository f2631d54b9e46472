"""Hold what a collector recorded against what the simulator says was true.

In goes an archive and the simulator's truth.jsonl, out come counts. A tick of a market is *up* when
the venue's live feed could be observed; it is *valid* when the archive has a snapshot of it that is
not flagged stale. A snapshot is *equal* when its five best levels a side stood at the venue at its
tick or in the LAG_S before: a wire has a latency, and a second of an accelerated world passes in
milliseconds.

What this does not show: anything about real venues. Simulator and parsers were written apart, from
the venues' documentation, but both from the same pages.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from libs.common.archive import TIME_MAX_NS, Archive
from libs.common.events import Event, Flag, Gap, Market, QuoteSnapshot, Resolution, SpotSnapshot
from services.simulator.truth import book_hash

NS = 1_000_000_000

LAG_S = 3
"""Two intervals, beyond which the collector itself flags a row as stale, and one for the wire."""

LATE_S = 20
"""A book that stood at the venue within so long, but not within LAG_S, was seen late by a machine
that was busy; one that never stood there is wrong, on any machine."""

LATE_NS_MAX = 500_000_000
"""A simulator that is later than this with a tick was not a source that could be observed: on a
machine that is busy, an accelerated world falls behind its own clock."""

KINDS: dict[type[Event], int] = dict.fromkeys(
    (Market, Resolution, Gap, SpotSnapshot, QuoteSnapshot), 0
)


@dataclass
class Checked:
    """Ticks of markets and products between the first and the last tick of the collector."""

    ticks: int = 0
    late: int = 0
    """Ticks not judged because the simulator was late itself."""
    up: int = 0
    valid: int = 0
    equal: int = 0
    differ: int = 0
    """Valid rows whose book did not stand at the venue within LAG_S."""
    wrong: int = 0
    """Those of them whose book did not stand there within LATE_S either."""
    flagged: int = 0
    rows: int = 0
    unexplained: int = 0
    duplicates: int = 0
    doubled: int = 0
    """Rows that stand where a gap says that nothing was seen."""
    resolutions: int = 0
    resolutions_wrong: int = 0
    settlements: int = 0
    settlements_wrong: int = 0
    """Prices at which markets were settled; a result without one is not among them."""
    strikes: int = 0
    strikes_wrong: int = 0
    gaps: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    """Up ticks without a valid row, by faults of the last minute and what stood there instead."""
    examples: list[str] = field(default_factory=list)
    calm: "Checked | None" = None
    """The same of the ticks at which nobody took the machine away; None where that is not known."""

    @property
    def coverage(self) -> float:
        """Share of up ticks with a valid row."""
        return self.valid / self.up if self.up else 0.0

    @property
    def equality(self) -> float:
        """Share of valid rows whose book was the venue's."""
        return self.equal / max(1, self.equal + self.differ)


def check_truth(
    root: Path,
    truth: Path,
    *,
    series: frozenset[str],
    products: frozenset[str],
    settle_s: int,
    polled: frozenset[str] = frozenset(),
    is_calm: Callable[[int], bool] | None = None,
) -> Checked:
    """Compare; the first `settle_s` seconds of the recording are left out (it was starting).

    `polled` venues are up while they answer by REST, others while their feeds can be observed.
    `is_calm` tells of a tick whether the machine was ours then.
    """
    rows, gaps, found = _recorded(root)
    if not rows:
        return found
    start_ns = min(ts for _, ts in rows) + settle_s * NS
    end_ns = max(ts for _, ts in rows)
    lives: dict[str, dict[str, Any]] = {}
    recent: dict[str, list[set[str]]] = {}
    faults: list[tuple[int, str]] = []
    for line in _lines(truth):
        if line["kind"] != "tick":
            if "market" in line:
                lives.setdefault(line["market"], {}).update(line)
            continue
        ts_ns = line["ts_ns"]
        if line["faults"]:
            faults = [f for f in faults if f[0] > ts_ns - 60 * NS]
            faults += [(ts_ns, f"{v}:{n}") for v, names in line["faults"].items() for n in names]
        _remember(recent, line["books"], products)
        if not start_ns <= ts_ns <= end_ns:
            continue
        if line["late_ns"] > LATE_NS_MAX:
            found.late += 1
            continue
        judged = [found]
        if is_calm is not None and is_calm(ts_ns):
            found.calm = found.calm or Checked()
            judged.append(found.calm)
        for one in judged:
            one.ticks += 1
        for name in line["books"]:
            life = lives.get(name)
            venue = "coinbase" if name in products else _venue_of(life, ts_ns, series)
            if venue is None:
                continue
            row, is_open = rows.get((name, ts_ns)), life and life["open_ns"] == ts_ns
            # A gap holds behind its start; one since the open, for the tick of the open too.
            since_ns = 1 if row is None and is_open else 0
            own = [(a - since_ns, b, reason) for a, b, reason in gaps.get(name, ())]
            # A market that nobody knew of is missing with its series.
            series_gaps = gaps.get(life["series"], []) if row is None and life else []
            own += [(a - since_ns, b, reason) for a, b, reason in series_gaps]
            is_up = line["rest_up" if venue in polled else "up"][venue]
            for one in judged:
                _judge(one, row, (name, ts_ns), is_up, recent[name], own, faults)
    _check_facts(root, lives, series, found)
    return found


def _venue_of(life: dict[str, Any] | None, ts_ns: int, series: frozenset[str]) -> str | None:
    """Return the venue of a market that was to be recorded at a tick, else None."""
    if life is None or life["series"] not in series:
        return None
    return str(life["venue"]) if life["open_ns"] <= ts_ns < life["close_ns"] else None


def _judge(
    found: Checked,
    row: tuple[str, int] | None,
    key: tuple[str, int],
    is_up: bool,
    recent: list[set[str]],
    own: list[tuple[int, int, str]],
    faults: list[tuple[int, str]],
) -> None:
    name, ts_ns = key
    is_valid = row is not None and not row[1] & Flag.STALE
    found.up += is_up
    found.valid += is_up and is_valid
    if row is None:
        reason = next((r for a, b, r in own if a < ts_ns <= b), None)
        found.unexplained += reason is None
        found.gaps[reason or "unexplained"] += 1
    else:
        found.rows += 1
        found.doubled += any(a < ts_ns <= b for a, b, _ in own)
        found.flagged += not is_valid
    if is_up and not is_valid:
        near = sorted({fault for at, fault in faults if at > ts_ns - 20 * NS})
        what = "stale" if row is not None else reason or "unexplained"
        found.lost[f"{what} after {','.join(near) or 'nothing'}"] += 1
    if is_valid and row is not None:
        if any(row[0] in versions for versions in recent[-LAG_S:]):
            found.equal += 1
        else:
            found.differ += 1
            found.wrong += not any(row[0] in versions for versions in recent)
            if len(found.examples) < 20:
                found.examples.append(f"{name} at {ts_ns}")


def _remember(
    recent: dict[str, list[set[str]]], books: dict[str, Any], products: frozenset[str]
) -> None:
    for name, book in books.items():
        versions = {version for _, version in book["versions"]}
        depth = 1 if name in products else 5
        versions.add(book_hash(book["bids"][:depth], book["asks"][:depth]))
        recent[name] = [*recent.get(name, [])[-(LATE_S - 1) :], versions]
    for name in [name for name in recent if name not in books]:
        del recent[name]


def _recorded(
    root: Path,
) -> tuple[dict[tuple[str, int], tuple[str, int]], dict[str, list[tuple[int, int, str]]], Checked]:
    """Return (hash, flags) by (name, tick), gaps by name, and what can be counted alone."""
    rows: dict[tuple[str, int], tuple[str, int]] = {}
    gaps: dict[str, list[tuple[int, int, str]]] = {}
    found = Checked()
    for event in Archive(root).scan(KINDS, end_ns=TIME_MAX_NS):
        if isinstance(event, QuoteSnapshot):
            key = (event.market, event.ts_ns)
            levels = book_hash(
                list(zip(event.yes_bids_price_e4, event.yes_bids_size_e2, strict=True)),
                list(zip(event.yes_asks_price_e4, event.yes_asks_size_e2, strict=True)),
            )
        elif isinstance(event, SpotSnapshot) and event.source == "coinbase":
            key = (event.underlying, event.ts_ns)
            levels = book_hash(
                [] if event.bid_usd is None else [(event.bid_usd, event.bid_size)],
                [] if event.ask_usd is None else [(event.ask_usd, event.ask_size)],
            )
        elif isinstance(event, Gap):
            name = event.market or (event.underlying if event.venue is None else event.feed)
            gaps.setdefault(name, []).append((event.start_ns, event.end_ns, event.reason))
            continue
        else:
            continue
        found.duplicates += key in rows
        rows[key] = (levels, event.flags)
    return rows, gaps, found


def _check_facts(
    root: Path, lives: dict[str, dict[str, Any]], series: frozenset[str], found: Checked
) -> None:
    """Hold strikes and results against the truth."""
    kinds: dict[type[Event], int] = {Market: 0, Resolution: 0}
    strikes: dict[str, float] = {}
    for event in Archive(root).scan(kinds, end_ns=TIME_MAX_NS):
        if isinstance(event, Resolution):
            found.resolutions += 1
            life = lives.get(event.market, {})
            found.resolutions_wrong += life.get("result") != event.result
            if event.settlement_usd is not None:
                found.settlements += 1
                found.settlements_wrong += not _is_price(
                    event.settlement_usd, life.get("settlement_usd")
                )
        elif isinstance(event, Market) and event.status == "approximate":
            continue  # our own reading, where the venue tells none, and marked as such
        elif isinstance(event, Market) and event.strike_usd is not None:
            strikes[event.market] = event.strike_usd
    for name, strike in strikes.items():
        true = lives.get(name, {}).get("strike_usd")
        found.strikes += 1
        if not _is_price(strike, true):
            found.strikes_wrong += 1
            found.examples.append(f"strike of {name}: {strike}, true {true}")


def _is_price(told: float, true: float | None) -> bool:
    """Tell whether a price is the true one, as exactly as venues tell it."""
    return true is not None and abs(true - told) <= 1e-6 * told


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)
