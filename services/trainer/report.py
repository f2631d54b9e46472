"""The verdict in words: a plain text that a person understands without the code.

In go the verdict and the findings, out comes text. It says first what was decided and why, then on
how much evidence, then every figure with its interval, then what was left out. No time of day and
no path of a machine enters, so that the same archive makes the same report.
"""

from collections.abc import Sequence

import numpy as np

from libs.common.scorecard import Scorecard
from libs.common.scoring import Interval
from services.trainer.gate import Comparison, Verdict
from services.trainer.summary import Findings


def text_report(verdict: Verdict, findings: Findings) -> str:
    """Return the report as text, lines of about 100 characters."""
    parts = [
        [f"{'ACCEPTED' if verdict.accepted else 'REJECTED'}: {verdict.reason}", ""],
        _evidence_lines(findings),
        _ladder_lines(findings),
        _fold_lines(findings),
        [] if findings.card is None else _score_lines(findings.card, findings.shown),
        _gate_lines(findings),
        _left_out_lines(findings),
    ]
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def instant(ts_ns: int) -> str:
    """Format an instant as RFC 3339 UTC, to the second.

    >>> instant(1_778_475_600_000_000_000)
    '2026-05-11T05:00:00Z'
    """
    return f"{np.datetime64(ts_ns // 1_000_000_000, 's')}Z"


def signed_interval(interval: Interval) -> str:
    """Format an estimate with its 95 % interval.

    >>> signed_interval(Interval(0.001, -0.002, 0.004))
    '+0.0010 [-0.0020, +0.0040]'
    """
    return f"{interval.estimate:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


def _evidence_lines(findings: Findings) -> list[str]:
    if findings.rows == 0:
        return ["Nothing to learn from."]
    return [
        f"Learnt from {findings.markets} markets in {findings.windows} windows and "
        f"{findings.blocks} hours ({findings.rows} rows), series {', '.join(findings.series)},",
        f"rows from {instant(findings.start_ns)}, last label known {instant(findings.end_ns)}; "
        f"feature set {findings.feature_set}.",
        f"Rung earned: {findings.rung}; calibration: {findings.calibration}; "
        f"trees: {findings.trees}.",
        "",
    ]


def _ladder_lines(findings: Findings) -> list[str]:
    steps = findings.evidence.steps
    if not steps:
        return []
    lines = [
        "Ladder (walk-forward, Brier gained, standardised over time left; a rung is taken if it",
        "beats every rung below by more than one standard error over hours):",
    ]
    for s in steps:
        judged = "beaten" if s.beaten else "not beaten"
        lines.append(
            f"  {s.rung:9} against {s.below:9} {s.gain:+.4f}  error {s.error:.4f}  {judged}"
        )
    for rung, gain in (findings.rung_gains or {}).items():
        lines.append(f"  {rung:9} headline skill against the mid {signed_interval(gain)}")
    return [*lines, ""]


def _fold_lines(findings: Findings) -> list[str]:
    if not findings.folds:
        return []
    lines = ["Folds (Brier, mean over markets; identity is the market's mid):"]
    for number, f in enumerate(findings.folds, start=1):
        scores = "  ".join(f"{name} {value:.4f}" for name, value in f.brier.items())
        lines.append(
            f"  {number}: {instant(f.start_ns)} to {instant(f.end_ns)}, learnt from "
            f"{f.train_windows} windows, tested on {f.test_windows} in {f.test_blocks} hours"
        )
        lines.append(f"     {scores}  ({f.trees} trees, calibration {f.calibration})")
    return [*lines, ""]


def _score_lines(card: Scorecard, shown: str) -> list[str]:
    fair = card.on_fair_value_rows
    lines = [
        f"Walk-forward scores of rung {shown} ({card.markets} markets, {card.windows} windows, "
        f"{card.blocks} hours):",
        f"  Brier              model {card.brier.model:.4f}   market {card.brier.market:.4f}",
        f"  standardised       model {card.standardised.model:.4f}   "
        f"market {card.standardised.market:.4f}",
        f"  log loss           model {card.log_loss.model:.4f}   market {card.log_loss.market:.4f}",
        f"  where fair value is known ({fair.markets} markets): model {fair.model:.4f}   "
        f"market {fair.market:.4f}   fair value {fair.fair_value:.4f}",
        "  skill against the market (above 0: better), with 95 % intervals",
        f"    resampling markets  {signed_interval(card.skill_vs_market)}",
        f"    resampling hours    {signed_interval(card.skill_vs_market_by_block)}",
        f"    standardised, hours {signed_interval(card.skill_standardised_by_block)}",
        f"  calibration error  model {card.calibration_error.model:.4f}   "
        f"market {card.calibration_error.market:.4f}",
        f"  raw ECE {card.ece:.4f}; a perfect forecaster would show {card.ece_null:.4f} here",
        f"  Cox line: intercept {card.cox.intercept:+.3f}, slope {card.cox.slope:.3f} "
        "(perfect: 0, 1)",
        f"  Murphy: reliability {card.murphy.reliability:.4f}, resolution "
        f"{card.murphy.resolution:.4f}, uncertainty {card.murphy.uncertainty:.4f}",
        "  by time left (seconds):",
    ]
    lines += [
        f"    {b.from_s:6.0f} to {b.to_s:6.0f}  {b.markets:6d} markets  model "
        f"{b.brier.model:.4f}  market {b.brier.market:.4f}  skill {signed_interval(b.skill)}"
        for b in card.by_time_left
    ]
    return [*lines, ""]


def _gate_lines(findings: Findings) -> list[str]:
    e = findings.evidence
    lines = [f"Gate (candidate number {e.candidate_number} of this trainer):"]
    lines += [f"  fault: {fault}" for fault in e.faults]
    if e.chance is not None:
        lines.append(
            f"  shuffled labels: {e.chance.gain:+.4f} Brier against the base rate "
            f"(standard error {e.chance.error:.4f}; above 0 would be a leak)"
        )
    if e.leaks:
        worst = max(e.leaks, key=lambda leak: leak.share)
        lines.append(
            f"  leak detector: {len(e.leaks)} features, the most telling is {worst.name} with "
            f"{worst.share:+.1%} of the market's squared error"
        )
    lines += _comparison_lines((e.against_mid, e.against_champion, e.against_superior))
    return [*lines, ""]


def _comparison_lines(comparisons: Sequence[Comparison | None]) -> list[str]:
    return [
        f"  against {c.reference}: standardised {c.gain:+.4f} (standard error {c.error:.4f}), "
        f"headline {c.gain_headline:+.4f}, calibration error {c.calibration_change:+.4f}, "
        f"{c.windows} windows in {c.blocks} hours"
        for c in comparisons
        if c is not None
    ]


def _left_out_lines(findings: Findings) -> list[str]:
    if not findings.left_out:
        return []
    lines = ["Rows left out:"]
    lines += [f"  {count:8d} {reason}" for reason, count in sorted(findings.left_out.items())]
    return lines
