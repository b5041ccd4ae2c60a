"""Options that do not fit the listener: `start` raises at once, with the broker and the cause.

Other clients report this after `max_block_ms`, or never (librdkafka#1392, librdkafka#2545).
"""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest

from aioproducer import Producer
from aioproducer.errors import AuthenticationError
from aioproducer.testing import Certificates, unsecured_token
from tests.integration.secured import USERS, Listener, SecuredKafka
from tests.integration.security.clients import options
from tests.integration.security.odd_listeners import AUTHORITY, ELSEWHERE, EXPIRED, FUTURE, NEW_TLS

if TYPE_CHECKING:
    from collections.abc import Callable

    Options = Callable[[SecuredKafka], dict[str, Any]]

WRONG = "wrong-secret"

IN_TIME = 10.0
"""Seconds; a quiet machine takes less than one."""

OTHER_CA = Certificates.make()
SECRETS = [*USERS.values(), WRONG]


def odd(name: str) -> Options:
    """Return the options for one of the odd listeners."""
    return lambda kafka: {
        "bootstrap_servers": kafka.bootstrap_of(name),
        "security_protocol": "SSL",
        "ssl_truststore_certificates": AUTHORITY.pem,
    }


def old_tls(kafka: SecuredKafka) -> dict[str, Any]:
    """Return the options of a client that has no TLS 1.3, for a listener that has nothing else."""
    context = ssl.create_default_context(cadata=kafka.certificates.ca.certificate)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    servers = kafka.bootstrap_of(NEW_TLS)
    return {"bootstrap_servers": servers, "security_protocol": "SSL", "ssl_context": context}


def expired_token() -> str:
    """Return a token that was valid until an hour ago."""
    now = time.time()
    return unsecured_token("alice", issued_at=now - 7_200, expires_at=now - 3_600)


FAILURES: dict[str, tuple[Options, str]] = {
    "wrong password, PLAIN": (
        lambda kafka: options(kafka, Listener.SASL_SSL, "PLAIN", sasl_password=WRONG),
        r'answered "Authentication failed: Invalid username or password"; check sasl_username \(.alice.\)',
    ),
    "wrong password, SCRAM": (
        lambda kafka: options(kafka, Listener.SASL_PLAINTEXT, "SCRAM-SHA-256", sasl_password=WRONG),
        r"invalid credentials.*check sasl_username .*SCRAM-SHA-256",
    ),
    "unknown user, SCRAM": (
        lambda kafka: options(kafka, Listener.SASL_PLAINTEXT, "SCRAM-SHA-512", sasl_username="mallory"),
        r"invalid credentials.*check sasl_username \('mallory'\)",
    ),
    "unknown mechanism": (
        lambda kafka: options(kafka, Listener.SASL_PLAINTEXT, None, sasl_mechanism="AWS_MSK_IAM"),
        r"does not have the mechanism AWS_MSK_IAM; it has .*PLAIN",
    ),
    "plaintext client, TLS port": (
        lambda kafka: options(kafka, None, bootstrap_servers=kafka.bootstrap_of(Listener.SSL)),
        r"the listener speaks TLS \(its certificate is CN=localhost",
    ),
    "TLS client, plaintext port": (
        lambda kafka: options(kafka, Listener.SSL, bootstrap_servers=kafka.bootstrap),
        r"the listener does not speak TLS: set security_protocol",
    ),
    "no SASL, SASL port": (
        lambda kafka: options(kafka, None, bootstrap_servers=kafka.bootstrap_of(Listener.SASL_PLAINTEXT)),
        r"the listener wants SASL \(.*PLAIN.*\): set security_protocol",
    ),
    "no SASL, SASL_SSL port": (
        lambda kafka: options(kafka, Listener.SSL, bootstrap_servers=kafka.bootstrap_of(Listener.SASL_SSL)),
        r"the listener wants SASL \(.*PLAIN.*\): set security_protocol",
    ),
    "SASL, plaintext port": (
        lambda kafka: options(kafka, Listener.SASL_PLAINTEXT, "PLAIN", bootstrap_servers=kafka.bootstrap),
        r"the listener does not use SASL: set security_protocol",
    ),
    "SASL, TLS port": (
        lambda kafka: options(
            kafka, Listener.SASL_SSL, "PLAIN", bootstrap_servers=kafka.bootstrap_of(Listener.SSL)
        ),
        r"the listener does not use SASL: set security_protocol",
    ),
    "SASL_PLAINTEXT client, SASL_SSL port": (
        lambda kafka: options(
            kafka, Listener.SASL_PLAINTEXT, "PLAIN", bootstrap_servers=kafka.bootstrap_of(Listener.SASL_SSL)
        ),
        r"the listener speaks TLS",
    ),
    "wrong CA": (
        lambda kafka: options(kafka, Listener.SSL, ssl_truststore_certificates=OTHER_CA.ca.certificate),
        r"CN=localhost \(issued by CN=aioproducer test CA\) is not trusted: self.signed .*ssl_truststore",
    ),
    "wrong host name": (
        odd(ELSEWHERE),
        r"CN=elsewhere \(issued by CN=Odd CA,O=Tests\) is for elsewhere.example, not for 127.0.0.1",
    ),
    "expired certificate": (odd(EXPIRED), r"CN=expired .*has expired on 20.*; the broker needs a new one"),
    "certificate of the future": (
        odd(FUTURE),
        r"CN=future .* is not valid before 20.*this machine's clock: 20",
    ),
    "missing client certificate": (
        lambda kafka: options(
            kafka, Listener.MTLS, ssl_keystore_certificate_chain=None, ssl_keystore_key=None
        ),
        r"requires a client certificate: set ssl_keystore_location",
    ),
    "foreign client certificate": (
        lambda kafka: options(
            kafka,
            Listener.MTLS,
            ssl_keystore_certificate_chain=OTHER_CA.client.certificate,
            ssl_keystore_key=OTHER_CA.client.key,
        ),
        r"the client's certificate was refused",
    ),
    "version of TLS": (old_tls, r"no common version of TLS"),
    "expired token": (
        lambda kafka: options(kafka, Listener.SASL_SSL, "OAUTHBEARER", sasl_token_provider=expired_token),
        r"invalid_token.*the token of 'alice' expired 3\d\d\d s ago",
    ),
}


@pytest.mark.scenario("sasl", "tls")
@pytest.mark.parametrize("failure", FAILURES)
async def test_start_names_cause(
    secured: SecuredKafka, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    make, message = FAILURES[failure]
    chosen = make(secured)
    producer = Producer(**chosen)
    with pytest.raises(AuthenticationError, match=message) as caught:
        async with asyncio.timeout(IN_TIME):
            await producer.start()

    assert str(caught.value).startswith(f"{chosen['bootstrap_servers']}: ")
    assert caught.value.address == chosen["bootstrap_servers"]
    for secret in SECRETS:
        assert secret not in str(caught.value)
