"""Real processes, small ones: started, restarted, stopped, never left behind.

No test sleeps or measures: the supervisor is told the time, and what a stub does is waited for by
reading what it writes or by its end.
"""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.common.checks import UnavailableError
from services.console.supervisor import Child, Supervisor, python_module

ROOT = Path(__file__).parent.parent.parent
LINUX = sys.platform == "linux"
WAIT_S = 30.0

STUBBORN = "import signal, os; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
GENTLE = "import signal, os, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0));"
READY = "os.write({fd}, b'%d ' % os.getpid());"
STAY = "\nwhile True: signal.pause()"


class Mouth:
    """A pipe that stubs write their pid to once they run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self.read_end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.write_end = os.open(path, os.O_WRONLY)  # ours, so that silence is no end

    def next_pid(self) -> int:
        """Wait for a stub to say that it runs."""
        text = b""
        while not text.endswith(b" "):
            ready, _, _ = select.select([self.read_end], [], [], WAIT_S)
            assert ready, "no stub has spoken"
            text += os.read(self.read_end, 1)
        return int(text)

    def is_closed(self) -> bool:
        """Close our end and wait until no process holds the other one."""
        os.close(self.write_end)
        self.write_end = -1
        ready, _, _ = select.select([self.read_end], [], [], WAIT_S)
        return bool(ready) and os.read(self.read_end, 1) == b""


@pytest.fixture
def mouth(tmp_path: Path) -> Iterator[Mouth]:
    mouth = Mouth(tmp_path / "mouth")
    yield mouth
    for end in (mouth.read_end, mouth.write_end):
        if end >= 0:
            os.close(end)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor()
    yield supervisor
    supervisor.kill()


def stub(code: str, name: str = "stub", **more: bool) -> Child:
    return Child(name, (sys.executable, "-c", code), **more)


def speaking(mouth: Mouth, code: str, *, then: str = STAY) -> str:
    """Return a stub's code that says its pid through `mouth` and then goes on."""
    opened = f"import os, signal, sys; fd = os.open({str(mouth.path)!r}, os.O_WRONLY);"
    return opened + code + READY.format(fd="fd") + then


def wait_for_end(pid: int) -> None:
    """Wait until a child has exited, without reaping it."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def exits(supervisor: Supervisor, code: int, **more: bool) -> None:
    """Start a stub that exits at once, and wait for that."""
    supervisor.add(stub(f"raise SystemExit({code})", **more), now_s=0.0)
    wait_for_end(supervisor.pids()["stub"])


def test_a_dead_child_is_started_again_after_its_wait(supervisor: Supervisor) -> None:
    exits(supervisor, 7)
    supervisor.step(1.0)
    assert supervisor.pids() == {}
    supervisor.step(1.49)
    assert supervisor.pids() == {}
    supervisor.step(1.5)
    assert set(supervisor.pids()) == {"stub"}
    wait_for_end(supervisor.pids()["stub"])
    supervisor.step(2.0)
    supervisor.step(2.99)
    assert supervisor.pids() == {}
    supervisor.step(3.0)
    assert set(supervisor.pids()) == {"stub"}


def test_a_death_is_logged_with_how_and_when_next(
    supervisor: Supervisor, capfd: pytest.CaptureFixture[str], mouth: Mouth
) -> None:
    supervisor.add(stub(speaking(mouth, "")), now_s=0.0)
    os.kill(mouth.next_pid(), signal.SIGKILL)
    wait_for_end(supervisor.pids()["stub"])
    supervisor.step(5.0)
    captured = capfd.readouterr()
    text = captured.err + captured.out
    assert "child.died" in text
    assert "signal SIGKILL" in text
    assert "0.5" in text


@pytest.mark.parametrize("code", [2, 3])
def test_a_wrong_setting_or_call_is_not_tried_again(supervisor: Supervisor, code: int) -> None:
    exits(supervisor, code)
    supervisor.step(1.0)
    supervisor.step(1_000.0)
    assert supervisor.hopeless == ("stub", code)
    assert supervisor.pids() == {}


def test_an_orderly_end_is_an_end_only_where_it_may_be_one(supervisor: Supervisor) -> None:
    exits(supervisor, 0, ends_well=True)
    supervisor.step(1.0)
    assert supervisor.is_done("stub")
    supervisor.step(1_000.0)
    assert supervisor.pids() == {}


def test_a_service_that_stops_by_itself_is_started_again(supervisor: Supervisor) -> None:
    exits(supervisor, 0)
    supervisor.step(1.0)
    assert not supervisor.is_done("stub")
    supervisor.step(1.5)
    assert set(supervisor.pids()) == {"stub"}


def test_drain_asks_and_waits(supervisor: Supervisor, mouth: Mouth) -> None:
    supervisor.add(stub(speaking(mouth, GENTLE)), now_s=0.0)
    mouth.next_pid()
    assert supervisor.drain(within_s=WAIT_S)
    assert supervisor.pids() == {}
    supervisor.step(1_000.0)
    assert supervisor.pids() == {}


def test_drain_takes_a_child_that_has_just_died(supervisor: Supervisor) -> None:
    exits(supervisor, 7)
    assert supervisor.drain(within_s=WAIT_S)
    assert supervisor.pids() == {}


def test_drain_kills_who_does_not_listen_and_says_so(
    supervisor: Supervisor, capfd: pytest.CaptureFixture[str], mouth: Mouth
) -> None:
    supervisor.add(stub(speaking(mouth, STUBBORN)), now_s=0.0)
    mouth.next_pid()
    assert not supervisor.drain(within_s=0.0)
    captured = capfd.readouterr()
    assert "child.killed" in captured.err + captured.out
    assert mouth.is_closed()


def test_drain_of_some_leaves_the_others(supervisor: Supervisor, mouth: Mouth) -> None:
    for name in ("one", "two"):
        supervisor.add(stub(speaking(mouth, GENTLE), name), now_s=0.0)
        mouth.next_pid()
    assert supervisor.drain(["one"], within_s=WAIT_S)
    assert set(supervisor.pids()) == {"two"}


def test_what_a_dead_child_started_dies_with_it(supervisor: Supervisor, mouth: Mouth) -> None:
    worker = speaking(mouth, STUBBORN)
    starts = f"\nimport subprocess; subprocess.Popen([sys.executable, '-c', {worker!r}])" + STAY
    supervisor.add(stub(speaking(mouth, "", then=starts)), now_s=0.0)
    parent = mouth.next_pid()
    mouth.next_pid()
    os.kill(parent, signal.SIGKILL)
    wait_for_end(parent)
    supervisor.step(0.0)
    assert mouth.is_closed()


@pytest.mark.skipif(not LINUX, reason="only Linux kills children with their parent")
def test_no_child_outlives_a_supervisor_that_is_killed(mouth: Mouth) -> None:
    supervising = (
        "import signal, sys\n"
        "from services.console.supervisor import Child, Supervisor\n"
        f"code = {speaking(mouth, STUBBORN)!r}\n"
        "s = Supervisor()\n"
        "for name in ('one', 'two'): s.add(Child(name, (sys.executable, '-c', code)), now_s=0.0)\n"
        "while True: signal.pause()\n"
    )
    running = subprocess.Popen([sys.executable, "-c", supervising], cwd=ROOT)
    mouth.next_pid()
    mouth.next_pid()
    running.kill()
    running.wait()
    assert mouth.is_closed()


def test_a_command_that_is_not_there_is_one_clear_line(supervisor: Supervisor) -> None:
    with pytest.raises(UnavailableError, match="cannot start stub"):
        supervisor.add(Child("stub", ("/nowhere/hawk",)), now_s=0.0)


def test_children_get_the_environment_and_no_ctrl_c_of_the_terminal(
    supervisor: Supervisor, mouth: Mouth
) -> None:
    code = speaking(
        mouth, "assert os.environ['HAWK_DATA'] == 'here' and os.getsid(0) == os.getpid();"
    )
    child = Child("stub", (sys.executable, "-c", code), {"HAWK_DATA": "here"})
    supervisor.add(child, now_s=0.0)
    assert mouth.next_pid() == supervisor.pids()["stub"]
    assert python_module("json.tool")[0] == sys.executable
