"""One small simulated world for the console's tests: simulated and imported once."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.collector.recording import import_recording
from services.simulator.recording import Setup, write_simulation

Hawk = Callable[..., Any]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with one simulated day of one underlying; copy before changing it."""
    folder = tmp_path_factory.mktemp("world")
    setup = Setup(days=1, seed=3, interval_s=60, edge=1.0, underlyings=("BTC-USD",))
    write_simulation(folder / "recording", setup)
    import_recording(folder / "recording", folder / "data")
    return folder / "data"


@pytest.fixture
def own_world(world: Path, tmp_path: Path) -> Path:
    """A copy of the world that a test may change."""
    shutil.copytree(world, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture(scope="session")
def hawk() -> Hawk:
    """Run the command as a user would; return exit code, parsed JSON (if any) and stderr."""

    def run(*arguments: object, env: dict[str, str] | None = None) -> tuple[int, Any, str]:
        import os

        done = subprocess.run(
            [sys.executable, "-m", "services.console", *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**os.environ, **(env or {})},
            cwd=Path(__file__).parent.parent.parent,
            check=False,
        )
        text = done.stdout.strip()
        parsed = json.loads(text) if text.startswith(("{", "[")) else text
        return done.returncode, parsed, done.stderr

    return run
