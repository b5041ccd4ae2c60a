"""ApiVersions: each broker is asked in a version that it can read."""

import asyncio
import struct

import pytest

from aioproducer.testing import ApiKey, ErrorCode, FakeCluster
from tests.net.quick import quick
from tests.net.relay import Asked, Relay

SOON = 30


def _versions_asked(relay: Relay, connection: int) -> list[int]:
    return [asked.version for asked in relay.asked(ApiKey.API_VERSIONS) if asked.connection == connection]


@pytest.mark.scenario("version-negotiation")
@pytest.mark.parametrize("accepted", [3, 0])
async def test_proxy_closes_on_new_version(accepted: int) -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, Relay(cluster) as relay:

        def reset(asked: Asked) -> bool:
            return asked.api is not ApiKey.API_VERSIONS or asked.version <= accepted

        relay.on_request = reset
        async with asyncio.timeout(SOON), quick(cluster) as producer:
            assert (await producer.send("orders", b"1")).offset == 0
        assert {4, accepted} <= {asked.version for asked in relay.asked(ApiKey.API_VERSIONS)}


@pytest.mark.scenario("version-negotiation")
@pytest.mark.parametrize("highest", [0, 1, 2, 3])
async def test_older_broker_is_asked_twice(highest: int) -> None:
    versions = {ApiKey.API_VERSIONS: highest}
    async with FakeCluster(topics={"orders": 1}, max_versions=versions) as cluster, Relay(cluster) as relay:
        async with asyncio.timeout(SOON), quick(cluster) as producer:
            assert (await producer.send("orders", b"1")).offset == 0
        assert _versions_asked(relay, 1) == _versions_asked(relay, 2) == [4, highest]


@pytest.mark.scenario("version-negotiation")
async def test_response_without_versions() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, Relay(cluster) as relay:

        def refuse(asked: Asked, frame: bytes) -> list[bytes]:
            if asked.api is ApiKey.API_VERSIONS and asked.version > 0:
                body = struct.pack(">ihi", asked.header.correlation_id, ErrorCode.UNSUPPORTED_VERSION, 0)
                return [struct.pack(">i", len(body)) + body]
            return [frame]

        relay.on_answer = refuse
        async with asyncio.timeout(SOON), quick(cluster) as producer:
            assert (await producer.send("orders", b"1")).offset == 0
        assert _versions_asked(relay, 1) == [4, 0]
