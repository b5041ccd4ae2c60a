"""Producer, the class that most users need.

`send` is a plain function: it checks the calling loop, serializes key and value and passes the
record to the accumulator. The returned Delivery gives the result.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
from asyncio import _get_running_loop
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, Self, Unpack, overload

import anyio

from aioproducer.config import ProducerConfig, options_doc
from aioproducer.core.checks import checked_topic
from aioproducer.errors import (
    ProducerError,
    SerializationError,
)
from aioproducer.net.engine import Engine
from aioproducer.net.lifecycle import Lifecycle, ProducerState
from aioproducer.net.place import NOWHERE, current_place, take_place
from aioproducer.net.timer import late_timeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence
    from types import TracebackType
    from weakref import ref

    from typing_extensions import TypeVar

    from aioproducer.config import ProducerOptions
    from aioproducer.core.cluster_view import PartitionMetadata
    from aioproducer.delivery import Delivery
    from aioproducer.metrics.snapshot import Snapshot
    from aioproducer.record import Buffer, Headers

    K = TypeVar("K", default=Buffer, contravariant=True)  # noqa: PLC0105 - readers of `help` see it
    V = TypeVar("V", default=Buffer, contravariant=True)  # noqa: PLC0105 - likewise

    # A serializer without annotations, such as a lambda, takes anything.
    KeyT = TypeVar("KeyT", default=Any)
    ValueT = TypeVar("ValueT", default=Any)
else:
    from typing import TypeVar

    K = TypeVar("K", contravariant=True)  # noqa: PLC0105 - likewise
    V = TypeVar("V", contravariant=True)  # noqa: PLC0105 - likewise

SHORTEST_TURN = 0.001
"""Seconds after which `drain` yields to the event loop at the earliest, if there is room."""

LONGEST_TURN = 0.003
"""Seconds after which `drain` yields at the latest, however long other tasks take."""

LEAVE_TIMEOUT = 5.0
"""Seconds that `async with` waits for accepted records when an exception or cancellation ends it."""

_numbers = itertools.count(1)


class _Nothing:
    """An awaitable that is done at once."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return iter(())  # type: ignore[return-value] # as good as a generator to `await`


_NOTHING = _Nothing()


class Producer(Generic[K, V]):
    """Produces records to Apache Kafka and compatible servers.

    `bootstrap_servers` is "host:port,host:port" or a list of "host:port". The options have Kafka's
    names with underscores, Kafka's units (milliseconds, bytes) and Kafka's defaults; see
    `ProducerConfig`. An invalid or unknown option raises ConfigurationError.

    `key_serializer` and `value_serializer` are callables that return bytes or None. Without them,
    keys and values are bytes, bytearray, memoryview or None. They determine the type of the
    producer, `Producer[K, V]`: K is the type of keys, V that of values (both contravariant).

    It can be constructed without a running event loop, and does no I/O then. It belongs to the loop
    in which it is started; use it in that loop only.

        async with Producer("localhost:9092") as producer:
            metadata = await producer.send("orders", b"value", key=b"42")
    """

    @overload
    def __init__(
        self: Producer[KeyT, Buffer],
        bootstrap_servers: str | Sequence[str],
        *,
        key_serializer: Callable[[KeyT], bytes | None],
        value_serializer: None = None,
        **options: Unpack[ProducerOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: Producer[Buffer, ValueT],
        bootstrap_servers: str | Sequence[str],
        *,
        key_serializer: None = None,
        value_serializer: Callable[[ValueT], bytes | None],
        **options: Unpack[ProducerOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: Producer[KeyT, ValueT],
        bootstrap_servers: str | Sequence[str],
        *,
        key_serializer: Callable[[KeyT], bytes | None],
        value_serializer: Callable[[ValueT], bytes | None],
        **options: Unpack[ProducerOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        bootstrap_servers: str | Sequence[str],
        *,
        key_serializer: Callable[[K], bytes | None] | None = None,
        value_serializer: Callable[[V], bytes | None] | None = None,
        **options: Unpack[ProducerOptions],
    ) -> None: ...
    def __init__(
        self,
        bootstrap_servers: str | Sequence[str],
        *,
        key_serializer: Callable[[Any], bytes | None] | None = None,
        value_serializer: Callable[[Any], bytes | None] | None = None,
        **options: Unpack[ProducerOptions],
    ) -> None:
        self._set_up(
            ProducerConfig(
                bootstrap_servers=bootstrap_servers,
                key_serializer=key_serializer,
                value_serializer=value_serializer,
                **options,
            )
        )

    @classmethod
    def from_config(cls, config: ProducerConfig) -> Self:
        """Return a producer with this configuration, for example from `ProducerConfig.from_env()`."""
        producer = cls.__new__(cls)
        producer._set_up(config)  # noqa: SLF001 - same class
        return producer

    # `drain` measures in real time how long the event loop is blocked, whatever clock the loop has.
    # freezegun replaces `time.monotonic` in modules, but not in class attributes.
    _monotonic = staticmethod(monotonic)

    def _set_up(self, config: ProducerConfig) -> None:
        self.config = config
        client_id = config.client_id
        self.client_id: str = f"producer-{next(_numbers)}" if client_id is None else client_id
        self._engine = self._make_engine(config)
        self._lifecycle = Lifecycle(self._engine)
        accumulator = self._engine.accumulator
        self._accumulator = accumulator
        self._buffer = accumulator.buffer
        self._waiting = accumulator.buffer.records
        self._append = accumulator.append
        self._is_plain = config.key_serializer is None and config.value_serializer is None
        self._half = config.buffer_memory // 2
        self._turn_ends = 0.0
        self._real_time = self._monotonic
        self._place: object = NOWHERE
        self._run: ref[Any] | None = None

    def _make_engine(self, config: ProducerConfig) -> Engine:
        return Engine(config, self.client_id, self._on_failure)

    async def start(self, *, wait: bool = True) -> None:
        """Connect to the cluster.

        Raises BootstrapError if no bootstrap server responds within `max_block_ms`; the error
        names each address and its fault. Raises IllegalStateError if the producer was started
        before, ProducerClosedError if it was stopped. Cancellation ends it at once.

        With `wait=False` it returns at once, so that a service can start while Kafka is down. The
        producer then searches for the cluster in the background, with backoff, until it is
        stopped. Records sent meanwhile wait for their topic, at most `max_block_ms`. See
        `is_ready` and `ready`.
        """
        await self._lifecycle.start(wait=wait)
        self._take_place()

    @property
    def is_ready(self) -> bool:
        """Whether the producer is running and has found the cluster.

        Cheap enough for the readiness check of a service. It stays true when brokers go away
        later: the producer then keeps records and retries.
        """
        return self._lifecycle.state is ProducerState.RUNNING and self._engine.is_found

    async def ready(self, timeout: float | None = None) -> None:
        """Wait until `is_ready`, for at most `timeout` seconds (None: `max_block_ms`).

        Raises BootstrapError if the cluster is not found in time, AuthenticationError if it does not
        accept this client; the producer continues to search for it. Raises ProducerNotStartedError,
        ProducerClosedError, ProducerFailedError and WrongLoopError as `flush` does.
        """
        self._check()
        limit = self.config.max_block if timeout is None else timeout
        with anyio.move_on_after(limit):
            while not self.is_ready:
                await self._engine.wait_until_found()
                self._check()
                self._engine.raise_for_refusal()
            return
        raise self._engine.bootstrap_error(limit)

    async def stop(self, timeout: float | None = None) -> None:
        """Send all accepted records, for at most `timeout` seconds, then fail the rest and close.

        With None, records have until their `delivery_timeout_ms`. The deliveries of records that
        are not sent in time raise ProducerClosedError. If the call is cancelled, the rest fails at
        once. It may be called any number of times, by any task of the producer's loop, before
        the start too. Raises WrongLoopError in another loop.

        `async with` calls it at its end: without a timeout if the body ends normally, with a
        timeout of 5 seconds if an exception or cancellation ends it, so that the program does not
        wait minutes for brokers that are gone. For another timeout, call `stop(timeout)` in a
        `finally` inside the body.
        """
        self._place = NOWHERE
        await self._lifecycle.stop(timeout)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop: without a timeout if the body ends normally, within 5 seconds if it raises."""
        await self.stop(None if kind is None else LEAVE_TIMEOUT)

    def send(
        self,
        topic: str,
        value: V | None = None,
        *,
        key: K | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Headers | None = None,
    ) -> Delivery:
        """Accept a record and return its `Delivery`; `await` it for the acknowledgement, or not.

        A plain function: it never yields to the event loop. Value and key are serialized, or
        bytes; a value of None is a tombstone. With `partition` None the partitioner chooses.
        `timestamp_ms` is in milliseconds since the epoch, None for now. `headers` are a list of
        (str, bytes or None) pairs, or a mapping.

        Raises errors of the call at once:

        - TypeError, ValueError: an argument has the wrong type or is out of range
        - SerializationError, PartitionerError: a serializer or the partitioner raised
        - RecordTooLargeError: the record exceeds `max_request_size` or `buffer_memory`
        - BufferExhaustedError: `buffer_memory` is full, and as many bytes of records wait for it
        - ProducerNotStartedError, ProducerClosedError, ProducerFailedError, WrongLoopError

        Later errors are raised by the Delivery.
        """
        if current_place() != self._place:
            self._look_closer()
        if self._is_plain:
            return self._append(topic, value, key, partition, timestamp_ms, headers)  # type: ignore[arg-type] # without serializers they are buffers
        return self._append(
            topic,
            self._serialized(topic, "value", self.config.value_serializer, value),
            self._serialized(topic, "key", self.config.key_serializer, key),
            partition,
            timestamp_ms,
            headers,
        )

    def drain(self) -> Awaitable[None]:
        """Wait until less than half of `buffer_memory` is in use and no record waits for it.

        Call it in a loop of sends that awaits nothing else. It costs next to nothing while there
        is room, and yields to the event loop every few milliseconds. Raises what `flush` raises
        for a producer that cannot be used.
        """
        buffer, now = self._buffer, self._real_time
        if buffer.used < self._half and not self._waiting.bytes and now() < self._turn_ends:
            return _NOTHING
        return self._drain()

    async def _drain(self) -> None:
        self._check()
        given_way = self._real_time()
        await asyncio.sleep(0)
        while not self._buffer.has_room():
            await self._engine.wait_for_room()
            self._check()
        now = self._real_time()
        # Send for as long as the other tasks just took: with shorter turns batches stay small.
        turn = min(max(now - given_way, SHORTEST_TURN), LONGEST_TURN)
        self._turn_ends = now + turn

    async def flush(self, timeout: float | None = None) -> None:
        """Send lingering batches; wait until all records accepted so far are delivered or have failed.

        Failures of records are not raised here, but by their deliveries. Raises CallTimeoutError
        after `timeout` seconds (None: no limit); the records are still being sent then. Raises
        ProducerNotStartedError, ProducerClosedError, ProducerFailedError and WrongLoopError.
        """
        self._check()
        await self._engine.flush(self._accumulator.outstanding(), timeout)

    async def partitions_for(self, topic: str) -> tuple[PartitionMetadata, ...]:
        """Return the partitions of a topic in order, each with `index`, `leader_id` and `leader_epoch`.

        Waits for the topic's metadata. Raises UnknownTopicError if it is not known within
        `max_block_ms`, InvalidTopicError or AuthorizationError if the broker refuses the topic.
        """
        topic = checked_topic(topic)
        self._check()
        metadata = self._engine.metadata
        try:
            with late_timeout(self.config.max_block):
                while topic not in metadata.topics:
                    await self._engine.wait_for_topic(topic)
                    self._check()
                    self._engine.raise_for_topic(topic)
        except TimeoutError as error:
            if isinstance(error, ProducerError):
                raise
            raise self._engine.unknown_topic(topic) from None
        return metadata.topics[topic].partitions

    def metrics(self) -> Snapshot:
        """Return a snapshot of all metrics: a dict of three dicts, under the names of Java's producer.

        `"producer-metrics"` maps names to floats; `"producer-topic-metrics"` has such a dict for each
        topic, `"producer-node-metrics"` for each broker ("node-1"). Rates, averages and maxima cover
        the last `metrics_num_samples` windows of `metrics_sample_window_ms`. Times are in
        milliseconds, except where the name says `-ns-`, and `metadata-age` in seconds.
        """
        return self._engine.metrics.snapshot(self._engine.clock(), self._engine.gauges())

    def _check(self) -> None:
        if current_place() != self._place:
            self._look_closer()
        self._engine.check()

    def _look_closer(self) -> None:
        """Raise why the call is refused, or take the place again after a pause of the loop."""
        lifecycle = self._lifecycle
        if lifecycle.state is not ProducerState.RUNNING or _get_running_loop() is not lifecycle.loop:
            raise lifecycle.refusal()
        self._take_place()

    def _take_place(self) -> None:
        self._place, self._run = take_place(self._lifecycle.loop, self._forget_place)

    def _forget_place(self, _hook: object = None) -> None:
        self._place = NOWHERE

    def _on_failure(self) -> None:
        self._lifecycle.failed()
        self._place = NOWHERE

    @staticmethod
    def _serialized(topic: str, field: str, serializer: Callable[[Any], Any] | None, datum: object) -> Any:  # noqa: ANN401 - the accumulator checks the type
        if serializer is None or datum is None:
            return datum
        try:
            serialized = serializer(datum)
        except (Exception, asyncio.CancelledError) as error:
            msg = f"the {field}_serializer raised {type(error).__name__} for topic {topic!r}: {error}"
            raise SerializationError(msg, topic=topic, field=field) from error
        if serialized is not None and not isinstance(serialized, (bytes, bytearray, memoryview)):
            msg = (
                f"the {field}_serializer gave {type(serialized).__name__} for topic {topic!r}; "
                "it has to give bytes or None"
            )
            raise SerializationError(msg, topic=topic, field=field)
        return serialized

    def __repr__(self) -> str:
        state = "failed" if self._engine.failure is not None else self._lifecycle.state.value
        return f"<{type(self).__name__} {self.client_id!r} {state} {self._engine!r}>"


if Producer.__doc__ is not None:
    Producer.__doc__ = (
        f"{inspect.cleandoc(Producer.__doc__)}\n\nThe options, with their defaults:\n\n{options_doc()}"
    )
