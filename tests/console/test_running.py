"""One `hawk up` per data folder; what a kill left behind is not believed."""

import os
from pathlib import Path

import pytest

from libs.common.checks import UnavailableError
from services.console.running import Running, announce, only_one, path_of, running_on

STATE = Running(
    pid=os.getpid(),
    bus="redis",
    source="recording:r@max",
    host="127.0.0.1",
    ports={"predictor": 8480},
    redis_url="unix:///tmp/redis.sock",
)


def test_what_runs_is_announced_and_forgotten_at_the_end(tmp_path: Path) -> None:
    assert running_on(tmp_path) is None
    with only_one(tmp_path):
        announce(tmp_path, STATE)
        assert running_on(tmp_path) == STATE
    assert running_on(tmp_path) is None
    assert not path_of(tmp_path).exists()


def test_a_second_one_is_refused_by_name(tmp_path: Path) -> None:
    with only_one(tmp_path):
        announce(tmp_path, STATE)
        with pytest.raises(UnavailableError, match=rf"process {os.getpid()}.*another --data"):
            only_one(tmp_path).__enter__()
        assert running_on(tmp_path) == STATE  # the first one's file is still there


def test_a_file_that_a_kill_left_is_stale(tmp_path: Path) -> None:
    announce(tmp_path, STATE)
    assert running_on(tmp_path) is None
    with only_one(tmp_path):
        pass


def test_a_damaged_file_names_nobody(tmp_path: Path) -> None:
    with only_one(tmp_path):
        path_of(tmp_path).parent.mkdir()
        path_of(tmp_path).write_bytes(b'{"pid":')
        assert running_on(tmp_path) is None
        with pytest.raises(UnavailableError, match="another process"):
            only_one(tmp_path).__enter__()


def test_looking_leaves_no_folder_behind(tmp_path: Path) -> None:
    assert running_on(tmp_path / "nothing") is None
    assert not (tmp_path / "nothing").exists()


def test_the_file_with_the_token_is_for_its_owner_alone(tmp_path: Path) -> None:
    with only_one(tmp_path):
        announce(tmp_path, STATE)
        assert path_of(tmp_path).parent.stat().st_mode & 0o077 == 0
