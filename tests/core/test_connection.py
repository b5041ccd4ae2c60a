"""Connections: answers are matched with requests by their order, whatever the pieces they come in."""

from __future__ import annotations

from itertools import pairwise
from struct import pack, unpack_from

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.core.batch import NEVER
from aioproducer.core.connection import LAST_CORRELATION_ID, MAX_RESPONSE, Connection, PendingRequest
from aioproducer.errors import ProtocolError, UnsupportedVersionError
from aioproducer.protocol.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from aioproducer.protocol.produce import ProduceRequest, ProduceResponse

NOW, DEADLINE = 100.0, 130.0
VERSION = 9
PRODUCE = ProduceRequest(transactional_id=None, acks=-1, timeout_ms=30_000, topic_data=())
TRANSACTIONAL = ProduceRequest(transactional_id="bank", acks=-1, timeout_ms=30_000, topic_data=())
INIT = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=60_000)


def ignore(_pending: PendingRequest, _frame: memoryview | None, _error: Exception | None) -> None:
    """Nobody waits for this answer."""


def send(connection: Connection, deadline: float = DEADLINE, *, expect_answer: bool = True) -> PendingRequest:
    pending, _ = connection.send(PRODUCE, VERSION, NOW, deadline, ignore, expect_answer=expect_answer)
    return pending


def sent(count: int) -> tuple[Connection, list[PendingRequest]]:
    connection = Connection("client")
    return connection, [send(connection) for _ in range(count)]


def answer(correlation_id: int, body: bytes = b"") -> bytes:
    return pack(">ii", 4 + len(body), correlation_id) + body


def test_request_has_size_and_id() -> None:
    connection = Connection("client")
    for correlation_id in range(3):
        pending, chunks = connection.send(PRODUCE, VERSION, NOW, DEADLINE, ignore)
        written = b"".join(chunks)

        size, api_key, version, written_id = unpack_from(">ihhi", written)
        assert (size, api_key, version) == (len(written) - 4, 0, VERSION)
        assert written_id == pending.correlation_id == correlation_id
        assert pending.size == len(written)
        assert b"client" in written


def test_pending_request_keeps_its_version() -> None:
    connection = Connection("client")
    first, _ = connection.send(PRODUCE, VERSION, NOW, DEADLINE, ignore)
    second, _ = connection.send(INIT, 4, NOW + 1, DEADLINE + 1, ignore)

    assert (first.kind, first.version, first.sent_at, first.deadline) == (
        ProduceResponse,
        VERSION,
        NOW,
        DEADLINE,
    )
    assert (second.kind, second.version, second.sent_at) == (InitProducerIdResponse, 4, NOW + 1)
    assert first.on_answer is ignore


def test_responses_match_in_order() -> None:
    connection, pending = sent(3)

    for number, request in enumerate(pending):
        ((answered, frame),) = connection.receive(answer(number, b"body"))
        assert answered is request
        assert bytes(frame) == answer(number, b"body")[4:]

    assert not connection.pending


def test_one_chunk_holds_many_responses() -> None:
    connection, pending = sent(5)

    answers = connection.receive(b"".join(answer(number) for number in range(4)))

    assert [request for request, _ in answers] == pending[:4]
    assert list(connection.pending) == pending[4:]


def test_response_ends_with_last_byte() -> None:
    connection, pending = sent(2)
    stream = answer(0, b"first") + answer(1, b"second")
    arrived = []
    for position, byte in enumerate(stream):
        for request, frame in connection.receive(bytes([byte])):
            arrived.append((position, request, bytes(frame)[4:]))

    first_end = len(answer(0, b"first")) - 1
    assert arrived == [(first_end, pending[0], b"first"), (len(stream) - 1, pending[1], b"second")]


@given(bodies=st.lists(st.binary(max_size=40), max_size=8), cuts=st.sets(st.integers(0, 300)))
def test_any_cuts_give_same_responses(bodies: list[bytes], cuts: set[int]) -> None:
    connection, pending = sent(len(bodies))
    stream = b"".join(answer(number, body) for number, body in enumerate(bodies))
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]

    arrived = [pair for start, end in pairwise(edges) for pair in connection.receive(stream[start:end])]

    assert [request for request, _ in arrived] == pending
    assert [bytes(frame)[4:] for _, frame in arrived] == bodies


def test_wrong_order_poisons_the_connection() -> None:
    connection, _ = sent(2)

    with pytest.raises(ProtocolError, match="correlation id 1, the oldest request has 0"):
        connection.receive(answer(1))


def test_unexpected_response_poisons_the_connection() -> None:
    connection = Connection("client")

    with pytest.raises(ProtocolError, match="correlation id 7 came to no request"):
        connection.receive(answer(7))


def test_second_response_poisons_the_connection() -> None:
    connection, _ = sent(1)

    with pytest.raises(ProtocolError, match="came to no request"):
        connection.receive(answer(0) + answer(0))


def test_poisoned_chunk_loses_its_responses() -> None:
    """Each request ends once: by its answer, or by the loss of the connection."""
    connection, pending = sent(3)

    with pytest.raises(ProtocolError):
        connection.receive(answer(0) + answer(2))

    assert connection.lose() == pending


@pytest.mark.parametrize(
    "poison",
    [pack(">i", -1), pack(">i", MAX_RESPONSE + 1), pack(">ih", 2, 0), b"HTTP/1.1 400 Bad Request\r\n"],
    ids=["negative size", "too large", "no room for an id", "another protocol"],
)
def test_invalid_frame_poisons_the_connection(poison: bytes) -> None:
    connection, pending = sent(1)

    with pytest.raises(ProtocolError):
        connection.receive(poison)

    assert connection.lose() == pending


@pytest.mark.scenario("acks-zero")
def test_no_response_is_expected() -> None:
    connection = Connection("client")
    unanswered = send(connection, expect_answer=False)
    asked = send(connection)

    assert list(connection.pending) == [asked]
    assert asked.correlation_id == unanswered.correlation_id + 1
    assert connection.receive(answer(asked.correlation_id))[0][0] is asked


@pytest.mark.parametrize("whole", [True, False])
def test_unexpected_responses_are_ignored(*, whole: bool) -> None:
    """Some servers answer Produce with acks=0; other requests of the connection get their responses."""
    connection = Connection("client")
    expects = [False, False, True, False, True, False]
    pending = [send(connection, expect_answer=expected) for expected in expects]
    # The server may leave some of these responses out.
    frames = [answer(request.correlation_id) for request in pending if request is not pending[1]]

    chunks = [b"".join(frames)] if whole else frames
    answers = [request for chunk in chunks for request, _ in connection.receive(chunk)]

    assert answers == [pending[2], pending[4]]
    assert connection.ignored == 3


def test_an_ignored_response_comes_once() -> None:
    connection = Connection("client")
    unanswered = send(connection, expect_answer=False)
    connection.receive(answer(unanswered.correlation_id))

    with pytest.raises(ProtocolError, match="came to no request"):
        connection.receive(answer(unanswered.correlation_id))


@pytest.mark.parametrize("correlation_id", [3, -1, LAST_CORRELATION_ID])
def test_response_without_request_raises(correlation_id: int) -> None:
    connection = Connection("client")
    for _ in range(3):
        send(connection, expect_answer=False)

    with pytest.raises(ProtocolError, match="came to no request"):
        connection.receive(answer(correlation_id))


def test_out_of_order_response_raises() -> None:
    connection = Connection("client")
    asked = send(connection)
    later = send(connection, expect_answer=False)

    with pytest.raises(ProtocolError, match="the oldest request has 0"):
        connection.receive(answer(later.correlation_id))
    assert connection.lose() == [asked]


def test_ignored_ids_wrap_around() -> None:
    connection = Connection("client")
    connection._next_correlation_id = connection._next_answered = LAST_CORRELATION_ID  # noqa: SLF001 - two billion requests are too many

    for _ in range(2):
        unanswered = send(connection, expect_answer=False)
        assert connection.receive(answer(unanswered.correlation_id)) == []
    assert connection.ignored == 2


def test_unwritable_request_leaves_nothing() -> None:
    connection = Connection("client")
    with pytest.raises(UnsupportedVersionError):
        connection.send(TRANSACTIONAL, 99, NOW, DEADLINE, ignore)

    assert not connection.pending
    assert send(connection).correlation_id == 0


def test_correlation_ids_wrap_around() -> None:
    connection = Connection("client")
    connection._next_correlation_id = LAST_CORRELATION_ID  # noqa: SLF001 - two billion requests are too many

    last, next_one = send(connection), send(connection)

    assert (last.correlation_id, next_one.correlation_id) == (LAST_CORRELATION_ID, 0)
    answers = connection.receive(answer(LAST_CORRELATION_ID) + answer(0))
    assert [request for request, _ in answers] == [last, next_one]


@pytest.mark.scenario("silent-broker")
def test_oldest_request_gives_deadline() -> None:
    connection = Connection("client")
    assert connection.next_deadline() == NEVER
    send(connection, 130.0)
    send(connection, 131.0)
    assert connection.next_deadline() == 130.0

    connection.receive(answer(0))

    assert connection.next_deadline() == 131.0


@pytest.mark.scenario("throttling")
def test_throttling_extends_deadlines() -> None:
    connection = Connection("client")
    pending = [send(connection, deadline) for deadline in (130.0, 131.0)]

    connection.extend_deadlines(5.0, limit=60.0)

    assert [request.deadline for request in pending] == [135.0, 136.0]
    assert send(connection, 132.0).deadline == 132.0


def test_extended_deadlines_have_a_limit() -> None:
    connection = Connection("client")
    connection.extend_deadlines(5.0, limit=60.0)
    pending = [send(connection, deadline) for deadline in (130.0, 170.0)]

    connection.extend_deadlines(1_000_000.0, limit=60.0)

    assert [request.deadline for request in pending] == [NOW + 60.0, 170.0]


def test_lost_requests_come_oldest_first() -> None:
    connection, pending = sent(3)
    connection.receive(answer(0))

    assert connection.lose() == pending[1:]
    assert connection.lose() == []
    assert connection.next_deadline() == NEVER


def test_response_is_expected_by_default() -> None:
    connection = Connection("client")

    pending, _ = connection.send(PRODUCE, VERSION, NOW, DEADLINE, ignore)

    assert list(connection.pending) == [pending]


def test_correlation_ids_reach_max_int32() -> None:
    connection = Connection("client")
    connection._next_correlation_id = 2_147_483_646  # noqa: SLF001 - two billion requests are too many

    ids = [send(connection).correlation_id for _ in range(3)]

    assert ids == [2_147_483_646, 2_147_483_647, 0]
