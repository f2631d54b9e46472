"""A new user's first minutes: all comes up from an empty clone, and does what the README says."""

import json
import time
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.compose.stack import BESIDE, SERVICES, Stack, wait_until

pytestmark = pytest.mark.compose

FORECASTS = "/v1/forecasts/latest"


def ask(stack: Stack, service: str, path: str, *, key: str | None = None, send: Any = None) -> Any:
    """Ask a published page from the host; return (status, what it says)."""
    headers = {"content-type": "application/json"} | ({"X-API-Key": key} if key else {})
    url = f"http://127.0.0.1:{stack.ports[service]}{path}"
    content = json.dumps(send).encode() if send is not None else None
    request = urllib.request.Request(url, data=content, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_everything_is_healthy_and_init_has_ended_well(stack: Stack) -> None:
    stack.wait_healthy()
    running = {c.labels["com.docker.compose.service"] for c in stack.containers()}
    assert running == {*SERVICES, *BESIDE, "init"}


def test_a_second_up_changes_nothing(stack: Stack) -> None:
    secrets = {path: content for path, (_, content) in stack.secret_files().items()}
    started = {c.name: c.attrs["State"]["StartedAt"] for c in stack.containers()}
    stack.up()
    assert {path: content for path, (_, content) in stack.secret_files().items()} == secrets
    init = stack.container("init").name
    again = {c.name: c.attrs["State"]["StartedAt"] for c in stack.containers()}
    assert {n: at for n, at in again.items() if n != init} == {
        n: at for n, at in started.items() if n != init
    }


def test_a_forecast_is_had_by_http_with_the_key_of_this_installation(stack: Stack) -> None:
    key = stack.api_key()

    def forecasts() -> list[dict[str, Any]]:
        status, said = ask(stack, "predictor", FORECASTS, key=key)
        assert status == 200
        return list(said["forecasts"])

    wait_until(forecasts, "forecasts flow")
    assert all(0 < line["p"] < 1 for line in forecasts())
    rows = stack.hawk("tail", "features", "-n", "9", "--json").stdout.splitlines()
    row = next(r for r in map(json.loads, reversed(rows)) if r["type"] == "FeatureRow")
    send = {"series": row["series"], "values": row["values"]}
    status, said = ask(stack, "predictor", "/v1/forecast", key=key, send=send)
    assert status == 200 and 0 < said["p"] < 1 and said["is_fallback"]


@pytest.mark.parametrize("path", ["/v1/forecast", FORECASTS, "/v1/model", "/v1/markets"])
def test_nothing_is_forecast_without_the_key(stack: Stack, path: str) -> None:
    send = {} if path == "/v1/forecast" else None
    for key in (None, "x" * 43, stack.api_key()[:-1], stack.api_key() + "x"):
        status, _ = ask(stack, "predictor", path, key=key, send=send)
        assert status == 401, key


def test_strangers_learn_nothing_and_cannot_send_much(stack: Stack) -> None:
    key = stack.api_key()
    for path in ("/docs", "/redoc", "/openapi.json", "/v2/forecast"):
        assert ask(stack, "predictor", path)[0] == 404, path
    for path in ("/v1/docs", "/v1/openapi.json", "/v1/../v1/docs"):
        assert ask(stack, "predictor", path)[0] in (401, 404), path
        assert ask(stack, "predictor", path, key=key)[0] == 404, path
    began_s = time.monotonic()
    assert ask(stack, "predictor", "/v1/forecast", key=key, send="x" * 100_000)[0] == 413
    assert time.monotonic() - began_s < 1
    url = f"http://127.0.0.1:{stack.ports['predictor']}/readyz"
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert not {"server", "access-control-allow-origin"} & {k.lower() for k in answer.headers}


def test_the_operator_sees_the_streams_and_changes_nothing(stack: Stack) -> None:
    newest = stack.operator("XREVRANGE", "hawk:{BTC-USD}:forecasts", "+", "-", "COUNT", "2")
    assert "Forecast" in newest or "Tick" in newest
    assert stack.operator("PING").strip() == "PONG"
    assert "NOPERM" in stack.operator("DEL", "hawk:{BTC-USD}:forecasts")


def test_prometheus_sees_every_target_and_has_its_rules(stack: Stack) -> None:
    def is_up() -> bool:
        _, said = ask(stack, "prometheus", "/api/v1/targets?state=active")
        targets = {t["scrapeUrl"]: t["health"] for t in said["data"]["activeTargets"]}
        wanted = {f"http://{name}:{port}/metrics" for name, port in SERVICES.items()}
        return wanted <= set(targets) and set(targets.values()) == {"up"}

    wait_until(is_up, "all targets up", seconds=60)
    _, said = ask(stack, "prometheus", "/api/v1/rules")
    rules = [rule for group in said["data"]["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    assert {"alerting", "recording"} == {rule["type"] for rule in rules}
    _, said = ask(stack, "prometheus", "/api/v1/alertmanagers")
    assert [m["url"] for m in said["data"]["activeAlertmanagers"]] == [
        "http://alertmanager:9093/api/v2/alerts"
    ]


def test_alertmanager_has_the_silent_configuration(stack: Stack) -> None:
    status, said = ask(stack, "alertmanager", "/api/v2/status")
    assert status == 200
    assert "receivers:" in said["config"]["original"]
    assert "webhook_configs" not in said["config"]["original"]


def test_the_trainer_says_how_much_is_missing(stack: Stack) -> None:
    def note() -> str:
        notes = stack.page("trainer", "/readyz").json()["services"]["trainer"]["notes"]
        return str(notes.get("windows", ""))

    wait_until(note, "the trainer has counted")
    found, _, needed = note().partition(" of ")
    assert int(needed.split()[0]) > int(found) >= 0


def test_the_monitor_reaches_every_service_by_its_name(stack: Stack) -> None:
    def up() -> dict[str, float]:
        lines = stack.page("monitor", "/metrics").body.decode().splitlines()
        shown = [line for line in lines if line.startswith("hawk_monitor_service_up{")]
        return {line.split('"')[1]: float(line.split()[-1]) for line in shown}

    wait_until(lambda: up() == dict.fromkeys(set(SERVICES) - {"monitor"}, 1.0), "all are up")


def test_what_is_simulated_says_so_loudly(stack: Stack) -> None:
    assert b"SIMULATED DATA" in stack.page("collector", "/readyz").body
    assert b"simulated" in stack.container("collector").logs().lower()
