"""Versions: negotiation and checks."""

from __future__ import annotations

from typing import assert_type

import pytest

from aioproducer.errors import UnsupportedVersionError
from aioproducer.protocol.api import ApiKey, R, Request, VersionRange, check_version, lacks, negotiate
from aioproducer.protocol.metadata import MetadataRequest, MetadataResponse
from aioproducer.protocol.produce import ProduceRequest, ProduceResponse


def test_highest_common_version_is_chosen() -> None:
    ours = VersionRange(3, 13)
    assert negotiate(ApiKey.PRODUCE, ours, VersionRange(0, 9)) == 9
    assert negotiate(ApiKey.PRODUCE, ours, VersionRange(3, 20)) == 13
    assert negotiate(ApiKey.PRODUCE, ours, VersionRange(13, 13)) == 13


def test_at_most_limits_the_version() -> None:
    ours = VersionRange(3, 13)
    assert negotiate(ApiKey.PRODUCE, ours, VersionRange(0, 13), at_most=12) == 12
    assert negotiate(ApiKey.PRODUCE, ours, VersionRange(0, 7), at_most=12) == 7


@pytest.mark.parametrize(
    ("broker", "at_most", "sentence"),
    [
        (VersionRange(0, 2), None, "no common version of PRODUCE: client 3-13, broker 0-2"),
        (
            VersionRange(14, 15),
            None,
            "no common version of PRODUCE: client 3-13, broker 14-15",
        ),
        (
            VersionRange(13, 13),
            12,
            "no common version of PRODUCE: client 3-13 (here at most 12), broker 13",
        ),
        (None, None, "the broker does not support PRODUCE; this client supports versions 3-13"),
    ],
)
def test_no_common_version_names_both_ranges(
    broker: VersionRange | None, at_most: int | None, sentence: str
) -> None:
    with pytest.raises(UnsupportedVersionError) as caught:
        negotiate(ApiKey.PRODUCE, VersionRange(3, 13), broker, at_most=at_most)
    assert str(caught.value) == sentence


def test_range_includes_both_ends() -> None:
    assert [version for version in range(16) if version in VersionRange(3, 5)] == [3, 4, 5]


def test_check_version_refuses_unknown_version() -> None:
    check_version(ProduceRequest, 13)
    with pytest.raises(UnsupportedVersionError, match="ProduceRequest has versions 3-13, not 2"):
        check_version(ProduceRequest, 2)


def test_lacks_names_field_and_value() -> None:
    error = lacks(MetadataRequest(topics=None), 0, "topics")
    assert str(error) == "MetadataRequest version 0 cannot carry topics=None"


def test_request_type_determines_response_type() -> None:
    def answer(request: Request[R]) -> type[R]:
        return request.response

    produce = answer(ProduceRequest(acks=1, timeout_ms=1, topic_data=()))
    metadata = answer(MetadataRequest(topics=None))

    assert assert_type(produce, type[ProduceResponse]) is ProduceResponse
    assert assert_type(metadata, type[MetadataResponse]) is MetadataResponse
