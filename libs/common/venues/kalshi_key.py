"""The operator's Kalshi key: read it, and sign a request or a handshake with it. Pure.

In goes the content of a PEM file, out come the three headers of one request. No clock: the caller
brings the time, freshly for each request and each reconnect, because the venue refuses old ones.

The decision a reader would question: an error names what is wrong with the key and never shows a
part of it, not even as the cause of the exception, because errors are logged.
"""

from base64 import b64encode

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from libs.common.checks import ConfigError

KEY_BITS_MIN = 2_048
KEY_ID_LENGTH_MAX = 200

_HASH = SHA256()
_PADDING = PSS(mgf=MGF1(_HASH), salt_length=_HASH.digest_size)


def load_key(pem: bytes) -> RSAPrivateKey:
    """Return the private key of an unencrypted PEM file; raise `ConfigError` without its content.

    Both ways of writing it are read (PKCS#1 "RSA PRIVATE KEY", which the venue hands out, and
    PKCS#8).
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it wants a password
        raise ConfigError(
            "the Kalshi private key is not an unencrypted PEM key: use the file that the venue gave"
        ) from None
    if not isinstance(key, RSAPrivateKey):
        raise ConfigError("the Kalshi private key is not an RSA key")
    if key.key_size < KEY_BITS_MIN:
        raise ConfigError(f"the Kalshi private key has less than {KEY_BITS_MIN} bits")
    return key


def signed_headers(
    key: RSAPrivateKey, key_id: str, *, timestamp_ms: int, method: str, path: str
) -> dict[str, str]:
    """Return the headers that prove who asks.

    Signed is time + method + path by RSA-PSS with SHA-256 and a salt of its 32 bytes
    (docs.kalshi.com, API keys, read 2026-11-22). `path` begins with `/trade-api/`; a query, which
    the venue leaves out, is cut off here.
    """
    is_name = 0 < len(key_id) <= KEY_ID_LENGTH_MAX and key_id.isascii() and key_id.isprintable()
    if not is_name or " " in key_id:
        raise ConfigError("the Kalshi key id is not one printable word")
    text = f"{timestamp_ms}{method}{path.partition('?')[0]}"
    signature = key.sign(text.encode(), _PADDING, _HASH)
    return {
        "KALSHI-ACCESS-KEY": key_id,
        "KALSHI-ACCESS-TIMESTAMP": str(timestamp_ms),
        "KALSHI-ACCESS-SIGNATURE": b64encode(signature).decode(),
    }
