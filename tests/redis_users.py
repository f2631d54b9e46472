"""A Redis with the users of `libs/common/redis_acl.py`, and what speaks to it as one of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from libs.common.redis_acl import USERS, password_hash, users_acl
from libs.common.streams import CONTROL, STREAMS, Stream, stream_name
from tests.redis_server import RedisServer, redis_server
from tests.scenarios.pipeline import UNDERLYING

PASSWORDS = {user: f"{user}-{'0123456789abcdef' * 2}" for user in USERS}

USERS_ACL = users_acl({user: password_hash(password) for user, password in PASSWORDS.items()})

PAIRS = [(user, entry) for user in USERS for entry in STREAMS]


def pair_id(value: Any) -> str:
    """Name a user or a stream in the name of a test."""
    return value.kind if isinstance(value, Stream) else str(value)


def name_of(entry: Stream, underlying: str = UNDERLYING) -> str:
    """Name the stream of a kind."""
    return stream_name(entry.kind, CONTROL if entry.is_control else underlying)


@contextmanager
def server_with_users() -> Iterator[RedisServer]:
    """Run a server with our users and an administrator for the block."""
    with redis_server(users=USERS_ACL) as running:
        yield running


class Asker:
    """A bare connection as a user: what Redis says, and nothing that redis-py makes of it."""

    def __init__(self, server: RedisServer, user: str = "", password: str = "") -> None:
        self._connection = redis.UnixDomainSocketConnection(
            path=str(server.socket),
            username=user or None,
            password=password or PASSWORDS.get(user, user) or None,
            protocol=2,
            driver_info=None,  # it would greet before it is known, and be refused
            retry=Retry(NoBackoff(), 0),
        )

    def __call__(self, *words: str) -> Any:
        """Return the reply."""
        self._connection.send_command(*words, check_health=False)
        return self._connection.read_response()

    def may(self, *words: str) -> bool:
        """Tell whether a command gets past the permissions, whatever becomes of it then."""
        try:
            self(*words)
        except redis.exceptions.NoPermissionError:
            return False
        except redis.ResponseError as error:
            # DEBUG and MODULE are off in the server itself, which says so first.
            return "command not allowed" not in str(error)
        return True

    def close(self) -> None:
        self._connection.disconnect()
