"""The reasons of failed TLS handshakes as sentences that say what to do.

OpenSSL's own texts name neither the certificate nor the option:

    [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate in certificate chain
    ──▶ the certificate CN=kafka (issued by CN=Test CA) is not trusted: self-signed certificate in
        certificate chain; set ssl_truststore_location to the certificate of its CA

A broker may also refuse the client's certificate after the handshake (TLS 1.3): `explain` knows those
alerts too.
"""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from typing import Final, NamedTuple

from aioproducer.net.causes import cause_of
from aioproducer.net.certificate import Certificate

# Codes of OpenSSL's X509_verify_cert.
_NOT_YET_VALID = 9
_EXPIRED = 10
_MISMATCHES = (62, 63, 64)
_UNTRUSTED = (2, 18, 19, 20, 21, 27)

_PLAINTEXT: Final = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "RECORD_LAYER_FAILURE",
        "PACKET_LENGTH_TOO_LONG",
        "UNKNOWN_PROTOCOL",
        "HTTP_REQUEST",
        "HTTPS_PROXY_REQUEST",
        "UNEXPECTED_MESSAGE",
        "BAD_RECORD_TYPE",
    }
)
_VERSIONS: Final = frozenset(
    {
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "UNSUPPORTED_PROTOCOL",
        "NO_PROTOCOLS_AVAILABLE",
        "VERSION_TOO_LOW",
        "INAPPROPRIATE_FALLBACK",
    }
)

# Alerts of a broker about the client's certificate.
_CLIENT_CERTIFICATE: Final = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "requires one",
    "SSLV3_ALERT_NO_CERTIFICATE": "requires one",
    # Java sends it to a client that shows none, too.
    "SSLV3_ALERT_BAD_CERTIFICATE": "does not accept it, or got none",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "does not support its kind",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "says that it is revoked",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "says that it is expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "does not accept it",
    "TLSV1_ALERT_UNKNOWN_CA": "does not trust its CA",
    "TLSV1_ALERT_ACCESS_DENIED": "denies access with it",
}

_NO_COMMON_CIPHER: Final = frozenset(
    {"SSLV3_ALERT_HANDSHAKE_FAILURE", "NO_SHARED_CIPHER", "NO_CIPHERS_AVAILABLE"}
)


class HandshakeFault(NamedTuple):
    """Why a handshake failed; a permanent fault stays until an option or a certificate changes."""

    sentence: str
    is_permanent: bool


def explain(
    error: BaseException,
    host: str,
    certificate: Certificate | None = None,
    *,
    has_client_certificate: bool = False,
    has_worked: bool = False,
    is_after: bool = False,
) -> HandshakeFault:
    """Return the reason of an error during or after (`is_after`) a handshake with `host`.

    `certificate` is the broker's, if it is known: see `fetch_certificate`. `has_worked`: a connection to
    this listener was complete before, so the options fit it.
    """
    match error:
        case ssl.SSLError() if is_after and not _is_refusal(error, has_worked=has_worked):
            # The options fit. A record is damaged, for example, and a new connection may work.
            return HandshakeFault(f"the TLS connection is broken: {_text(error)}", is_permanent=False)
        case ssl.SSLCertVerificationError():
            return HandshakeFault(_verification(error, host, certificate), is_permanent=True)
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError() | ConnectionError() | EOFError():
            sentence = _closed(has_client_certificate=has_client_certificate, has_worked=has_worked)
            return HandshakeFault(sentence, is_permanent=False)
        case ssl.SSLError():
            return HandshakeFault(
                _alert(error, host, has_client_certificate=has_client_certificate), is_permanent=True
            )
        case TimeoutError():
            return HandshakeFault(
                "the TLS handshake did not end in time; a listener without TLS may wait for more bytes",
                is_permanent=False,
            )
        case _:
            return HandshakeFault(cause_of(error), is_permanent=False)


def _is_refusal(error: ssl.SSLError, *, has_worked: bool) -> bool:
    # With TLS 1.3 a broker refuses the client's certificate after the handshake.
    reason = _reason(error)
    return reason in _CLIENT_CERTIFICATE or (reason in _NO_COMMON_CIPHER and not has_worked)


def needs_certificate(error: BaseException) -> bool:
    """Return whether `explain` says more about this error with the certificate of the broker."""
    return isinstance(error, ssl.SSLCertVerificationError)


async def fetch_certificate(address: str, port: int, name: str, timeout: float) -> Certificate | None:
    """Return the certificate of a TLS listener without verifying it, None if there is none.

    For errors only: OpenSSL forgets a certificate that it refused, so this connects again, and sends
    nothing after the handshake.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        # Not every text can be sent as a name. asyncio would find out with the socket open, and leak it.
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=name)
        async with asyncio.timeout(timeout):
            transport, _ = await asyncio.get_running_loop().create_connection(
                asyncio.Protocol, address, port, ssl=context, server_hostname=name
            )
    except (OSError, TimeoutError, ValueError):
        return None
    try:
        der = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return Certificate.parse(der) if der else None
    except ValueError:
        return None
    finally:
        transport.abort()


def _verification(error: ssl.SSLCertVerificationError, host: str, certificate: Certificate | None) -> str:
    subject = "the certificate" if certificate is None else f"the certificate {certificate}"
    code, check = error.verify_code, error.verify_message.rstrip(".")
    if code in _MISMATCHES:
        names = "other names" if certificate is None else certificate.listed_names
        return (
            f"{subject} is for {names}, not for {host}; connect to one of its names, or correct the "
            "certificate or the broker's advertised.listeners"
        )
    if code == _EXPIRED:
        when = "" if certificate is None else f" on {_day(certificate.not_after)}"
        return f"{subject} has expired{when} (this clock: {_now()}); the broker needs a new one"
    if code == _NOT_YET_VALID:
        when = "yet" if certificate is None else f"before {_day(certificate.not_before)}"
        return f"{subject} is not valid {when}; compare this machine's clock: {_now()}"
    if code in _UNTRUSTED:
        return f"{subject} is not trusted: {check}; set ssl_truststore_location to the certificate of its CA"
    return f"{subject} was not accepted: {check} (code {code})"


def _day(when: datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M:%S UTC")


def _now() -> str:
    return _day(datetime.now(UTC))


def _closed(*, has_client_certificate: bool, has_worked: bool) -> str:
    if has_worked:
        return "the connection was closed during the TLS handshake"
    or_certificate = "" if has_client_certificate else ", or it requires a client certificate"
    return (
        "the connection was closed during the TLS handshake: the listener may be one without TLS "
        f"(security_protocol='PLAINTEXT' or 'SASL_PLAINTEXT'){or_certificate}"
    )


def _alert(error: ssl.SSLError, host: str, *, has_client_certificate: bool) -> str:
    reason = _reason(error)
    if reason in _PLAINTEXT:
        return (
            "the listener does not speak TLS: set security_protocol='PLAINTEXT' or 'SASL_PLAINTEXT', or use "
            "the port of its TLS listener"
        )
    if reason in _VERSIONS:
        return (
            "the broker and this client have no common version of TLS; unless ssl_context changes it, this "
            "client has TLS 1.2 and 1.3"
        )
    if reason in _CLIENT_CERTIFICATE:
        if has_client_certificate:
            return f"the client's certificate was refused: the broker {_CLIENT_CERTIFICATE[reason]}"
        return "the broker requires a client certificate: set ssl_keystore_location"
    return _rare_alert(error, host, has_client_certificate=has_client_certificate)


def _rare_alert(error: ssl.SSLError, host: str, *, has_client_certificate: bool) -> str:
    reason = _reason(error)
    if reason in _NO_COMMON_CIPHER:
        # Some servers answer with this alert to a client without a certificate.
        or_certificate = "" if has_client_certificate else ", or the broker requires a client certificate"
        return f"no common cipher or version of TLS{or_certificate}"
    if reason == "TLSV1_UNRECOGNIZED_NAME":
        return f"the broker does not know the name {host} (SNI)"
    return f"the TLS handshake failed: {_text(error)}"


def _text(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLWantReadError):
        # OpenSSL cannot write before it has read the answer.
        return "the broker renegotiates (TLS 1.2), which this client does not support"
    # Their errno is OpenSSL's, and not the operating system's.
    return _reason(error).replace("_", " ").lower() or str(error) or type(error).__name__


def _reason(error: ssl.SSLError) -> str:
    # Errors that an event loop makes itself have no reason.
    return getattr(error, "reason", None) or ""
