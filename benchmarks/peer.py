"""The interface of the compared producers, and the loops that users write around `send`.

There are two loops: for a `send` that is a function and returns a handle (`FunctionPeer`), and for
one that is a coroutine and returns a future (`CoroutinePeer`). confluent-kafka has its own loop.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from itertools import cycle, islice, repeat
from typing import TYPE_CHECKING, Any, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Headers = list[tuple[str, bytes]]
    Row = tuple[bytes, bytes | None, int | None, Headers | None]

YIELD_EVERY: Final = 100


@dataclass(frozen=True, slots=True)
class Settings:
    """The common settings of all clients."""

    bootstrap: str
    ca: str | None = None
    """The file with the CA of the brokers' certificates, None without TLS."""
    linger_ms: float = 5
    batch_bytes: int = 16_384
    compression: str = "none"


@dataclass(frozen=True, slots=True)
class Rows:
    """`count` records for one topic, cycling through prepared values (and keys).

    The sequences are endless and made in C, so they cost a loop nearly nothing.
    """

    topic: str
    count: int
    values: Sequence[bytes]
    keys: Sequence[bytes] = ()
    timestamp_ms: int | None = None
    headers: Headers | None = None

    @property
    def shape(self) -> str:
        """The fields of a row besides its value: `plain`, `keyed` or `full`."""
        if self.headers is not None:
            return "full"
        return "keyed" if self.keys else "plain"

    def each_value(self) -> Iterator[bytes]:
        """Return the values alone."""
        return islice(cycle(self.values), self.count)

    def each_pair(self) -> Iterator[tuple[bytes, bytes]]:
        """Return values with their keys."""
        return zip(self.each_value(), cycle(self.keys), strict=False)

    def each(self) -> Iterator[Row]:
        """Return whole rows, with None for missing fields."""
        keys = cycle(self.keys) if self.keys else repeat(None)
        return zip(self.each_value(), keys, repeat(self.timestamp_ms), repeat(self.headers), strict=False)


class Peer(ABC):
    """One client. Every method that sends returns the number of failed records."""

    name: ClassVar[str]
    sends_headers: ClassVar[bool] = True

    @abstractmethod
    async def open(self, settings: Settings) -> None:
        """Make the producer, and start it if it needs a start."""

    @abstractmethod
    async def close(self) -> None:
        """Stop the producer."""

    @abstractmethod
    async def confirm(self, topic: str, value: bytes) -> None:
        """Send one record and wait for its acknowledgement; raise if it fails."""

    @abstractmethod
    async def flush(self) -> None:
        """Wait for all results, without the linger if the client can do that."""

    @abstractmethod
    async def bulk(self, rows: Rows) -> int:
        """Send all rows, read no results, flush."""

    @abstractmethod
    async def windows(self, rows: Rows, window: int) -> int:
        """Send `window` rows, flush, read each delivery; repeat."""

    @abstractmethod
    async def pipeline(self, rows: Rows, depth: int) -> int:
        """Keep up to `depth` rows in flight, await the oldest."""

    @abstractmethod
    async def hold(self, rows: Rows) -> object:
        """Send all rows without waiting; return the handles that a user keeps."""


failures_noted: list[str] = []


def note_failure(error: BaseException) -> None:
    """Print to stderr why a record failed, once per process."""
    if not failures_noted:
        failures_noted.append(f"first failure: {error!r}")
        print(failures_noted[0], file=sys.stderr)


async def settle(handles: Sequence[Any]) -> int:
    """Read every delivery; return the number of failed ones."""
    failed = 0
    for handle in handles:
        try:
            await handle
        except Exception as error:  # noqa: BLE001 - each client has its own errors; all count
            failed += 1
            note_failure(error)
    return failed


class FunctionPeer(Peer):
    """A client whose `send` is a function that returns an awaitable."""

    @abstractmethod
    def sends(self, rows: Rows) -> Iterator[Any]:
        """Send one row for each item, and yield its handle."""

    @abstractmethod
    async def give_way(self) -> None:
        """Yield to the event loop, and wait while the buffer is full."""

    async def bulk(self, rows: Rows) -> int:
        """See Peer."""
        sends = self.sends(rows)
        for _ in range(0, rows.count, YIELD_EVERY):
            deque(islice(sends, YIELD_EVERY), maxlen=0)
            await self.give_way()
        await self.flush()
        return 0

    async def collect(self, sends: Iterator[Any], count: int) -> list[Any]:
        """Send `count` rows and keep their handles."""
        handles: list[Any] = []
        for start in range(0, count, YIELD_EVERY):
            handles += islice(sends, min(YIELD_EVERY, count - start))
            await self.give_way()
        return handles

    async def windows(self, rows: Rows, window: int) -> int:
        """See Peer."""
        sends = self.sends(rows)
        failed = 0
        for start in range(0, rows.count, window):
            handles = await self.collect(sends, min(window, rows.count - start))
            await self.flush()
            failed += await settle(handles)
        return failed

    async def pipeline(self, rows: Rows, depth: int) -> int:
        """See Peer."""
        pending: deque[Any] = deque()
        failed = 0
        for handle in self.sends(rows):
            pending.append(handle)
            if len(pending) >= depth:
                failed += await settle((pending.popleft(),))
        return failed + await settle(pending)

    async def hold(self, rows: Rows) -> object:
        """See Peer."""
        return await self.collect(self.sends(rows), rows.count)


class CoroutinePeer(Peer):
    """A client whose `send` is a coroutine that returns a future."""

    @abstractmethod
    def sender(self, rows: Rows) -> Any:  # noqa: ANN401 - a coroutine function of topic and row
        """Return the coroutine function that sends one row: topic, value, key, timestamp, headers."""

    async def bulk(self, rows: Rows) -> int:
        """See Peer."""
        send, topic = self.sender(rows), rows.topic
        for value, key, timestamp, headers in rows.each():
            await send(topic, value, key, None, timestamp, headers)
        await self.flush()
        return 0

    async def windows(self, rows: Rows, window: int) -> int:
        """See Peer."""
        send, topic = self.sender(rows), rows.topic
        failed = 0
        each = rows.each()
        for _ in range(0, rows.count, window):
            handles = [
                await send(topic, value, key, None, timestamp, headers)
                for value, key, timestamp, headers in islice(each, window)
            ]
            await self.flush()
            failed += await settle(handles)
        return failed

    async def pipeline(self, rows: Rows, depth: int) -> int:
        """See Peer."""
        send, topic = self.sender(rows), rows.topic
        pending: deque[Any] = deque()
        failed = 0
        for value, key, timestamp, headers in rows.each():
            pending.append(await send(topic, value, key, None, timestamp, headers))
            if len(pending) >= depth:
                failed += await settle((pending.popleft(),))
        await self.flush()
        return failed + await settle(pending)

    async def hold(self, rows: Rows) -> object:
        """See Peer."""
        send, topic = self.sender(rows), rows.topic
        return [
            await send(topic, value, key, None, timestamp, headers)
            for value, key, timestamp, headers in rows.each()
        ]
