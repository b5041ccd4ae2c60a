"""Verification of certificates: what a failure says, and what stays when it is switched off."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from aioproducer import AuthenticationError, Producer
from tests.integration.secured import Listener, SecuredKafka
from tests.integration.security.clients import options
from tests.integration.security.odd_listeners import ELSEWHERE, EXPIRED
from tests.support.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.scenario("tls")

UNVERIFIED = {"enable_ssl_certificate_verification": False, "ssl_truststore_certificates": None}


async def test_failure_names_certificate(secured: SecuredKafka) -> None:
    """Subject, issuer, check and this client's option are in the error (librdkafka PR 4432)."""
    producer = Producer(
        **options(secured, Listener.SSL, ssl_truststore_certificates=Authority("Other CA").pem)
    )
    with pytest.raises(AuthenticationError) as caught:
        await producer.start()
    for part in (
        "the certificate CN=localhost",
        "(issued by CN=aioproducer test CA)",
        "self-signed certificate in certificate chain",
        "ssl_truststore_location",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("listener", [ELSEWHERE, EXPIRED, Listener.SSL])
async def test_switched_off_accepts_any_certificate(
    secured: SecuredKafka, topic_name: str, listener: Listener | str, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await asyncio.to_thread(secured.create_topic, topic_name)
    servers = secured.bootstrap_of(listener)
    with caplog.at_level(logging.WARNING, "aioproducer.tls"):
        async with Producer(
            **options(secured, Listener.SSL, bootstrap_servers=servers, **UNVERIFIED)
        ) as producer:
            assert (await producer.send(topic, b"1")).offset == 0
    assert "are not verified" in caplog.text


async def test_switched_off_still_shows_certificate(secured: SecuredKafka, topic_name: str) -> None:
    """Without verification of the broker, the client still proves who it is (kcat#363)."""
    topic = await asyncio.to_thread(secured.create_topic, topic_name)
    async with Producer(**options(secured, Listener.MTLS, **UNVERIFIED)) as producer:
        assert (await producer.send(topic, b"1")).offset == 0

    no_certificate = {"ssl_keystore_certificate_chain": None, "ssl_keystore_key": None}
    producer = Producer(**options(secured, Listener.MTLS, **UNVERIFIED, **no_certificate))
    with pytest.raises(AuthenticationError, match="requires a client certificate"):
        await producer.start()


async def test_switched_off_still_authenticates(secured: SecuredKafka) -> None:
    """A wrong password stays an error (kcat#363)."""
    wrong = options(secured, Listener.SASL_SSL, "PLAIN", sasl_password="wrong", **UNVERIFIED)  # noqa: S106
    with pytest.raises(AuthenticationError, match="PLAIN authentication failed"):
        await Producer(**wrong).start()


async def test_name_alone_is_not_checked(secured: SecuredKafka, tmp_path: Path) -> None:
    """Without the check of names, the CA is still checked (kcat#363)."""
    chosen = options(
        secured,
        Listener.SSL,
        ssl_endpoint_identification_algorithm="",
        ssl_truststore_certificates=None,
        ssl_truststore_location=str(tmp_path / "ca.pem"),
    )
    (tmp_path / "ca.pem").write_text(Authority("Other CA").pem)
    with pytest.raises(AuthenticationError, match="is not trusted"):
        await Producer(**chosen).start()

    (tmp_path / "ca.pem").write_text(secured.certificates.ca.certificate)
    async with Producer(**chosen) as producer:
        assert producer.is_ready
