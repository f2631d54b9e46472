"""The check that recordings of a simulated venue are held to: it must be able to fail."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from benchmarks.wire_truth import LAG_S, LATE_NS_MAX, Checked, check_truth
from libs.common import columns
from libs.common.events import Flag, QuoteSnapshot
from libs.common.sealing import add_late_rows
from services.simulator.truth import book_hash
from tests.common.samples import T0_NS, quote

S, TICKS, MARKET = 1_000_000_000, 40, "KXBTC15M-A"


def recorded(number: int) -> QuoteSnapshot:
    """Return the row of a tick; each has another size."""
    return quote(number, market=MARKET)


def checked(
    root: Path, rows: Sequence[QuoteSnapshot], *, late_ns: Mapping[int, int] | None = None
) -> Checked:
    """Hold rows against a truth in which the venue told the book of each tick."""
    add_late_rows(root, QuoteSnapshot, columns.to_table(QuoteSnapshot, list(rows)))
    life = {"market": MARKET, "series": "KXBTC15M", "venue": "kalshi"}
    lines = [{"kind": "opened", **life, "open_ns": T0_NS, "close_ns": T0_NS + 900 * S}]
    for number in range(TICKS):
        row = recorded(number)
        bids = list(zip(row.yes_bids_price_e4, row.yes_bids_size_e2, strict=True))
        asks = list(zip(row.yes_asks_price_e4, row.yes_asks_size_e2, strict=True))
        book = {"bids": bids, "asks": asks, "versions": [[0, book_hash(bids, asks)]]}
        tick = {"kind": "tick", "ts_ns": row.ts_ns, "late_ns": (late_ns or {}).get(number, 0)}
        lines.append({**tick, "up": {"kalshi": True}, "faults": {}, "books": {MARKET: book}})
    truth = root / "truth.jsonl"
    truth.write_text("".join(json.dumps(line) + "\n" for line in lines))
    series, products = frozenset({"KXBTC15M"}), frozenset[str]()
    return check_truth(root, truth, series=series, products=products, settle_s=0)


def test_what_the_venue_told_is_covered_and_equal(tmp_path: Path) -> None:
    found = checked(tmp_path, [recorded(n) for n in range(TICKS)])
    assert (found.up, found.valid, found.equal) == (TICKS, TICKS, TICKS)
    assert (found.coverage, found.equality, found.unexplained) == (1.0, 1.0, 0)


def test_a_missing_row_without_a_gap_is_unexplained(tmp_path: Path) -> None:
    found = checked(tmp_path, [recorded(n) for n in range(TICKS) if n != 20])
    assert (found.unexplained, found.valid) == (1, TICKS - 1)


def test_a_flagged_row_is_not_covered(tmp_path: Path) -> None:
    rows = [recorded(n) for n in range(TICKS)]
    rows[20] = msgspec.structs.replace(rows[20], flags=int(Flag.STALE))
    found = checked(tmp_path, rows)
    assert (found.flagged, found.valid, found.differ) == (1, TICKS - 1, 0)


def test_an_old_book_is_late_and_one_that_never_stood_is_wrong(tmp_path: Path) -> None:
    rows = [recorded(n) for n in range(TICKS)]
    lagging, old = recorded(20 - LAG_S + 1), recorded(30 - LAG_S)
    rows[20] = msgspec.structs.replace(rows[20], yes_bids_size_e2=lagging.yes_bids_size_e2)
    rows[30] = msgspec.structs.replace(rows[30], yes_bids_size_e2=old.yes_bids_size_e2)
    rows[35] = msgspec.structs.replace(rows[35], yes_bids_size_e2=(1, 1))
    found = checked(tmp_path, rows)
    assert (found.differ, found.wrong, found.equal) == (2, 1, TICKS - 2)


def test_a_tick_at_which_the_simulator_was_late_is_not_judged_and_the_next_ones_are(
    tmp_path: Path,
) -> None:
    rows = [recorded(n) for n in range(TICKS)]
    for number in (19, 20, 21):
        rows[number] = msgspec.structs.replace(rows[number], flags=int(Flag.STALE))
    found = checked(tmp_path, rows, late_ns={19: LATE_NS_MAX + 1, 5: LATE_NS_MAX})
    assert (found.late, found.up, found.valid) == (1, TICKS - 1, TICKS - 3)
