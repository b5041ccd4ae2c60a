"""What a test makes the brokers do wrong, and when.

The one idea: a fault is a match (which request) and an action (what happens to it). The
match counts: it lets `skip` matching requests pass and acts on the `times` that follow.

    cluster.on(ApiKey.PRODUCE, topic="orders").answer(ErrorCode.NOT_LEADER_OR_FOLLOWER)
    cluster.on(ApiKey.PRODUCE, node=2, skip=3, times=2).disconnect(after_storing=True)
    held = cluster.on(ApiKey.METADATA, times=None).hold()

When several faults match a request, all of them act on it, in the order they were made.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from aioproducer.error_code import ErrorCode
    from aioproducer.protocol.api import ApiKey

Target: TypeAlias = tuple[str, int | None]
"""A topic and a partition that a request is about; None for the topic as a whole."""


@dataclass(frozen=True, slots=True)
class AnswerError:
    """Give the partitions, topics or request that match an error."""

    code: ErrorCode
    reason: str | None
    record_errors: Mapping[int, str | None]
    after_storing: bool


@dataclass(frozen=True, slots=True)
class LeaveOut:
    """Say nothing of the partitions or topics that match."""


@dataclass(frozen=True, slots=True)
class Throttle:
    """Tell the client to be silent for a while."""

    milliseconds: int


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
    """Change the cluster before the request is looked at."""

    function: Callable[[], Awaitable[object] | object]


Action: TypeAlias = (
    AnswerError | LeaveOut | Throttle | Rewrite | Wait | Disconnect | FallSilent | SendBytes | Cut | Run
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
    hits: int = 0
    _passed: int = 0
    _hit: asyncio.Event = field(default_factory=asyncio.Event)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    async def hit(self) -> None:
        """Wait until it has happened once."""
        await self._hit.wait()

    def release(self) -> None:
        """Let go of what `hold` holds, and hold nothing more."""
        self._released.set()

    async def wait(self, seconds: float | None) -> None:
        """Wait as a `Wait` says."""
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
        self._hit.set()
        return True


class Script:
    """The faults of a cluster."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def __bool__(self) -> bool:
        return bool(self._faults)

    def add(self, match: Match, action: Action) -> Fault:
        """Have a fault happen from now on."""
        fault = Fault(match, action)
        self._faults.append(fault)
        return fault

    def due(self, api: ApiKey, node: int, targets: Iterable[Target]) -> tuple[Fault, ...]:
        """Count a request, and return the faults that happen to it."""
        targets = tuple(targets)
        return tuple([fault for fault in self._faults if fault.is_due(api, node, targets)])

    def clear(self) -> None:
        """Let everything go right from now on; what is held is released."""
        for fault in self._faults:
            fault.release()
        self._faults.clear()


@dataclass(frozen=True, slots=True)
class Scripting:
    """The second half of `cluster.on(...).answer(...)`: what happens to the requests that match.

    With `after_storing` a batch is in the log all the same; otherwise the broker has not done
    anything when the fault happens.
    """

    _script: Script
    _match: Match

    def answer(
        self,
        code: ErrorCode,
        reason: str | None = None,
        *,
        record_errors: Mapping[int, str | None] | None = None,
        after_storing: bool = False,
    ) -> Fault:
        """Answer with an error; `record_errors` blames single records (index → why)."""
        return self._add(AnswerError(code, reason, dict(record_errors or {}), after_storing))

    def leave_out(self) -> Fault:
        """Leave the partitions (Produce) or topics (Metadata) that match out of the answer."""
        return self._add(LeaveOut())

    def throttle(self, milliseconds: int) -> Fault:
        """Answer with a throttle time."""
        return self._add(Throttle(milliseconds))

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

    def run(self, function: Callable[[], Awaitable[object] | object]) -> Fault:
        """Call `function`, which may be a coroutine function, before the request is looked at."""
        return self._add(Run(function))

    def _add(self, action: Action) -> Fault:
        return self._script.add(self._match, action)
