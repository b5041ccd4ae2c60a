"""The producers that are compared, each behind the same few calls.

A peer sends the same rows (value, key, timestamp, headers) in the way its own users write
such a loop: no shared layer stands between the loop and the client's own `send`, and the
loops differ only where the clients do. Settings are alike: acks=all, idempotence, linger,
batch size, codec; everything else is the client's default, except that librdkafka may queue
more than its 100,000 records, which its loops here never need.

    aioproducer         this package: `send` is a function; `drain()` every 100 records
    aioproducer-pure    the same, in an interpreter that has it without compiled modules
    aiokafka            `await producer.send(...)`, which gives a future
    confluent           confluent-kafka's Producer, a callback for every record, `poll(0)` every 100
    confluent-bare      the same without callbacks: nobody learns what became of a record
    wrap                what everyone writes around it: Producer, a thread that polls, and a future
                        for every record, resolved by `call_soon_threadsafe`
    confluent-aio       confluent-kafka's own AIOProducer
    harness             no client at all: awaiters of futures that the loop resolves (latency only)

A library is imported when its peer is opened, so a process has only the one it measures.
"""

from __future__ import annotations

import asyncio
import threading
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
QUEUE_RECORDS: Final = 200_000
QUEUE_PAUSE: Final = 0.001


@dataclass(frozen=True, slots=True)
class Settings:
    """What all clients are told alike."""

    bootstrap: str
    linger_ms: float = 5
    batch_bytes: int = 16_384
    compression: str = "none"


@dataclass(frozen=True, slots=True)
class Rows:
    """`count` records for one topic, cycling through prepared values (and keys).

    The sequences are endless and made in C, so they cost a loop next to nothing.
    """

    topic: str
    count: int
    values: Sequence[bytes]
    keys: Sequence[bytes] = ()
    timestamp_ms: int | None = None
    headers: Headers | None = None

    @property
    def shape(self) -> str:
        """What a row has besides its value: `plain`, `keyed` or `full`."""
        if self.headers is not None:
            return "full"
        return "keyed" if self.keys else "plain"

    def each_value(self) -> Iterator[bytes]:
        """Give the values alone."""
        return islice(cycle(self.values), self.count)

    def each_pair(self) -> Iterator[tuple[bytes, bytes]]:
        """Give values with their keys."""
        return zip(self.each_value(), cycle(self.keys), strict=False)

    def each(self) -> Iterator[Row]:
        """Give whole rows, None where they have nothing."""
        keys = cycle(self.keys) if self.keys else repeat(None)
        return zip(self.each_value(), keys, repeat(self.timestamp_ms), repeat(self.headers), strict=False)


class Peer(ABC):
    """One client. Every method that sends gives the number of records that failed."""

    name: ClassVar[str]
    sends_headers: ClassVar[bool] = True

    @abstractmethod
    async def open(self, settings: Settings) -> None:
        """Make the producer, and start it where it wants to be started."""

    @abstractmethod
    async def close(self) -> None:
        """Stop the producer."""

    @abstractmethod
    async def confirm(self, topic: str, value: bytes) -> None:
        """Send one record and wait until it is acknowledged; raise if it is not."""

    @abstractmethod
    async def flush(self) -> None:
        """Wait until everything sent is settled, without waiting out the linger where that is possible."""

    @abstractmethod
    async def bulk(self, rows: Rows) -> int:
        """Send all rows, look at nothing, flush."""

    @abstractmethod
    async def windows(self, rows: Rows, window: int) -> int:
        """Send `window` rows, flush, look at each one's delivery; and again."""

    @abstractmethod
    async def pipeline(self, rows: Rows, depth: int) -> int:
        """Keep up to `depth` rows under way, await the oldest."""

    @abstractmethod
    async def hold(self, rows: Rows) -> object:
        """Send all rows, wait for nothing; give what a user holds of them."""


async def settle(handles: Sequence[Any]) -> int:
    """Look at every delivery; count those that failed."""
    failed = 0
    for handle in handles:
        try:
            await handle
        except Exception:  # noqa: BLE001 - each client has its own errors; all count
            failed += 1
    return failed


class FunctionPeer(Peer):
    """A client whose `send` is a function that gives an awaitable."""

    @abstractmethod
    def sends(self, rows: Rows) -> Iterator[Any]:
        """Send one row for each item taken, and give its handle."""

    @abstractmethod
    async def give_way(self) -> None:
        """Let the loop run, and wait while too much is buffered."""

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
    """A client whose `send` is a coroutine that gives a future."""

    @abstractmethod
    def sender(self, rows: Rows) -> Any:  # noqa: ANN401 - a coroutine function of topic and row
        """Give the coroutine function that sends one row: of topic, value, key, timestamp, headers."""

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


class Aioproducer(FunctionPeer):
    """Our own Producer."""

    name = "aioproducer"

    async def open(self, settings: Settings) -> None:
        """See Peer."""
        from aioproducer import Producer  # noqa: PLC0415 - only the measured client is imported

        self.producer = Producer(
            settings.bootstrap,
            linger_ms=settings.linger_ms,
            batch_size=settings.batch_bytes,
            compression_type=settings.compression,
        )
        await self.producer.start()

    async def close(self) -> None:
        """See Peer."""
        await self.producer.stop()

    async def confirm(self, topic: str, value: bytes) -> None:
        """See Peer."""
        await self.producer.send(topic, value)

    async def flush(self) -> None:
        """See Peer."""
        await self.producer.flush()

    async def give_way(self) -> None:
        """See FunctionPeer."""
        await self.producer.drain()

    def sends(self, rows: Rows) -> Iterator[Any]:
        """See FunctionPeer."""
        send, topic = self.producer.send, rows.topic
        if rows.shape == "plain":
            return (send(topic, value) for value in rows.each_value())
        if rows.shape == "keyed":
            return (send(topic, value, key=key) for value, key in rows.each_pair())
        return (
            send(topic, value, key=key, timestamp_ms=timestamp, headers=headers)
            for value, key, timestamp, headers in rows.each()
        )


class AioproducerPure(Aioproducer):
    """Our own without compiled modules; the caller chooses an interpreter that has it so."""

    name = "aioproducer-pure"


class Aiokafka(CoroutinePeer):
    """aiokafka's AIOKafkaProducer."""

    name = "aiokafka"

    async def open(self, settings: Settings) -> None:
        """See Peer."""
        from aiokafka import AIOKafkaProducer  # noqa: PLC0415 - only the measured client is imported

        codec = None if settings.compression == "none" else settings.compression
        self.producer = AIOKafkaProducer(
            bootstrap_servers=settings.bootstrap,
            linger_ms=settings.linger_ms,
            max_batch_size=settings.batch_bytes,
            max_request_size=max(1 << 20, 2 * settings.batch_bytes),
            compression_type=codec,
            acks="all",
            enable_idempotence=True,
        )
        await self.producer.start()

    async def close(self) -> None:
        """See Peer."""
        await self.producer.stop()

    async def confirm(self, topic: str, value: bytes) -> None:
        """See Peer."""
        await self.producer.send_and_wait(topic, value)

    async def flush(self) -> None:
        """See Peer."""
        await self.producer.flush()

    def sender(self, rows: Rows) -> Any:  # noqa: ANN401
        """See CoroutinePeer."""
        del rows
        return self.producer.send


def librdkafka_configuration(settings: Settings) -> dict[str, Any]:
    """Give the settings under librdkafka's names."""
    return {
        "bootstrap.servers": settings.bootstrap,
        "linger.ms": settings.linger_ms,
        "batch.size": settings.batch_bytes,
        "compression.type": settings.compression,
        "acks": "all",
        "enable.idempotence": True,
        "queue.buffering.max.messages": 2 * QUEUE_RECORDS,
    }


def confluent_sends(produce: Any, rows: Rows, delivered: Any) -> Iterator[None]:  # noqa: ANN401
    """Call confluent-kafka's `produce` for each item taken, with just the arguments it needs."""
    topic = rows.topic
    if rows.shape == "plain":
        return (produce(topic, value, on_delivery=delivered) for value in rows.each_value())
    if rows.shape == "keyed":
        return (produce(topic, value, key, on_delivery=delivered) for value, key in rows.each_pair())
    return (
        produce(topic, value, key, on_delivery=delivered, timestamp=timestamp, headers=headers)
        for value, key, timestamp, headers in rows.each()
    )


class Confluent(Peer):
    """confluent-kafka's Producer, as synchronous programs use it: nothing here ever awaits."""

    name = "confluent"
    callbacks = True

    async def open(self, settings: Settings) -> None:
        """See Peer."""
        from confluent_kafka import Producer  # noqa: PLC0415 - only the measured client is imported

        self.producer = Producer(librdkafka_configuration(settings))
        self.failed = 0

    async def close(self) -> None:
        """See Peer."""
        self.producer.flush()

    async def flush(self) -> None:
        """See Peer."""
        self.producer.flush()

    def delivered(self, error: object, message: object) -> None:
        """Take the delivery report of one record."""
        del message
        if error is not None:
            self.failed += 1

    async def confirm(self, topic: str, value: bytes) -> None:
        """See Peer."""
        outcome: list[Any] = []
        self.producer.produce(topic, value, on_delivery=lambda error, _: outcome.append(error))
        while not outcome:
            self.producer.poll(1)
        if outcome[0] is not None:
            raise RuntimeError(outcome[0])

    def feed(self, sends: Iterator[None], count: int, limit: int) -> None:
        """Send `count` rows with at most about `limit` under way."""
        producer = self.producer
        for start in range(0, count, YIELD_EVERY):
            deque(islice(sends, min(YIELD_EVERY, count - start)), maxlen=0)
            producer.poll(0)
            while len(producer) > limit:
                producer.poll(QUEUE_PAUSE)

    async def windows(self, rows: Rows, window: int) -> int:
        """See Peer."""
        before = self.failed
        sends = confluent_sends(self.producer.produce, rows, self.delivered if self.callbacks else None)
        for start in range(0, rows.count, window):
            self.feed(sends, min(window, rows.count - start), QUEUE_RECORDS)
            self.producer.flush()
        return self.failed - before

    async def bulk(self, rows: Rows) -> int:
        """See Peer."""
        return await self.windows(rows, rows.count)

    async def pipeline(self, rows: Rows, depth: int) -> int:
        """See Peer."""
        before = self.failed
        self.feed(confluent_sends(self.producer.produce, rows, self.delivered), rows.count, depth)
        self.producer.flush()
        return self.failed - before

    async def hold(self, rows: Rows) -> object:
        """See Peer."""
        deque(confluent_sends(self.producer.produce, rows, self.delivered), maxlen=0)
        return None


class ConfluentBare(Confluent):
    """confluent-kafka's Producer without delivery reports."""

    name = "confluent-bare"
    callbacks = False


class Wrap(FunctionPeer):
    """The wrapper around confluent-kafka's Producer that asyncio programs carry with them."""

    name = "wrap"

    async def open(self, settings: Settings) -> None:
        """See Peer."""
        from confluent_kafka import KafkaException, Producer  # noqa: PLC0415 - only the measured client

        self.error_class = KafkaException
        self.producer = Producer(librdkafka_configuration(settings))
        self.loop = asyncio.get_running_loop()
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self.poll, name="poll")
        self.thread.start()

    def poll(self) -> None:
        """Serve delivery reports until closed."""
        while not self.closing.is_set():
            self.producer.poll(0.1)

    async def close(self) -> None:
        """See Peer."""
        await self.flush()
        self.closing.set()
        await asyncio.to_thread(self.thread.join)

    async def flush(self) -> None:
        """See Peer."""
        await asyncio.to_thread(self.producer.flush)

    def send(
        self,
        topic: str,
        value: bytes,
        key: bytes | None = None,
        timestamp: int | None = None,
        headers: Headers | None = None,
    ) -> asyncio.Future[Any]:
        """Send one record; the future is resolved on the loop."""
        loop = self.loop
        future = loop.create_future()

        def settle_future(error: object, message: object) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(message)
            else:
                future.set_exception(self.error_class(error))

        def delivered(error: object, message: object) -> None:
            loop.call_soon_threadsafe(settle_future, error, message)

        if headers is not None:
            self.producer.produce(
                topic, value, key, on_delivery=delivered, timestamp=timestamp, headers=headers
            )
        else:
            self.producer.produce(topic, value, key, on_delivery=delivered)
        return future

    async def confirm(self, topic: str, value: bytes) -> None:
        """See Peer."""
        await self.send(topic, value)

    async def give_way(self) -> None:
        """See FunctionPeer."""
        await asyncio.sleep(0)
        while len(self.producer) > QUEUE_RECORDS:  # noqa: ASYNC110 - the queue is not asyncio's
            await asyncio.sleep(QUEUE_PAUSE)

    def sends(self, rows: Rows) -> Iterator[Any]:
        """See FunctionPeer."""
        send, topic = self.send, rows.topic
        if rows.shape == "plain":
            return (send(topic, value) for value in rows.each_value())
        if rows.shape == "keyed":
            return (send(topic, value, key) for value, key in rows.each_pair())
        return (send(topic, value, key, timestamp, headers) for value, key, timestamp, headers in rows.each())


class ConfluentAio(CoroutinePeer):
    """confluent-kafka's AIOProducer, with its own defaults for its own buffer."""

    name = "confluent-aio"
    sends_headers = False

    async def open(self, settings: Settings) -> None:
        """See Peer."""
        from confluent_kafka.aio import AIOProducer  # noqa: PLC0415 - only the measured client is imported

        self.producer = AIOProducer(librdkafka_configuration(settings))

    async def close(self) -> None:
        """See Peer."""
        await self.producer.close()

    async def confirm(self, topic: str, value: bytes) -> None:
        """See Peer."""
        await (await self.producer.produce(topic, value))

    async def flush(self) -> None:
        """See Peer."""
        await self.producer.flush()

    def sender(self, rows: Rows) -> Any:  # noqa: ANN401
        """See CoroutinePeer."""
        if rows.shape == "full":
            message = "AIOProducer sends no headers"
            raise NotImplementedError(message)
        produce = self.producer.produce

        def send(topic: str, value: bytes, key: bytes | None, *rest: object) -> Any:  # noqa: ANN401 - the coroutine itself, with no frame between
            del rest
            return produce(topic, value, key)

        return send


class Harness(Peer):
    """No client: futures that the loop resolves in its next turn. What the measuring costs."""

    name = "harness"

    async def open(self, settings: Settings) -> None:
        """See Peer."""
        del settings
        self.loop = asyncio.get_running_loop()
        self.waiting: list[asyncio.Future[None]] = []

    def resolve(self) -> None:
        """Acknowledge all that wait."""
        waiting, self.waiting = self.waiting, []
        for future in waiting:
            future.set_result(None)

    async def confirm(self, topic: str, value: bytes) -> None:
        """See Peer."""
        del topic, value
        future = self.loop.create_future()
        if not self.waiting:
            self.loop.call_soon(self.resolve)
        self.waiting.append(future)
        await future

    async def close(self) -> None:
        """See Peer."""

    async def flush(self) -> None:
        """See Peer."""

    async def bulk(self, rows: Rows) -> int:
        """See Peer."""
        raise NotImplementedError

    async def windows(self, rows: Rows, window: int) -> int:
        """See Peer."""
        raise NotImplementedError

    async def pipeline(self, rows: Rows, depth: int) -> int:
        """See Peer."""
        raise NotImplementedError

    async def hold(self, rows: Rows) -> object:
        """See Peer."""
        raise NotImplementedError


PEERS: Final[dict[str, type[Peer]]] = {
    peer.name: peer
    for peer in (
        Aioproducer,
        AioproducerPure,
        Aiokafka,
        Confluent,
        ConfluentBare,
        Wrap,
        ConfluentAio,
        Harness,
    )
}
