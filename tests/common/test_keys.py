"""Keys: made where absent, readable by their owner alone, whole or refused."""

import os
import stat
from pathlib import Path

import pytest

from libs.common import keys
from libs.common.checks import ArchiveError, BundleError, ConfigError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_both_keys_are_made_where_absent_and_fit_each_other(tmp_path: Path) -> None:
    key = keys.signing_key(tmp_path)
    assert keys.is_signed(keys.public_key(tmp_path), key.sign(b"text"), b"text")
    assert mode(tmp_path / keys.PRIVATE_KEY) == 0o600
    assert mode(tmp_path / "keys") == 0o700
    again = keys.signing_key(tmp_path)
    assert again.private_bytes_raw() == key.private_bytes_raw()


def test_a_public_key_lost_to_a_kill_is_made_from_the_private_one(tmp_path: Path) -> None:
    key = keys.signing_key(tmp_path)
    (tmp_path / keys.PUBLIC_KEY).unlink()
    keys.signing_key(tmp_path)
    keys.require_signed(keys.public_key(tmp_path), key.sign(b"x"), b"x", what="x")


@pytest.mark.parametrize("signature", [b"", b"x", bytes(64), bytes(65)])
def test_anything_but_the_signature_is_refused(tmp_path: Path, signature: bytes) -> None:
    keys.signing_key(tmp_path)
    with pytest.raises(BundleError, match="bundle 7 is not signed"):
        keys.require_signed(keys.public_key(tmp_path), signature, b"text", what="bundle 7")


def test_another_installations_key_does_not_sign_for_this_one(tmp_path: Path) -> None:
    keys.signing_key(tmp_path / "a")
    other = keys.signing_key(tmp_path / "b")
    assert not keys.is_signed(keys.public_key(tmp_path / "a"), other.sign(b"x"), b"x")


def test_a_signature_of_other_text_is_refused(tmp_path: Path) -> None:
    key = keys.signing_key(tmp_path)
    assert not keys.is_signed(keys.public_key(tmp_path), key.sign(b"x"), b"y")


@pytest.mark.parametrize("loose", [0o640, 0o604, 0o666, 0o777])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, loose: int) -> None:
    keys.signing_key(tmp_path)
    os.chmod(tmp_path / keys.PRIVATE_KEY, loose)
    with pytest.raises(ConfigError, match="chmod 600"):
        keys.signing_key(tmp_path)


@pytest.mark.parametrize("content", [b"", b"short", bytes(33)])
def test_a_damaged_key_is_refused_not_replaced(tmp_path: Path, content: bytes) -> None:
    keys.signing_key(tmp_path)
    for name, read in ((keys.PRIVATE_KEY, keys.signing_key), (keys.PUBLIC_KEY, keys.public_key)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=f"{len(content)} bytes"):
            read(tmp_path)
        assert (tmp_path / name).read_bytes() == content
        (tmp_path / name).write_bytes(keys.Ed25519PrivateKey.generate().private_bytes_raw())


def test_no_key_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read key"):
        keys.public_key(tmp_path)


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"")
    with pytest.raises(ArchiveError, match="cannot write"):
        keys.signing_key(tmp_path)
