"""The users of the Redis that runs: what is refused to them, and that nobody else gets in.

tests/common/test_redis_acl.py tries the rules in depth on a server of its own; here are its
probes again, with the passwords and the file that `init` has made, over the network of the bus.
"""

import json
from typing import Any

import pytest

from libs.common.redis_acl import USERS
from tests.common.test_redis_acl import FORBIDDEN, rules
from tests.compose.stack import CONSOLE_IMAGE, Stack

pytestmark = pytest.mark.compose

PROBES_MIN = 40

ASK = """
import json, pathlib, sys, redis
from redis.backoff import NoBackoff
from redis.retry import Retry
def client(user, password):
    return redis.Redis(host="redis", username=user, password=password, protocol=2,
                       retry=Retry(NoBackoff(), 0), socket_timeout=5)
def told(asker, words):
    try:
        return repr(asker.execute_command(*words))
    except redis.RedisError as error:
        return f"{type(error).__name__}: {error}"
users, probes = json.loads(sys.argv[1])
answers = {}
for user, path in users.items():
    asker = client(user, pathlib.Path(path).read_text().strip())
    answers[user] = [told(asker, words) for words in probes]
    answers[user + " wrong"] = [told(client(user, "x" * 43), ["PING"])]
    answers[user + " none"] = [told(client(None, None), ["AUTH", user, ""])]
answers["nobody"] = [told(client(None, None), words) for words in [["PING"], *probes]]
answers["default"] = [told(client("default", word), ["PING"]) for word in ("", "x")]
print(json.dumps(answers))
"""


def password_file(user: str) -> str:
    """Return where the password of a user stands in the volumes."""
    if user in ("operator", "health"):
        return f"secrets-redis/{user}_password"
    return f"secrets-{user}/redis_password"


@pytest.fixture(scope="module")
def answers(stack: Stack) -> dict[str, list[str]]:
    """What Redis tells each user, wrong passwords, and who has no name."""
    probes = [line.split() for line in FORBIDDEN.strip().replace("\n", "|").split("|")]
    keyed = [[w if w != "KEY" else "hawk:{BTC-USD}:snapshots" for w in words] for words in probes]
    asked = {user: f"/read/{password_file(user)}" for user in USERS}
    volumes = stack.volumes()
    mounts = {
        volumes[name]: {"bind": f"/read/{name}", "mode": "ro"}
        for name in {password_file(user).partition("/")[0] for user in USERS}
    }
    said = stack.docker.containers.run(
        CONSOLE_IMAGE,
        ["-c", ASK, json.dumps([asked, keyed])],
        entrypoint=["python"],
        network=f"{stack.project}_bus",
        volumes=mounts,
        remove=True,
    )
    found: dict[str, list[str]] = json.loads(said)
    return found


@pytest.mark.parametrize("user", USERS)
def test_a_user_is_refused_what_nobody_may_do(answers: dict[str, list[str]], user: str) -> None:
    assert len(answers[user]) >= PROBES_MIN
    # DEBUG and MODULE are off for everybody, before anybody's permissions are looked at.
    refused = (
        "NoPermissionError",
        "ResponseError: DEBUG command not",
        "ResponseError: MODULE comm",
    )
    assert not [said for said in answers[user] if not said.startswith(refused)]


@pytest.mark.parametrize("user", USERS)
def test_a_user_needs_its_own_password(answers: dict[str, list[str]], user: str) -> None:
    for said in (*answers[f"{user} wrong"], *answers[f"{user} none"]):
        assert said.startswith("AuthenticationError"), said


def test_who_has_no_name_gets_nothing(answers: dict[str, list[str]]) -> None:
    for said in (*answers["nobody"], *answers["default"]):
        assert said.startswith("AuthenticationError"), said


def test_redis_keeps_everything_on_disk_and_forgets_nothing(stack: Stack) -> None:
    def facts(section: str) -> dict[str, str]:
        pairs = (line.partition(":") for line in stack.operator("INFO", section).splitlines())
        return {key: value.strip() for key, _, value in pairs}

    memory = facts("memory")
    assert memory["maxmemory_policy"] == "noeviction" and int(memory["maxmemory"]) > 0
    assert facts("persistence")["aof_enabled"] == "1"
    assert facts("server")["redis_version"].split(".")[0] == "8"


def test_no_user_is_missing_from_the_file_and_none_is_too_many(stack: Stack) -> None:
    _, content = stack.secret_files()["secrets-redis/users.acl"]
    found: list[Any] = [rules(line) for line in content.decode().splitlines() if line]
    assert {user for user, _, _ in found} == {"default", *USERS}
    assert b"nopass" not in content and b">" not in content
