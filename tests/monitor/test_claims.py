"""Every alert that Hawk can raise has a page that says what it means and what to do."""

import re
from pathlib import Path

from libs.common.context import BUS_DOWN, STREAM_FLUSHED
from services.collector.troubles import RULES as TROUBLES
from services.monitor.claims import RULES, RULES_KNOWN, RULES_OF_OTHERS

ROOT = Path(__file__).parent.parent.parent
RUNBOOKS = (ROOT / "docs/runbooks.md").read_text()


def sections() -> dict[str, str]:
    parts = re.split(r"^## (\w+)$", RUNBOOKS, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def fired() -> set[str]:
    """Return the rules that code fires by a literal, or by a constant beside it."""
    sources = [p for top in ("libs", "services") for p in (ROOT / top).rglob("*.py")]
    call = re.compile(r'alerts\.fire\(\s*(?:"(\w+)"|([A-Z_]+),)')
    found: set[str] = set()
    for path in sources:
        text = path.read_text()
        for literal, constant in call.findall(text):
            named = re.findall(rf'^{constant} = "(\w+)"$', text, flags=re.MULTILINE)
            found |= {literal} if literal else set(named)
    return found | set(TROUBLES)


def test_every_rule_has_its_section() -> None:
    assert {rule.name for rule in RULES} <= set(sections())
    assert {"stream_lost", "publication_blocked", "training_failed"} <= fired() <= set(sections())


def test_every_rule_that_a_service_fires_may_be_a_label() -> None:
    outages = {BUS_DOWN, STREAM_FLUSHED}
    assert fired() | outages <= RULES_KNOWN <= set(sections())
    own = {rule.name for rule in RULES}
    assert not own & set(RULES_OF_OTHERS)
    assert set(RULES_OF_OTHERS) - fired() - outages == {"journal_unwritable"}


def test_every_section_says_what_it_means_and_what_to_do() -> None:
    for name, text in sections().items():
        assert "**Means.**" in text and "**Do.**" in text, name


def test_no_rule_is_named_twice() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
