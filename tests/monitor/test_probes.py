"""Who can be asked, and whether they answer."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from libs.common.checks import ConfigError
from libs.common.memory_bus import MemoryBus
from libs.common.service import PORT_OFFSETS
from services.monitor import probes
from tests.monitor.scene import Scene


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 503)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def page() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_page_answers_or_not(page: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, so that nobody else listens there
        port = nobody.getsockname()[1]
        found = probes.ask(
            {
                "up": f"{page}/healthz",
                "ill": f"{page}/other",
                "down": f"http://127.0.0.1:{port}/healthz",
            }
        )
    assert found == {"up": True, "ill": False, "down": False}


def test_a_proxy_of_the_environment_is_not_asked(
    page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert probes.ask({"up": f"{page}/healthz"}) == {"up": True}


def test_processes_of_this_machine_are_asked_and_oneself_is_not(tmp_path: Path) -> None:
    pages = Scene(tmp_path, port=9_000).monitor.pages
    assert set(pages) == set(PORT_OFFSETS) - {"monitor"}
    assert pages["trader"] == f"http://127.0.0.1:{9_000 + PORT_OFFSETS['trader']}/healthz"


def test_in_one_process_and_beyond_loopback_nobody_is_asked(tmp_path: Path) -> None:
    assert Scene(tmp_path / "a", bus=MemoryBus()).monitor.pages == {}
    key = tmp_path / "key"
    key.write_text("k")
    far = Scene(tmp_path / "b", http_host="0.0.0.0", api_key_file=key)
    assert far.monitor.pages == {}


def test_services_in_containers_are_asked_by_their_names(tmp_path: Path) -> None:
    pages = Scene(tmp_path, http_host="0.0.0.0", service_host="{service}").monitor.pages
    assert set(pages) == set(PORT_OFFSETS) - {"monitor"}
    assert pages["predictor"] == "http://predictor:8480/healthz"
    assert pages["trader"] == f"http://trader:{8480 + PORT_OFFSETS['trader']}/healthz"


def test_a_pattern_without_a_place_is_one_host_for_all(tmp_path: Path) -> None:
    pages = Scene(tmp_path, http_host="0.0.0.0", service_host="10.0.0.7").monitor.pages
    assert {page.split(":")[1] for page in pages.values()} == {"//10.0.0.7"}
    assert len(set(pages.values())) == len(PORT_OFFSETS) - 1


def test_in_one_process_nobody_is_asked_whatever_the_pattern(tmp_path: Path) -> None:
    assert Scene(tmp_path, bus=MemoryBus(), service_host="{service}").monitor.pages == {}


@pytest.mark.parametrize(
    "pattern",
    ["{name}", "http://{service}", "{service}:8480", "{service}/x", "a b", "{service}@evil", "-",
     "{}", "{service", "a" * 254, "x\ny", " "],
)  # fmt: skip
def test_a_bad_pattern_ends_the_monitor_at_its_start(tmp_path: Path, pattern: str) -> None:
    for bus in (None, MemoryBus()):
        with pytest.raises(ConfigError, match="HAWK_SERVICE_HOST"):
            Scene(tmp_path / str(bus is None), bus=bus, service_host=pattern)
