"""The checking child: it answers what it is asked, and leaves nothing behind."""

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from libs.common.feature_set import FEATURE_NAMES
from libs.common.trees import served_text
from services.predictor.child import LENGTH, READY
from services.predictor.probe import Answered, Reply, Task
from tests.common.mutations import mutate
from tests.predictor import models
from tests.redis_server import wait_until

MUTANTS = 25

ROOT = Path(__file__).parent.parent.parent


class Child:
    """One checking child, spoken to by frames."""

    def __init__(self) -> None:
        self.running = subprocess.Popen(
            [sys.executable, "-m", "services.predictor.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        )
        assert self.frame() == READY

    def frame(self) -> bytes:
        assert self.running.stdout is not None
        (length,) = LENGTH.unpack(self.running.stdout.read(LENGTH.size))
        return self.running.stdout.read(length)

    def send(self, content: bytes) -> None:
        assert self.running.stdin is not None
        self.running.stdin.write(LENGTH.pack(len(content)) + content)
        self.running.stdin.flush()

    def ask(self, content: bytes) -> Reply:
        self.send(content)
        return msgspec.msgpack.decode(self.frame(), type=Reply)

    def forked(self) -> list[int]:
        path = Path(f"/proc/{self.running.pid}/task/{self.running.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def close(self) -> None:
        assert self.running.stdin is not None
        self.running.stdin.close()
        self.running.wait()
        for pipe in (self.running.stdout, self.running.stderr):
            assert pipe is not None
            pipe.close()


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    own = Child()
    yield own
    own.close()


def task(text: str, *, cpu_s: int = 5) -> bytes:
    own = models.scorer(3, has_trees=True)
    made = Task(
        formula=own.bundle.formula,
        trees_text=served_text(text),
        feature_names=FEATURE_NAMES,
        rows=models.probe(own),
        memory_bytes=1 << 30,
        cpu_s=cpu_s,
    )
    return msgspec.msgpack.encode(made)


def test_it_answers_the_bits_of_the_serving_process(child: Child) -> None:
    reply = child.ask(task(models.trees(3)))
    assert reply.status == 0
    answered = msgspec.msgpack.decode(reply.content, type=Answered)
    expected = models.probe(models.scorer(3, has_trees=True))
    assert answered.answers == [(row.p_raw, row.p) for row in expected]


def test_it_tells_how_a_forked_child_ended_and_goes_on(child: Child) -> None:
    crashed = child.ask(task(models.crashing(models.trees(3))))
    assert crashed.status & 0x7F == signal.SIGABRT
    assert crashed.content == b""
    looped = child.ask(task(models.looping(models.trees(3)), cpu_s=1))
    assert looped.status & 0x7F == signal.SIGXCPU
    assert child.ask(task(models.trees(3))).status == 0
    assert child.forked() == []


@pytest.mark.parametrize("content", [b"", b"\xc1", b"\x80", b"{}", b"\x91" * 50_000])
def test_a_frame_that_is_no_task_is_a_fault_and_no_death(child: Child, content: bytes) -> None:
    reply = child.ask(content)
    assert reply.status == 0
    assert msgspec.msgpack.decode(reply.content, type=Answered).fault


def test_whatever_was_done_to_a_model_there_is_a_reply(child: Child) -> None:
    chance = random.Random(11)
    ends = set()
    for _ in range(MUTANTS):
        text = served_or_whole(mutate(models.trees(3), chance))
        ends.add(child.ask(task(text, cpu_s=1)).status & 0x7F)
    assert signal.SIGABRT in ends
    assert 0 in ends
    assert child.ask(task(models.trees(3))).status == 0


def served_or_whole(text: str) -> str:
    return text if "\n\nend of trees\n" in text else text + "\n\nend of trees\n"


def test_it_ends_with_its_stdin() -> None:
    own = Child()
    own.close()
    assert own.running.returncode == 0


def test_a_looping_check_does_not_outlive_the_predictor() -> None:
    own = Child()
    own.send(task(models.looping(models.trees(3)), cpu_s=600))
    wait_until(own.forked, "the check runs")
    (forked,) = own.forked()
    own.close()
    wait_until(lambda: not Path(f"/proc/{forked}").exists(), "the check has ended too")


def test_a_check_can_open_no_file_and_no_socket_and_map_no_more_than_it_may() -> None:
    script = (
        "import os, socket\n"
        "from pathlib import Path\n"
        "from services.predictor.child import _limit\n"
        "own = os.open('/dev/null', os.O_RDONLY)\n"
        "_limit(memory_bytes=1 << 28, cpu_s=5)\n"
        "for attempt in (lambda: Path('/etc/hostname').read_bytes(), socket.socket,\n"
        "                lambda: bytearray(1 << 29)):\n"
        "    try:\n"
        "        attempt()\n"
        "    except (OSError, MemoryError) as error:\n"
        "        print(type(error).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["OSError", "OSError", "MemoryError"]
