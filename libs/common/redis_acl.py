"""Who may do what in Redis: the text of `users.acl`, made from the table of streams. Pure.

In go the SHA-256 of one password per user, out comes the file. Nothing is allowed but what stands
here: every user starts at `-@all`, and what it may do is one *selector* per job, commands and keys
together. So the permission to acknowledge on an input can never become an XADD there, which plain
rules (commands in one list, keys in another) cannot say. Scripts, transactions, subscriptions,
databases but 0, and everything about the server itself belong to nobody; to change the file,
change the table, make it anew and restart Redis.

What Redis cannot say, and a reader would question:

- A group is an argument, not a key. Whoever reads a stream may read and acknowledge as another of
  its groups. Market streams bear that, their readers count on the archive; on `commands` a reader
  that is broken into can keep an order from the trader.
- So is an option. A writer may trim a stream to nothing by XADD, on a control stream also what
  others wrote; a reader may make an empty stream (`XGROUP CREATE MKSTREAM`). Journals heal both.
- The underlying is a `*` in the key: underlyings appear while the system runs.
- INFO has no parts for an ACL, and SCAN shows the names of all keys. Both only read.
- AUTH, HELLO, RESET and QUIT need no permission.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from libs.common.checks import check
from libs.common.streams import SERVICES, STREAMS, Stream, stream_name

CONSOLE, OPERATOR, HEALTH = "console", "operator", "health"

USERS = (*SERVICES, CONSOLE, OPERATOR, HEALTH)
"""Services and the `hawk` command; the person at `redis-cli`; the container's health check."""

ALL_KEYS = "hawk:*"

READ = ("xreadgroup", "xack", "xautoclaim", "xgroup|create")
"""`Bus.read`, which makes its own group, `ack` and `claim`."""

LOOK = ("xrange", "xinfo|stream", "xinfo|groups")
"""`Bus.entries`, `last_id` and `facts`, whose lag of a control stream is counted by XRANGE."""

WRITE = ("xadd", "xtrim", *LOOK)
"""An outbox: it asks what its stream has, adds what is missing, and trims where Redis is full."""

REWRITE = (*WRITE, "del")
"""An outbox of a market stream, which has one writer: a foreign entry on top costs the stream."""

GIVE = ("xadd",)
"""`hawk kill` posts an order for this moment and never again, so it asks and heals nothing."""

LOOK_BY_HAND = (
    *("xrange", "xrevrange", "xread", "xlen", "xpending"),
    *("xinfo|stream", "xinfo|groups", "xinfo|consumers", "type", "memory|usage"),
)
"""What shows a stream at `redis-cli` and changes nothing, not even a group's position."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Grant:
    """Commands, and the kinds of stream that they may be given on; without kinds: on no key.

    `is_look` lets the keys be read only, whatever the commands are.
    """

    commands: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    is_look: bool = False

    def patterns(self) -> tuple[str, ...]:
        """Return the keys as rules."""
        sign = "%R~" if self.is_look else "~"
        return tuple(sign + _pattern(kind) for kind in self.kinds)


KINDS = tuple(entry.kind for entry in STREAMS)

BESIDE: Mapping[str, tuple[Grant, ...]] = {
    # The lag of every reader, the length of every stream, the memory that Redis has left.
    "monitor": (Grant(("info",)), Grant(LOOK, KINDS, is_look=True)),
    # The id of the newest entry is its clock.
    "trainer": (Grant(("xinfo|stream",), ("snapshots",), is_look=True),),
    CONSOLE: (Grant(("ping",)), Grant(LOOK, KINDS, is_look=True)),
    OPERATOR: (Grant(("ping", "info", "scan")), Grant(LOOK_BY_HAND, (ALL_KEYS,), is_look=True)),
    HEALTH: (Grant(("ping",)),),
}
"""What a user does beside reading and writing the streams where the table names it."""


def grants(user: str) -> tuple[Grant, ...]:
    """Return all that `user` may do.

    >>> [grant.patterns() for grant in grants("predictor")][0]
    ('~hawk:{*}:features', '~hawk:{control}:models')
    """
    made = [
        Grant(READ, _kinds(entry for entry in STREAMS if user in entry.readers)),
        *(
            Grant(commands, _kinds(e for e in STREAMS if user in e.writers and _way(e) == commands))
            for commands in (REWRITE, WRITE, GIVE)
        ),
    ]
    return (*(grant for grant in made if grant.kinds), *BESIDE.get(user, ()))


def users_acl(hashes: Mapping[str, str]) -> str:
    """Return the file; `hashes` has the `password_hash` of every user in `USERS`."""
    check(set(hashes) == set(USERS), "users.acl needs exactly one password per user")
    check(all(map(_SHA256.fullmatch, hashes.values())), "users.acl takes SHA-256 in hex, lower")
    lines = ["user default off resetpass resetkeys resetchannels -@all"]
    lines += [f"user {user} on #{hashes[user]} {_rules(grants(user))}" for user in USERS]
    return "\n".join(lines) + "\n"


def password_hash(password: str) -> str:
    """Return a password as the file keeps it; it is random and long, so it needs no salt."""
    return hashlib.sha256(password.encode()).hexdigest()


def _rules(granted: Iterable[Grant]) -> str:
    """Write grants without keys as the user's own rules, each other as a selector."""
    root = ["resetchannels", "-@all"]
    selectors: list[str] = []
    for grant in granted:
        commands = [f"+{command}" for command in grant.commands]
        if grant.kinds:
            selectors.append(f"({' '.join([*grant.patterns(), 'resetchannels -@all', *commands])})")
        else:
            root += commands
    return " ".join([*root, *selectors])


def _way(entry: Stream) -> tuple[str, ...]:
    """Return how the writers of a stream write it."""
    if entry.writers == (CONSOLE,):
        return GIVE
    return WRITE if entry.is_control else REWRITE


def _kinds(entries: Iterable[Stream]) -> tuple[str, ...]:
    return tuple(entry.kind for entry in entries)


def _pattern(kind: str) -> str:
    return kind if kind == ALL_KEYS else stream_name(kind, "*")
