"""Certificates that are renewed on disk while the producer runs (librdkafka#2868)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from aioproducer import AuthenticationError, AuthorizationError, Producer
from tests.integration.secured import Listener, SecuredKafka
from tests.integration.security.clients import options
from tests.support.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path

    from aioproducer.testing.certificates import Certificate, Issuer

pytestmark = [pytest.mark.slow, pytest.mark.scenario("tls")]

SOON = 30.0
RENEWED = "renewed"


def replace_file(path: Path, text: str) -> None:
    """Replace a file at once, as certbot and Kubernetes do."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


async def denied(producer: Producer, topic: str) -> None:
    """Send until a record is denied: the ACL needs a moment."""
    async with asyncio.timeout(SOON):
        while True:
            try:
                await producer.send(topic, b"denied")
            except AuthorizationError:
                return


@pytest.mark.parametrize("has_one_file", [True, False])
async def test_client_certificate(
    secured: SecuredKafka, issuer: Issuer, topic_name: str, tmp_path: Path, *, has_one_file: bool
) -> None:
    """The broker maps the certificate to a user: only the new one may write to the topic."""
    store, key, chain = (tmp_path / name for name in ("store.pem", "key.pem", "chain.pem"))

    def show(certificate: Certificate) -> None:
        replace_file(store, certificate.pem)
        replace_file(key, certificate.key)
        replace_file(chain, certificate.certificate)

    show(secured.certificates.client)
    files: dict[str, object] = {"ssl_keystore_certificate_chain": None, "ssl_keystore_key": None}
    if has_one_file:
        files["ssl_keystore_location"] = str(store)
    else:
        files |= {"ssl_certificate_location": str(chain), "ssl_key_location": str(key)}
    topic = await asyncio.to_thread(secured.create_topic, topic_name)
    other = await asyncio.to_thread(secured.create_topic, f"{topic_name}-other")
    async with Producer(**options(secured, Listener.MTLS, **files)) as producer:
        await producer.send(topic, b"first")
        await asyncio.to_thread(secured.allow, "topic", topic, "write", RENEWED)
        await denied(producer, topic)

        show(issuer.issue(RENEWED))
        # The open connection stays as it is.
        with pytest.raises(AuthorizationError):
            await producer.send(topic, b"denied")
        assert (await producer.send(other, b"other")).offset == 0

        await asyncio.to_thread(secured.restart, 1)
        async with asyncio.timeout(SOON):
            assert (await producer.send(topic, b"renewed")).topic == topic
            assert (await producer.send(other, b"other")).offset == 1


async def test_trusted_ca(secured: SecuredKafka, topic_name: str, tmp_path: Path) -> None:
    """The file of trusted CAs is read for a new connection, while the producer looks for the cluster."""
    path = tmp_path / "ca.pem"
    replace_file(path, Authority("Former CA").pem)
    topic = await asyncio.to_thread(secured.create_topic, topic_name)
    trusting = {"ssl_truststore_certificates": None, "ssl_truststore_location": str(path)}
    producer = Producer(**options(secured, Listener.SSL, **trusting))
    await producer.start(wait=False)
    try:
        async with asyncio.timeout(SOON):
            with pytest.raises(AuthenticationError, match="is not trusted"):
                await producer.ready()
            replace_file(path, secured.certificates.ca.certificate)
            while not producer.is_ready:
                with suppress(AuthenticationError):
                    await producer.ready()
            assert (await producer.send(topic, b"trusted")).offset == 0
    finally:
        await producer.stop()
