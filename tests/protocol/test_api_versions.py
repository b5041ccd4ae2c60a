"""ApiVersions: bytes, round trips and malformed messages."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.error_code import ErrorCode
from aioproducer.errors import ProtocolError
from aioproducer.protocol.api_versions import (
    ApiVersion,
    ApiVersionsRequest,
    ApiVersionsResponse,
    FinalizedFeatureKey,
    SupportedFeatureKey,
    software_name,
)
from aioproducer.protocol.frame import decode_response, encode_response
from tests.protocol.agreement import (
    assert_encoded,
    assert_fails_cleanly,
    assert_survives,
    decode,
    encode,
    error_codes,
    few_examples,
    int16,
    int32,
    int64,
    present,
    texts,
    tuples_of,
    versions_of,
)

requests = versions_of(ApiVersionsRequest)
responses = versions_of(ApiVersionsResponse)

FULL = ApiVersionsResponse(
    error_code=0,
    api_keys=(ApiVersion(3, 0, 13),),
    throttle_time_ms=5,
    supported_features=(SupportedFeatureKey("tv", 0, 2),),
    finalized_features_epoch=41,
    finalized_features=(FinalizedFeatureKey("tv", 2, 1),),
    zk_migration_ready=True,
)


def test_request_is_empty_before_version_3() -> None:
    for version in (0, 1, 2):
        assert_encoded(ApiVersionsRequest(), version, "")


def test_request_names_client_from_version_3() -> None:
    request = ApiVersionsRequest(client_software_name="aioproducer", client_software_version="1.0.0")
    for version in (3, 4):
        assert_encoded(request, version, "0c 61696f70726f6475636572 06 312e302e30 00")


def test_classic_response() -> None:
    apis = (ApiVersion(0, 3, 13), ApiVersion(18, 0, 4))
    body = "0000 00000002 0000 0003 000d 0012 0000 0004"
    assert_encoded(ApiVersionsResponse(error_code=0, api_keys=apis), 0, body)
    assert_encoded(ApiVersionsResponse(error_code=0, api_keys=apis, throttle_time_ms=5), 1, body + "00000005")


def test_flexible_response() -> None:
    assert_encoded(
        FULL,
        3,
        "0000 02 0003 0000 000d 00 00000005"
        "04"
        "00 09 02 03 7476 0000 0002 00"
        "01 08 0000000000000029"
        "02 09 02 03 7476 0002 0001 00"
        "03 01 01",
    )


def test_feature_levels_of_finalized_features() -> None:
    assert FULL.feature_levels == {"tv": 2}
    assert replace(FULL, finalized_features_epoch=-1).feature_levels == {}
    assert ApiVersionsResponse(error_code=0, api_keys=()).feature_levels == {}


def test_older_versions_drop_newer_fields() -> None:
    rest = ApiVersionsResponse(error_code=0, api_keys=(ApiVersion(3, 0, 13),))
    assert decode(ApiVersionsResponse, encode(FULL, 0), 0) == rest


@pytest.mark.parametrize("version", responses)
@pytest.mark.parametrize("apis", [(), (ApiVersion(18, 0, 3),)])
def test_unsupported_version_response_has_version_0(version: int, apis: tuple[ApiVersion, ...]) -> None:
    refusal = ApiVersionsResponse(error_code=ErrorCode.UNSUPPORTED_VERSION, api_keys=apis)
    body = "0023 00000001 0012 0000 0003" if apis else "0023 00000000"
    frame = bytes.fromhex("00000007" + body)
    assert b"".join(encode_response(refusal, version, 7))[4:] == frame
    assert decode_response(ApiVersionsResponse, frame, version) == (7, refusal)


@pytest.mark.parametrize("version", responses)
def test_unsupported_version_response_may_lack_list(version: int) -> None:
    _, response = decode_response(ApiVersionsResponse, bytes.fromhex("00000007 0023"), version)
    assert response == ApiVersionsResponse(error_code=35, api_keys=())


@pytest.mark.parametrize("tags", ["01 01 09 000000000000000000", "01 03 02 0100", "01 00 02 01 00"])
def test_tagged_field_of_wrong_size_is_refused(tags: str) -> None:
    frame = bytes.fromhex("00000007 0000 01 00000000" + tags)
    with pytest.raises(ProtocolError, match="left over"):
        decode_response(ApiVersionsResponse, frame, 3)


@pytest.mark.parametrize("version", requests)
@few_examples
@given(data=st.data())
def test_requests_survive_round_trip(version: int, data: st.DataObject) -> None:
    fields = present(version >= 3, client_software_name=texts, client_software_version=texts)
    assert_survives(data.draw(st.builds(ApiVersionsRequest, **fields)), version)


@pytest.mark.parametrize("version", responses)
@few_examples
@given(data=st.data())
def test_responses_survive_round_trip(version: int, data: st.DataObject) -> None:
    fields = {
        **present(version >= 1, throttle_time_ms=int32),
        **present(
            version >= 3,
            supported_features=tuples_of(st.builds(SupportedFeatureKey, texts, int16, int16)),
            finalized_features_epoch=int64,
            finalized_features=tuples_of(st.builds(FinalizedFeatureKey, texts, int16, int16)),
            zk_migration_ready=st.booleans(),
        ),
    }
    apis = tuples_of(st.builds(ApiVersion, int16, int16, int16))
    message = st.builds(ApiVersionsResponse, error_code=error_codes, api_keys=apis, **fields)
    assert_survives(data.draw(message), version)


@pytest.mark.parametrize("version", [3, 4])
def test_malformed_messages_fail_cleanly(version: int) -> None:
    assert_fails_cleanly(ApiVersionsRequest(client_software_name="a", client_software_version="1"), version)
    assert_fails_cleanly(FULL, version)


def test_malformed_classic_responses_fail_cleanly() -> None:
    apis = (ApiVersion(0, 3, 13), ApiVersion(18, 0, 4))
    assert_fails_cleanly(ApiVersionsResponse(error_code=0, api_keys=apis), 0)


@pytest.mark.parametrize(
    ("name", "version", "valid"),
    [
        ("aioproducer", "0.1.0", True),
        ("a", "1", True),
        ("aio-producer.x", "1.0-rc1", True),
        ("", "1", False),
        ("a", "", False),
        ("-a", "1", False),
        ("a", "1.", False),
        ("a", "1.0+local", False),
        ("a b", "1", False),
        ("né", "1", False),
        ("a\n", "1", False),
    ],
)
def test_valid_software_names(name: str, version: str, valid: bool) -> None:  # noqa: FBT001
    request = ApiVersionsRequest(client_software_name=name, client_software_version=version)
    assert request.has_valid_software is valid


@few_examples
@given(text=st.text())
def test_software_name_is_always_valid(text: str) -> None:
    name = software_name(text)
    assert ApiVersionsRequest(client_software_name=name, client_software_version=name).has_valid_software


def test_valid_software_name_is_unchanged() -> None:
    assert software_name("1.0.0-rc1") == "1.0.0-rc1"
    assert software_name("1.0.0+g123") == "1.0.0-g123"
    assert software_name("+") == "unknown"
