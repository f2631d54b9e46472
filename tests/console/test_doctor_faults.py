"""What is told of connections that fail, with the errors that the client really raises."""

import asyncio
import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.console.doctor_faults import (
    trouble_of_answer,
    trouble_of_error,
    trouble_of_status,
)


def error_of(url: str) -> Exception:
    """Return what a request that must fail raises."""

    async def ask() -> Exception:
        async with aiohttp.ClientSession() as session:
            try:
                async with session.get(url, timeout=aiohttp.ClientTimeout(total=5)):
                    raise AssertionError("it was answered")
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                return error

    return asyncio.run(ask())


@contextmanager
def listening(context: ssl.SSLContext | None) -> Iterator[int]:
    """Take connections on the loopback, with TLS or hanging up at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return  # it is over
                with connection, suppress(OSError):
                    if context is not None:
                        context.wrap_socket(connection, server_side=True).close()

        thread = threading.Thread(target=take)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_a_refused_port_names_firewall_and_curl() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    found = trouble_of_error(error_of(f"http://127.0.0.1:{port}/"), "host.example", wait_s=5)
    assert found.found == "host.example refuses the connection"
    assert "firewall" in found.fix


def test_a_certificate_that_is_not_believed_names_why(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    start = datetime.datetime(2026, 1, 1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(start).not_valid_after(start.replace(year=2126))
    own = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "both.pem").write_bytes(own + secret)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "both.pem")
    with listening(context) as port:
        error = error_of(f"https://127.0.0.1:{port}/")
    found = trouble_of_error(error, "host.example", wait_s=5)
    assert found.found == (
        "the certificate of host.example is not believed: self-signed certificate"
    )
    assert "ca-certificates" in found.fix


def test_a_server_that_hangs_up_is_named_by_what_it_did() -> None:
    with listening(None) as port:
        error = error_of(f"http://127.0.0.1:{port}/")
    assert "hangs up" in trouble_of_error(error, "host.example", wait_s=5).found


def test_a_name_without_address_points_to_the_name_servers() -> None:
    place = aiohttp.client_reqrep.ConnectionKey("h", 443, True, True, None, None, None)
    error = aiohttp.ClientConnectorDNSError(place, OSError(None, "no address"))
    found = trouble_of_error(error, "host.example", wait_s=5)
    assert "DNS" in found.found
    assert "getent hosts host.example" in found.fix


def test_a_time_out_says_how_long_was_waited() -> None:
    found = trouble_of_error(TimeoutError(), "host.example", wait_s=5)
    assert found.found == "host.example does not answer within 5 s"


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 418, 425, 429, 500, 599])
def test_every_status_has_something_to_say_and_to_do(status: int) -> None:
    for is_signed in (False, True):
        found = trouble_of_status(status, is_signed=is_signed)
        assert found.found and found.fix


def test_a_403_is_the_region_without_a_key_and_the_key_with_one() -> None:
    assert "region" in trouble_of_answer("refused", 403, is_signed=False).fix
    assert "key" in trouble_of_answer("refused", 403, is_signed=True).fix
