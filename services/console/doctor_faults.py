"""What keeps a server from being of use, in one sentence, and what mends it. Values only.

In goes the error of a connection, or the fault that a venue file saw in an answer; out comes what
to tell. A reader would question that no error's own text is told but that of the certificate:
others may quote what was sent, and that may have been signed.
"""

import ssl
from typing import NamedTuple

import aiohttp

from libs.common.venues.venue import Fault


class Trouble(NamedTuple):
    """What was found, and what mends it."""

    found: str
    fix: str


_NEWER = "the venue changed what it sends: install a newer Hawk, and until then leave it out"
_RETRY = "wait some minutes and run it again; the venue's status page says whether it is known"

_FAULTS: dict[Fault, Trouble] = {
    "throttled": Trouble(
        "asked too often (429)",
        "wait a minute; if it stays, something else behind this address asks it as well: stop that",
    ),
    "restarting": Trouble("its matching engine restarts (425)", "wait two minutes, run it again"),
    "unavailable": Trouble("the venue says that it is not available", _RETRY),
    "not_json": Trouble(
        "a page in place of an answer (HTML)",
        "a proxy, a login page of the network or a block page stands in between: look at it with "
        "`curl -i`, and let this machine out without it",
    ),
    "missing": Trouble("not there (404)", _NEWER),
    "bad_request": Trouble("it does not take the request", _NEWER),
    "unexpected": Trouble("an answer that this version does not understand", _NEWER),
}


def trouble_of_answer(fault: Fault, status: int, *, is_signed: bool) -> Trouble:
    """Return what to tell of an answer that told nothing."""
    if fault != "refused":
        known = _FAULTS[fault]
        return Trouble(_with_status(known.found, status), known.fix)
    if status == 401 or is_signed:
        return Trouble(
            f"the key is refused ({status})",
            "use the id and the file of one key, made for this environment (demo keys are others); "
            "a clock that is off refuses every key as well",
        )
    return Trouble(
        f"this machine's address is refused ({status})",
        "the venue does not serve this region or network: run Hawk from one that it serves, and "
        "without a VPN or proxy, or leave its series out of HAWK_SERIES",
    )


def trouble_of_status(status: int, *, is_signed: bool) -> Trouble:
    """Return what to tell of a handshake that was answered by `status`."""
    faults: dict[int, Fault] = {401: "refused", 403: "refused", 404: "missing", 425: "restarting"}
    fault: Fault = faults.get(status, "bad_request")
    if status == 429:
        fault = "throttled"
    elif status >= 500:
        fault = "unavailable"
    elif status < 400:
        fault = "not_json"  # a page where a socket was asked for
    return trouble_of_answer(fault, status, is_signed=is_signed)


def trouble_of_error(error: Exception, host: str, *, wait_s: float) -> Trouble:
    """Return what to tell of a connection to `host` that failed."""
    if isinstance(error, TimeoutError):
        return Trouble(
            f"{host} does not answer within {wait_s:g} s",
            f"let outgoing TCP to {host} through the firewall; `curl -v` shows where it stops",
        )
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Trouble(
            f"no address is known for {host} (DNS)",
            f"make `getent hosts {host}` answer: see the name servers in /etc/resolv.conf",
        )
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or "it does not verify"
        return Trouble(
            f"the certificate of {host} is not believed: {reason}",
            "set the clock, install `ca-certificates`; a proxy that opens TLS must leave it alone",
        )
    if isinstance(error, aiohttp.ClientConnectorSSLError | ssl.SSLError):
        return Trouble(
            f"{host} does not speak TLS with us",
            "something in between answers for it: `openssl s_client -connect` shows who",
        )
    if isinstance(getattr(error, "os_error", error), ConnectionRefusedError):
        return Trouble(
            f"{host} refuses the connection",
            "a firewall rejects it, or nothing listens there: `curl -v` shows who answers",
        )
    return Trouble(
        f"{host} hangs up before it answers ({type(error).__name__})",
        "run it again; if it stays, `curl -v` from here and from elsewhere shows whose fault it is",
    )


def _with_status(found: str, status: int) -> str:
    return found if "(" in found or status < 300 else f"{found} ({status})"
