# cython: annotation_typing=False
"""The partitioner: chooses the partition of a record.

With a key: by the key's hash, so that equal keys share a partition. Without a key: the sticky partition,
which takes about a batch of bytes before the next one is chosen (KIP-794), because full batches cost
less than scattered ones. The choice is random, and less likely for partitions with many batches.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, TypeAlias
from zlib import crc32

from aioproducer.core.queues import NO_LEADER
from aioproducer.errors import PartitionerError
from aioproducer.records.murmur2 import partition_of_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.core.queues import PartitionQueue

    Random: TypeAlias = Callable[[], float]
    CustomPartitioner: TypeAlias = Callable[[str, bytes | None, int], int]

DRAWS = 32
"""How many partitions are drawn at random before the first usable one is taken."""

WEIGHED = 128
"""The largest number of partitions that are all weighed; among more, single ones are drawn."""

STICKY = -1
"""The result of `choose` that leaves the choice to the sticky partitioner."""


class KeyPartitioner(Enum):
    """The partitioners that have a name."""

    MURMUR2 = "murmur2"
    CRC32 = "crc32"
    ROUND_ROBIN = "round_robin"


class RecordPartitioner:
    """Chooses by key, as the producer is configured.

    Errors of the types in `faults` that a `custom` partitioner raises fail its record; others
    (KeyboardInterrupt) go through.
    """

    __slots__ = ("by_murmur2", "custom", "faults", "ignore_keys", "kind")

    def __init__(
        self,
        kind: KeyPartitioner = KeyPartitioner.MURMUR2,
        custom: CustomPartitioner | None = None,
        *,
        faults: tuple[type[BaseException], ...] = (Exception,),
        ignore_keys: bool = False,
    ) -> None:
        self.kind = kind
        self.custom = custom
        self.faults = faults
        self.ignore_keys = ignore_keys
        # The usual case: `Accumulator.append` computes the partition itself, without calling
        # `choose`.
        self.by_murmur2 = custom is None and kind is KeyPartitioner.MURMUR2 and not ignore_keys

    def choose(self, sticky: StickyPartitioner, key: bytes | None) -> int:
        """Return the partition for a record of this key, STICKY to leave it to the sticky partitioner.

        Raises PartitionerError if the user's partitioner raises, or returns no partition.
        """
        if self.by_murmur2:
            return STICKY if key is None else partition_of_key(key, sticky.count)
        if self.custom is not None:
            return self._ask(sticky, key)
        if self.kind is KeyPartitioner.ROUND_ROBIN:
            return sticky.next_in_turn()
        if key and self.kind is KeyPartitioner.CRC32 and not self.ignore_keys:
            return crc32(key) % sticky.count
        # librdkafka's consistent_random spreads empty keys like missing ones.
        return STICKY

    def _ask(self, sticky: StickyPartitioner, key: bytes | None) -> int:
        topic = sticky.topic
        try:
            partition = self.custom(topic, key, sticky.count)  # type: ignore[misc] # there is one
        except self.faults as error:
            msg = f"the partitioner raised {type(error).__name__} for topic {topic!r}: {error}"
            raise PartitionerError(msg, topic=topic) from error
        # `isinstance` would accept True as partition 1.
        if type(partition) is not int or not 0 <= partition < sticky.count:
            msg = (
                f"the partitioner chose {partition!r} for topic {topic!r}; "
                f"it has to be an int from 0 to {sticky.count - 1}"
            )
            raise PartitionerError(msg, topic=topic, partition=partition)
        return partition


class StickyPartitioner:
    """The sticky partition of one topic: its index, and how many bytes it has taken.

    Unlike Java's it changes only when a new batch has to be opened, so that each batch is filled.
    """

    __slots__ = (
        "adaptive",
        "availability_timeout",
        "batch_size",
        "count",
        "current",
        "partitions",
        "produced",
        "random",
        "topic",
        "turn",
    )

    def __init__(
        self,
        topic: str,
        partitions: list[PartitionQueue],
        batch_size: int,
        random: Random,
        *,
        adaptive: bool = True,
        availability_timeout: float = 0.0,
    ) -> None:
        self.topic = topic
        self.partitions = partitions
        self.count = len(partitions)
        self.batch_size = batch_size
        self.random = random
        self.adaptive = adaptive
        self.availability_timeout = availability_timeout
        self.current = STICKY
        self.produced = 0
        self.turn = 0

    def place(self, size: int, now: float) -> int:
        """Return the partition for the next record of `size` bytes, which has to open a batch there."""
        # batch_size 16384: the partition has 16300 bytes, and a record of 100 bytes begins the next
        # one.
        if self.current == STICKY or self.produced + size > self.batch_size:
            self.current = self._draw(now)
            self.produced = 0
        return self.current

    def forget(self) -> None:
        """Choose again at the next record: the partitions or their leaders have changed."""
        self.current = STICKY
        self.count = len(self.partitions)

    def next_in_turn(self) -> int:
        """Return the next partition in turn that has a leader, or just the next if none has."""
        for _ in range(self.count):
            partition = self.turn % self.count
            self.turn += 1
            if self.partitions[partition].node.node_id != NO_LEADER:
                return partition
        partition = self.turn % self.count
        self.turn += 1
        return partition

    def _draw(self, now: float) -> int:
        if not self.adaptive or self.count > WEIGHED:
            return self._draw_light(now)
        longest = 0
        usable = 0
        for queue in self.partitions:
            if self._is_available(queue, now):
                usable += 1
                longest = max(longest, queue.length())
        # No batch waits anywhere: all partitions weigh the same.
        if longest == 0 or usable == 0:
            return self._draw_light(now)
        # KIP-794: a partition with n batches waiting weighs longest + 1 - n.
        # Queues of 0, 3 and 1 batches weigh 4, 1 and 3.
        weight = 0
        for queue in self.partitions:
            if self._is_available(queue, now):
                weight += longest + 1 - queue.length()
        left = int(self.random() * weight)
        for queue in self.partitions:
            if self._is_available(queue, now):
                left -= longest + 1 - queue.length()
                if left < 0:
                    return queue.partition
        return self._draw_light(now)

    def _draw_light(self, now: float) -> int:
        # To weigh 10,000 partitions costs more than a batch of records. Draw one and take it with a
        # probability of 1 / (1 + its waiting batches).
        partition = 0
        for _ in range(DRAWS):
            partition = int(self.random() * self.count)
            queue = self.partitions[partition]
            if self._is_available(queue, now):
                waiting = queue.length()
                if not self.adaptive or waiting == 0 or self.random() * (waiting + 1) < 1:
                    return partition
        for queue in self.partitions:
            if self._is_available(queue, now):
                return queue.partition
        return partition

    def _is_available(self, queue: PartitionQueue, now: float) -> bool:
        node = queue.node
        if node.node_id == NO_LEADER:
            return False
        # `starved_since` is NEVER, in the far future, while the node takes batches.
        timeout = self.availability_timeout
        return not (timeout > 0 and now - node.starved_since > timeout)
