"""The bus on Redis Streams: the one place that talks to redis-py.

The decision to question is what is left unused of redis-py: its connections, errors and TLS are
used, its command methods and retries are not. A retry inside the client cannot know whether the
command took effect (measured: 20 retried XADDs made 40 entries, no error), reply shapes changed
between its releases, and a pipeline of its commands costs three times the packing itself. Commands
go out packed, replies are read as they come over RESP2, and every failure is a `BusError` to the
caller, who asks the stream what it has (`last_id`) before it sends again.
"""

import socket
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from libs.common.bus import Bus, Claimed, GroupFacts, Memory, StreamFacts
from libs.common.checks import BusError, BusForeignError, BusFullError, BusLostError
from libs.common.entry_codec import (
    NO_ENTRY,
    Delivery,
    EntryId,
    delivery,
    fields_of,
    is_control,
    xadd,
    xadd_head,
)
from libs.common.events import Event
from libs.common.journal import Entry

SOCKET_TIMEOUT_S = 5.0
"""Above the longest block time; a server that is silent for longer counts as gone."""

BLOCK_S_MAX = 2.0
"""Longest wait of one read: a reader looks at its stop sign between two reads."""

ABSENT_WAIT_S = 0.25
"""Wait of a read where there is no stream yet: nothing there could wake it."""

PIPELINE_ENTRIES_MAX = 100
"""Entries sent before their replies are read, in two halves: while one is being carried out the
other is packed. 60 kB, well inside the socket buffers of both sides."""

LAG_COUNT_MAX = 10_001
"""Entries looked at to count the lag of a control group: one more than such a stream holds."""

REPEATED = "equal or smaller"
"""What Redis says of an id that is not above the stream's last."""

_MISSING_GROUP = ("NOGROUP", "UNBLOCKED")


def connect(url: str, *, password: str | None = None, timeout_s: float = SOCKET_TIMEOUT_S) -> Bus:
    """Return the bus of the Redis at `url`; nothing is sent before the first call."""
    return RedisBus(url, password=password, timeout_s=timeout_s)


class RedisBus:
    """Streams of one Redis; each thread has a connection of its own."""

    def __init__(self, url: str, *, password: str | None = None, timeout_s: float) -> None:
        self.address = _without_secrets(url)
        self._local = threading.local()
        self._timeout_s = timeout_s
        self._asked_again_s = 0.0
        # Weakly, so that a thread's connection goes with the thread.
        self._made: weakref.WeakSet[Any] = weakref.WeakSet()
        self._pool = redis.ConnectionPool.from_url(
            url,
            password=password,
            protocol=2,  # lists, the same from every server and client version
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
            # It would tell the server its name by a command that our users may not give.
            driver_info=None,
        )

    def publish(
        self, name: str, entries: Sequence[Entry], *, entries_max: int, must_exist: bool = False
    ) -> None:
        """Add entries, two half pipelines under way; a refused id that is there is no fault."""
        head = xadd_head(name, entries_max, must_exist=must_exist)
        refused: list[tuple[Entry, redis.ResponseError | None]] = []
        connection = self._connection()
        half = PIPELINE_ENTRIES_MAX // 2
        waiting: Sequence[Entry] = ()
        try:
            for start in range(0, len(entries), half):
                chunk = entries[start : start + half]
                text = b"".join([xadd(head, entry) for entry in chunk])
                connection.send_packed_command([text], check_health=False)
                refused += _settled(connection, waiting)
                waiting = chunk
                if any(map(_is_final, refused)):
                    break  # a Redis that is full or read-only refuses the rest as well
            refused += _settled(connection, waiting)
        except (redis.RedisError, OSError) as error:
            connection.disconnect()
            raise self._fault(error) from error
        for entry, refusal in refused:
            if refusal is None:
                raise BusLostError(
                    f"stream {name} is gone from Redis at {self.address} (flushed or deleted): "
                    "it is written anew from the journal"
                )
            self._judge_refusal(name, EntryId(entry.entry_ms, entry.event.seq), refusal)

    def post(self, name: str, events: Sequence[Event], *, entries_max: int) -> None:
        """Add events under the server's ids."""
        for event in events:
            self._call("XADD", name, "MAXLEN", "~", str(entries_max), "*", *fields_of(event))

    def last_id(self, name: str) -> EntryId:
        """Return the newest id ever given, also of entries that are trimmed."""
        found = self._info("XINFO", "STREAM", name)
        return EntryId.parse(found[b"last-generated-id"]) if found else NO_ENTRY

    def read(
        self,
        name: str,
        *,
        group: str,
        consumer: str,
        count: int,
        block_s: float,
        pending_after: EntryId | None = None,
    ) -> list[Delivery]:
        """Read by XREADGROUP; a missing group is made at 0 and read again at once."""
        command = ["XREADGROUP", "GROUP", group, consumer, "COUNT", str(count)]
        if pending_after is None and block_s > 0:
            # Half the socket's patience: silence within it is a quiet stream, not a dead server.
            wait_s = min(block_s, BLOCK_S_MAX, self._timeout_s / 2)
            command += ["BLOCK", str(max(1, int(wait_s * 1000)))]
        after = ">" if pending_after is None else str(pending_after)
        command += ["STREAMS", name, after]
        try:
            reply = self._call(*command)
        except _MissingGroup:
            if not self._make_group(name, group):
                # The stream is its writer's to make: that is how a writer notices a flush.
                time.sleep(min(block_s, ABSENT_WAIT_S) if pending_after is None else 0.0)
                return []
            reply = self._call(*command)
        return _deliveries(name, reply[0][1]) if reply else []

    def ack(self, name: str, *, group: str, ids: Sequence[EntryId]) -> int:
        """Acknowledge in one command."""
        return int(self._call("XACK", name, group, *map(str, ids))) if ids else 0

    def claim(
        self, name: str, *, group: str, consumer: str, idle_s_min: float, count: int
    ) -> Claimed:
        """Take over by XAUTOCLAIM; its third reply lists what was trimmed unread."""
        idle_ms = str(int(idle_s_min * 1000))
        command = ("XAUTOCLAIM", name, group, consumer, idle_ms, "0-0", "COUNT", str(count))
        try:
            reply = self._call(*command)
        except _MissingGroup:
            return Claimed([], [])
        deleted = [EntryId.parse(entry_id) for entry_id in reply[2]] if len(reply) > 2 else []
        return Claimed(_deliveries(name, reply[1]), deleted)

    def entries(self, name: str, *, after: EntryId = NO_ENTRY, count: int) -> list[Delivery]:
        """Read by XRANGE."""
        return _deliveries(name, self._call("XRANGE", name, f"({after}", "+", "COUNT", str(count)))

    def facts(self, name: str) -> StreamFacts | None:
        """Read by XINFO; the lag is counted here, Redis's own lies after trimming."""
        found = self._info("XINFO", "STREAM", name)
        if not found:
            return None
        length, last = int(found[b"length"]), EntryId.parse(found[b"last-generated-id"])
        first_entry = found[b"first-entry"]
        first = EntryId.parse(first_entry[0]) if first_entry else NO_ENTRY
        groups = []
        for raw in self._call("XINFO", "GROUPS", name):
            group = _mapped(raw)
            delivered = EntryId.parse(group[b"last-delivered-id"])
            lag = self._lag(name, delivered, last=last, length=length)
            pending = int(group[b"pending"])
            groups.append(GroupFacts(group[b"name"].decode(), pending, delivered, lag))
        return StreamFacts(length, first, last, tuple(sorted(groups)))

    def trim(self, name: str, *, entries_max: int) -> int:
        """Cut by XTRIM, which a Redis without memory still obeys."""
        return int(self._call("XTRIM", name, "MAXLEN", str(entries_max)))

    def remove(self, name: str) -> None:
        """Delete by DEL."""
        self._call("DEL", name)

    def memory(self) -> Memory:
        """Ask INFO memory."""
        lines = self._call("INFO", "memory").decode().splitlines()
        facts = dict(line.split(":", 1) for line in lines if ":" in line)
        return Memory(int(facts.get("used_memory", 0)), int(facts.get("maxmemory", 0)))

    def ping(self) -> None:
        """Ask PING."""
        self._call("PING")

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self._made):
            connection.disconnect()

    def _lag(self, name: str, delivered: EntryId, *, last: EntryId, length: int) -> int:
        if delivered == NO_ENTRY:
            return length
        if not is_control(name):
            return max(0, last.seq - delivered.seq)
        if delivered >= last:
            return 0
        return len(self._call("XRANGE", name, f"({delivered}", "+", "COUNT", str(LAG_COUNT_MAX)))

    def _make_group(self, name: str, group: str) -> bool:
        """Make a group at the beginning; False where there is no stream."""
        try:
            self._call("XGROUP", "CREATE", name, group, "0")
        except BusError as error:
            if "requires the key to exist" in str(error):
                return False
            if "BUSYGROUP" not in str(error):
                raise
        return True

    def _info(self, *command: str) -> dict[bytes, Any] | None:
        try:
            return _mapped(self._call(*command))
        except BusError as error:
            if "no such key" in str(error):
                return None
            raise

    def _judge_refusal(self, name: str, entry_id: EntryId, error: Exception) -> None:
        if REPEATED not in str(error):
            raise self._fault(error)
        if not self._call("XRANGE", name, str(entry_id), str(entry_id)):
            raise BusForeignError(
                f"stream {name} in Redis at {self.address} refuses entry {entry_id}: it holds "
                "later entries that this data folder never wrote"
            )

    def _call(self, *command: str | bytes) -> Any:
        reply = self._pipeline([_pack(*command)])[0]
        if isinstance(reply, redis.ResponseError):
            if str(reply).startswith(_MISSING_GROUP) or reply.args[0].startswith(_MISSING_GROUP):
                raise _MissingGroup(str(reply))
            raise self._fault(reply)
        return reply

    def _pipeline(self, commands: list[bytes]) -> list[Any]:
        """Send commands together and return their replies, errors of the server among them."""
        connection = self._connection()
        replies: list[Any] = []
        try:
            connection.send_packed_command([b"".join(commands)], check_health=False)
            for _ in commands:
                try:
                    replies.append(connection.read_response())
                except redis.ResponseError as error:
                    replies.append(error)
        except (redis.RedisError, OSError) as error:
            # What is left of the replies on this connection belongs to nobody.
            connection.disconnect()
            raise self._fault(error) from error
        return replies

    def _connection(self) -> Any:
        """Return this thread's connection; raise at once where another has just waited in vain.

        A server that is silent for one is silent for all: ten callers one after the other would
        otherwise wait ten time-outs, and a service that drains has two.
        """
        if time.monotonic() < self._asked_again_s:
            raise BusError(f"Redis at {self.address} does not answer")
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._pool.make_connection()
            self._local.connection = connection
            self._made.add(connection)
        return connection

    def _fault(self, error: Exception) -> BusError:
        # A name that nobody answers for takes seconds as well: a container that is down has none.
        is_unknown = isinstance(error.__context__, socket.gaierror)
        if isinstance(error, redis.TimeoutError) or is_unknown:
            self._asked_again_s = time.monotonic() + self._timeout_s
            what = "has no address" if is_unknown else "does not answer"
            return BusError(f"Redis at {self.address} {what}")
        if isinstance(error, redis.exceptions.OutOfMemoryError):
            return BusFullError(
                f"Redis at {self.address} is full (maxmemory, noeviction): {error}; "
                "raise maxmemory or let readers catch up"
            )
        if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError):
            return BusError(
                f"Redis at {self.address} refuses this user: {error}; check the user in "
                "HAWK_REDIS_URL and the password in HAWK_REDIS_PASSWORD_FILE"
            )
        return BusError(f"Redis at {self.address} cannot be used: {error}")


class _MissingGroup(BusError):
    """The group, or the whole stream, is gone."""


def _pack(*command: str | bytes) -> bytes:
    # The stub declares a tuple of one; the packer takes any.
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]
    return packed


def _is_final(refusal: tuple[Entry, redis.ResponseError | None]) -> bool:
    """Tell whether a refusal is about the server or the stream, not about the one entry."""
    return refusal[1] is None or REPEATED not in str(refusal[1])


def _settled(
    connection: Any, entries: Sequence[Entry]
) -> list[tuple[Entry, redis.ResponseError | None]]:
    """Read one reply for each of `entries`; return those that were refused."""
    # The parser itself: `read_response` around it costs twice what parsing a reply does.
    read = connection._parser.read_response
    replies = [(entry, read()) for entry in entries]
    return [
        (entry, reply)
        for entry, reply in replies
        if reply is None or isinstance(reply, redis.ResponseError)
    ]


def _deliveries(name: str, raw: Sequence[Any]) -> list[Delivery]:
    of_control = is_control(name)
    return [delivery(EntryId.parse(one[0]), one[1], of_control=of_control) for one in raw if one]


def _mapped(flat: Sequence[Any]) -> dict[bytes, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _without_secrets(url: str) -> str:
    """Return an address that may stand in a log: no user, no password, no query."""
    parts = urlsplit(url)
    where = f"{parts.hostname or ''}:{parts.port or 6379}" if parts.scheme != "unix" else ""
    return f"{parts.scheme}://{where}{parts.path}"
