"""What a test makes the brokers do wrong, and when.

The one idea: a fault is a match (which request) and an action (what happens to it). The
match counts: it lets `skip` matching requests pass and acts on the `times` that follow.

    cluster.on(ApiKey.PRODUCE, topic="orders").answer(ErrorCode.NOT_LEADER_OR_FOLLOWER)
    cluster.on(ApiKey.PRODUCE, node=2, skip=3, times=2).disconnect(after_storing=True)
    held = cluster.on(ApiKey.METADATA, times=None).hold()

When several faults match a request, all of them act on it, in the order they were made. A
cluster that stops reports faults that never matched a request, unless they are `optional`.
"""

from __future__ import annotations

import asyncio
import warnings
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeAlias

from aioproducer.config.foreign import nearest
from aioproducer.errors import plural

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from aioproducer.error_code import ErrorCode
    from aioproducer.protocol.api import ApiKey

Place: TypeAlias = tuple[str, int]
"""The file and the line where a test scripts a fault."""

Target: TypeAlias = tuple[str, int | None]
"""A topic and a partition that a request is about; None for the topic as a whole."""


@dataclass(frozen=True, slots=True)
class AnswerError:
    """Give the partitions, topics or request that match an error."""

    code: ErrorCode
    reason: str | None
    record_errors: Mapping[int, str | None]
    log_start_offset: int | None
    after_storing: bool


@dataclass(frozen=True, slots=True)
class LeaveOut:
    """Say nothing of the partitions or topics that match."""


@dataclass(frozen=True, slots=True)
class AddUnasked:
    """Answer for something that was not asked for."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Throttle:
    """Tell the client to be silent for a while, and perhaps do not listen to it meanwhile."""

    milliseconds: int
    mutes: bool


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Send what `function` makes of the answer."""

    function: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Wait:
    """Let the connection wait: for `seconds`, or until the fault is released."""

    seconds: float | None
    after_storing: bool


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Drop the connection."""

    after_storing: bool


@dataclass(frozen=True, slots=True)
class FallSilent:
    """Never answer on this connection again, and leave it open."""

    after_storing: bool


@dataclass(frozen=True, slots=True)
class SendBytes:
    """Send something else than the answer."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    """Drop the connection in the middle of the answer."""

    size: int


@dataclass(frozen=True, slots=True)
class Run:
    """Change the cluster before the request is looked at, or before its answer is sent."""

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
    | Cut
    | Run
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which requests: None matches any. `times` None is from then on for ever."""

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
        """Return whether this part of a request is meant (None: the whole of it)."""
        if self.topic is not None and self.topic != topic:
            return False
        return self.partition is None or partition is None or self.partition == partition

    def fits(self, api: ApiKey, node: int, targets: Iterable[Target]) -> bool:
        """Return whether the request is one of those meant."""
        if self.api is not None and self.api is not api:
            return False
        if self.node is not None and self.node != node:
            return False
        if self.topic is None and self.partition is None:
            return True
        return any(self.covers(topic, partition) for topic, partition in targets)


@dataclass(slots=True, eq=False)
class Fault:
    """One thing that goes wrong; `hits` is how many requests it has happened to."""

    match: Match
    action: Action
    place: Place | None = None
    hits: int = 0
    _passed: int = 0
    _hit: asyncio.Event = field(default_factory=asyncio.Event)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    async def hit(self) -> None:
        """Wait until it has happened once; if it waits after storing, until the batch is stored."""
        await self._hit.wait()

    def release(self) -> None:
        """Let go of what `hold` holds, and hold nothing more."""
        self._released.set()

    async def wait(self, seconds: float | None) -> None:
        """Wait as a `Wait` says."""
        self._hit.set()
        if seconds is None:
            await self._released.wait()
        else:
            await asyncio.sleep(seconds)

    def is_due(self, api: ApiKey, node: int, targets: Iterable[Target]) -> bool:
        """Count a request, and return whether the fault happens to it."""
        match = self.match
        if match.times is not None and self.hits >= match.times:
            return False
        if not match.fits(api, node, targets):
            return False
        if self._passed < match.skip:
            self._passed += 1
            return False
        self.hits += 1
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
        """Have a fault happen from now on."""
        fault = Fault(match, action, place)
        self._faults.append(fault)
        return fault

    def due(self, api: ApiKey, node: int, targets: Iterable[Target]) -> tuple[Fault, ...]:
        """Count a request, and return the faults that happen to it."""
        targets = tuple(targets)
        return tuple([fault for fault in self._faults if fault.is_due(api, node, targets)])

    def unmatched(self) -> list[Fault]:
        """Return the faults that have happened to no request, though they are not optional."""
        return [fault for fault in self._faults if not fault.hits and not fault.match.optional]

    def clear(self) -> None:
        """Let everything go right from now on; what is held is released."""
        for fault in self._faults:
            fault.release()
        self._faults.clear()


class UnmatchedFaultWarning(UserWarning):
    """A cluster stopped before a scripted fault matched a request."""


def warn_of(unmatched: list[Fault], topics: Iterable[str]) -> None:
    """Give one warning for these faults, at the line that scripted the first of them."""
    file, line = unmatched[0].place or ("<unknown>", 0)
    warnings.warn_explicit(complaint_about(unmatched, topics), UnmatchedFaultWarning, file, line)


def complaint_about(unmatched: list[Fault], topics: Iterable[str]) -> str:
    """Return what to tell the author of a test about these faults; `topics` are the cluster's."""
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
