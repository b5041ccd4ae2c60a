"""The producer: the one class that most users see.

`send` is a plain function. It checks where it is called from, has the value and the key
serialized, and leaves the rest to the accumulator; what happens to the record comes through
the delivery that it returns.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import math
import os
import sys
import weakref
from asyncio import _get_running_loop
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, Self, Unpack, overload

import anyio

from aioproducer.config import OPTIONS, ProducerConfig
from aioproducer.core.checks import checked_topic
from aioproducer.errors import (
    IllegalStateError,
    ProducerClosedError,
    ProducerError,
    ProducerNotStartedError,
    SerializationError,
    WrongLoopError,
)
from aioproducer.net.engine import ELSEWHERE, Engine
from aioproducer.net.timer import late_timeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence
    from types import TracebackType

    from typing_extensions import TypeVar

    from aioproducer.config import ProducerOptions
    from aioproducer.core.metadata_cache import PartitionMetadata
    from aioproducer.core.metrics import Snapshot
    from aioproducer.delivery import Delivery
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
"""Seconds after which `drain` gives way to the event loop at the earliest, where there is room."""

LONGEST_TURN = 0.003
"""Seconds after which it gives way even where everything else took longer."""

LEAVE_TIMEOUT = 5.0
"""Seconds that `async with`, left by an exception or cancellation, waits for accepted records."""

_NOWHERE = object()
"""The place of a producer that cannot be sent to without a closer look."""

_asks_for_loop = sys.version_info >= (3, 12) or sys.implementation.name != "cpython"

# On CPython 3.11 `get_running_loop` makes a system call (getpid), which costs as much as the
# rest of `send`. There each record compares the thread only, and the producer forgets its
# thread when the loop stops running (see `_end_of_run`).
_place: Callable[[], object] = _get_running_loop if _asks_for_loop else get_ident

_numbers = itertools.count(1)

_sendable: weakref.WeakSet[Producer[Any, Any]] = weakref.WeakSet()
"""The producers that keep a place: a forked process has their thread, but not their loop."""


def _after_fork() -> None:
    for producer in list(_sendable):
        producer._forget_place()  # noqa: SLF001 - its own module


if not _asks_for_loop and hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _end_of_run(loop: object, ended: Callable[[object], object]) -> weakref.ref[Any] | None:
    """Call `ended` when `loop`, which is running, stops running; return None if that cannot be told.

    A running loop has its hooks for asynchronous generators installed: bound methods that
    nothing else refers to. They are made when the loop begins to run and die when it stops.
    """
    hook = sys.get_asyncgen_hooks().firstiter
    return weakref.ref(hook, ended) if getattr(hook, "__self__", None) is loop else None


class _Nothing:
    """An awaitable that waits for nothing."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return iter(())  # type: ignore[return-value] # as good as a generator to `await`


_NOTHING = _Nothing()


class Producer(Generic[K, V]):
    """Produces records to Apache Kafka, and to whatever speaks its protocol.

    `bootstrap_servers` is "host:port,host:port" or a list of such; the options have Kafka's
    names with underscores, milliseconds and Kafka's defaults (see `ProducerConfig`).
    Serializers are callables that give bytes or None; without them keys and values are bytes.
    The types of the producer are the types that its serializers take: K of keys, V of values.
    A producer of wider types goes where one of narrower types is asked for.
    Raises ConfigurationError. It may be made without a running event loop, and belongs to the
    loop that it is started in.

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
        """Make a producer from a configuration, such as `ProducerConfig.from_env()` gives."""
        producer = cls.__new__(cls)
        producer._set_up(config)  # noqa: SLF001 - its own
        return producer

    # `drain` measures how long the event loop is held: in real time, whatever clock the loop has.
    # A class attribute, unlike a module's, keeps its value where the time is frozen for a test.
    _monotonic = staticmethod(monotonic)

    def _set_up(self, config: ProducerConfig) -> None:
        self.config = config
        client_id = config.client_id
        self.client_id: str = f"producer-{next(_numbers)}" if client_id is None else client_id
        self._engine = self._make_engine(config)
        accumulator = self._engine.accumulator
        self._accumulator = accumulator
        self._buffer = accumulator.buffer
        self._waiting = accumulator.buffer.records
        self._append = accumulator.append
        self._is_plain = config.key_serializer is None and config.value_serializer is None
        self._half = config.buffer_memory // 2
        self._turn_ends = 0.0
        self._real_time = self._monotonic
        self._place: object = _NOWHERE
        self._run: weakref.ref[Any] | None = None
        self._is_open = False
        self._home: asyncio.AbstractEventLoop | None = None
        self._start_scope: anyio.CancelScope | None = None
        self._stop_task: asyncio.Task[None] | None = None
        self._hurry: anyio.CancelScope | None = None
        self._is_stopped = False

    def _make_engine(self, config: ProducerConfig) -> Engine:
        return Engine(config, self.client_id, self._on_failure)

    async def start(self, *, wait: bool = True) -> None:
        """Connect to the cluster.

        Raises BootstrapError, which names each address and what went wrong with it, when no
        bootstrap server can be used within `max_block_ms`, and IllegalStateError when the
        producer was started before. Cancellation ends it at once.

        With `wait=False` it returns at once, so that a service can start while Kafka is down.
        The producer looks for the cluster in the background, with backoff, until it is stopped.
        Records sent meanwhile wait for their topic, `max_block_ms` at most. See `is_ready` and
        `ready`.
        """
        if self._is_stopped:
            msg = "the producer was stopped; make a new one"
            raise ProducerClosedError(msg)
        if self._home is not None:
            msg = "the producer is started already"
            raise IllegalStateError(msg)
        self._home = asyncio.get_running_loop()
        with anyio.CancelScope() as scope:
            self._start_scope = scope
            try:
                await self._engine.start(wait=wait)
            except BaseException:
                self._is_stopped = True
                with anyio.CancelScope(shield=True):
                    await self._engine.stop()
                raise
            finally:
                self._start_scope = None
        if self._is_stopped:
            msg = "the producer was stopped while it was starting"
            raise ProducerClosedError(msg)
        if self._engine.failure is not None:
            await self.stop()
            raise self._engine.failed_error()
        self._is_open = True
        self._take_place()

    @property
    def is_ready(self) -> bool:
        """Whether the producer is running and has found the cluster.

        It costs nothing: a service's readiness check can ask it. It stays true when brokers go
        away later: the producer keeps records and retries then.
        """
        return self._is_open and self._engine.is_found

    async def ready(self, timeout: float | None = None) -> None:
        """Wait until `is_ready`, for `timeout` seconds at most; None for `max_block_ms`.

        Raises BootstrapError when the cluster is not found in time (the producer goes on looking
        for it), and what `flush` raises for a producer that is not started, stopped or failed.
        """
        self._check()
        limit = self.config.max_block if timeout is None else timeout
        with anyio.move_on_after(limit):
            while not self.is_ready:
                await self._engine.wait_until_found()
                self._check()
            return
        raise self._engine.bootstrap_error(limit)

    async def stop(self, timeout: float | None = None) -> None:
        """Send what is accepted, for `timeout` seconds at most, then fail the rest and close.

        None waits as long as it takes, `delivery_timeout_ms` at most. Records that fail because
        the time is up raise ProducerClosedError from their deliveries. If the call is cancelled,
        the rest fails at once. May be called any number of times, by any task of the producer's
        loop, started or not.

        `async with` calls it at its end: without a timeout if the body ends, with one of 5
        seconds if an exception or a cancellation leaves it, so that neither waits minutes for
        brokers that are gone. Where that is too short or too long, call `stop(timeout)` in the
        body's own `finally`.
        """
        if self._home is None or self._home.is_closed():
            # Nothing of the producer is running.
            self._close()
            return
        if asyncio.get_running_loop() is not self._home:
            raise WrongLoopError(ELSEWHERE)
        deadline = math.inf if timeout is None else anyio.current_time() + timeout
        self._close()
        if self._stop_task is None:
            self._hurry = anyio.CancelScope()
            self._stop_task = self._home.create_task(
                self._stop(self._hurry), name=f"aioproducer-{self.client_id}-stop"
            )
        hurry, task = self._hurry, self._stop_task
        assert hurry is not None  # noqa: S101 - made with the task
        # Of several calls the one with the least time decides.
        hurry.deadline = min(hurry.deadline, deadline)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            # Whoever has no time left to wait for records still gets everything closed.
            hurry.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.shield(task)
            raise

    async def _stop(self, hurry: anyio.CancelScope) -> None:
        try:
            if self._start_scope is not None:
                self._start_scope.cancel()
            elif self._engine.failure is None:
                with hurry:
                    await self._engine.settle(self._accumulator.outstanding(), None)
        finally:
            with anyio.CancelScope(shield=True):
                await self._engine.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop: wait as long as `stop()` does if the body ends, 5 seconds at most if it raises."""
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
        """Accept a record and return its `Delivery`: await it for the acknowledgement, or do not.

        `partition` None lets the partitioner choose; `timestamp_ms` counts milliseconds since
        the epoch, None for now; `headers` are (str, bytes or None) pairs or a mapping.

        Raises at once what is wrong with the call: TypeError and ValueError, SerializationError,
        PartitionerError, RecordTooLargeError, ProducerNotStartedError, ProducerClosedError,
        ProducerFailedError, WrongLoopError, and BufferExhaustedError where the buffer and the
        line before it are full. What happens later comes through the Delivery.
        """
        if _place() != self._place:
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
        """Wait until less than half of `buffer_memory` is in use, and no record waits for room.

        It costs next to nothing when that is so, and gives way to the event loop every few
        milliseconds: call it in a loop of sends that awaits nothing else.
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
        # A turn as long as the others': batches that are sent off sooner than records come are crumbs.
        turn = min(max(now - given_way, SHORTEST_TURN), LONGEST_TURN)
        self._turn_ends = now + turn

    async def flush(self, timeout: float | None = None) -> None:
        """Send what lingers, and wait until everything accepted so far is acknowledged or has failed.

        What failed is not raised here: each delivery tells. Raises CallTimeoutError after
        `timeout` seconds; the records are still being sent then.
        """
        self._check()
        await self._engine.settle(self._accumulator.outstanding(), timeout)

    async def partitions_for(self, topic: str) -> tuple[PartitionMetadata, ...]:
        """Return the topic's partitions and who leads them.

        Raises UnknownTopicError when it does not become known within `max_block_ms`,
        InvalidTopicError and AuthorizationError when it never will.
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
        """Return the producer's figures under Java's names, by group: see the README."""
        return self._engine.metrics.snapshot(self._engine.clock(), self._engine.gauges())

    def _check(self) -> None:
        if _place() != self._place:
            self._look_closer()
        self._engine.check()

    def _look_closer(self) -> None:
        """Raise why a call is refused, or take the place that the last run of the loop ended."""
        if not self._is_open or _get_running_loop() is not self._home:
            raise self._refusal()
        self._take_place()

    def _take_place(self) -> None:
        if _asks_for_loop:
            self._place = _place()
            return
        # Where the end of the run cannot be told, each call takes the closer look.
        self._run = _end_of_run(self._home, self._forget_place)
        self._place = _NOWHERE if self._run is None else _place()
        _sendable.add(self)

    def _forget_place(self, _hook: object = None) -> None:
        self._place = _NOWHERE

    def _close(self) -> None:
        self._is_stopped = True
        self._is_open = False
        self._place = _NOWHERE

    def _refusal(self) -> ProducerError:
        if self._engine.failure is not None:
            return self._engine.failed_error()
        if self._is_stopped:
            return ProducerClosedError("the producer was stopped")
        if not self._is_open:
            return ProducerNotStartedError(
                "the producer is not started: use `async with`, or `await start()` first"
            )
        if self._home is not None and self._home.is_closed():
            return WrongLoopError("the event loop that the producer was started in is closed")
        return WrongLoopError(ELSEWHERE)

    def _on_failure(self) -> None:
        self._is_open = False
        self._place = _NOWHERE

    @staticmethod
    def _serialized(topic: str, field: str, serializer: Callable[[Any], Any] | None, datum: object) -> Any:  # noqa: ANN401 - bytes, or what the accumulator will refuse
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
        if self._engine.failure is not None:
            state = "failed"
        elif self._is_stopped:
            state = "stopped"
        else:
            state = "running" if self._is_open else "not started"
        return f"<{type(self).__name__} {self.client_id!r} {state} {self._engine!r}>"


def _options_doc() -> str:
    return "".join(
        f"{name}={option.default!r}: {option.doc}\n"
        for name, option in OPTIONS.items()
        if name != "bootstrap_servers"
    )


if Producer.__doc__ is not None:
    Producer.__doc__ = (
        f"{inspect.cleandoc(Producer.__doc__)}\n\nThe options, with their defaults:\n\n{_options_doc()}"
    )
