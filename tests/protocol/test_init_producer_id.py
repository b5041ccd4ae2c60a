"""InitProducerId: bytes, round trips and malformed messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.errors import UnsupportedVersionError
from aioproducer.protocol.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from tests.protocol.agreement import (
    assert_encoded,
    assert_fails_cleanly,
    assert_survives,
    encode,
    error_codes,
    few_examples,
    int16,
    int32,
    int64,
    nullable_texts,
    present,
    versions_of,
)


def test_classic_request() -> None:
    request = InitProducerIdRequest(transactional_id="tx", transaction_timeout_ms=60000)
    assert_encoded(request, 1, "0002 7478 0000ea60")


def test_flexible_request() -> None:
    assert_encoded(
        InitProducerIdRequest(
            transactional_id=None, transaction_timeout_ms=60000, producer_id=4000, producer_epoch=3
        ),
        4,
        "00 0000ea60 0000000000000fa0 0003 00",
    )


def test_responses_in_both_encodings() -> None:
    response = InitProducerIdResponse(throttle_time_ms=10, error_code=51, producer_id=4000, producer_epoch=3)
    assert_encoded(response, 1, "0000000a 0033 0000000000000fa0 0003")
    assert_encoded(response, 5, "0000000a 0033 0000000000000fa0 0003 00")


@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize("field", ["producer_id", "producer_epoch"])
def test_epoch_bump_needs_version_3(version: int, field: str) -> None:
    current = {"producer_id": -1, "producer_epoch": -1, field: 5}
    request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1, **current)
    with pytest.raises(UnsupportedVersionError, match=f"version {version} cannot carry {field}=5"):
        encode(request, version)


@pytest.mark.parametrize("version", versions_of(InitProducerIdRequest))
@few_examples
@given(data=st.data())
def test_requests_survive_round_trip(version: int, data: st.DataObject) -> None:
    message = st.builds(
        InitProducerIdRequest,
        transactional_id=nullable_texts,
        transaction_timeout_ms=int32,
        **present(version >= 3, producer_id=int64, producer_epoch=int16),
    )
    assert_survives(data.draw(message), version)


@pytest.mark.parametrize("version", versions_of(InitProducerIdResponse))
@few_examples
@given(data=st.data())
def test_responses_survive_round_trip(version: int, data: st.DataObject) -> None:
    message = st.builds(
        InitProducerIdResponse,
        throttle_time_ms=int32,
        error_code=error_codes,
        producer_id=int64,
        producer_epoch=int16,
    )
    assert_survives(data.draw(message), version)


@pytest.mark.parametrize("version", versions_of(InitProducerIdRequest))
def test_malformed_messages_fail_cleanly(version: int) -> None:
    assert_fails_cleanly(
        InitProducerIdRequest(transactional_id="transaction", transaction_timeout_ms=1), version
    )
    assert_fails_cleanly(InitProducerIdResponse(error_code=0, producer_id=1), version)
