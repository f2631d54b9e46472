"""The operator's Kalshi key: reading it, signing with it, and not showing it."""

import traceback
from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from libs.common.checks import ConfigError
from libs.common.venues.kalshi_key import load_key, signed_headers

KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
WHEN_MS = 1_786_942_800_123


def pem(
    key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey = KEY,
    form: PrivateFormat = PrivateFormat.PKCS8,
    encryption: KeySerializationEncryption | None = None,
) -> bytes:
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())


def headers(path: str) -> dict[str, str]:
    return signed_headers(KEY, "a1b2-c3", timestamp_ms=WHEN_MS, method="GET", path=path)


def verify(signature: str, text: bytes) -> None:
    """Raise unless `signature` is the venue's kind of signature of `text`."""
    kind = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=32)
    KEY.public_key().verify(b64decode(signature), text, kind, SHA256())


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_both_ways_of_writing_a_key_are_read(form: PrivateFormat) -> None:
    assert load_key(pem(form=form)).private_numbers() == KEY.private_numbers()


def test_time_method_and_path_are_signed() -> None:
    made = headers("/trade-api/v2/markets/A/orderbook")
    assert made["KALSHI-ACCESS-KEY"] == "a1b2-c3"
    assert made["KALSHI-ACCESS-TIMESTAMP"] == str(WHEN_MS)
    verify(made["KALSHI-ACCESS-SIGNATURE"], b"1786942800123GET/trade-api/v2/markets/A/orderbook")
    assert len(made) == 3


def test_the_query_is_not_signed() -> None:
    made = headers("/trade-api/v2/markets?series_ticker=KXBTC15M&status=open")
    verify(made["KALSHI-ACCESS-SIGNATURE"], b"1786942800123GET/trade-api/v2/markets")


def test_a_handshake_is_signed_like_a_request() -> None:
    made = headers("/trade-api/ws/v2")
    verify(made["KALSHI-ACCESS-SIGNATURE"], b"1786942800123GET/trade-api/ws/v2")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"secret words that are no key",
        pem()[:-200],
        pem().replace(b"M", b"N"),
        pem(encryption=BestAvailableEncryption(b"password")),
        pem(ed25519.Ed25519PrivateKey.generate()),
        pem(rsa.generate_private_key(public_exponent=65_537, key_size=1_024)),
    ],
    ids=["empty", "text", "cut", "damaged", "encrypted", "ed25519", "short"],
)
def test_a_refused_key_is_named_and_never_shown(content: bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        load_key(content)
    shown = "".join(traceback.format_exception(caught.value, chain=True))
    message = shown.partition("ConfigError: ")[2]
    assert "Kalshi private key" in message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    for line in content.splitlines():
        assert len(line) < 20 or line.decode() not in shown


@pytest.mark.parametrize("key_id", ["", "a b", "a\nX-Other: 1", "\u0660", "x" * 300])
def test_a_key_id_that_would_break_a_header_is_refused(key_id: str) -> None:
    with pytest.raises(ConfigError) as caught:
        signed_headers(KEY, key_id, timestamp_ms=WHEN_MS, method="GET", path="/trade-api/v2")
    assert key_id not in str(caught.value) or not key_id


def test_a_key_does_not_show_itself() -> None:
    body = b64encode(KEY.private_numbers().d.to_bytes(256, "big")).decode()
    assert body[:20] not in repr(KEY)
