"""Outcomes: every error code of a Produce response has one verdict, the same as in Kafka."""

from __future__ import annotations

import pytest

from aioproducer.core.outcome import IN_DOUBT, Verdict, verdict_of
from aioproducer.error_code import ErrorCode

ERRORS = [code for code in ErrorCode if code is not ErrorCode.NONE]

STALE_LEADER = frozenset(
    {
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.LEADER_NOT_AVAILABLE,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.REPLICA_NOT_AVAILABLE,
        ErrorCode.NETWORK_EXCEPTION,
        ErrorCode.KAFKA_STORAGE_ERROR,
        ErrorCode.LISTENER_NOT_FOUND,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.INCONSISTENT_TOPIC_ID,
    }
)
"""Retriable after a metadata refresh."""

PASSING = STALE_LEADER | {
    ErrorCode.CORRUPT_MESSAGE,
    ErrorCode.REQUEST_TIMED_OUT,
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_COORDINATOR,
    ErrorCode.NOT_ENOUGH_REPLICAS,
    ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    ErrorCode.CONCURRENT_TRANSACTIONS,
    ErrorCode.UNKNOWN_LEADER_EPOCH,
    ErrorCode.THROTTLING_QUOTA_EXCEEDED,
}
"""The errors after which Kafka's producer sends a batch again."""

PERMANENT = frozenset(
    {
        ErrorCode.UNKNOWN_SERVER_ERROR,
        ErrorCode.INVALID_TOPIC_EXCEPTION,
        ErrorCode.INVALID_REQUIRED_ACKS,
        ErrorCode.TOPIC_AUTHORIZATION_FAILED,
        ErrorCode.INVALID_TIMESTAMP,
        ErrorCode.INVALID_REQUEST,
        ErrorCode.UNSUPPORTED_FOR_MESSAGE_FORMAT,
        ErrorCode.POLICY_VIOLATION,
        ErrorCode.UNSUPPORTED_COMPRESSION_TYPE,
        ErrorCode.INVALID_RECORD,
        ErrorCode.INVALID_TXN_STATE,
        ErrorCode.TRANSACTION_ABORTABLE,
    }
)

ENDS_PRODUCER = frozenset(
    {
        ErrorCode.CLUSTER_AUTHORIZATION_FAILED,
        ErrorCode.UNSUPPORTED_VERSION,
        ErrorCode.INVALID_PRODUCER_ID_MAPPING,
        ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        ErrorCode.PRODUCER_FENCED,
    }
)
"""The errors that end an idempotent producer."""

SEQUENCE_CODES = {
    ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER: Verdict.RETRY_IN_ORDER,
    ErrorCode.UNKNOWN_PRODUCER_ID: Verdict.RETRY_IN_ORDER,
    ErrorCode.INVALID_PRODUCER_EPOCH: Verdict.REFUSED_EPOCH,
}


@pytest.mark.parametrize("idempotent", [False, True])
@pytest.mark.parametrize("code", ERRORS)
def test_every_code_has_a_verdict(code: ErrorCode, *, idempotent: bool) -> None:
    assert isinstance(verdict_of(code, idempotent=idempotent), Verdict)


@pytest.mark.parametrize("idempotent", [False, True])
def test_success_and_size(*, idempotent: bool) -> None:
    with pytest.raises(ValueError, match="NONE is no error"):
        verdict_of(ErrorCode.NONE, idempotent=idempotent)
    assert verdict_of(ErrorCode.MESSAGE_TOO_LARGE, idempotent=idempotent) is Verdict.SPLIT
    assert verdict_of(ErrorCode.RECORD_LIST_TOO_LARGE, idempotent=idempotent) is Verdict.SPLIT
    duplicate = verdict_of(ErrorCode.DUPLICATE_SEQUENCE_NUMBER, idempotent=idempotent)
    assert duplicate is Verdict.DUPLICATE


@pytest.mark.scenario("retry-backoff")
@pytest.mark.parametrize("idempotent", [False, True])
@pytest.mark.parametrize("code", sorted(PASSING))
def test_retriable_codes_are_retried(code: ErrorCode, *, idempotent: bool) -> None:
    assert verdict_of(code, idempotent=idempotent) is Verdict.RETRY


@pytest.mark.parametrize("code", ERRORS)
def test_retry_matches_kafka(code: ErrorCode) -> None:
    assert (verdict_of(code, idempotent=False) is Verdict.RETRY) == code.is_retriable
    assert (verdict_of(code, idempotent=True) is Verdict.RETRY) == code.is_retriable


@pytest.mark.parametrize("code", sorted(STALE_LEADER))
def test_stale_leader_codes_refresh_metadata(code: ErrorCode) -> None:
    assert code.is_stale_metadata


@pytest.mark.parametrize("idempotent", [False, True])
@pytest.mark.parametrize("code", sorted(PERMANENT))
def test_permanent_codes_are_refused(code: ErrorCode, *, idempotent: bool) -> None:
    assert verdict_of(code, idempotent=idempotent) is Verdict.REFUSED


@pytest.mark.parametrize("code", sorted(ENDS_PRODUCER))
def test_fatal_only_with_idempotence(code: ErrorCode) -> None:
    """Without idempotence these codes refuse only the batch."""
    assert verdict_of(code, idempotent=True) is Verdict.FATAL
    assert verdict_of(code, idempotent=False) is Verdict.REFUSED


@pytest.mark.parametrize(("code", "verdict"), SEQUENCE_CODES.items())
def test_sequence_codes_need_idempotence(code: ErrorCode, verdict: Verdict) -> None:
    assert verdict_of(code, idempotent=True) is verdict
    assert verdict_of(code, idempotent=False) is Verdict.REFUSED


def test_fatal_and_sequence_codes_are_complete() -> None:
    assert {code for code in ERRORS if verdict_of(code, idempotent=True) is Verdict.FATAL} == ENDS_PRODUCER
    in_order = {code for code in ERRORS if verdict_of(code, idempotent=True) in SEQUENCE_CODES.values()}
    assert in_order == set(SEQUENCE_CODES)


def test_unknown_code_is_refused_in_doubt() -> None:
    code = ErrorCode.of(9999)
    assert verdict_of(code, idempotent=True) is Verdict.REFUSED
    assert code in IN_DOUBT


@pytest.mark.parametrize(
    "code",
    [
        # The leader stored the batch, but followers did not in time.
        ErrorCode.REQUEST_TIMED_OUT,
        ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        # The leader lost the leadership, its disk or the partition while it waited for followers.
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.KAFKA_STORAGE_ERROR,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.UNKNOWN_TOPIC_ID,
        # Unexpected errors.
        ErrorCode.NETWORK_EXCEPTION,
        ErrorCode.UNKNOWN_SERVER_ERROR,
    ],
)
def test_codes_after_storing_are_in_doubt(code: ErrorCode) -> None:
    assert code in IN_DOUBT


@pytest.mark.parametrize(
    "code",
    [
        ErrorCode.CORRUPT_MESSAGE,
        ErrorCode.NOT_ENOUGH_REPLICAS,
        ErrorCode.MESSAGE_TOO_LARGE,
        ErrorCode.RECORD_LIST_TOO_LARGE,
        ErrorCode.INVALID_RECORD,
        ErrorCode.INVALID_TIMESTAMP,
        ErrorCode.TOPIC_AUTHORIZATION_FAILED,
        ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode.UNKNOWN_PRODUCER_ID,
        ErrorCode.INVALID_PRODUCER_EPOCH,
        ErrorCode.THROTTLING_QUOTA_EXCEEDED,
    ],
)
def test_codes_before_storing_are_not_in_doubt(code: ErrorCode) -> None:
    assert code not in IN_DOUBT


@pytest.mark.parametrize("idempotent", [False, True])
def test_success_and_split_codes_are_complete(*, idempotent: bool) -> None:
    verdicts = {code: verdict_of(code, idempotent=idempotent) for code in ERRORS}
    duplicates = {code for code in ERRORS if verdicts[code] is Verdict.DUPLICATE}
    assert duplicates == {ErrorCode.DUPLICATE_SEQUENCE_NUMBER}
    assert {code for code in ERRORS if verdicts[code] is Verdict.SPLIT} == {
        ErrorCode.MESSAGE_TOO_LARGE,
        ErrorCode.RECORD_LIST_TOO_LARGE,
    }
