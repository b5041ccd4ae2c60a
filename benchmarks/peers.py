"""The compared producers, each with the same few calls.

A peer sends the same rows (value, key, timestamp, headers) in a loop that its users would write:
no shared layer is between the loop and the client's own `send`. The settings are the same: acks=all,
idempotence, linger, batch size, codec. Everything else is the client's default, except that
librdkafka may queue more than its 100,000 records, which its loops here never need.

    aioproducer         this package: `send` is a function; `drain()` every 100 records
    aioproducer-pure    the same without compiled modules, in another interpreter
    aiokafka            `await producer.send(...)`, which returns a future
    confluent           confluent-kafka's Producer, a callback for every record, `poll(0)` every 100
    confluent-bare      the same without callbacks: the results of records are unknown
    wrap                the usual asyncio wrapper: Producer, a thread that polls, and a future
                        for every record, resolved by `call_soon_threadsafe`
    confluent-aio       confluent-kafka's own AIOProducer
    harness             no client: futures that the event loop resolves (latency only)

A library is imported when its peer is opened, so a process imports only the measured one.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from peer import YIELD_EVERY, CoroutinePeer, FunctionPeer, Peer, Rows, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peer import Headers

QUEUE_RECORDS: Final = 200_000
QUEUE_PAUSE: Final = 0.001


class Aioproducer(FunctionPeer):
    """The Producer of this package."""

    name = "aioproducer"

    async def open(self, settings: Settings) -> None:
        """See Peer."""
        from aioproducer import Producer  # noqa: PLC0415 - only the measured client is imported

        self.producer = Producer(
            settings.bootstrap,
            linger_ms=settings.linger_ms,
            batch_size=settings.batch_bytes,
            compression_type=settings.compression,
            security_protocol="SSL" if settings.ca else "PLAINTEXT",
            ssl_truststore_location=settings.ca,
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
    """The Producer without compiled modules; the caller chooses the interpreter."""

    name = "aioproducer-pure"


class Aiokafka(CoroutinePeer):
    """aiokafka's AIOKafkaProducer."""

    name = "aiokafka"

    async def open(self, settings: Settings) -> None:
        """See Peer."""
        from aiokafka import AIOKafkaProducer  # noqa: PLC0415 - only the measured client is imported

        codec = None if settings.compression == "none" else settings.compression
        tls = {}
        if settings.ca:
            import ssl  # noqa: PLC0415 - only with TLS

            context = ssl.create_default_context(cafile=settings.ca)
            tls = {"security_protocol": "SSL", "ssl_context": context}
        self.producer = AIOKafkaProducer(
            bootstrap_servers=settings.bootstrap,
            linger_ms=settings.linger_ms,
            max_batch_size=settings.batch_bytes,
            max_request_size=max(1 << 20, 2 * settings.batch_bytes),
            compression_type=codec,
            acks="all",
            enable_idempotence=True,
            **tls,
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
    """Return the settings with librdkafka's names."""
    tls = {"security.protocol": "ssl", "ssl.ca.location": settings.ca} if settings.ca else {}
    return tls | {
        "bootstrap.servers": settings.bootstrap,
        "linger.ms": settings.linger_ms,
        "batch.size": settings.batch_bytes,
        "compression.type": settings.compression,
        "acks": "all",
        "enable.idempotence": True,
        "queue.buffering.max.messages": 2 * QUEUE_RECORDS,
    }


def confluent_sends(produce: Any, rows: Rows, delivered: Any) -> Iterator[None]:  # noqa: ANN401
    """Call confluent-kafka's `produce` for each item, with only the needed arguments."""
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
    """confluent-kafka's Producer in a synchronous program: no method awaits."""

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
        """Count the delivery report of one record."""
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
        """Send `count` rows with at most about `limit` in flight."""
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
    """The usual asyncio wrapper around confluent-kafka's Producer."""

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
    """No client: the event loop resolves futures in its next iteration. The cost of measuring."""

    name = "harness"

    async def open(self, settings: Settings) -> None:
        """See Peer."""
        del settings
        self.loop = asyncio.get_running_loop()
        self.waiting: list[asyncio.Future[None]] = []

    def resolve(self) -> None:
        """Resolve all futures."""
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
