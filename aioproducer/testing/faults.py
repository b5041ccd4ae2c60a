"""Scripted faults of a fake cluster.

A fault is a match (which requests) and an action (what happens to them). `skip` matching requests
pass, then the action happens to the next `times` requests.

    cluster.on(ApiKey.PRODUCE, topic="orders").answer(ErrorCode.NOT_LEADER_OR_FOLLOWER)
    cluster.on(ApiKey.PRODUCE, node=2, skip=3, times=2).disconnect(after_storing=True)
    held = cluster.on(ApiKey.METADATA, times=None).hold()

If several faults match a request, all of them happen, in the order of their creation. A stopped
cluster reports faults that matched no request, unless they are `optional`.
"""

from __future__ import annotations

import asyncio
import warnings
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeAlias

from aioproducer.config.nearest import nearest
from aioproducer.errors import plural

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from aioproducer.error_code import ErrorCode
    from aioproducer.protocol.api import ApiKey

Place: TypeAlias = tuple[str, int]
"""The file and line of a test that scripts a fault."""

Target: TypeAlias = tuple[str, int | None]
"""A topic and a partition in a request; None stands for the whole topic."""


@dataclass(frozen=True, slots=True)
class AnswerError:
    """Answer the matching partitions, topics or requests with an error."""

    code: ErrorCode
    reason: str | None
    record_errors: Mapping[int, str | None]
    log_start_offset: int | None
    after_storing: bool


@dataclass(frozen=True, slots=True)
class LeaveOut:
    """Leave the matching partitions or topics out of the response."""


@dataclass(frozen=True, slots=True)
class AddUnasked:
    """Add a partition to the response that was not requested."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Throttle:
    """Set the throttle time of the response; `mutes` also stops reading for that time."""

    milliseconds: int
    mutes: bool


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Send the result of `function(response)`."""

    function: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Wait:
    """Block the connection for `seconds`, or until the fault is released."""

    seconds: float | None
    after_storing: bool


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Drop the connection."""

    after_storing: bool


@dataclass(frozen=True, slots=True)
class FallSilent:
    """Send no more responses on this connection, and leave it open."""

    after_storing: bool


@dataclass(frozen=True, slots=True)
class SendBytes:
    """Send other bytes instead of the response."""

    data: bytes


@dataclass(frozen=True, slots=True)
class AnswerAuthBytes:
    """Answer SaslAuthenticate with these bytes, or with `data(bytes of the client)`."""

    data: bytes | Callable[[bytes], bytes]

    def answer_to(self, request: bytes) -> bytes:
        """Return the bytes for a request."""
        return self.data if isinstance(self.data, bytes) else self.data(request)


@dataclass(frozen=True, slots=True)
class Cut:
    """Close the connection after the first `size` bytes of the response."""

    size: int


@dataclass(frozen=True, slots=True)
class Run:
    """Call a function before the request is handled, or before its response is sent."""

    function: Callable[[], Awaitable[object] | object]
    after_storing: bool


Action: TypeAlias = (
    AnswerError
    | LeaveOut
    | AddUnasked
    | Throttle
    | Rewrite
    | Wait
    | Disconnect
    | FallSilent
    | SendBytes
    | AnswerAuthBytes
    | Cut
    | Run
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Selects requests; None matches any. `times=None` means all later requests."""

    api: ApiKey | None = None
    node: int | None = None
    topic: str | None = None
    partition: int | None = None
    skip: int = 0
    times: int | None = 1
    optional: bool = False

    def __str__(self) -> str:
        """Return the call of `on` that makes this match."""
        api = [] if self.api is None else [self.api.name]
        given = [
            f"{each.name}={getattr(self, each.name)!r}"
            for each in fields(self)[1:]
            if getattr(self, each.name) != each.default
        ]
        return f"on({', '.join(api + given)})"

    def covers(self, topic: str | None, partition: int | None) -> bool:
        """Return whether this part of a request matches (None: the whole topic or request)."""
        if self.topic is not None and self.topic != topic:
            return False
        return self.partition is None or partition is None or self.partition == partition

    def fits(self, api: ApiKey, node: int, targets: Iterable[Target]) -> bool:
        """Return whether the request matches."""
        if self.api is not None and self.api is not api:
            return False
        if self.node is not None and self.node != node:
            return False
        if self.topic is None and self.partition is None:
            return True
        return any(self.covers(topic, partition) for topic, partition in targets)


@dataclass(slots=True, eq=False)
class Fault:
    """One scripted fault; `hits` is the number of requests that it has happened to."""

    match: Match
    action: Action
    place: Place | None = None
    hits: int = 0
    _passed: int = 0
    _hit: asyncio.Event = field(default_factory=asyncio.Event)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    async def hit(self) -> None:
        """Wait until the fault has happened once; with `after_storing`, until the batch is stored."""
        await self._hit.wait()

    def release(self) -> None:
        """Release the requests held by `hold`; later ones are not held."""
        self._released.set()

    async def wait(self, seconds: float | None) -> None:
        """Wait for `seconds`; None waits for `release`."""
        self._hit.set()
        if seconds is None:
            await self._released.wait()
        else:
            await asyncio.sleep(seconds)

    def is_due(self, api: ApiKey, node: int, targets: Iterable[Target]) -> bool:
        """Count a request, and return whether the fault happens to it."""
        match = self.match
        # skip=1, times=2: the 1st matching request passes, the 2nd and 3rd are hit, the rest pass.
        # Requests that do not match are not counted.
        if match.times is not None and self.hits >= match.times:
            return False
        if not match.fits(api, node, targets):
            return False
        if self._passed < match.skip:
            self._passed += 1
            return False
        self.hits += 1
        # A wait after storing sets the event later, in `wait`, when the batch is in the log.
        if not (isinstance(self.action, Wait) and self.action.after_storing):
            self._hit.set()
        return True


class Script:
    """The faults of a cluster."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def __bool__(self) -> bool:
        return bool(self._faults)

    def add(self, match: Match, action: Action, place: Place | None = None) -> Fault:
        """Add a fault that is active from now on."""
        fault = Fault(match, action, place)
        self._faults.append(fault)
        return fault

    def due(self, api: ApiKey, node: int, targets: Iterable[Target]) -> tuple[Fault, ...]:
        """Count a request, and return the faults that happen to it."""
        # All faults see all requests, and `targets` may be an iterator.
        targets = tuple(targets)
        return tuple([fault for fault in self._faults if fault.is_due(api, node, targets)])

    def unmatched(self) -> list[Fault]:
        """Return the faults, except optional ones, that have happened to no request."""
        return [fault for fault in self._faults if not fault.hits and not fault.match.optional]

    def clear(self) -> None:
        """Remove all faults and release held requests."""
        for fault in self._faults:
            fault.release()
        self._faults.clear()


class UnmatchedFaultWarning(UserWarning):
    """A cluster stopped before a scripted fault matched a request."""


def warn_about(unmatched: list[Fault], topics: Iterable[str]) -> None:
    """Give one warning for these faults, at the line of the first one's script."""
    file, line = unmatched[0].place or ("<unknown>", 0)
    warnings.warn_explicit(report_of(unmatched, topics), UnmatchedFaultWarning, file, line)


def report_of(unmatched: list[Fault], topics: Iterable[str]) -> str:
    """Return the report about these faults for the author of the test; `topics` are the cluster's."""
    topics = list(topics)
    lines = "".join([f"\n  {_description(fault, topics)}" for fault in unmatched])
    count = plural(len(unmatched), "scripted fault")
    return f"{count} matched no request; pass optional=True to `on` where that is right:{lines}"


def _description(fault: Fault, topics: list[str]) -> str:
    place = "" if fault.place is None else f" in {fault.place[0]}, line {fault.place[1]}"
    topic = fault.match.topic
    if topic is None or topic in topics:
        return f"{fault.match}{place}"
    near = nearest(topic, topics)
    hint = f"; did you mean {near!r}?" if near is not None else ""
    return f"{fault.match}{place}: the cluster has no topic {topic!r}{hint}"
