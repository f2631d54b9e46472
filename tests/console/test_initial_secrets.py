"""Secrets are made once, whole or not at all, readable by their owner alone, and never shown."""

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from libs.common import durable
from libs.common.checks import ConfigError, UnavailableError
from libs.common.keys import public_key, signing_key
from libs.common.redis_acl import USERS, password_hash
from services.console.initial_secrets import Given, main, make_secrets, require_readable
from services.predictor.app import read_key
from tests.redis_server import needs_redis, redis_server

PASSWORDS = [
    *(f"{s}/redis_password" for s in ("collector", "features", "predictor", "trader", "trainer")),
    *("monitor/redis_password", "console/redis_password"),
    *("redis/operator_password", "redis/health_password"),
    *("predictor/api_key", "grafana/admin_password"),
]
KEYS = ["signing/signing.key", "signing/signing.pub", "verifying/signing.pub"]
ALL = sorted([*PASSWORDS, *KEYS, "redis/users.acl", "alertmanager/alertmanager.yml"])

URL = "https://hooks.example.org/services/T0/canary"


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "secrets"


@pytest.fixture
def alertmanager(tmp_path: Path) -> Path:
    folder = tmp_path / "alertmanager"
    folder.mkdir()
    (folder / "silent.yml").write_text("route: silent\n")
    (folder / "webhook.yml").write_text("route: webhook\n")
    return folder


@pytest.fixture
def make(to: Path, alertmanager: Path) -> Callable[..., list[str]]:
    """Return what makes the secrets and returns the lines it told."""

    def run(webhook: Path | None = None) -> list[str]:
        told: list[str] = []
        make_secrets(to, Given(alertmanager, webhook), tell=told.append)
        return told

    return run


Make = Callable[..., list[str]]


def files(to: Path) -> dict[str, bytes]:
    """Return what stands below a folder, temporary files included."""
    paths = [path for path in to.rglob("*") if not path.is_dir()]
    return {str(path.relative_to(to)): path.read_bytes() for path in sorted(paths)}


def put(path: Path, content: bytes, *, mode: int = 0o400) -> None:
    """Put a file where an old one may stand."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def test_everything_is_made_for_its_owner_alone(make: Make, to: Path) -> None:
    for name in ALL:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
    before = os.umask(0o777)
    try:
        told = make()
    finally:
        os.umask(before)
    assert sorted(files(to)) == ALL
    assert {stat.S_IMODE((to / name).stat().st_mode) for name in ALL} == {0o400}
    assert sorted(told) == sorted(f"made {to / name}" for name in ALL)


def test_passwords_are_long_and_all_different(make: Make, to: Path) -> None:
    make()
    made = files(to)
    passwords = {made[name].decode() for name in PASSWORDS}
    assert len(passwords) == len(PASSWORDS)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}\n", password) for password in passwords)


def test_a_second_run_keeps_every_byte(make: Make, to: Path) -> None:
    make()
    before = {name: (to / name).stat().st_ino for name in ALL}
    assert sorted(make()) == sorted(f"kept {to / name}" for name in ALL)
    assert {name: (to / name).stat().st_ino for name in ALL} == before


@pytest.mark.parametrize("name", PASSWORDS)
def test_a_password_that_is_missing_is_made_and_the_others_are_kept(
    make: Make, to: Path, name: str
) -> None:
    make()
    before = files(to)
    (to / name).unlink()
    make()
    after = files(to)
    changed = {found for found in after if after[found] != before.get(found)}
    is_of_redis = name not in ("predictor/api_key", "grafana/admin_password")
    assert changed == ({name, "redis/users.acl"} if is_of_redis else {name})


def test_the_users_of_redis_have_the_passwords_in_the_files(make: Make, to: Path) -> None:
    make()
    made = files(to)
    acl = made["redis/users.acl"].decode()
    names = {user: f"{user}/redis_password" for user in USERS} | {
        user: f"redis/{user}_password" for user in ("operator", "health")
    }
    for user, name in names.items():
        password = made[name].decode().strip()
        assert f"user {user} on #{password_hash(password)} " in acl
        assert password not in acl


@needs_redis
def test_redis_takes_the_file(make: Make, to: Path) -> None:
    make()
    with redis_server(users=(to / "redis/users.acl").read_text()) as server:
        assert len(server.raw("ACL", "USERS")) == len(USERS) + 2


@pytest.mark.parametrize("old", [b"user x on nopass ~* +@all\n", b"", None])
def test_users_are_made_anew_because_the_table_may_have_changed(
    make: Make, to: Path, old: bytes | None
) -> None:
    make()
    before = files(to)
    put(to / "redis/users.acl", before["redis/users.acl"] if old is None else old, mode=0o644)
    assert f"changed {to / 'redis/users.acl'}" in make()
    assert files(to) == before
    assert stat.S_IMODE((to / "redis/users.acl").stat().st_mode) == 0o400


def test_the_keys_are_those_that_the_services_read(make: Make, to: Path, tmp_path: Path) -> None:
    make()
    trainer, predictor = tmp_path / "trainer", tmp_path / "predictor"
    shutil.copytree(to / "signing", trainer / "keys")
    shutil.copytree(to / "verifying", predictor / "keys")
    signature = signing_key(trainer).sign(b"bundle")
    public_key(predictor).verify(signature, b"bundle")
    public_key(trainer).verify(signature, b"bundle")
    api_key = read_key(to / "predictor/api_key", host="0.0.0.0")
    assert api_key and f"{api_key}\n".encode() == files(to)["predictor/api_key"]


@pytest.mark.parametrize("names", [KEYS[1:], KEYS[1:2], KEYS[2:]])
def test_public_keys_follow_from_the_private_one(make: Make, to: Path, names: list[str]) -> None:
    make()
    before = files(to)
    for name in names:
        (to / name).unlink()
    make()
    assert files(to) == before


DAMAGES: list[tuple[str, str, Callable[[Path], None]]] = [
    ("empty", "holds no password", lambda path: put(path, b"")),
    ("cut short", "holds no password", lambda path: put(path, path.read_bytes()[:30])),
    ("no end", "holds no password", lambda path: put(path, path.read_bytes()[:-1])),
    ("two lines", "holds no password", lambda path: put(path, path.read_bytes() * 2)),
    ("no text", "holds no password", lambda path: put(path, b"\xff" * 43 + b"\n")),
    ("huge", "holds no password", lambda path: put(path, b"x" * 1_000_000)),
    ("for others", "chmod 0400", lambda path: path.chmod(0o444)),
    ("writable", "chmod 0400", lambda path: path.chmod(0o600)),
    ("nobody", "chmod 0400", lambda path: path.chmod(0o000)),
    ("folder", "is no file", lambda path: (path.unlink(), path.mkdir())[1]),
    ("link", "is no file", lambda path: path.symlink_to(path.rename(f"{path}.old"))),
]


def refused(make: Make, to: Path, *, said: str, webhook: Path | None = None) -> str:
    """See that nothing is written and that the fault is one clear line without content."""
    before = {path: path.lstat().st_mtime_ns for path in to.rglob("*")}
    readable = [path for path in to.rglob("*") if path.is_file() and os.access(path, os.R_OK)]
    contents = [path.read_text(errors="replace").strip() for path in readable]
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        make(webhook)
    assert {path: path.lstat().st_mtime_ns for path in to.rglob("*")} == before
    text = str(caught.value)
    assert "\n" not in text
    assert not [content for content in contents if len(content) > 20 and content in text]
    return text


@pytest.mark.parametrize(("what", "said", "damage"), DAMAGES, ids=[what for what, *_ in DAMAGES])
@pytest.mark.parametrize("name", ["trader/redis_password", "predictor/api_key"])
def test_a_damaged_password_is_refused(
    make: Make, to: Path, *, name: str, what: str, said: str, damage: Callable[[Path], None]
) -> None:
    make()
    damage(to / name)
    assert str(to / name) in refused(make, to, said=said)


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_a_damaged_key_is_refused(make: Make, to: Path, name: str, content: bytes) -> None:
    make()
    put(to / name, content)
    text = refused(make, to, said=f"{to / name} has {len(content)} bytes, not 32")
    assert "restore it from a backup" in text


@pytest.mark.parametrize("name", KEYS[1:])
def test_a_public_key_of_another_is_refused(make: Make, to: Path, name: str) -> None:
    make()
    put(to / name, bytes(range(32)))
    refused(make, to, said=f"{to / name} is not that of our key")


def test_a_lost_private_key_is_not_replaced_in_silence(make: Make, to: Path) -> None:
    make()
    (to / "signing/signing.key").unlink()
    refused(make, to, said=f"{to / 'verifying/signing.pub'} is there without its key")


def test_every_fault_is_named_at_once(make: Make, to: Path, tmp_path: Path) -> None:
    make()
    put(to / "trader/redis_password", b"")
    put(to / "signing/signing.key", b"")
    (to / "monitor/redis_password").chmod(0o440)
    webhook = tmp_path / "url"
    webhook.write_text("nowhere")
    text = refused(make, to, said="holds no address", webhook=webhook)
    for name in ("trader/redis_password", "signing/signing.key", "monitor/redis_password"):
        assert str(to / name) in text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_file_of_another_user_is_refused(to: Path, alertmanager: Path, make: Make) -> None:
    make()
    child = os.fork()
    if not child:
        os.seteuid(65_534)
        try:
            make_secrets(to, Given(alertmanager), tell=lambda line: None)
        except (ConfigError, UnavailableError) as error:
            os._exit(error.exit_code)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) in (3, 4)


# Killed, twice at once.


class Killed(BaseException):
    """What ends the process; nothing catches it."""


def test_killed_between_any_two_steps_the_next_run_completes(
    make: Make, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, bytes] = {}
    nth = 0
    while True:
        nth += 1
        steps: list[str] = []

        def die(name: str, *, at: int = nth, steps: list[str] = steps) -> None:
            steps.append(name)
            if len(steps) == at:
                raise Killed

        shutil.rmtree(to, ignore_errors=True)
        monkeypatch.setattr(durable, "on_step", die)
        try:
            make()
        except Killed:
            pass
        else:
            break
        monkeypatch.setattr(durable, "on_step", lambda name: None)
        whole = {name: c for name, c in files(to).items() if ".tmp-" not in name}
        make()
        made = files(to)
        assert sorted(made) == ALL
        assert whole.items() <= made.items(), "what was whole is kept"
    assert nth > 4 * len(ALL)


def test_half_a_file_of_a_kill_is_swept(make: Make, to: Path) -> None:
    put(to / "trader/.tmp-redis_password", b"half")
    put(to / "signing/.tmp-signing.key", b"")
    make()
    assert sorted(files(to)) == ALL


def test_two_at_once_make_one_set(make: Make, to: Path, alertmanager: Path) -> None:
    command = [sys.executable, "-m", "services.console.initial_secrets"]
    command += ["--to", str(to), "--alertmanager", str(alertmanager)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    told = [process.communicate(timeout=60)[0].splitlines() for process in running]
    assert [process.returncode for process in running] == [0] * 4
    makers = [line for lines in told for line in lines if line.startswith("made ")]
    assert sorted(makers) == sorted(f"made {to / name}" for name in ALL)
    assert sorted(make()) == sorted(f"kept {to / name}" for name in ALL)


# What Alertmanager is told.


def test_without_an_address_alerts_stay_silent(make: Make, to: Path, tmp_path: Path) -> None:
    for webhook in (None, Path("/dev/null"), tmp_path / "empty"):
        (tmp_path / "empty").write_text("\n")
        make(webhook)
        assert files(to)["alertmanager/alertmanager.yml"] == b"route: silent\n"
        assert "alertmanager/webhook_url" not in files(to)


def test_an_address_is_told_and_taken_back(make: Make, to: Path, tmp_path: Path) -> None:
    webhook = tmp_path / "url"
    make()
    webhook.write_text(f"{URL}\n")
    assert f"made {to / 'alertmanager/webhook_url'}" in make(webhook)
    assert files(to)["alertmanager/alertmanager.yml"] == b"route: webhook\n"
    assert files(to)["alertmanager/webhook_url"] == URL.encode()
    assert stat.S_IMODE((to / "alertmanager/webhook_url").stat().st_mode) == 0o400
    webhook.write_text(f"{URL}2\n")
    assert f"changed {to / 'alertmanager/webhook_url'}" in make(webhook)
    assert f"removed {to / 'alertmanager/webhook_url'}" in make()
    assert files(to)["alertmanager/alertmanager.yml"] == b"route: silent\n"
    assert "alertmanager/webhook_url" not in files(to)


@pytest.mark.parametrize(
    "text",
    [
        "hooks.example.org/x",
        "ftp://example.org/canary",
        "file:///etc/passwd",
        "https://",
        "https://a.org:99999/canary",
        "https://a.org/canary https://b.org",
        "https://a.org/canary\nhttps://b.org",
        "https://ä.org/canary",
        f"https://a.org/{'x' * 3_000}",
        "\x00",
    ],
)
def test_what_is_no_address_is_refused_and_not_repeated(
    make: Make, to: Path, tmp_path: Path, text: str
) -> None:
    make()
    webhook = tmp_path / "url"
    webhook.write_text(text)
    assert "canary" not in refused(make, to, said="holds no address", webhook=webhook)


def test_an_address_that_cannot_be_read_is_refused(make: Make, to: Path, tmp_path: Path) -> None:
    make()
    refused(make, to, said="see that it is a file", webhook=tmp_path / "missing")
    # Docker makes a folder where the file that it is to mount does not exist.
    refused(make, to, said="see that it is a file", webhook=tmp_path)


# The command.


def test_the_command_tells_files_and_no_content(
    to: Path, alertmanager: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    webhook = tmp_path / "url"
    webhook.write_text(URL)
    arguments = ["--to", str(to), "--alertmanager", str(alertmanager), "--webhook", str(webhook)]
    assert main(arguments) == 0
    assert main(arguments) == 0
    put(to / "trader/redis_password", b"canary")
    assert main(arguments) == 3
    said = capsys.readouterr()
    assert said.err.startswith("hawk: ") and said.err.count("\n") == 1
    assert len(said.out.splitlines()) == 2 * (len(ALL) + 1)
    for content in files(to).values():
        secret = content.decode(errors="replace").strip()
        assert secret not in said.out + said.err


def test_a_place_that_cannot_be_written_is_one_clear_line(
    tmp_path: Path, alertmanager: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    arguments = ["--to", str(tmp_path / "file"), "--alertmanager", str(alertmanager)]
    assert main(arguments) == UnavailableError.exit_code
    assert "cannot write" in capsys.readouterr().err


def test_a_setting_that_is_misspelt_makes_nothing(
    to: Path,
    alertmanager: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HAWK_STAKE", "5")
    assert main(["--to", str(to), "--alertmanager", str(alertmanager)]) == ConfigError.exit_code
    assert "HAWK_STAKE is not a known setting" in capsys.readouterr().err
    assert not to.exists()


def test_what_containers_cannot_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis/health").write_text("")
    require_readable(tmp_path)
    # Not by a mode: the tests may run as root, who reads everything.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "health")
    with pytest.raises(ConfigError, match=r"redis/health cannot be read .*chmod -R go\+rX deploy"):
        require_readable(tmp_path)


def test_it_starts_without_what_only_services_need() -> None:
    heavy = "numpy pyarrow typer lightgbm redis prometheus_client"
    script = (
        "import sys, services.console.initial_secrets; "
        f"print([n for n in '{heavy}'.split() if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_operators_kalshi_key_is_the_collectors_while_it_is_given(
    to: Path, alertmanager: Path, tmp_path: Path
) -> None:
    pem = rsa.generate_private_key(public_exponent=65_537, key_size=2_048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    (tmp_path / "kalshi.pem").write_bytes(pem)
    told: list[str] = []
    make_secrets(to, Given(alertmanager, None, tmp_path / "kalshi.pem"), tell=told.append)
    copy = to / "collector/kalshi_key"
    assert copy.read_bytes() == pem and stat.S_IMODE(copy.stat().st_mode) == 0o400
    make_secrets(to, Given(alertmanager, None, Path("/dev/null")), tell=told.append)
    assert not copy.exists() and not any("PRIVATE" in line for line in told)


def test_a_kalshi_key_that_is_none_stops_the_start_without_its_content(
    to: Path, alertmanager: Path, tmp_path: Path
) -> None:
    (tmp_path / "kalshi.pem").write_text("-----BEGIN PRIVATE KEY-----\nCANARY\n")
    with pytest.raises(ConfigError, match="not an unencrypted PEM key") as caught:
        make_secrets(to, Given(alertmanager, None, tmp_path / "kalshi.pem"), tell=lambda line: None)
    assert "CANARY" not in str(caught.value) and "kalshi.pem" in str(caught.value)
