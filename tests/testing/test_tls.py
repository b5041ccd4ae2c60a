"""TLS of a fake cluster: what a client sees, and what the broker sees of the client."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.init_producer_id import InitProducerIdRequest
from aioproducer.protocol.metadata import MetadataRequest
from aioproducer.testing import Certificates, FakeCluster
from tests.net.quick import PATIENCE, until
from tests.testing.batches import make_batch
from tests.testing.raw_client import RawClient
from tests.testing.secured import connect_with_tls

METADATA = MetadataRequest(topics=())


async def test_records_are_stored_through_tls() -> None:
    """A batch of several TLS records arrives whole."""
    value = bytes(100_000)
    async with FakeCluster(topics=["orders"], security="SSL") as cluster:
        async with await connect_with_tls(cluster) as client:
            answer = await client.produce("orders", 0, make_batch(value))
        assert answer.error_code == ErrorCode.NONE
        assert [record.value for record in cluster.records("orders")] == [value]


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
async def test_certificate_has_all_local_names(name: str) -> None:
    async with (
        FakeCluster(security="SSL") as cluster,
        await connect_with_tls(cluster, server_name=name) as client,
    ):
        assert (await client.ask(METADATA, 9)).brokers


@pytest.mark.parametrize(
    ("certificates", "reason"),
    [
        (Certificates.make(names=["elsewhere"]), "Hostname mismatch"),
        (Certificates.make(has_expired=True), "certificate has expired"),
    ],
    ids=["wrong name", "expired"],
)
async def test_bad_certificate_is_refused_by_client(certificates: Certificates, reason: str) -> None:
    async with FakeCluster(security="SSL", certificates=certificates) as cluster:
        with pytest.raises(ssl.SSLCertVerificationError, match=reason):
            await connect_with_tls(cluster)


async def test_other_ca_is_refused_by_client() -> None:
    async with FakeCluster(security="SSL") as cluster:
        with pytest.raises(ssl.SSLCertVerificationError, match="self-signed certificate"):
            await connect_with_tls(cluster, Certificates.make().client_context())


async def test_plaintext_client_is_closed_without_answer() -> None:
    """As by Kafka: an alert would look like a frame to the client."""
    async with FakeCluster(security="SSL") as cluster, await RawClient.connect(cluster) as client:
        client.send(METADATA, 9)
        assert await client.closed() == b""


async def test_tls_client_is_closed_by_plaintext_broker() -> None:
    async with FakeCluster() as cluster:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connect_with_tls(cluster, Certificates.make().client_context())


async def test_unsupported_tls_version_is_refused() -> None:
    async with FakeCluster(security="SSL") as cluster:
        cluster.server_ssl_context.maximum_version = ssl.TLSVersion.TLSv1_2
        context = cluster.ssl_context
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        with pytest.raises(ssl.SSLError, match="alert protocol version"):
            await connect_with_tls(cluster, context)


async def test_client_certificate_is_the_principal() -> None:
    async with FakeCluster(security="SSL", client_auth="required") as cluster:
        cluster.deny("ALL", principal="CN=client")
        cluster.deny("WRITE", topic="*", principal="CN=client")
        async with await connect_with_tls(cluster) as client:
            answer = await client.ask(
                InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1), 4
            )
        assert answer.error_code == ErrorCode.CLUSTER_AUTHORIZATION_FAILED


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_missing_client_certificate_is_refused(version: ssl.TLSVersion) -> None:
    """With TLS 1.3 the client learns it from its first read only."""
    async with FakeCluster(security="SSL", client_auth="required") as cluster:
        context = cluster.certificates.client_context()
        context.maximum_version = version
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with await connect_with_tls(cluster, context) as client:
                await client.ask(METADATA, 9)


async def test_requested_certificate_may_be_missing() -> None:
    async with FakeCluster(security="SSL", client_auth="requested") as cluster:
        without = cluster.certificates.client_context()
        async with await connect_with_tls(cluster, without) as client:
            assert (await client.ask(METADATA, 9)).brokers


async def test_client_certificate_of_other_ca_is_refused() -> None:
    async with FakeCluster(security="SSL", client_auth="requested") as cluster:
        stranger = Certificates.make().client_context(shows_certificate=True)
        stranger.load_verify_locations(cadata=cluster.ca_certificate)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with await connect_with_tls(cluster, stranger) as client:
                await client.ask(METADATA, 9)


async def test_cluster_stops_during_handshakes() -> None:
    """A client that never finishes its handshake does not delay the stop."""
    cluster = FakeCluster(security="SSL")
    await cluster.start()
    node = cluster.topology.nodes[1]
    _, writer = await asyncio.open_connection(node.host, node.port)
    # The start of a ClientHello of 512 bytes.
    writer.write(bytes.fromhex("1603010200"))
    await until(lambda: cluster.connections(1) == 1)
    async with asyncio.timeout(PATIENCE):
        await cluster.stop()
    writer.close()


async def test_connection_is_cut_with_tls() -> None:
    async with FakeCluster(security="SSL") as cluster, await connect_with_tls(cluster) as client:
        cluster.on("METADATA").cut(3)
        client.send(METADATA, 9)
        assert len(await client.closed()) == 3


async def test_broker_answers_goodbye() -> None:
    """A client that closes waits for the broker's goodbye."""
    async with FakeCluster(security="SSL") as cluster:
        async with asyncio.timeout(PATIENCE), await connect_with_tls(cluster) as client:
            assert (await client.ask(METADATA, 9)).brokers
        await until(lambda: cluster.connections(1) == 0)
