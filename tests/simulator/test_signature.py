"""Kalshi's signature, checked."""

from base64 import b64encode

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from libs.common.checks import UsageError
from services.simulator.signature import KEY, SIGNATURE, STAMP, fault_of, read_key

NOW_NS = 1_795_366_800_000_000_000
PRIVATE = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
PATH = "/trade-api/v2/markets"


def headers(text: str, *, stamp: str | None = None, salt: int = 32) -> dict[str, str]:
    """Sign `text` as a client would."""
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=salt)
    signature = PRIVATE.sign(text.encode(), pss, hashes.SHA256())
    told = stamp if stamp is not None else str(NOW_NS // 1_000_000)
    return {KEY: "k", STAMP: told, SIGNATURE: b64encode(signature).decode()}


def checked(told: dict[str, str], *, path: str = PATH) -> str | None:
    return fault_of(told, method="GET", path=path, now_ns=NOW_NS, key=PRIVATE.public_key())


MS = NOW_NS // 1_000_000


def test_a_good_signature_is_let_in() -> None:
    assert checked(headers(f"{MS}GET{PATH}")) is None


@pytest.mark.parametrize(
    "told",
    [
        headers(f"{MS}POST{PATH}"),
        headers(f"{MS}GET{PATH}?limit=1"),
        headers(f"{MS}GET/markets"),
        headers(f"{MS}GET{PATH}", salt=0),
        {**headers(f"{MS}GET{PATH}"), SIGNATURE: "no base64!"},
    ],
)
def test_a_signature_of_anything_else_is_refused(told: dict[str, str]) -> None:
    assert checked(told) == "incorrect signature"


def test_a_stamp_half_a_minute_off_is_refused() -> None:
    late = str(MS - 30_001)
    assert checked(headers(f"{late}GET{PATH}", stamp=late)) == "timestamp out of range"


@pytest.mark.parametrize("name", [KEY, STAMP, SIGNATURE])
def test_a_missing_header_is_refused_even_without_a_key(name: str) -> None:
    told = {k: v for k, v in headers(f"{MS}GET{PATH}").items() if k != name}
    assert fault_of(told, method="GET", path=PATH, now_ns=NOW_NS, key=None) == "missing headers"


def test_only_an_rsa_public_key_is_read() -> None:
    def pem(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
        public = serialization.PublicFormat.SubjectPublicKeyInfo
        return key.public_bytes(serialization.Encoding.PEM, public)

    assert read_key(pem(PRIVATE.public_key())).key_size == 2_048
    for wrong in (b"nonsense", pem(ec.generate_private_key(ec.SECP256R1()).public_key())):
        with pytest.raises(UsageError):
            read_key(wrong)
