"""One connection to a broker, without its socket: requests out, responses in.

A broker sends the responses in the order of the requests, so the next frame belongs to the oldest
request. Any other frame makes the connection useless: later frames cannot be matched.

    send(request) ──▶ chunks to write          pending: 7 8 9
    receive(bytes) ─▶ [(7, frame)]                      8 9
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from aioproducer.core.batch import NEVER
from aioproducer.errors import ProtocolError
from aioproducer.protocol.frame import FrameSplitter, encode_request, read_correlation_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.protocol.api import Request
    from aioproducer.protocol.fields import Chunk

MAX_RESPONSE = 100 * 1024 * 1024
"""The largest response accepted, in bytes: Kafka's own limit for a request."""

LAST_CORRELATION_ID = 2**31 - 1


class PendingRequest:
    """A request that was written and has no response yet.

    `on_answer(pending, frame, error)` is called once: with the frame of the response, or with the
    error that ended the connection.
    """

    __slots__ = ("correlation_id", "deadline", "kind", "on_answer", "sent_at", "size", "version")

    def __init__(
        self,
        kind: type[Any],
        version: int,
        correlation_id: int,
        sent_at: float,
        deadline: float,
        on_answer: Callable[[PendingRequest, memoryview | None, Exception | None], object],
    ) -> None:
        self.kind = kind
        self.version = version
        self.correlation_id = correlation_id
        self.sent_at = sent_at
        self.deadline = deadline
        self.on_answer = on_answer
        self.size = 0


class Connection:
    """The requests in flight on one connection."""

    def __init__(self, client_id: str) -> None:
        self._client_id = client_id
        self._splitter = FrameSplitter(MAX_RESPONSE)
        self._next_correlation_id = 0
        self._next_answered = 0
        self.pending: deque[PendingRequest] = deque()
        self.ignored = 0
        """How many responses to requests that expect none have arrived."""

    def send(
        self,
        request: Request[Any],
        version: int,
        now: float,
        deadline: float,
        on_answer: Callable[[PendingRequest, memoryview | None, Exception | None], object],
        *,
        expect_answer: bool = True,
    ) -> tuple[PendingRequest, list[Chunk]]:
        """Return the pending request, and the chunks to write for it."""
        correlation_id = self._next_correlation_id
        chunks = encode_request(request, version, correlation_id, self._client_id)
        # Not `_after`: a call for each request, only to save this line.
        self._next_correlation_id = 0 if correlation_id == LAST_CORRELATION_ID else correlation_id + 1
        pending = PendingRequest(request.response, version, correlation_id, now, deadline, on_answer)
        pending.size = sum(map(len, chunks))
        if expect_answer:
            self.pending.append(pending)
        return pending, chunks

    def receive(self, data: bytes) -> list[tuple[PendingRequest, memoryview]]:
        """Return the requests whose responses are in `data`, oldest first, each with its frame.

        A response to a request that expects none is ignored: some servers answer Produce with
        acks=0. Raises ProtocolError on any other unexpected response. Then the connection is
        useless, and the responses in this `data` count as not received.
        """
        frames = self._splitter.feed(data)
        if len(frames) == 1 and self.pending:
            # Nearly all data is one response, to the oldest request.
            pending = self.pending[0]
            if read_correlation_id(frames[0]) == pending.correlation_id:
                self.pending.popleft()
                self._next_answered = _after(pending.correlation_id)
                return [(pending, frames[0])]
        # Compare ids as distances from the last answered id: after 2147483647 comes 0.
        answered = self._next_answered
        answers: list[memoryview] = []
        for frame in frames:
            correlation_id = read_correlation_id(frame)
            # With acks=0, requests 7 and 8 expect no response and 9 does: a response 8 is ignored, 9
            # is taken, and 10, which was never sent, is an error.
            is_pending = len(answers) < len(self.pending)
            expected = self.pending[len(answers)].correlation_id if is_pending else self._next_correlation_id
            if is_pending and correlation_id == expected:
                answers.append(frame)
            # Responses come in the order of the requests. A sent id before the expected one
            # that is not answered yet belongs to a request that expects no response.
            elif _distance(answered, correlation_id) >= _distance(answered, expected):
                if not is_pending:
                    msg = f"an answer with correlation id {correlation_id} came to no request"
                    raise ProtocolError(msg)
                msg = f"an answer has correlation id {correlation_id}, the oldest request has {expected}"
                raise ProtocolError(msg)
            answered = _after(correlation_id)
        # Remove requests only now: after an error they all fail, with the connection.
        self._next_answered = answered
        self.ignored += len(frames) - len(answers)
        return [(self.pending.popleft(), frame) for frame in answers]

    def next_deadline(self) -> float:
        """Return when the response to the oldest request is due, NEVER if there is none."""
        return self.pending[0].deadline if self.pending else NEVER

    def extend_deadlines(self, seconds: float, limit: float) -> None:
        """Give all pending requests more time: the broker throttles the connection.

        An extended deadline is at most `limit` seconds after the last request was sent.
        """
        if not self.pending:
            return
        latest = self.pending[-1].sent_at + limit
        for pending in self.pending:
            pending.deadline = max(pending.deadline, min(pending.deadline + seconds, latest))

    def lose(self) -> list[PendingRequest]:
        """Return the requests that will get no response, oldest first: the connection is lost."""
        lost = list(self.pending)
        self.pending.clear()
        return lost


def _after(correlation_id: int) -> int:
    return 0 if correlation_id == LAST_CORRELATION_ID else correlation_id + 1


def _distance(first: int, last: int) -> int:
    """Return how many ids lie from `first` up to `last`; no request has a negative id."""
    return LAST_CORRELATION_ID + 1 if last < 0 else (last - first) % (LAST_CORRELATION_ID + 1)
