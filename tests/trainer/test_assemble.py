"""What is not fit to learn from is left out under its name; what is wrong refuses the table."""

import numpy as np
import pyarrow as pa
import pytest

from libs.common.model import logit
from libs.common.rows import FEATURE_SET_KEY
from services.trainer import assemble as room
from services.trainer.assemble import assemble
from tests.trainer.synthetic import SECOND_NS, Plan, tables, with_column

PLAN = Plan(windows=12, rows=4)


def _replaced(table, name, values):
    kind = table.schema.field(name).type
    if pa.types.is_dictionary(kind):
        column = pa.array(values, pa.string()).dictionary_encode()
    else:
        column = pa.array(values, kind)
    return table.set_column(table.column_names.index(name), name, column)


def test_every_row_of_a_clean_table_is_learnt_from():
    rows, resolutions = tables(PLAN)
    found = assemble(rows, resolutions)
    assert found.fault is None
    assert found.left_out == {}
    data = found.dataset
    assert (len(data), data.markets(), data.windows(), data.blocks()) == (48, 12, 12, 3)
    assert data.weight.sum() == pytest.approx(12 * 1.0, rel=0.2)
    assert (np.diff(data.ts_ns) >= 0).all()
    assert data.market_logit[0] == logit(data.mid[0])


def test_the_first_reason_of_a_row_counts():
    rows, resolutions = tables(PLAN)
    unusable = [None] * rows.num_rows
    unusable[0], unusable[1], unusable[2] = "stale", "crossed", "stale"
    rows = _replaced(rows, "unusable", unusable)
    mid = rows.column("mid").to_pylist()
    mid[0], mid[5] = None, None
    found = assemble(_replaced(rows, "mid", mid), resolutions)
    assert found.left_out == {"unusable: stale": 2, "unusable: crossed": 1, "one-sided": 1}
    assert len(found.dataset) == rows.num_rows - 4


def test_rows_after_the_close_and_repeated_rows_are_left_out():
    rows, resolutions = tables(PLAN)
    ts = rows.column("ts_ns").to_pylist()
    ts[-1] = rows.column("close_ns").to_pylist()[-1]
    rows = _replaced(rows, "ts_ns", ts)
    rows = pa.concat_tables([rows, rows.slice(3, 1)])
    found = assemble(rows, resolutions)
    assert found.left_out == {"outside the market's life": 1, "repeated": 1}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"result": None}, "unresolved"),
        ({"source": "rebuild"}, "label not from the venue"),
        ({"early": True}, "label known before the close"),
        ({"both": True}, "label contradicted"),
    ],
)
def test_only_a_settled_word_of_the_venue_is_a_label(change, reason):
    rows, resolutions = tables(PLAN)
    table = resolutions.to_pylist()
    if "result" in change:
        del table[0]
    if "source" in change:
        table[0]["source"] = change["source"]
    if "early" in change:
        table[0]["ts_ns"] -= 61 * SECOND_NS
    if "both" in change:
        other = "no" if table[0]["result"] == "yes" else "yes"
        table.append({**table[0], "result": other})
    found = assemble(rows, pa.Table.from_pylist(table, schema=resolutions.schema))
    assert found.left_out == {reason: 4}
    assert found.dataset.markets() == 11


def test_a_label_counts_from_when_it_was_known_first():
    rows, resolutions = tables(PLAN)
    later = resolutions.set_column(
        0, "ts_ns", pa.array(np.array(resolutions.column("ts_ns")) + 10**12, pa.int64())
    )
    assert (
        assemble(rows, later).dataset.known_ns > 10**12 + assemble(rows, resolutions).dataset.ts_ns
    ).all()
    once, twice = (
        assemble(rows, resolutions),
        assemble(rows, pa.concat_tables([later, resolutions])),
    )
    assert once.dataset.known_ns.tolist() == twice.dataset.known_ns.tolist()


def test_no_rows_are_no_quotes():
    rows, resolutions = tables(PLAN)
    assert assemble(rows.slice(0, 0), resolutions).fault.startswith("no quotes")


def test_rows_without_any_label_name_the_reason():
    rows, resolutions = tables(PLAN)
    found = assemble(rows, resolutions.slice(0, 0))
    assert "48 unresolved" in found.fault


def test_a_missing_column_a_wrong_type_or_an_unnamed_feature_set_is_refused():
    rows, resolutions = tables(PLAN)
    assert "lacks column mid" in assemble(rows.drop_columns(["mid"]), resolutions).fault
    assert "lacks column result" in assemble(rows, resolutions.drop_columns(["result"])).fault
    text = rows.append_column("word", pa.array(["x"] * rows.num_rows))
    assert "feature word is string" in assemble(text, resolutions).fault
    unnamed = rows.replace_schema_metadata({})
    assert FEATURE_SET_KEY not in (unnamed.schema.metadata or {})
    assert "no feature set" in assemble(unnamed, resolutions).fault


def test_an_infinite_feature_refuses_the_table_and_is_named():
    rows, resolutions = tables(PLAN)
    values = np.zeros(rows.num_rows)
    values[5] = np.inf
    assert (
        "feature bad holds an infinite"
        in assemble(with_column(rows, "bad", values), resolutions).fault
    )


def test_strikes_of_one_close_are_one_window():
    found = assemble(*tables(Plan(windows=6, strikes=3))).dataset
    assert (found.markets(), found.windows()) == (18, 6)


def test_long_histories_are_thinned_and_their_masses_kept(monkeypatch):
    rows, resolutions = tables(Plan(windows=10, rows=60))
    monkeypatch.setattr(room, "ROWS_UNTHINNED_MAX", 100)
    found = assemble(rows, resolutions).dataset
    assert len(found) < 10 * 5 * 8 + 1
    assert found.mass.sum() == pytest.approx(600)


def test_the_embargo_is_the_longest_life_but_at_least_an_hour():
    short, long = (assemble(*tables(Plan(windows=6, life_s=s))).dataset for s in (300, 7_200))
    assert (short.embargo_ns, long.embargo_ns) == (3_600 * SECOND_NS, 7_200 * SECOND_NS)


def test_coverage_counts_slots_of_the_life_that_hold_a_row():
    rows, resolutions = tables(Plan(windows=3, rows=1))
    data = assemble(rows, resolutions).dataset
    assert data.weight == pytest.approx(np.full(3, 0.05 / 0.20))
