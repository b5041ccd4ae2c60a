"""The second half of `cluster.on(...).answer(...)`.

Every method adds one fault and returns it, so that a test can wait for it (`await fault.hit()`),
read its count (`fault.hits`), or release its requests (`fault.release()`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.api import ApiKey
from aioproducer.testing.fake_broker import APIS, WITHOUT_THROTTLE
from aioproducer.testing.faults import (
    AddUnasked,
    AnswerAuthBytes,
    AnswerError,
    Cut,
    Disconnect,
    FallSilent,
    LeaveOut,
    Rewrite,
    Run,
    SendBytes,
    Throttle,
    Wait,
)
from aioproducer.testing.named import named

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aioproducer.testing.faults import Action, Fault, Match, Place, Script


@dataclass(frozen=True, slots=True)
class Scripting:
    """Adds faults for the matching requests.

    With `after_storing` the fault happens after the batch is in the log; otherwise before the
    broker handles the request.
    """

    _script: Script
    _match: Match
    _place: Place | None = None

    def answer(
        self,
        code: ErrorCode | str | int,
        reason: str | None = None,
        *,
        record_errors: Mapping[int, str | None] | None = None,
        log_start_offset: int | None = None,
        after_storing: bool = False,
    ) -> Fault:
        """Answer with an error: a member of `ErrorCode`, its name or its number.

        `record_errors` maps indexes of bad records in the batch to messages (KIP-467).
        `log_start_offset` replaces the log's own (-1: unknown). Raises ValueError for an unknown
        code, TypeError for a code of another type.
        """
        # A copy: the test may change its mapping later.
        errors = dict(record_errors or {})
        error = named(ErrorCode, code, "error code")
        return self._add(AnswerError(error, reason, errors, log_start_offset, after_storing))

    def leave_out(self) -> Fault:
        """Leave the matching topics or partitions out of the response (Produce, Metadata)."""
        self._check_is_about_topics("leave_out")
        return self._add(LeaveOut())

    def add_unasked(self, topic: str, partition: int) -> Fault:
        """Add a partition to the response, whether it exists or not (Produce, Metadata)."""
        self._check_is_about_topics("add_unasked")
        return self._add(AddUnasked(topic, partition))

    def throttle(self, milliseconds: int, *, mutes: bool = False) -> Fault:
        """Answer with a throttle time; `mutes` also stops reading from that client for that time."""
        if self._match.api in WITHOUT_THROTTLE:
            message = f"a response of {self._match.api.name} has no throttle time"
            raise ValueError(message)
        return self._add(Throttle(milliseconds, mutes))

    def rewrite(self, function: Callable[[Any], Any]) -> Fault:
        """Answer with the result of `function(response)`; use `dataclasses.replace` there."""
        return self._add(Rewrite(function))

    def delay(self, seconds: float, *, after_storing: bool = False) -> Fault:
        """Wait before handling the request; later requests on the connection wait too, as with Kafka."""
        return self._add(Wait(seconds, after_storing))

    def hold(self, *, after_storing: bool = False) -> Fault:
        """Hold the request until `release()`."""
        return self._add(Wait(None, after_storing))

    def disconnect(self, *, after_storing: bool = False) -> Fault:
        """Drop the connection without a response."""
        return self._add(Disconnect(after_storing))

    def fall_silent(self, *, after_storing: bool = False) -> Fault:
        """Send no more responses on the connection, and leave it open."""
        return self._add(FallSilent(after_storing))

    def answer_bytes(self, data: bytes) -> Fault:
        """Send these bytes instead of the response's frame."""
        return self._add(SendBytes(data))

    def answer_auth_bytes(self, data: bytes | Callable[[bytes], bytes]) -> Fault:
        """Answer SaslAuthenticate with these bytes and no error; the mechanism sees nothing of it.

        `data` may be a function of the client's bytes. With `times=None` the exchange never ends.
        """
        if self._match.api is not ApiKey.SASL_AUTHENTICATE:
            message = "answer_auth_bytes is for on(ApiKey.SASL_AUTHENTICATE) alone"
            raise ValueError(message)
        return self._add(AnswerAuthBytes(data))

    def cut(self, size: int) -> Fault:
        """Send the first `size` bytes of the response's frame, then close the connection."""
        return self._add(Cut(size))

    def run(
        self, function: Callable[[], Awaitable[object] | object], *, after_storing: bool = False
    ) -> Fault:
        """Call `function`, which may be a coroutine function, before the request is handled.

        With `after_storing` it is called before the response is sent; acks=all then checks the
        replicas in sync again (NOT_ENOUGH_REPLICAS_AFTER_APPEND).
        """
        return self._add(Run(function, after_storing))

    def _add(self, action: Action) -> Fault:
        return self._script.add(self._match, action, self._place)

    def _check_is_about_topics(self, action: str) -> None:
        # Without an API the fault may hit any request; it does not change responses without topics.
        api = self._match.api
        if api is not None and not APIS[api].has_topics:
            message = f"{action} needs an API whose responses have topics; those of {api.name} have none"
            raise ValueError(message)
