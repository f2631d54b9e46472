"""The users of Redis: nobody may do more than stands here, tried command by command.

What is expected is written down in words of its own, so that a permission too many in the generator
is seen. That everybody may do enough is seen in tests/scenarios/test_redis_users.py.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from libs.common.checks import InvariantError
from libs.common.redis_acl import USERS, password_hash, users_acl
from libs.common.streams import STREAMS, Stream
from tests.redis_server import ADMIN, RedisServer, needs_redis
from tests.redis_users import (
    PAIRS,
    PASSWORDS,
    USERS_ACL,
    Asker,
    name_of,
    pair_id,
    server_with_users,
)
from tests.scenarios.pipeline import UNDERLYING

pytestmark = needs_redis

READ = {"xreadgroup", "xack", "xautoclaim", "xgroup|create"}
LOOK = {"xrange", "xinfo|stream", "xinfo|groups"}
OUTBOX = {"xadd", "xtrim"} | LOOK
ALLOWED = {
    "collector": OUTBOX | {"del"},
    "features": READ | OUTBOX | {"del"},
    "predictor": READ | OUTBOX | {"del"},
    "trader": READ | OUTBOX | {"del"},
    "trainer": READ | OUTBOX,
    "monitor": READ | OUTBOX | {"info"},
    "console": LOOK | {"xadd", "ping"},
    "operator": LOOK
    | {"xrevrange", "xread", "xlen", "xpending", "xinfo|consumers", "type", "memory|usage"}
    | {"ping", "info", "scan"},
    "health": {"ping"},
}
NEEDS_NO_PERMISSION = {"auth", "hello", "quit", "reset"}

FORBIDDEN = """
ACL CAT|ACL DELUSER trader|ACL GETUSER trader|ACL LIST|ACL LOAD|ACL LOG|ACL SAVE|ACL SETUSER x on
ACL USERS|ACL WHOAMI|APPEND KEY x|BGREWRITEAOF|BGSAVE|BLPOP KEY 0|CLIENT KILL ID 1|CLIENT LIST
CLIENT NO-EVICT on|CLIENT PAUSE 1|CLIENT SETNAME x|CLUSTER INFO|COMMAND COUNT|CONFIG GET *
CONFIG RESETSTAT|CONFIG REWRITE|CONFIG SET maxmemory 1|COPY KEY other|DBSIZE|DEBUG SLEEP 0
DUMP KEY|ECHO x|EVAL return 0|EVALSHA x 0|EXISTS KEY|EXPIRE KEY 1|FAILOVER|FCALL f 0|FLUSHALL
FLUSHDB|FUNCTION DELETE f|FUNCTION FLUSH|FUNCTION LIST|FUNCTION LOAD x|GET KEY|HSET KEY a b|KEYS *
LASTSAVE|LATENCY LATEST|LPUSH KEY x|MEMORY DOCTOR|MEMORY PURGE|MIGRATE h 1 KEY 0 1|MODULE LIST
MODULE LOAD /x.so|MONITOR|MOVE KEY 1|MULTI|OBJECT FREQ KEY|PERSIST KEY|PSUBSCRIBE *|PSYNC ? -1
PUBLISH c x|RANDOMKEY|READONLY|RENAME KEY other|RENAMENX KEY other|REPLCONF a b|REPLICAOF h 1
RESTORE KEY 0 x|ROLE|SAVE|SCRIPT FLUSH|SCRIPT KILL|SCRIPT LOAD x|SELECT 1|SET KEY x|SHUTDOWN NOSAVE
SLAVEOF h 1|SLOWLOG GET|SORT KEY|SUBSCRIBE c|SWAPDB 0 1|SYNC|TIME|TOUCH KEY|UNLINK KEY|WAIT 1 1
WATCH KEY|XCLAIM KEY g c 0 1-1|XDEL KEY 1-1|XGROUP DESTROY KEY g|XGROUP DELCONSUMER KEY g c
XGROUP SETID KEY g 0|XSETID KEY 1-1
"""


Ask = Callable[..., Asker]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with server_with_users() as running:
        yield running


@pytest.fixture
def ask(server: RedisServer) -> Iterator[Ask]:
    """Make connections that are closed at the end."""
    made: list[Asker] = []

    def connected(user: str = "", password: str = "") -> Asker:
        made.append(Asker(server, user, password))
        return made[-1]

    yield connected
    for one in made:
        one.close()


def rules(line: str) -> tuple[str, frozenset[str], frozenset[tuple[frozenset[str], ...]]]:
    """Return a line of the file or of ACL LIST without the order that Redis gives it."""
    selectors = re.findall(r"\(([^)]*)\)", line)
    words = re.sub(r"\([^)]*\)", "", line).split()
    dropped = {"sanitize-payload", "resetpass", "resetkeys"}
    return (
        words[1],
        frozenset(words[2:]) - dropped,
        frozenset((frozenset(selector.split()),) for selector in selectors),
    )


def test_the_file_is_what_redis_has_loaded(server: RedisServer) -> None:
    text = (server.folder / "users.acl").read_text()
    loaded = [rules(line.decode()) for line in server.raw("ACL", "LIST")]
    assert sorted(loaded)[1:] == sorted(rules(line) for line in text.splitlines())[1:]
    assert {user for user, _, _ in loaded} == {"default", ADMIN, *USERS}


def test_the_file_holds_no_password() -> None:
    for user, password in PASSWORDS.items():
        assert password not in USERS_ACL
        assert f"user {user} on #{hashlib.sha256(password.encode()).hexdigest()} " in USERS_ACL
    assert "nopass" not in USERS_ACL and ">" not in USERS_ACL


def test_the_operator_has_no_key_to_write_whatever_the_commands() -> None:
    (line,) = [line for line in USERS_ACL.splitlines() if line.startswith("user operator ")]
    assert [word for word in line.split() if "~" in word] == ["(%R~hawk:*"]


@pytest.mark.parametrize("change", [{"trader": None}, {"other": "0" * 64}, {"trader": "secret"}])
def test_a_user_without_a_password_makes_no_file(change: dict[str, str | None]) -> None:
    hashes = {user: password_hash(password) for user, password in PASSWORDS.items()} | change
    with pytest.raises(InvariantError):
        users_acl({user: text for user, text in hashes.items() if text is not None})


def test_nobody_gets_in_without_a_name_and_its_password(ask: Ask) -> None:
    strangers = [("default", ""), ("default", "x"), ("root", "x"), ("", PASSWORDS["trader"])]
    wrong = [(user, PASSWORDS["health" if user != "health" else "trader"]) for user in USERS]
    for user, password in [*strangers, *wrong, *((user, "") for user in USERS)]:
        stranger = ask()
        with pytest.raises(redis.AuthenticationError, match="invalid username-password pair"):
            stranger("AUTH", user, password)
        with pytest.raises(redis.AuthenticationError, match="Authentication required"):
            stranger("PING")


@pytest.mark.parametrize("user", USERS)
def test_of_all_commands_of_the_server_a_user_has_these(ask: Ask, user: str) -> None:
    admin = ask(ADMIN)
    granted = set()
    for name, arity in commands(admin("COMMAND")):
        words = name.split("|")
        for entry in STREAMS:
            arguments = [name_of(entry)] * (arity - len(words))
            if admin("ACL", "DRYRUN", user, *words, *arguments) == b"OK":
                granted.add(name)
    assert granted - NEEDS_NO_PERMISSION == ALLOWED[user]


def commands(described: list[Any]) -> Iterator[tuple[str, int]]:
    """Yield name and least number of words of commands, of containers those of what they hold."""
    for name, arity, *_, subcommands in described:
        if subcommands:
            yield from commands(subcommands)
        else:
            yield name.decode(), abs(arity)


@pytest.mark.parametrize("user", USERS)
def test_what_nobody_may_do_is_refused(ask: Ask, user: str) -> None:
    asker = ask(user)
    probes = [line.split() for line in FORBIDDEN.strip().replace("\n", "|").split("|")]
    assert len(probes) >= 40
    own = [name_of(entry) for entry in STREAMS if user in (*entry.writers, *entry.readers)]
    for words in probes:
        for key in own or ["hawk:{BTC-USD}:snapshots"]:
            asked = [key if word == "KEY" else word for word in words]
            assert not asker.may(*asked), f"{user} may {' '.join(asked)}"


@pytest.mark.parametrize(("user", "entry"), PAIRS, ids=pair_id)
@pytest.mark.parametrize("underlying", [UNDERLYING, "x", "{x}:orders"])
def test_a_user_may_do_to_a_stream_what_the_table_says(
    ask: Ask, user: str, entry: Stream, underlying: str
) -> None:
    name = name_of(entry, underlying)
    asker = ask(user)
    writes, reads = user in entry.writers, user in entry.readers
    heals = writes and user != "console"
    looks = heals or user in ("monitor", "console", "operator")
    asks = looks or (user, entry.kind) == ("trainer", "snapshots")
    by_hand = user == "operator"
    expected = {
        f"XADD {name} * a b": writes,
        f"XTRIM {name} MAXLEN 100": heals,
        f"DEL {name}": heals and not entry.is_control,
        f"XGROUP CREATE {name} {user} 0": reads,
        f"XREADGROUP GROUP {user} c STREAMS {name} >": reads,
        f"XREADGROUP GROUP {user} c STREAMS {name} 0": reads,
        f"XACK {name} {user} 1-1": reads,
        f"XAUTOCLAIM {name} {user} c 0 0": reads,
        f"XINFO STREAM {name}": asks,
        f"XINFO GROUPS {name}": looks,
        f"XRANGE {name} - + COUNT 1": looks,
        f"XREVRANGE {name} + - COUNT 1": by_hand,
        f"XREAD COUNT 1 STREAMS {name} 0": by_hand,
        f"XPENDING {name} {user}": by_hand,
        f"XLEN {name}": by_hand,
        f"TYPE {name}": by_hand,
    }
    assert {text: asker.may(*text.split()) for text in expected} == expected


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    "key",
    ["x", "hawk", "hawk:{BTC-USD}:snapshots2", "hawk:{BTC-USD}:x", "hawk:{control}:snap", ""]
    + [f"hawk:{{BTC-USD}}:{entry.kind}" for entry in STREAMS if entry.is_control],
)
def test_a_key_that_is_no_stream_of_the_table_is_out_of_reach(
    ask: Ask, user: str, key: str
) -> None:
    asker = ask(user)
    for words in (
        ("XADD", key, "*", "a", "b"),
        ("XTRIM", key, "MAXLEN", "0"),
        ("DEL", key),
        ("XREADGROUP", "GROUP", user, "c", "STREAMS", key, ">"),
        ("XGROUP", "CREATE", key, user, "0", "MKSTREAM"),
    ):
        assert not asker.may(*words), words
    is_shown = user == "operator" and key.startswith("hawk:")
    assert asker.may("XRANGE", key, "-", "+") == is_shown
    assert asker.may("TYPE", key) == is_shown


@pytest.mark.parametrize("user", USERS)
def test_a_command_on_an_own_and_a_foreign_stream_is_refused(ask: Ask, user: str) -> None:
    asker = ask(user)
    for entry in STREAMS:
        own, foreign = name_of(entry), f"{name_of(entry)}x"
        assert not asker.may("DEL", own, foreign)
        group = ("XREADGROUP", "GROUP", user, "c", "STREAMS")
        assert not asker.may(*group, own, foreign, ">", ">")
