"""Rules and alerts: valid, tested against themselves, explained, and of metrics that exist.

promtool and amtool come from PATH, else from their container images if an engine answers.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from libs.common.service import PORT_OFFSETS
from libs.common.settings import Settings
from services.monitor.claims import RULES_KNOWN
from tests.deploy.exported import names_in_code, names_of

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus/rules/hawk.yml"
TESTS = sorted((DEPLOY / "prometheus/tests").glob("*.yml"))
DASHBOARD = DEPLOY / "grafana/dashboards/overview.json"

IMAGES = {"promtool": "prom/prometheus:v3.5.0", "amtool": "prom/alertmanager:v0.28.1"}
ENGINE_S, TOOL_S = 20, 600
"""An engine that takes longer to answer is none; a busy machine needs minutes for all rules."""

Tool = Callable[..., subprocess.CompletedProcess[str]]


def command(tool: str, place: Path) -> list[str] | None:
    """Return how to start `tool` with `place` in reach, None where it cannot be had."""
    if (found := shutil.which(tool)) is not None:
        return [found]
    if shutil.which("docker") is None:
        return None
    try:
        asked = ["docker", "image", "inspect", IMAGES[tool]]
        if subprocess.run(asked, capture_output=True, timeout=ENGINE_S, check=False).returncode:
            return None
    except subprocess.TimeoutExpired:
        return None
    mount = ["-v", f"{place}:{place}:ro", "--entrypoint", tool]
    return ["docker", "run", "--rm", "--network", "none", *mount, IMAGES[tool]]


def runner(tool: str, place: Path) -> Tool:
    start = command(tool, place)
    if start is None:
        pytest.skip(f"{tool} is not on PATH and no engine here has {IMAGES[tool]}")

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        words = [*start, *map(str, arguments)]
        return subprocess.run(words, capture_output=True, text=True, timeout=TOOL_S, check=False)

    return run


@pytest.fixture(scope="module")
def promtool() -> Tool:
    return runner("promtool", DEPLOY)


@pytest.fixture(scope="module")
def amtool() -> Tool:
    return runner("amtool", DEPLOY)


def alerts() -> Iterator[tuple[str, str]]:
    """Yield name and text of every alert rule."""
    for part in re.split(r"^      - (?=alert: |record: )", RULES.read_text(), flags=re.M)[1:]:
        if part.startswith("alert: "):
            yield part.split("\n")[0].removeprefix("alert: "), part


ALERTS = dict(alerts())


def test_configuration_and_rules_are_valid(promtool: Tool) -> None:
    checked = promtool("check", "config", DEPLOY / "prometheus/prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.slow
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_resolve_and_stay_silent_as_they_should(promtool: Tool, path: Path) -> None:
    tested = promtool("test", "rules", path)
    assert tested.returncode == 0, tested.stdout[-4_000:] + tested.stderr[-4_000:]


def test_both_configurations_of_alertmanager_are_valid(amtool: Tool) -> None:
    paths = [DEPLOY / f"alertmanager/{name}.yml" for name in ("silent", "webhook")]
    checked = amtool("check-config", *paths)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    "labels, receiver",
    [
        (["alertname=feed_silent", "severity=page"], "webhook"),
        (["alertname=dead_letter", "severity=warn"], "webhook"),
        (["alertname=watchdog", "severity=warn"], "nobody"),
    ],
)
def test_alerts_go_to_the_webhook_and_the_watchdog_to_nobody(
    amtool: Tool, labels: list[str], receiver: str
) -> None:
    for name, expected in (("webhook", receiver), ("silent", "nobody")):
        path = DEPLOY / f"alertmanager/{name}.yml"
        found = amtool("config", "routes", "test", f"--config.file={path}", *labels)
        assert found.stdout.strip() == expected


def test_routes_and_inhibitions_name_alerts_that_exist() -> None:
    text = (DEPLOY / "alertmanager/webhook.yml").read_text()
    named = re.findall(r'alertname=~?"([^"]+)"', text)
    assert named
    assert {name for names in named for name in names.split("|")} <= set(ALERTS)
    services = re.findall(r'service=~?"([^"]+)"', text)
    assert {name for names in services for name in names.split("|")} <= set(PORT_OFFSETS)


def test_no_address_stands_in_a_configuration() -> None:
    for name in ("silent", "webhook"):
        text = (DEPLOY / f"alertmanager/{name}.yml").read_text()
        assert not re.search(r"^[^#]*https?://", text, flags=re.M)


@pytest.mark.parametrize("name", sorted(ALERTS))
class TestAlert:
    def test_it_has_a_severity_a_summary_and_a_runbook(self, name: str) -> None:
        text = ALERTS[name]
        assert re.search(r"labels: \{severity: (page|warn)\}", text)
        assert re.search(r'summary: ".{10,}"', text)
        assert f"runbook: docs/runbooks.md#{name}\n" in text + "\n"
        sections = re.findall(r"^## (\S+)$", (ROOT / "docs/runbooks.md").read_text(), flags=re.M)
        assert name in sections

    def test_it_is_tested_to_fire_and_to_be_silent(self, name: str) -> None:
        text = "".join(path.read_text() for path in TESTS)
        assert re.search(rf"alertname: {name}\n +exp_alerts:\n", text)
        if name != "watchdog":
            assert f"alertname: {name}, exp_alerts: []" in text


def test_every_alert_that_hawk_journals_is_fired_here_too() -> None:
    assert set(ALERTS) >= RULES_KNOWN
    named = set(re.findall(r'rule="(\w+)"', RULES.read_text()))
    # That a service does not answer Prometheus sees itself, service by service.
    assert named == (RULES_KNOWN - {"service_down"}) | {"other"}


def test_all_services_are_scraped_where_they_answer() -> None:
    port = Settings.model_fields["port"].default
    text = (DEPLOY / "prometheus/prometheus.yml").read_text()
    found = re.findall(r'targets: \["(\w+):(\d+)"\]\n +labels: \{service: (\w+)\}', text)
    expected = {(name, str(port + offset), name) for name, offset in PORT_OFFSETS.items()}
    assert set(found) == expected
    assert "remote_write" not in text


@pytest.mark.parametrize("path", [RULES, DASHBOARD, *TESTS], ids=lambda path: path.stem)
def test_metrics_are_those_that_the_code_exports(path: Path) -> None:
    recorded = set(re.findall(r"- record: (\S+)", RULES.read_text()))
    text = path.read_text()
    assert names_of(text) <= set(names_in_code())
    assert set(re.findall(r"\bhawk:\w+", text)) <= recorded


def test_names_of_metrics_pass_the_lint(promtool: Tool, tmp_path: Path) -> None:
    start = command("promtool", DEPLOY)
    assert start is not None
    words = [*start[:2], "-i", *start[2:]] if start[0] == "docker" else start
    text = "".join(
        f"# HELP {name} x\n# TYPE {name} {kind}\n{name} 1\n"
        for name, kind in sorted(names_in_code(with_kinds=True).items())
        if kind != "histogram"
    )
    linted = subprocess.run(
        [*words, "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        timeout=TOOL_S,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


class TestDashboard:
    board = json.loads(DASHBOARD.read_text())

    def panels(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = self.board["panels"]
        return found

    def test_ids_are_unique_and_panels_do_not_overlap(self) -> None:
        ids = [panel["id"] for panel in self.panels()]
        assert len(set(ids)) == len(ids)
        taken: set[tuple[int, int]] = set()
        for panel in self.panels():
            place = panel["gridPos"]
            assert isinstance(place, dict) and place["x"] + place["w"] <= 24
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, panel["title"]
            taken |= cells

    def test_every_panel_asks_the_provisioned_source_and_has_a_unit(self) -> None:
        text = (DEPLOY / "grafana/provisioning/datasources/hawk.yml").read_text()
        uid = re.search(r"uid: (\S+)", text)
        assert uid is not None
        for panel in self.panels():
            if panel["type"] in ("row", "text"):
                continue
            assert panel["datasource"] == {"type": "prometheus", "uid": uid[1]}
            defaults = panel["fieldConfig"]["defaults"]  # type: ignore[index]
            assert defaults.get("unit"), panel["title"]
            assert panel.get("description"), panel["title"]

    def test_expressions_are_valid_and_name_no_market(self, promtool: Tool, tmp_path: Path) -> None:
        rules = [
            {"record": f"panel:p{number}", "expr": target["expr"]}
            for number, (_, target) in enumerate(self.targets())
        ]
        path = tmp_path / "expressions.yml"
        # JSON is YAML.
        path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
        tmp_path.chmod(0o755)
        checked = runner("promtool", tmp_path)("check", "rules", path)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert not re.search(r"\bmarket\b|bundle=", " ".join(rule["expr"] for rule in rules))

    def test_money_is_called_paper(self) -> None:
        for panel, target in self.targets():
            if "_usd" in target["expr"]:
                assert "paper" in str(panel["title"]).lower()

    def targets(self) -> list[tuple[dict[str, object], dict[str, str]]]:
        return [
            (panel, target)
            for panel in self.panels()
            for target in panel.get("targets", [])  # type: ignore[attr-defined]
        ]


def test_dashboards_are_provisioned_from_where_compose_mounts_them() -> None:
    text = (DEPLOY / "grafana/provisioning/dashboards/hawk.yml").read_text()
    path = re.search(r"path: (\S+)", text)
    assert path is not None
    assert f"./deploy/grafana/dashboards:{path[1]}:ro" in (ROOT / "docker-compose.yml").read_text()
