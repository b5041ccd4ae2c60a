"""The versions of a broker, and the ApiVersions requests that find them."""

import pytest

from aioproducer import BrokerError, ProtocolError
from aioproducer.core.broker_versions import BrokerVersions, VersionDiscovery
from aioproducer.errors import UnsupportedVersionError
from aioproducer.protocol.api import VersionRange
from aioproducer.protocol.api_versions import ApiVersion, ApiVersionsResponse, FinalizedFeatureKey
from aioproducer.protocol.frame import encode_response
from aioproducer.testing import ApiKey, ErrorCode

PRODUCE = ApiVersion(ApiKey.PRODUCE, 3, 11)


def _answer(version: int, code: ErrorCode, *listed: ApiVersion) -> memoryview:
    chunks = encode_response(ApiVersionsResponse(error_code=code, api_keys=listed), version, 0)
    return memoryview(b"".join(chunks))[4:]


def test_response_gives_versions() -> None:
    discovery = VersionDiscovery()
    request, version = discovery.begin()
    assert version == 4
    assert request.client_software_name == "aioproducer"
    assert discovery.receive(_answer(4, ErrorCode.NONE, PRODUCE)) is None
    assert discovery.versions.apis == {0: VersionRange(3, 11)}


def test_response_gives_features() -> None:
    discovery = VersionDiscovery()
    discovery.begin()
    response = ApiVersionsResponse(
        error_code=ErrorCode.NONE,
        api_keys=(PRODUCE,),
        finalized_features_epoch=7,
        finalized_features=(FinalizedFeatureKey("transaction.version", 2, 1),),
    )
    frame = memoryview(b"".join(encode_response(response, 4, 0)))[4:]
    assert discovery.receive(frame) is None
    assert discovery.versions.features == {"transaction.version": 2}


def test_highest_common_version_is_chosen() -> None:
    versions = BrokerVersions({ApiKey.PRODUCE: VersionRange(3, 11)})
    client = VersionRange(3, 13)
    for _ in range(2):
        assert versions.choose(ApiKey.PRODUCE, client) == 11
        assert versions.choose(ApiKey.PRODUCE, client, at_most=9) == 9
    with pytest.raises(UnsupportedVersionError):
        versions.choose(ApiKey.METADATA, client)


@pytest.mark.scenario("version-negotiation")
@pytest.mark.parametrize(("listed", "expected"), [(3, 3), (2, 2), (0, 0), (9, 3)])
def test_unsupported_version_names_lower_one(listed: int, expected: int) -> None:
    discovery = VersionDiscovery()
    discovery.begin()
    own = ApiVersion(ApiKey.API_VERSIONS, 0, listed)
    step = discovery.receive(_answer(0, ErrorCode.UNSUPPORTED_VERSION, own))
    assert step is not None
    assert step[1] == expected
    assert discovery.receive(_answer(expected, ErrorCode.NONE, PRODUCE)) is None


@pytest.mark.scenario("version-negotiation")
def test_unsupported_version_names_none() -> None:
    discovery = VersionDiscovery()
    discovery.begin()
    step = discovery.receive(_answer(0, ErrorCode.UNSUPPORTED_VERSION))
    assert step is not None
    assert step[1] == 0
    with pytest.raises(BrokerError, match="UNSUPPORTED_VERSION"):
        discovery.receive(_answer(0, ErrorCode.UNSUPPORTED_VERSION))


def test_other_errors_are_raised() -> None:
    discovery = VersionDiscovery()
    discovery.begin()
    with pytest.raises(BrokerError, match="ILLEGAL_SASL_STATE"):
        discovery.receive(_answer(4, ErrorCode.ILLEGAL_SASL_STATE))
    with pytest.raises(ProtocolError):
        discovery.receive(memoryview(b"\x00\x00\x00\x00\xff"))


@pytest.mark.scenario("version-negotiation")
def test_closed_connections_lower_version() -> None:
    discovery = VersionDiscovery()
    """The client asks in versions 4, 3 and 0, and then in 4 again."""
    asked = []
    reconnects = []
    for _ in range(7):
        asked.append(discovery.begin()[1])
        discovery.connection_closed()
        reconnects.append(discovery.should_reconnect)
    assert asked == [4, 4, 3, 3, 0, 0, 4]
    assert reconnects == [True, True, True, True, True, False, True]
    discovery.begin()
    assert not discovery.should_reconnect
