"""The report says the verdict first, holds every table, and stands alone."""

import re

from services.trainer.evidence import TrainingHistory
from services.trainer.gate import GatePolicy, Verdict
from services.trainer.report import text_report
from services.trainer.report_html import html_report
from services.trainer.shell import train
from services.trainer.summary import Findings
from tests.trainer.synthetic import Plan, tables


def _outcome():
    return train(*tables(Plan(windows=240)), history=TrainingHistory(), policy=GatePolicy())


def test_the_text_names_verdict_evidence_ladder_folds_scores_and_gate():
    outcome = _outcome()
    text = outcome.report_text
    assert text.startswith(f"REJECTED: {outcome.verdict.reason}")
    for words in (
        "240 markets in 240 windows and 60 hours",
        "anchored  against identity",
        "Folds (Brier",
        "resampling hours",
        "shuffled labels:",
        "leak detector: 7 features",
    ):
        assert words in text


def test_nothing_to_report_is_reported_plainly():
    text = text_report(Verdict(False, "no quotes"), Findings())
    assert text.startswith("REJECTED: no quotes\n")
    assert "Nothing to learn from." in text


def test_the_page_stands_alone_with_two_pictures():
    page = _outcome().report_html
    assert page.count("<svg") == 2
    assert not re.search(r"<script|<link|src=|href=|@import|url\(", page)
    assert "nan" not in page.split("<pre>")[0].lower()


def test_words_from_outside_are_escaped():
    page = html_report(Verdict(False, "<script>alert(1)</script>"), Findings())
    assert "<script>" not in page


def test_the_same_rows_make_the_same_report():
    first, second = _outcome(), _outcome()
    assert first.report_text == second.report_text
    assert first.report_html == second.report_html
