"""The failures of security on the page about them: each happens on a fake cluster, for its message.

>>> import asyncio
>>> print(asyncio.run(message_of("no-sasl-on-the-listener")))  # doctest: +ELLIPSIS
AuthenticationError: kafka-1:9093: the listener does not use SASL: ...
"""

from __future__ import annotations

import re
import ssl
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aioproducer import Producer, ProducerError
from aioproducer.testing import AcceptedToken, Certificates, FakeCluster
from aioproducer.testing.certificates import Issuer

if TYPE_CHECKING:
    from collections.abc import Callable

_DATE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")
_ADDRESS = re.compile(r"127\.0\.0\.1:\d+")


def _nothing(_cluster: FakeCluster) -> None:
    pass


@dataclass(frozen=True)
class Failure:
    """A cluster, the options that do not fit it, and what an operator did."""

    cluster: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    change: Callable[[FakeCluster], None] = field(default=_nothing)


def _users(*mechanisms: str, security: str = "SASL_SSL") -> dict[str, Any]:
    return {"security": security, "users": {"alice": "secret"}, "sasl_mechanisms": mechanisms}


def _password(mechanism: str, password: object = None) -> dict[str, Any]:
    return {"sasl_mechanism": mechanism, "sasl_username": "alice", "sasl_password": password or "wrong"}


def _tokens(provider: Callable[[], object]) -> Failure:
    return Failure(
        {
            "security": "SASL_SSL",
            "sasl_mechanisms": ["OAUTHBEARER"],
            "tokens": {"valid": AcceptedToken("alice")},
        },
        {"sasl_token_provider": provider, "request_timeout_ms": 1000},
    )


def fetch_from_vault() -> str:
    """Fail as a user's provider may."""
    message = "cannot use the secret hunter2"
    raise RuntimeError(message)


def _only_old_tls(cluster: FakeCluster) -> None:
    with warnings.catch_warnings():
        # Python warns that these versions are old, as they are meant to be here.
        warnings.simplefilter("ignore", DeprecationWarning)
        cluster.server_ssl_context.minimum_version = ssl.TLSVersion.TLSv1
        cluster.server_ssl_context.maximum_version = ssl.TLSVersion.TLSv1_1


_MTLS = {"security": "SSL", "client_auth": "required"}

FAILURES = {
    "wrong-password": Failure(_users("PLAIN"), _password("PLAIN")),
    "wrong-password-of-scram": Failure(_users("SCRAM-SHA-512"), _password("SCRAM-SHA-512")),
    "mechanism-not-enabled": Failure(_users("SCRAM-SHA-256", "SCRAM-SHA-512"), _password("PLAIN")),
    "password-callable-fails": Failure(_users("PLAIN"), _password("PLAIN", fetch_from_vault)),
    "token-refused": _tokens(lambda: "unknown"),
    "no-tls-on-the-client": Failure(
        {"security": "SSL"}, {"security_protocol": "PLAINTEXT", "ssl_context": None}
    ),
    "no-tls-on-the-listener": Failure({}, {"security_protocol": "SSL"}),
    "no-sasl-on-the-client": Failure(
        _users("PLAIN", "SCRAM-SHA-512", security="SASL_PLAINTEXT"),
        {
            "security_protocol": "PLAINTEXT",
            "sasl_mechanism": None,
            "sasl_username": None,
            "sasl_password": None,
        },
    ),
    "no-sasl-on-the-listener": Failure({}, {"security_protocol": "SASL_PLAINTEXT", **_password("PLAIN")}),
    "unknown-ca": Failure({"security": "SSL"}, {"ssl_context": None}),
    "wrong-host-name": Failure(
        {"security": "SSL", "certificates": Certificates.make(names=["kafka-1.internal"])}
    ),
    "expired-certificate": Failure({"security": "SSL", "certificates": Certificates.make(has_expired=True)}),
    "no-client-certificate": Failure(_MTLS, {"ssl_context": "without a certificate"}),
    "client-certificate-of-another-ca": Failure(_MTLS, {"ssl_context": "of another CA"}),
    "no-common-version-of-tls": Failure({"security": "SSL"}, {}, _only_old_tls),
    "topic-denied": Failure(_users("PLAIN"), {}, lambda cluster: cluster.deny("WRITE", topic="orders")),
}


async def message_of(name: str) -> str:
    """Return the error of a failure, with addresses and dates of an example."""
    failure = FAILURES[name]
    async with FakeCluster(topics={"orders": 1}, **failure.cluster) as cluster:
        failure.change(cluster)
        options = {**cluster.client_options, "max_block_ms": 5000, **failure.options}
        if (kind := options.get("ssl_context")) and isinstance(kind, str):
            options["ssl_context"] = _context(cluster.certificates, kind)
        given = {name: value for name, value in options.items() if value is not None}
        try:
            async with Producer(**given) as producer:
                await producer.send("orders", b"tea")
        except ProducerError as error:
            return f"{type(error).__name__}: {_example(str(error))}"
    message = f"nothing failed in {name}"
    raise AssertionError(message)


def _context(certificates: Certificates, kind: str) -> ssl.SSLContext:
    if kind == "without a certificate":
        return certificates.client_context()
    other = Certificates(ca=certificates.ca, server=certificates.server, client=Issuer.make().issue("client"))
    return other.client_context(shows_certificate=True)


def _example(message: str) -> str:
    message = _DATE.sub("2026-01-01 00:00:00 UTC", _ADDRESS.sub("kafka-1:9093", message))
    return message.replace("127.0.0.1", "kafka-1")
