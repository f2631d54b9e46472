"""One stack for all tests of this folder; each test leaves it healthy."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.compose.stack import Stack, clone

PROJECT = f"hawktest-{os.getpid()}"
_OURS = re.compile(r"hawktest-(\d+)")


def _missing() -> str | None:
    """Say why there can be no stack here."""
    try:
        docker.from_env(timeout=5).ping()
    except docker.errors.DockerException as error:
        return f"Docker does not answer: {str(error)[:100]}"
    return None


@pytest.fixture(scope="session")
def engine() -> None:
    """Skip unless Docker answers."""
    if reason := _missing():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def stack(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Build and start everything as a new user would, from nothing; remove it in the end."""
    _remove_abandoned(tmp_path_factory)
    made = Stack(clone(tmp_path_factory.mktemp("clone")), PROJECT)
    try:
        made.compose("--profile", "tools", "build", "--quiet")
        made.up()
        yield made
    finally:
        made.remove()


def _remove_abandoned(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Remove what a run that was killed has left: it would start with the engine for ever."""
    client = docker.from_env()
    labels = (
        c.labels.get("com.docker.compose.project", "") for c in client.containers.list(all=True)
    )
    for project in filter(_OURS.fullmatch, labels):
        if not Path(f"/proc/{project.rpartition('-')[2]}").exists():
            Stack(clone(tmp_path_factory.mktemp("abandoned")), project).remove()
    client.close()
