"""Ed25519 keys that sign bundles and the pointer to the current one.

Made where absent, mode 0600, written whole or not at all. The private key belongs to the trainer
alone; everybody else holds the public key, because the models folder is writable by others.
"""

import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from libs.common import durable
from libs.common.checks import BundleError, ConfigError

PRIVATE_KEY = "keys/signing.key"
PUBLIC_KEY = "keys/signing.pub"
_KEY_BYTES = 32


def signing_key(root: Path) -> Ed25519PrivateKey:
    """Return the private key of the data folder `root`; make both keys where there are none."""
    path = root / PRIVATE_KEY
    if not path.exists():
        _write(path, Ed25519PrivateKey.generate().private_bytes_raw())
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise ConfigError(
            f"{path} has mode {mode:o}: run `chmod 600` on it, only its owner may read"
        )
    key = Ed25519PrivateKey.from_private_bytes(_read(path))
    # Made from the private one, so that a kill between the two files is healed here.
    if not (root / PUBLIC_KEY).exists():
        _write(root / PUBLIC_KEY, key.public_key().public_bytes_raw())
    return key


def public_key(root: Path) -> Ed25519PublicKey:
    """Return the public key of `root`; raise `ConfigError` where there is none."""
    return Ed25519PublicKey.from_public_bytes(_read(root / PUBLIC_KEY))


def is_signed(key: Ed25519PublicKey, signature: bytes, content: bytes) -> bool:
    """Tell whether `signature` is the key's for `content`."""
    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def require_signed(key: Ed25519PublicKey, signature: bytes, content: bytes, *, what: str) -> None:
    """Raise `BundleError` unless `content` carries the key's signature."""
    if not is_signed(key, signature, content):
        raise BundleError(f"{what} is not signed by this installation's key: it is not served")


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.chmod(path.parent, 0o700)
    except OSError as error:
        raise durable.cannot_write(path, error) from error

    def fill(temporary: Path) -> None:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)

    durable.write_atomic(path, fill, name="keys")


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read key {path}: {error.strerror}; `hawk train` makes one where there is none"
        ) from error
    if len(content) != _KEY_BYTES:
        raise ConfigError(f"key {path} has {len(content)} bytes, expected {_KEY_BYTES}: restore it")
    return content
