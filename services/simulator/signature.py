"""Kalshi's request signature, checked: RSA-PSS over time stamp, method and path.

In go headers and what was asked, out comes the reason to refuse, or None. The path is the real one,
without the query. Without a public key the headers must be there and timely, and any signature will
do: a simulator without keys still shows a client that it forgot to sign.
"""

from base64 import b64decode
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from libs.common.checks import UsageError
from services.simulator.naming import NS_PER_MS

SKEW_MS_MAX = 30_000
"""Stream time; the venue's own tolerance is not known."""

KEY, STAMP, SIGNATURE = (
    "KALSHI-ACCESS-KEY",
    "KALSHI-ACCESS-TIMESTAMP",
    "KALSHI-ACCESS-SIGNATURE",
)


def read_key(pem: bytes) -> RSAPublicKey:
    """Read an RSA public key; raises `UsageError` for anything else."""
    try:
        key = load_pem_public_key(pem)
    except ValueError as error:
        raise UsageError(f"kalshi key: expected an RSA public key as PEM, found {error}") from error
    if not isinstance(key, RSAPublicKey):
        raise UsageError("kalshi key: expected an RSA public key")
    return key


def fault_of(
    headers: Mapping[str, str], *, method: str, path: str, now_ns: int, key: RSAPublicKey | None
) -> str | None:
    """Return why a request is refused, None where it is good."""
    stamp = headers.get(STAMP, "")
    if not headers.get(KEY) or not headers.get(SIGNATURE) or not stamp.isdigit():
        return "missing headers"
    if len(stamp) > 16 or abs(int(stamp) - now_ns // NS_PER_MS) > SKEW_MS_MAX:
        return "timestamp out of range"
    if key is None:
        return None
    try:
        key.verify(
            b64decode(headers[SIGNATURE]),
            f"{stamp}{method}{path}".encode(),
            padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=hashes.SHA256.digest_size),
            hashes.SHA256(),
        )
    except (InvalidSignature, ValueError):
        return "incorrect signature"
    return None
