"""Names of the metrics that the code exports, read from the code: what a rule may ask for."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

KINDS = {
    "Counter": "counter",
    "Gauge": "gauge",
    "Histogram": "histogram",
    "GaugeMetricFamily": "gauge",
    "CounterMetricFamily": "counter",
}


def names_in_code(*, with_kinds: bool = False) -> dict[str, str]:
    """Return the series that the code exports and their kinds; a histogram's are its three."""
    found: dict[str, str] = {}
    for top in ("libs", "services"):
        for path in (ROOT / top).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                kind = _kind(node)
                if kind is not None and isinstance(node, ast.Call):
                    name = ast.literal_eval(node.args[0])
                    found[name] = kind
                    if kind == "histogram" and not with_kinds:
                        found |= {f"{name}_{part}": kind for part in ("bucket", "sum", "count")}
    return found


def names_of(text: str) -> set[str]:
    """Return the metrics of Hawk that a text asks for."""
    return set(re.findall(r"\bhawk_[a-z0-9_]+", text))


def _kind(node: ast.AST) -> str | None:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
        return None
    first = node.args[0]
    is_ours = isinstance(first, ast.Constant) and str(first.value).startswith("hawk_")
    return KINDS.get(node.func.id) if is_ours else None
