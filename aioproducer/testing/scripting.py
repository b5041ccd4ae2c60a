"""What can happen to a request: the second half of `cluster.on(...).answer(...)`.

The one idea: every method adds one fault and returns it, so that a test can wait for it
(`await fault.hit()`), count it (`fault.hits`), or let go of it (`fault.release()`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aioproducer.error_code import ErrorCode
from aioproducer.testing.broker import APIS
from aioproducer.testing.faults import (
    AddUnasked,
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
    """What happens to the requests that match.

    With `after_storing` a batch is in the log all the same; otherwise the broker has not done
    anything when the fault happens.
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

        `record_errors` blames single records (index → why); `log_start_offset` is told in place of
        the log's own (-1: unknown).
        """
        errors = dict(record_errors or {})
        error = named(ErrorCode, code, "error code")
        return self._add(AnswerError(error, reason, errors, log_start_offset, after_storing))

    def leave_out(self) -> Fault:
        """Leave the topics or partitions that match out of the answer (Produce, Metadata)."""
        self._check_is_about_topics("leave_out")
        return self._add(LeaveOut())

    def add_unasked(self, topic: str, partition: int) -> Fault:
        """Answer for a partition more, whether it exists or not (Produce, Metadata)."""
        self._check_is_about_topics("add_unasked")
        return self._add(AddUnasked(topic, partition))

    def throttle(self, milliseconds: int, *, mutes: bool = False) -> Fault:
        """Answer with a throttle time; if it `mutes`, nothing is read from that client for so long."""
        return self._add(Throttle(milliseconds, mutes))

    def rewrite(self, function: Callable[[Any], Any]) -> Fault:
        """Answer with what `function` makes of the response message (`dataclasses.replace` helps)."""
        return self._add(Rewrite(function))

    def delay(self, seconds: float, *, after_storing: bool = False) -> Fault:
        """Wait before going on; later requests on the same connection wait too, as with Kafka."""
        return self._add(Wait(seconds, after_storing))

    def hold(self, *, after_storing: bool = False) -> Fault:
        """Wait until the fault is released with `release()`."""
        return self._add(Wait(None, after_storing))

    def disconnect(self, *, after_storing: bool = False) -> Fault:
        """Drop the connection instead of answering."""
        return self._add(Disconnect(after_storing))

    def fall_silent(self, *, after_storing: bool = False) -> Fault:
        """Never answer on that connection again, and leave it open."""
        return self._add(FallSilent(after_storing))

    def answer_bytes(self, data: bytes) -> Fault:
        """Send these bytes in place of the answer's frame."""
        return self._add(SendBytes(data))

    def cut(self, size: int) -> Fault:
        """Send the first `size` bytes of the answer's frame, then drop the connection."""
        return self._add(Cut(size))

    def run(
        self, function: Callable[[], Awaitable[object] | object], *, after_storing: bool = False
    ) -> Fault:
        """Call `function`, which may be a coroutine function, before the request is looked at.

        With `after_storing` it is called before the answer is sent; acks=all then looks at the
        replicas in sync once more (NOT_ENOUGH_REPLICAS_AFTER_APPEND).
        """
        return self._add(Run(function, after_storing))

    def _add(self, action: Action) -> Fault:
        return self._script.add(self._match, action, self._place)

    def _check_is_about_topics(self, action: str) -> None:
        api = self._match.api
        if api is not None and not APIS[api].has_topics:
            message = f"{action} needs an API whose answers have topics; those of {api.name} have none"
            raise ValueError(message)
