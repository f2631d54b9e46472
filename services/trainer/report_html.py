"""The verdict as one HTML file with pictures: no script, no link, no font from elsewhere.

In go the verdict and the findings, out comes text. Two inline SVG pictures: reliability (does 0.7
mean 0.7, for model and market) and skill by time left with block intervals. SVG is drawn here and
not by matplotlib: two small pictures do not earn a 60 MB dependency in the trainer's image, and the
bytes are the same everywhere.
"""

from html import escape
from math import isfinite

from libs.common.calibration_error import Bin
from libs.common.scorecard import BucketScore
from services.trainer.gate import Verdict
from services.trainer.report import text_report
from services.trainer.summary import Findings

_SIZE = 400
_MARGIN = 56
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#1b1f24;background:#fff}pre{background:#f5f6f8;padding:1rem;overflow:auto;font-size:13px}"
    "figure{display:inline-block;margin:0 1rem 1rem 0;vertical-align:top}"
    "figcaption{max-width:400px;font-size:13px;color:#555}"
    ".yes{color:#116329}.no{color:#a40e26}svg text{font:10px system-ui,sans-serif;fill:#444}"
)
_MODEL_COLOUR, _MARKET_COLOUR, _GRID_COLOUR = "#0b62c4", "#c2620b", "#cccccc"


def html_report(verdict: Verdict, findings: Findings) -> str:
    """Return the report as one self-contained HTML page."""
    word, tone = ("Accepted", "yes") if verdict.accepted else ("Rejected", "no")
    pictures = ""
    if findings.card is not None and findings.card.rows:
        card = findings.card
        pictures = _figure(
            _reliability_picture(card.reliability, card.reliability_market),
            "How often YES came true (up) against the forecast (right), equal-mass bins with two "
            "standard errors over hours. Blue: model. Orange: market. On the line is perfect.",
        ) + _figure(
            _skill_picture(card.by_time_left),
            "Skill against the market by seconds left: market's Brier minus the model's, with 95 % "
            "intervals over hours. Above the line the model is better.",
        )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>Hawk training verdict: {word.lower()}</title><style>{_STYLE}</style></head>\n"
        f'<body><h1>Training verdict: <span class="{tone}">{word}</span></h1>\n'
        f"<p>{escape(verdict.reason)}</p>\n{pictures}\n"
        f"<pre>{escape(text_report(verdict, findings))}</pre>\n</body></html>\n"
    )


def _figure(picture: str, caption: str) -> str:
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>\n"


def _svg(content: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_SIZE}" height="{_SIZE}" '
        f'viewBox="0 0 {_SIZE} {_SIZE}" role="img">{content}</svg>'
    )


def _x(share: float) -> float:
    return _MARGIN + share * (_SIZE - 1.5 * _MARGIN)


def _y(share: float) -> float:
    return _SIZE - _MARGIN - share * (_SIZE - 1.5 * _MARGIN)


def _line(start: tuple[float, float], end: tuple[float, float], colour: str) -> str:
    return (
        f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" '
        f'stroke="{colour}"/>'
    )


def _text(at: tuple[float, float], words: str, anchor: str = "middle") -> str:
    return f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _dot(at: tuple[float, float], colour: str) -> str:
    return f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="3.5" fill="{colour}"/>'


def _reliability_picture(model: tuple[Bin, ...], market: tuple[Bin, ...]) -> str:
    parts = [_line((_x(0), _y(0)), (_x(1), _y(1)), _GRID_COLOUR)]
    for tenth in range(0, 11, 2):
        share = tenth / 10
        parts.append(_text((_x(share), _SIZE - _MARGIN + 16), f"{share:.1f}"))
        parts.append(_text((_MARGIN - 6, _y(share) + 4), f"{share:.1f}", "end"))
        parts.append(_line((_x(share), _y(0)), (_x(share), _y(0) + 4), _GRID_COLOUR))
    for bins, colour in ((market, _MARKET_COLOUR), (model, _MODEL_COLOUR)):
        for b in bins:
            spread = 2.0 * b.error if isfinite(b.error) else 0.0
            low, high = max(b.y_mean - spread, 0.0), min(b.y_mean + spread, 1.0)
            parts.append(_line((_x(b.p_mean), _y(low)), (_x(b.p_mean), _y(high)), colour))
            parts.append(_dot((_x(b.p_mean), _y(b.y_mean)), colour))
    return _svg("".join(parts))


def _skill_picture(buckets: tuple[BucketScore, ...]) -> str:
    buckets = tuple(b for b in buckets if all(map(isfinite, b.skill)))
    largest = max([abs(v) for b in buckets for v in b.skill] + [1e-4])
    parts = [_line((_x(0), _y(0.5)), (_x(1), _y(0.5)), _GRID_COLOUR)]
    for share, value in ((0.0, -largest), (0.5, 0.0), (1.0, largest)):
        parts.append(_text((_MARGIN - 6, _y(share) + 4), f"{value:+.4f}"[:7], "end"))
    for number, b in enumerate(buckets):
        at = _x((number + 0.5) / len(buckets))
        parts.append(_text((at, _SIZE - _MARGIN + 16), f"{b.from_s:.0f}-{b.to_s:.0f}"))
        low, high, middle = (
            _y(0.5 + v / largest / 2.0) for v in (b.skill.low, b.skill.high, b.skill.estimate)
        )
        parts.append(_line((at, low), (at, high), _MODEL_COLOUR))
        parts.append(_dot((at, middle), _MODEL_COLOUR))
    return _svg("".join(parts))
