"""SaslHandshake and SaslAuthenticate: bytes, round trips, malformed messages, and no secrets shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.errors import ProtocolError
from aioproducer.protocol.api import ApiKey
from aioproducer.protocol.frame import encode_request, encode_response
from aioproducer.protocol.sasl import (
    SaslAuthenticateRequest,
    SaslAuthenticateResponse,
    SaslHandshakeRequest,
    SaslHandshakeResponse,
)
from tests.protocol.agreement import (
    assert_encoded,
    assert_fails_cleanly,
    assert_survives,
    decode,
    error_codes,
    few_examples,
    nullable_texts,
    present,
    texts,
    tuples_of,
    versions_of,
)

auth_bytes = st.binary(max_size=300)
# kio keeps times as timedeltas, which end far below 64 bits of milliseconds.
lifetimes = st.integers(0, 10**12)


@pytest.mark.parametrize("version", [0, 1])
def test_handshake_bytes(version: int) -> None:
    assert_encoded(SaslHandshakeRequest(mechanism="PLAIN"), version, "0005 504c41494e")
    response = SaslHandshakeResponse(error_code=33, mechanisms=("PLAIN", "GSSAPI"))
    assert_encoded(response, version, "0021 00000002 0005 504c41494e 0006 475353415049")


def test_authenticate_request_bytes() -> None:
    request = SaslAuthenticateRequest(auth_bytes=b"\x00u\x00p")
    for version in (0, 1):
        assert_encoded(request, version, "00000004 00750070")
    assert_encoded(request, 2, "05 00750070 00")


def test_authenticate_response_bytes() -> None:
    refused = SaslAuthenticateResponse(error_code=58, error_message="no")
    assert_encoded(refused, 0, "003a 0002 6e6f 00000000")
    accepted = SaslAuthenticateResponse(error_code=0, auth_bytes=b"v=", session_lifetime_ms=8000)
    assert_encoded(accepted, 1, "0000 ffff 00000002 763d 0000000000001f40")
    assert_encoded(accepted, 2, "0000 00 03 763d 0000000000001f40 00")


def test_headers_of_both_requests() -> None:
    """SaslHandshake is never flexible; SaslAuthenticate is from version 2, in both headers."""
    handshake = b"".join(encode_request(SaslHandshakeRequest(mechanism="PLAIN"), 1, 7, "c"))
    assert handshake.hex() == "0000001200110001000000070001630005504c41494e"
    authenticate = b"".join(encode_request(SaslAuthenticateRequest(auth_bytes=b"a"), 2, 8, "c"))
    assert authenticate.hex() == "0000000f002400020000000800016300026100"
    answer = b"".join(encode_response(SaslHandshakeResponse(error_code=0), 1, 7))
    assert answer.hex() == "0000000a00000007000000000000"
    answer = b"".join(encode_response(SaslAuthenticateResponse(error_code=0), 2, 8))
    assert answer.hex() == "00000012000000080000000001000000000000000000"


def test_api_keys() -> None:
    assert SaslHandshakeRequest.api_key is SaslHandshakeResponse.api_key is ApiKey.SASL_HANDSHAKE
    assert SaslAuthenticateRequest.api_key is SaslAuthenticateResponse.api_key is ApiKey.SASL_AUTHENTICATE
    assert (ApiKey.SASL_HANDSHAKE, ApiKey.SASL_AUTHENTICATE) == (17, 36)


def test_version_0_omits_lifetime() -> None:
    response = SaslAuthenticateResponse(error_code=0, session_lifetime_ms=5)
    assert decode(SaslAuthenticateResponse, bytes.fromhex("0000ffff00000000"), 0) != response
    assert decode(SaslAuthenticateResponse, bytes.fromhex("0000ffff00000000"), 0).session_lifetime_ms == 0


@pytest.mark.parametrize(
    ("data", "version"), [("ffffffff", 0), ("00 00", 2), ("0000000a 61", 1), ("ff01 61", 2)]
)
def test_null_and_missing_bytes_are_refused(data: str, version: int) -> None:
    with pytest.raises(ProtocolError):
        decode(SaslAuthenticateRequest, bytes.fromhex(data), version)


def test_repr_hides_bytes() -> None:
    request = SaslAuthenticateRequest(auth_bytes=b"\x00user\x00hunter2")
    assert repr(request) == "SaslAuthenticateRequest(auth_bytes=<13 bytes>)"
    response = SaslAuthenticateResponse(error_code=0, auth_bytes=b"hunter2")
    assert repr(response) == (
        "SaslAuthenticateResponse(error_code=0, error_message=None, auth_bytes=<7 bytes>, "
        "session_lifetime_ms=0)"
    )


@pytest.mark.parametrize("version", versions_of(SaslHandshakeRequest))
@few_examples
@given(data=st.data())
def test_handshakes_survive_round_trip(version: int, data: st.DataObject) -> None:
    assert_survives(data.draw(st.builds(SaslHandshakeRequest, mechanism=texts)), version)
    answers = st.builds(SaslHandshakeResponse, error_code=error_codes, mechanisms=tuples_of(texts))
    assert_survives(data.draw(answers), version)


@pytest.mark.parametrize("version", versions_of(SaslAuthenticateRequest))
@few_examples
@given(data=st.data())
def test_authentications_survive_round_trip(version: int, data: st.DataObject) -> None:
    assert_survives(data.draw(st.builds(SaslAuthenticateRequest, auth_bytes=auth_bytes)), version)
    answers = st.builds(
        SaslAuthenticateResponse,
        error_code=error_codes,
        error_message=nullable_texts,
        auth_bytes=auth_bytes,
        **present(version >= 1, session_lifetime_ms=lifetimes),
    )
    assert_survives(data.draw(answers), version)


@pytest.mark.parametrize("version", versions_of(SaslAuthenticateRequest))
def test_malformed_messages_fail_cleanly(version: int) -> None:
    assert_fails_cleanly(SaslAuthenticateRequest(auth_bytes=b"n,,n=user"), version)
    assert_fails_cleanly(SaslAuthenticateResponse(error_code=0, auth_bytes=b"r=1,s=2"), version)


@pytest.mark.parametrize("version", versions_of(SaslHandshakeRequest))
def test_malformed_handshakes_fail_cleanly(version: int) -> None:
    assert_fails_cleanly(SaslHandshakeRequest(mechanism="PLAIN"), version)
    assert_fails_cleanly(SaslHandshakeResponse(error_code=0, mechanisms=("PLAIN", "GSSAPI")), version)
