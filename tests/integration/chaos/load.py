"""A steady load of records with keys, with a note of each record's send time, end time and result.

A record's value is its number among the records of its key, and padding. Deliveries are polled
every few milliseconds, and their results are read a few at a time: a callback or an object per
record would be work in the event loop that counts as the producer's.
"""

from __future__ import annotations

import asyncio
import random
from array import array
from collections import deque
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aioproducer import Delivery, Producer

KEYS = 64
BURST = 60
OUTCOMES = 120
PAUSE = 0.005
SPARE = 5.0

_PADDING = bytes(range(256)) * 4


class Load:
    """The records of one producer, and their results."""

    def __init__(self, name: str, producer: Producer, topic: str, rate: float, seed: int = 0) -> None:
        self.name = name
        self.topic = topic
        self.producer = producer
        self.limit: float = producer.config.delivery_timeout_ms / 1000
        self.sent = array("d")
        self.ended = array("d")
        self.partition = array("h")
        self.offset = array("q")
        self.failures: dict[int, tuple[bool, str]] = {}
        self.numbers = [array("l") for _ in range(KEYS)]
        self.retries = 0
        self._pending = [_Pending() for _ in range(KEYS)]
        self._ended = _Pending()
        self._all_noted = asyncio.Event()
        self._rate = rate
        self._rng = random.Random(f"load {seed}")  # noqa: S311 - the load must be reproducible

    async def run(self, seconds: float) -> None:
        """Send at an even rate; late records follow in small bursts."""
        now = asyncio.get_running_loop().time
        began = now()
        while (elapsed := now() - began) < seconds:
            for _ in range(min(int(elapsed * self._rate) - len(self.sent), BURST)):
                self._send()
            await self.producer.drain()
            await asyncio.sleep(PAUSE)

    async def settle(self) -> None:
        """Wait for all results, up to the delivery timeout; records without one then never end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.limit + SPARE):
                await self.producer.flush()
                await self._all_noted.wait()
        self.retries = int(self.producer.metrics()["producer-metrics"]["record-retry-total"])

    @asynccontextmanager
    async def noted(self) -> AsyncIterator[None]:
        """Note end times and results while the block runs."""
        async with asyncio.TaskGroup() as group:
            noting = group.create_task(self._take_notes())
            yield
            noting.cancel()

    def number_of(self, key: bytes | None, value: bytes | None) -> int | None:
        """Return the number of a record in the log; None if it was not sent with these bytes."""
        try:
            name = int((key or b"").removeprefix(b"key-"))
            count = int((value or b"").partition(b" ")[0])
            number = self.numbers[name][count]
        except (ValueError, IndexError):
            return None
        return number if (key, value) == (_key(name), _value(name, count)) else None

    def is_acknowledged(self, number: int) -> bool:
        """Whether the producer acknowledged the record."""
        return bool(self.ended[number]) and number not in self.failures

    def _send(self) -> None:
        self._all_noted.clear()
        number, name = len(self.sent), self._rng.randrange(KEYS)
        count = len(self.numbers[name])
        self.numbers[name].append(number)
        self.sent.append(asyncio.get_running_loop().time())
        self.ended.append(0.0)
        self.partition.append(-1)
        self.offset.append(-1)
        delivery = self.producer.send(self.topic, _value(name, count), key=_key(name))
        self._pending[name].append(number, delivery)

    async def _take_notes(self) -> None:
        while True:
            self._take_note()
            if not (self._ended.numbers or any(pending.numbers for pending in self._pending)):
                self._all_noted.set()
            await asyncio.sleep(PAUSE)

    def _take_note(self) -> None:
        now = asyncio.get_running_loop().time()
        for pending in self._pending:
            # Records of one key end in order.
            while pending.numbers and pending.deliveries[0].done():
                number, delivery = pending.popleft()
                self.ended[number] = now
                self._ended.append(number, delivery)
        for _ in range(min(OUTCOMES, len(self._ended.numbers))):
            self._note_outcome(*self._ended.popleft())

    def _note_outcome(self, number: int, delivery: Delivery) -> None:
        error = delivery.exception()
        if error is not None:
            self.failures[number] = (error.may_be_written, f"{type(error).__name__}: {error}")
            return
        metadata = delivery.result()
        self.partition[number] = metadata.partition
        self.offset[number] = metadata.offset


class _Pending:
    """Deliveries and their numbers, in two queues: pairs would be a million more objects."""

    def __init__(self) -> None:
        self.numbers: deque[int] = deque()
        self.deliveries: deque[Delivery] = deque()

    def append(self, number: int, delivery: Delivery) -> None:
        self.numbers.append(number)
        self.deliveries.append(delivery)

    def popleft(self) -> tuple[int, Delivery]:
        return self.numbers.popleft(), self.deliveries.popleft()


def _key(name: int) -> bytes:
    return b"key-%d" % name


def _value(name: int, count: int) -> bytes:
    begin = (name * 7 + count) % 256
    return b"%d %b" % (count, _PADDING[begin : begin + (name * 31 + count * 17) % 400])
