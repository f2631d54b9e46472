"""The rules between rooms: who may import whom, and which files are pure."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(p for top in ("libs", "services") for p in (ROOT / top).rglob("*.py"))

SHELLS = {
    "libs/common": {
        "archive", "audit", "backoff", "batch", "bundle", "checkpoint", "context",
        "durable", "http_deadline",
        "journal", "keys", "manifests", "memory_bus", "outbox", "reader", "redis_bus", "replay",
        "sealing", "service", "settings", "sources", "stop_sign", "stream_writer", "telemetry",
        "web",
    },
    "services/collector": {
        "backfill", "capture", "capture_import", "historian", "live", "metrics", "pieces", "play",
        "provenance", "publisher", "recording", "rest", "shell", "simulation", "wire",
    },
    "services/features": {"shell"},
    "services/predictor": {
        "app", "champion", "child", "metrics", "native", "pages", "shell", "verify",
    },
    "services/trainer": {
        "announcer", "candidates", "census", "job", "live", "parallel", "past", "publish",
        "serving", "shell",
    },
    "services/trader": {"metrics", "proof", "shell"},
    "services/monitor": {"disk", "firing", "metrics", "probes", "records", "shell"},
    "services/simulator": {"connection", "day", "recording", "server", "serving"},
}  # fmt: skip
"""Files that may touch the world; every file of services/console may. All others are pure."""

IMPURE = {
    "os", "io", "sys", "time", "datetime", "random", "secrets", "uuid", "socket", "asyncio",
    "subprocess", "shutil", "tempfile", "logging", "structlog", "threading", "multiprocessing",
    "concurrent", "redis", "aiohttp", "fastapi", "uvicorn", "requests", "urllib", "pathlib",
}  # fmt: skip
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "__import__"}


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def area(path: Path) -> str:
    """First two folders of a source file."""
    return "/".join(path.relative_to(ROOT).parts[:2])


def is_pure(path: Path) -> bool:
    if area(path) == "services/console" or path.stem == "__main__":
        return False
    return path.stem not in SHELLS.get(area(path), set())


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_library_imports_no_service_and_services_do_not_import_each_other(path: Path) -> None:
    services = {".".join(name.split(".")[:2]) for name in imports(path) if "services." in name}
    own = area(path).replace("/", ".")
    if own == "libs.common":
        assert not services
    elif own != "services.console":
        assert services <= {own}


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if is_pure(p)], ids=lambda p: str(p.relative_to(ROOT))
)
def test_pure_module_touches_no_clock_chance_socket_file_or_log(path: Path) -> None:
    modules = {name.split(".")[0] for name in imports(path)}
    assert not modules & IMPURE
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    # A generator script's own entry may print; it stands behind `if __name__ == "__main__"`.
    allowed = {"print"} if '__name__ == "__main__"' in path.read_text() else set()
    assert not (calls & IMPURE_CALLS) - allowed


def test_every_shell_that_is_named_exists() -> None:
    missing = [
        f"{folder}/{name}.py"
        for folder, names in SHELLS.items()
        for name in names
        if not (ROOT / folder / f"{name}.py").exists()
    ]
    assert not missing


def test_no_pickle_and_no_dynamic_code_anywhere() -> None:
    banned = {"pickle", "joblib", "cloudpickle", "dill", "marshal", "shelve"}
    assert not [p for p in SOURCES if banned & {n.split(".")[0] for n in imports(p)}]
