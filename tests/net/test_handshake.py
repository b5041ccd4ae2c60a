"""ApiVersions: every broker is asked in a form that it understands."""

import asyncio
import struct

import pytest

from aioproducer import BrokerError, ProtocolError
from aioproducer.net.handshake import Handshake
from aioproducer.protocol.api import VersionRange
from aioproducer.protocol.api_versions import ApiVersion, ApiVersionsResponse
from aioproducer.protocol.frame import encode_response
from aioproducer.testing import ApiKey, ErrorCode, FakeCluster
from tests.net.quick import quick
from tests.net.relay import Asked, Relay

SOON = 5
PRODUCE = ApiVersion(ApiKey.PRODUCE, 3, 11)


def _answer(version: int, code: ErrorCode, *listed: ApiVersion) -> memoryview:
    chunks = encode_response(ApiVersionsResponse(error_code=code, api_keys=listed), version, 0)
    return memoryview(b"".join(chunks))[4:]


def test_an_answer_gives_the_versions() -> None:
    handshake = Handshake()
    request, version = handshake.begin()
    assert version == 4
    assert request.client_software_name == "aioproducer"
    assert handshake.receive(_answer(4, ErrorCode.NONE, PRODUCE)) is None
    assert handshake.versions == {0: VersionRange(3, 11)}


@pytest.mark.scenario(61)
@pytest.mark.parametrize(("listed", "expected"), [(3, 3), (2, 2), (0, 0), (9, 3)])
def test_who_does_not_know_the_form_says_which_he_knows(listed: int, expected: int) -> None:
    handshake = Handshake()
    handshake.begin()
    own = ApiVersion(ApiKey.API_VERSIONS, 0, listed)
    question = handshake.receive(_answer(0, ErrorCode.UNSUPPORTED_VERSION, own))
    assert question is not None
    assert question[1] == expected
    assert handshake.receive(_answer(expected, ErrorCode.NONE, PRODUCE)) is None


@pytest.mark.scenario(61)
def test_who_does_not_say_which_he_knows_is_asked_in_the_oldest() -> None:
    handshake = Handshake()
    handshake.begin()
    question = handshake.receive(_answer(0, ErrorCode.UNSUPPORTED_VERSION))
    assert question is not None
    assert question[1] == 0
    with pytest.raises(BrokerError, match="UNSUPPORTED_VERSION"):
        handshake.receive(_answer(0, ErrorCode.UNSUPPORTED_VERSION))


def test_another_error_is_raised() -> None:
    handshake = Handshake()
    handshake.begin()
    with pytest.raises(BrokerError, match="ILLEGAL_SASL_STATE"):
        handshake.receive(_answer(4, ErrorCode.ILLEGAL_SASL_STATE))
    with pytest.raises(ProtocolError):
        handshake.receive(memoryview(b"\x00\x00\x00\x00\xff"))


@pytest.mark.scenario(61)
def test_who_cuts_the_connection_is_asked_in_older_forms_and_in_the_end_anew() -> None:
    handshake = Handshake()
    asked = []
    hopes = []
    for _ in range(7):
        asked.append(handshake.begin()[1])
        handshake.was_cut_off()
        hopes.append(handshake.is_worth_another_try)
    assert asked == [4, 4, 3, 3, 0, 0, 4]
    assert hopes == [True, True, True, True, True, False, True]
    handshake.begin()
    assert not handshake.is_worth_another_try


def _versions_asked(relay: Relay, connection: int) -> list[int]:
    return [asked.version for asked in relay.asked(ApiKey.API_VERSIONS) if asked.connection == connection]


@pytest.mark.scenario(61)
@pytest.mark.parametrize("accepted", [3, 0])
async def test_a_service_that_resets_the_connection_on_a_new_form_can_be_used(accepted: int) -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, Relay(cluster) as relay:

        def reset(asked: Asked) -> bool:
            return asked.api is not ApiKey.API_VERSIONS or asked.version <= accepted

        relay.on_request = reset
        async with asyncio.timeout(SOON), quick(cluster) as producer:
            assert (await producer.send("orders", b"1")).offset == 0
        assert {4, accepted} <= {asked.version for asked in relay.asked(ApiKey.API_VERSIONS)}


@pytest.mark.scenario(61)
@pytest.mark.parametrize("highest", [0, 1, 2, 3])
async def test_an_older_broker_is_asked_twice_on_the_same_connection(highest: int) -> None:
    versions = {ApiKey.API_VERSIONS: highest}
    async with FakeCluster(topics={"orders": 1}, max_versions=versions) as cluster, Relay(cluster) as relay:
        async with asyncio.timeout(SOON), quick(cluster) as producer:
            assert (await producer.send("orders", b"1")).offset == 0
        assert _versions_asked(relay, 1) == _versions_asked(relay, 2) == [4, highest]


@pytest.mark.scenario(61)
async def test_a_very_old_answer_is_understood() -> None:
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
