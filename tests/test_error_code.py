"""Kafka's error codes: their numbers, names and kinds are those of Kafka's clients."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest
from kio.schema.errors import ErrorCode as KioErrorCode

from aioproducer.error_code import ErrorCode, ErrorKind

if TYPE_CHECKING:
    from collections.abc import Callable

# Codes that are newer than those of kio.
NEWEST = {
    "GROUP_DELETION_FAILED": 134,
    "STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED": 135,
    "CONTROLLER_ID_NOT_REGISTERED": 136,
}

RETRIABLE = """
    CORRUPT_MESSAGE UNKNOWN_TOPIC_OR_PARTITION LEADER_NOT_AVAILABLE NOT_LEADER_OR_FOLLOWER
    REQUEST_TIMED_OUT REPLICA_NOT_AVAILABLE NETWORK_EXCEPTION COORDINATOR_LOAD_IN_PROGRESS
    COORDINATOR_NOT_AVAILABLE NOT_COORDINATOR NOT_ENOUGH_REPLICAS NOT_ENOUGH_REPLICAS_AFTER_APPEND
    NOT_CONTROLLER CONCURRENT_TRANSACTIONS KAFKA_STORAGE_ERROR FETCH_SESSION_ID_NOT_FOUND
    INVALID_FETCH_SESSION_EPOCH LISTENER_NOT_FOUND FENCED_LEADER_EPOCH UNKNOWN_LEADER_EPOCH
    OFFSET_NOT_AVAILABLE PREFERRED_LEADER_NOT_AVAILABLE ELIGIBLE_LEADERS_NOT_AVAILABLE
    ELECTION_NOT_NEEDED UNSTABLE_OFFSET_COMMIT THROTTLING_QUOTA_EXCEEDED UNKNOWN_TOPIC_ID
    INCONSISTENT_TOPIC_ID FETCH_SESSION_TOPIC_ID_ERROR SHARE_SESSION_NOT_FOUND
    INVALID_SHARE_SESSION_EPOCH SHARE_SESSION_LIMIT_REACHED
"""

STALE_METADATA = """
    UNKNOWN_TOPIC_OR_PARTITION LEADER_NOT_AVAILABLE NOT_LEADER_OR_FOLLOWER REPLICA_NOT_AVAILABLE
    NETWORK_EXCEPTION KAFKA_STORAGE_ERROR LISTENER_NOT_FOUND FENCED_LEADER_EPOCH
    PREFERRED_LEADER_NOT_AVAILABLE ELIGIBLE_LEADERS_NOT_AVAILABLE ELECTION_NOT_NEEDED
    UNKNOWN_TOPIC_ID INCONSISTENT_TOPIC_ID
"""


def names(holds: Callable[[ErrorCode], bool]) -> set[str]:
    return {code.name for code in ErrorCode if holds(code)}


def test_numbers_have_no_gaps() -> None:
    assert [int(code) for code in ErrorCode] == list(range(-1, 137))


@pytest.mark.parametrize("theirs", list(KioErrorCode), ids=lambda theirs: str(theirs.name))
def test_codes_match_kio(theirs: KioErrorCode) -> None:
    code = ErrorCode.of(theirs.value)

    assert code.name == theirs.name.upper()
    assert code.is_retriable == theirs.retriable


def test_newest_codes_match_kafka_4_4() -> None:
    newest = {code.name: int(code) for code in ErrorCode if code > max(one.value for one in KioErrorCode)}

    assert newest == NEWEST
    assert not any(code.is_retriable for code in ErrorCode if code.name in NEWEST)


def test_retriable_codes_match_java() -> None:
    assert names(lambda code: code.is_retriable) == set(RETRIABLE.split())


def test_stale_metadata_codes_match_java() -> None:
    assert names(lambda code: code.is_stale_metadata) == set(STALE_METADATA.split())


def test_stale_metadata_is_retriable() -> None:
    assert set(STALE_METADATA.split()) < set(RETRIABLE.split())


def test_codes_are_integers_with_kinds() -> None:
    code = ErrorCode.REQUEST_TIMED_OUT
    assert (code, int(code), code.value, code.kind) == (7, 7, 7, ErrorKind.RETRIABLE)
    assert ErrorCode.of(7) is code
    assert pickle.loads(pickle.dumps(code)) is code  # noqa: S301 - our own
    assert {one for one in ErrorCode if one.kind is ErrorKind.NONE} == {ErrorCode.NONE}


@pytest.mark.parametrize("number", [137, 32767, -2, -32768])
def test_unknown_number_is_unknown_server_error(number: int) -> None:
    assert ErrorCode.of(number) is ErrorCode.UNKNOWN_SERVER_ERROR
