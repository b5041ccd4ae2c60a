"""Frames: headers and bodies, and splitting a stream."""

from __future__ import annotations

from itertools import pairwise
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.errors import ProtocolError, UnsupportedVersionError
from aioproducer.protocol.api import ApiKey
from aioproducer.protocol.api_versions import ApiVersionsRequest, ApiVersionsResponse
from aioproducer.protocol.frame import (
    FrameSplitter,
    RequestHeader,
    decode_request,
    decode_request_header,
    decode_response,
    encode_request,
    encode_response,
    read_correlation_id,
)
from aioproducer.protocol.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from aioproducer.protocol.produce import (
    PartitionProduceData,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)
from tests.protocol.agreement import few_examples

REQUEST = InitProducerIdRequest(transactional_id="tx", transaction_timeout_ms=60000)
RESPONSE = InitProducerIdResponse(throttle_time_ms=10, error_code=0, producer_id=4000, producer_epoch=3)

REQUEST_FRAMES = [
    (1, "c", "00000013 0016 0001 00000007 0001 63 0002 7478 0000ea60"),
    (1, None, "00000012 0016 0001 00000007 ffff 0002 7478 0000ea60"),
    # The client id stays classic in the flexible header, which ends with tagged fields.
    (2, "c", "00000014 0016 0002 00000007 0001 63 00 03 7478 0000ea60 00"),
]
RESPONSE_FRAMES = [
    (1, "00000014 00000007 0000000a 0000 0000000000000fa0 0003"),
    (2, "00000016 00000007 00 0000000a 0000 0000000000000fa0 0003 00"),
]


@pytest.mark.parametrize(("version", "client_id", "expected"), REQUEST_FRAMES)
def test_request_header_depends_on_version(version: int, client_id: str | None, expected: str) -> None:
    frame = b"".join(encode_request(REQUEST, version, 7, client_id))
    assert frame == bytes.fromhex(expected)

    header, body = decode_request_header(frame[4:])
    assert header == RequestHeader(ApiKey.INIT_PRODUCER_ID, version, 7, client_id)
    assert decode_request(InitProducerIdRequest, body, version) == REQUEST


@pytest.mark.parametrize(("version", "expected"), RESPONSE_FRAMES)
def test_response_header_depends_on_version(version: int, expected: str) -> None:
    frame = b"".join(encode_response(RESPONSE, version, 7))
    assert frame == bytes.fromhex(expected)
    assert read_correlation_id(frame[4:]) == 7
    assert decode_response(InitProducerIdResponse, frame[4:], version) == (7, RESPONSE)


def test_api_versions_response_header_lacks_tags() -> None:
    answer = ApiVersionsResponse(error_code=0, api_keys=())
    frame = b"".join(encode_response(answer, 3, 7))
    assert frame == bytes.fromhex("0000000c 00000007 0000 01 00000000 00")
    assert decode_response(ApiVersionsResponse, frame[4:], 3) == (7, answer)


def test_api_versions_request_header_has_tags() -> None:
    frame = b"".join(encode_request(ApiVersionsRequest(), 3, 7, None))
    assert frame == bytes.fromhex("0000000e 0012 0003 00000007 ffff 00 01 01 00")


def test_header_of_unknown_request_is_read() -> None:
    header, _ = decode_request_header(bytes.fromhex("7fff 0063 00000007 ffff ff ff"))
    assert header == RequestHeader(0x7FFF, 0x63, 7, None)


def test_batches_are_not_copied() -> None:
    batch = bytearray(b"batch")
    topic = TopicProduceData(name="t", partition_data=(PartitionProduceData(0, batch),))
    request = ProduceRequest(acks=-1, timeout_ms=1, topic_data=(topic,))

    chunks = encode_request(request, 9, 1, "c")

    assert chunks[1] is batch
    assert b"".join(chunks)[:4] == pack(">i", sum(map(len, chunks)) - 4)


def test_unknown_header_tags_are_skipped() -> None:
    frame = bytes.fromhex("00000007 01 63 02 ffff 0000000a 0000 0000000000000fa0 0003 00")
    assert decode_response(InitProducerIdResponse, frame, 2) == (7, RESPONSE)


@pytest.mark.parametrize("version", [2, 14])
def test_unknown_version_is_refused(version: int) -> None:
    request = ProduceRequest(acks=1, timeout_ms=1, topic_data=())
    with pytest.raises(UnsupportedVersionError):
        encode_request(request, version, 1, None)
    with pytest.raises(UnsupportedVersionError):
        encode_response(ProduceResponse(responses=()), version, 1)
    with pytest.raises(UnsupportedVersionError):
        decode_response(ProduceResponse, b"", version)
    _, body = decode_request_header(bytes.fromhex("0000 0002 00000007 ffff"))
    with pytest.raises(UnsupportedVersionError):
        decode_request(ProduceRequest, body, version)


@pytest.mark.parametrize("version", [1, 2])
def test_truncated_frame_is_protocol_error(version: int) -> None:
    request = b"".join(encode_request(REQUEST, version, 7, "c"))[4:]
    response = b"".join(encode_response(RESPONSE, version, 7))[4:]
    for end in range(len(request)):
        with pytest.raises(ProtocolError):
            decode_request(InitProducerIdRequest, decode_request_header(request[:end])[1], version)
    for end in range(len(response)):
        with pytest.raises(ProtocolError):
            decode_response(InitProducerIdResponse, response[:end], version)
    with pytest.raises(ProtocolError):
        read_correlation_id(b"\x00\x00\x00")


def test_leftover_bytes_name_the_message() -> None:
    frame = b"".join(encode_response(RESPONSE, 1, 7))[4:] + b"\x00"
    with pytest.raises(ProtocolError, match="malformed InitProducerIdResponse version 1: 1 of 21 bytes"):
        decode_response(InitProducerIdResponse, frame, 1)


def framed(*bodies: bytes) -> bytes:
    return b"".join(pack(">i", len(body)) + body for body in bodies)


def test_whole_frames_are_views() -> None:
    chunk = framed(b"one", b"", b"three")
    splitter = FrameSplitter(100)

    frames = splitter.feed(chunk)

    assert frames == [b"one", b"", b"three"]
    assert all(frame.obj is chunk for frame in frames)
    assert splitter.pending == 0


@few_examples
@given(bodies=st.lists(st.binary(max_size=20), max_size=8), cuts=st.lists(st.integers(0, 200), max_size=12))
def test_frames_survive_any_chunking(bodies: list[bytes], cuts: list[int]) -> None:
    stream = framed(*bodies)
    splitter = FrameSplitter(100)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    frames: list[memoryview] = []
    for start, end in pairwise(edges):
        frames += splitter.feed(stream[start:end])

    assert frames == bodies
    assert splitter.pending == 0


def test_frames_survive_single_bytes() -> None:
    stream = framed(b"one", b"", b"three")
    splitter = FrameSplitter(100)
    frames = [frame for byte in stream for frame in splitter.feed(bytes([byte]))]
    assert frames == [b"one", b"", b"three"]


def test_unfinished_frame_is_pending() -> None:
    splitter = FrameSplitter(100)
    assert splitter.feed(framed(b"one") + b"\x00\x00") == [b"one"]
    assert splitter.pending == 2
    assert splitter.feed(b"") == []
    assert splitter.feed(b"\x00\x02a") == []
    assert splitter.pending == 5
    assert splitter.feed(b"b") == [b"ab"]
    assert splitter.pending == 0


def test_many_small_chunks_are_cheap() -> None:
    """Each chunk is copied once. Copying all earlier chunks each time would take a minute."""
    splitter = FrameSplitter(1_000_000)
    splitter.feed(pack(">i", 300_000))
    for _ in range(299_999):
        assert not splitter.feed(b"x")
    (frame,) = splitter.feed(b"x")
    assert len(frame) == 300_000


def test_earlier_frames_do_not_change() -> None:
    splitter = FrameSplitter(100)
    splitter.feed(b"\x00\x00")
    (first,) = splitter.feed(b"\x00\x01a\x00\x00")
    (second,) = splitter.feed(b"\x00\x01b")
    assert (bytes(first), bytes(second)) == (b"a", b"b")


@pytest.mark.parametrize("size", [-1, -(2**31), 101, 2**31 - 1])
def test_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(ProtocolError, match=rf"a frame cannot have {size} bytes \(the limit is 100\)"):
        FrameSplitter(100).feed(framed(b"fine") + pack(">i", size))


def test_frame_of_maximum_size_is_accepted() -> None:
    assert FrameSplitter(100).feed(framed(bytes(100))) == [bytes(100)]
    with pytest.raises(ProtocolError, match="101 bytes"):
        FrameSplitter(100).feed(framed(bytes(101)))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bytes.fromhex("15 0303 0002 0246"), "this port wants TLS"),
        (bytes.fromhex("16 0301 0200 01"), "the peer speaks TLS"),
        (b"HTTP/1.1 400 Bad Request\r\n", "a response of an HTTP server"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "an SSH server"),
    ],
)
def test_other_protocols_are_named(data: bytes, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        FrameSplitter(100_000_000).feed(data)
