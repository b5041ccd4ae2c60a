import struct

import pytest

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.api_versions import ApiVersionsRequest, ApiVersionsResponse
from aioproducer.protocol.frame import decode_response, encode_request
from aioproducer.testing import ApiKey, FakeCluster
from tests.testing.raw_client import RawClient

INTRODUCTION = ApiVersionsRequest(client_software_name="raw", client_software_version="1")


async def test_every_version_is_answered() -> None:
    async with FakeCluster() as cluster, await RawClient.connect(cluster) as client:
        for version in range(ApiVersionsRequest.versions.max + 1):
            response = await client.ask(INTRODUCTION, version)
            highest = {api.api_key: api.max_version for api in response.api_keys}
            assert (highest[ApiKey.PRODUCE], highest[ApiKey.METADATA]) == (13, 13)


async def test_too_new_version_gets_version_0() -> None:
    """The response is in version 0 and lists the versions that the broker has."""
    caps = {ApiKey.API_VERSIONS: 2}
    async with FakeCluster(max_versions=caps) as cluster, await RawClient.connect(cluster) as client:
        client.send_bytes(b"".join(encode_request(INTRODUCTION, 4, 9, "raw")))
        correlation_id, response = decode_response(ApiVersionsResponse, await client.frame(), 0)
        assert (correlation_id, response.error_code) == (9, ErrorCode.UNSUPPORTED_VERSION)
        [own] = response.api_keys
        assert (own.api_key, own.min_version, own.max_version) == (ApiKey.API_VERSIONS, 0, 2)
        assert (await client.ask(ApiVersionsRequest(), 2)).error_code == ErrorCode.NONE


async def test_illegal_client_name_is_refused() -> None:
    async with FakeCluster() as cluster, await RawClient.connect(cluster) as client:
        request = ApiVersionsRequest(client_software_name="no spaces", client_software_version="1")
        assert (await client.ask(request, 3)).error_code == ErrorCode.INVALID_REQUEST


async def test_capped_and_missing_apis() -> None:
    caps = {ApiKey.PRODUCE: 7, ApiKey.INIT_PRODUCER_ID: None}
    async with FakeCluster(max_versions=caps) as cluster, await RawClient.connect(cluster) as client:
        listed = {api.api_key: api for api in (await client.ask(INTRODUCTION, 3)).api_keys}
        assert listed[ApiKey.PRODUCE].max_version == 7
        assert ApiKey.INIT_PRODUCER_ID not in listed


async def test_scripted_unsupported_version() -> None:
    """The response is in version 0 and lists ApiVersions alone, as from a real broker."""
    async with FakeCluster() as cluster, await RawClient.connect(cluster) as client:
        cluster.on(ApiKey.API_VERSIONS).answer(ErrorCode.UNSUPPORTED_VERSION)
        response = await client.ask(INTRODUCTION, 4)
        assert response.error_code == ErrorCode.UNSUPPORTED_VERSION
        assert [api.api_key for api in response.api_keys] == [ApiKey.API_VERSIONS]
        cluster.on(ApiKey.API_VERSIONS).answer(ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
        assert (await client.ask(INTRODUCTION, 4)).error_code == ErrorCode.CLUSTER_AUTHORIZATION_FAILED


@pytest.mark.parametrize(("version", "ending"), [(99, b""), (-1, b"\x00")])
async def test_unknown_version_has_its_own_header(version: int, ending: bytes) -> None:
    """A flexible header ends with tagged fields; the broker reads them in any flexible version."""
    async with FakeCluster() as cluster, await RawClient.connect(cluster) as client:
        body = struct.pack(">hhih", ApiKey.API_VERSIONS, version, 9, -1) + ending
        client.send_bytes(struct.pack(">i", len(body)) + body)
        if version > 0:
            assert await client.closed() == b""
        else:
            correlation_id, response = decode_response(ApiVersionsResponse, await client.frame(), 0)
            assert (correlation_id, response.error_code) == (9, ErrorCode.UNSUPPORTED_VERSION)
