"""`hawk kill`: journalled, posted once, and by nobody who may not."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from libs.common.archive import TIME_MAX_NS, Archive
from libs.common.checks import BusError, UnavailableError
from libs.common.events import Command, Event
from libs.common.keys import signing_key
from libs.common.memory_bus import MemoryBus
from libs.common.settings import Settings
from services.console.commanding import Wish, give, is_trainers, page, run_command
from tests.console.asgi import ask

NAME = "hawk:{control}:commands"
KILL = Wish("kill", "alice", "kalshi")
TOKEN = {"x-hawk-token": "secret"}


class Away(MemoryBus):
    """A bus that is not there."""

    def post(self, name: str, events: Sequence[Event], *, entries_max: int) -> None:
        raise BusError("gone")


def archived(root: Path) -> list[Event]:
    return list(Archive(root).scan({Command: 0}, end_ns=TIME_MAX_NS))


def test_an_order_is_on_the_stream_and_in_the_archive(tmp_path: Path) -> None:
    bus = MemoryBus()
    given = give(tmp_path, bus, KILL)
    (delivery,) = bus.entries(NAME, count=10)
    assert delivery.event == given
    assert [event.id for event in archived(tmp_path)] == [given.id]
    assert (given.command, given.argument, given.who) == ("kill", "kalshi", "alice")


def test_the_same_order_twice_is_two_orders(tmp_path: Path) -> None:
    bus = MemoryBus()
    first, second = give(tmp_path, bus, KILL), give(tmp_path, bus, KILL)
    assert first.id != second.id
    assert len(bus.entries(NAME, count=10)) == 2


def test_an_order_that_nobody_hears_does_not_act_later(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="nobody has heard"):
        give(tmp_path, Away(), KILL)
    bus = MemoryBus()
    given = give(tmp_path, bus, Wish("resume", "alice"))
    assert [d.event for d in bus.entries(NAME, count=10)] == [given]
    assert [event.id for event in archived(tmp_path)] == [given.id]


def test_an_order_of_the_past_is_not_given_again_on_a_new_bus(tmp_path: Path) -> None:
    give(tmp_path, MemoryBus(), KILL)
    bus = MemoryBus()
    given = give(tmp_path, bus, Wish("resume", "alice"))
    assert [d.event for d in bus.entries(NAME, count=10)] == [given]
    assert len(archived(tmp_path)) == 2


def test_the_page_takes_an_order_with_the_token(tmp_path: Path) -> None:
    bus = MemoryBus()
    content = b'{"command":"kill","who":"alice","argument":null}'
    status, answer = ask(page(bus, tmp_path, "secret"), "POST", content=content, headers=TOKEN)
    assert status == 200
    assert json.loads(answer)["command"] == "kill"
    assert len(bus.entries(NAME, count=10)) == 1


@pytest.mark.parametrize(
    ("method", "headers", "content", "status"),
    [
        ("GET", TOKEN, b"", 405),
        ("POST", {}, b'{"command":"kill","who":"a"}', 403),
        ("POST", {"x-hawk-token": "guess"}, b'{"command":"kill","who":"a"}', 403),
        ("POST", TOKEN, b'{"command":"buy","who":"a"}', 422),
        ("POST", TOKEN, b'{"command":"kill","who":"a","size":1}', 422),
        ("POST", TOKEN, b"\xff", 422),
        ("POST", TOKEN, b" " * 5_000, 413),
    ],
)
def test_the_page_refuses_what_is_no_order(
    tmp_path: Path, method: str, headers: dict[str, str], content: bytes, status: int
) -> None:
    bus = MemoryBus()
    found, _ = ask(page(bus, tmp_path, "secret"), method, content=content, headers=headers)
    assert found == status
    assert bus.entries(NAME, count=10) == []


def test_a_page_whose_bus_is_away_says_so(tmp_path: Path) -> None:
    content = b'{"command":"kill","who":"alice"}'
    status, answer = ask(page(Away(), tmp_path, "secret"), "POST", content=content, headers=TOKEN)
    assert status == 503
    assert b"nobody has heard" in answer


def test_an_order_without_anything_running_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no `hawk up` runs"):
        run_command(tmp_path, Settings(_env_file=None), KILL)  # type: ignore[call-arg]
    assert not list(tmp_path.iterdir())


def test_what_only_the_trainer_may_do_is_its_to_do_where_its_key_is_not_ours(
    tmp_path: Path,
) -> None:
    alone, beside = Settings(), Settings(redis_url="redis://console@redis:6379/0")
    assert not is_trainers(tmp_path, alone)  # the key is made where it is missing
    assert is_trainers(tmp_path, beside)
    signing_key(tmp_path)
    assert not is_trainers(tmp_path, beside)
