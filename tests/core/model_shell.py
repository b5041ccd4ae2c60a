"""The shell of a producer without sockets: senders, connections, timers, and dice that do harm.

It does what `aioproducer.net` does with the core, no more: a node is looked at only when the
core has asked for it, when its timer is due, when an answer or a connection came. So whatever
the core forgets to ask for stands still here too.

    Simulation ── ModelSender 0 ── ModelConnection ──▶ PartitionLog t-0
        │     └── ModelSender 1 ── ModelConnection ──▶ PartitionLog t-1 …
     Accumulator, Sequencer, Settlement
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING, TypeAlias

from aioproducer.core.batch import NEVER
from aioproducer.core.settlement import no_answer
from aioproducer.error_code import ErrorCode
from aioproducer.errors import BrokerConnectionError
from aioproducer.protocol.produce import BatchIndexAndErrorMessage, PartitionProduceResponse

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from aioproducer.core.batch import ProducerBatch
    from aioproducer.core.queues import NodeQueue
    from tests.core.model_broker import PartitionLog
    from tests.core.simulation import Simulation

Place: TypeAlias = tuple[str, int]

BLOCKED = float("-inf")
REQUEST_TIMEOUT = 2.0
REQUESTS_IN_FLIGHT = 5
MAX_REQUEST = 2000

REFUSED_BEFORE = (
    ErrorCode.NOT_ENOUGH_REPLICAS,
    ErrorCode.CORRUPT_MESSAGE,
    ErrorCode.LEADER_NOT_AVAILABLE,
    ErrorCode.NOT_LEADER_OR_FOLLOWER,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.KAFKA_STORAGE_ERROR,
    ErrorCode.REPLICA_NOT_AVAILABLE,
    ErrorCode.FENCED_LEADER_EPOCH,
    ErrorCode.UNKNOWN_LEADER_EPOCH,
    ErrorCode.THROTTLING_QUOTA_EXCEEDED,
    ErrorCode.REQUEST_TIMED_OUT,
    ErrorCode.UNKNOWN_TOPIC_ID,
    ErrorCode.INCONSISTENT_TOPIC_ID,
    ErrorCode.CONCURRENT_TRANSACTIONS,
)
"""Retriable errors of a leader that has stored nothing."""

TROUBLE_AFTER = (
    ErrorCode.REQUEST_TIMED_OUT,
    ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    ErrorCode.NOT_LEADER_OR_FOLLOWER,
    ErrorCode.KAFKA_STORAGE_ERROR,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.UNKNOWN_SERVER_ERROR,
    ErrorCode.DUPLICATE_SEQUENCE_NUMBER,
)
"""Errors of a leader that has stored the batch."""

FOR_GOOD = (ErrorCode.INVALID_RECORD, ErrorCode.POLICY_VIOLATION, ErrorCode.INVALID_TIMESTAMP)


class Timers:
    """An event loop's clock and its calls to come."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._calls: list[tuple[float, int, Callable[[], object]]] = []
        self._made = 0

    def call_at(self, when: float, call: Callable[[], object]) -> None:
        """Have `call` made at a time, after those that were asked for earlier."""
        self._made += 1
        heappush(self._calls, (max(when, self.now), self._made, call))

    def run_until(self, when: float) -> None:
        """Make the calls that are due by then."""
        while self._calls and self._calls[0][0] <= when:
            self.now, _, call = heappop(self._calls)
            call()
        self.now = when


@dataclass(slots=True, eq=False)
class ModelRequest:
    """A Produce request: the bytes as they were sent, and the batches that were asked for."""

    parts: dict[Place, bytes]
    asked: dict[Place, ProducerBatch]
    deadline: float
    cluster: int
    answers: dict[Place, PartitionProduceResponse] = field(default_factory=dict)


class ModelConnection:
    """One connection: requests are dealt with in their order, and so are the answers.

    What was sent may be dealt with long after the client has given the connection up.
    """

    def __init__(self, sender: ModelSender) -> None:
        self._sender = sender
        self._simulation = sender.simulation
        self._broker_free_at = self._answered_at = 0.0
        self.pending: deque[ModelRequest] = deque()
        self.is_open = True
        self.loses_requests = False

    def send(self, request: ModelRequest) -> None:
        """Take a request on its way; it fails with the connection if it is not answered in time."""
        simulation = self._simulation
        self.pending.append(request)
        for place in request.parts:
            simulation.logs[place].to_come += 1
        latency = simulation.latency()
        self._broker_free_at = max(self._broker_free_at, simulation.timers.now + latency)
        simulation.timers.call_at(self._broker_free_at, lambda: self._process(request))
        simulation.timers.call_at(request.deadline, lambda: self._check_deadline(request))

    def drop(self, *, loses_requests: bool = False) -> None:
        """Close the connection; with `loses_requests` what the broker has not read is gone."""
        if not self.is_open:
            return
        self.is_open = False
        self.loses_requests = loses_requests
        self._sender.lost_connection()

    def _process(self, request: ModelRequest) -> None:
        simulation = self._simulation
        if request.cluster != simulation.cluster:
            return
        for place in request.parts:
            simulation.logs[place].to_come -= 1
        if not self.is_open and self.loses_requests:
            return
        node_id = self._sender.node.node_id
        for place, data in request.parts.items():
            answer = leader_answer(simulation.logs[place], node_id, place[1], data, simulation.dice)
            if answer is not None:
                request.answers[place] = answer
        if self.is_open and simulation.is_troubled(0.04):
            self.drop(loses_requests=simulation.dice.chance(0.5))
            return
        self._answered_at = max(self._answered_at, simulation.timers.now + simulation.latency())
        simulation.timers.call_at(self._answered_at, lambda: self._deliver(request))

    def _deliver(self, request: ModelRequest) -> None:
        if self.is_open:
            assert self.pending.popleft() is request
            self._sender.answered(request)

    def _check_deadline(self, request: ModelRequest) -> None:
        if self.is_open and self.pending and self.pending[0] is request:
            self.drop()


class Dice:
    """The chances of a run; `trouble` scales those of all that does harm, 0 ends it."""

    def __init__(self, random: Random, trouble: float) -> None:
        self.random = random
        self.trouble = trouble

    def chance(self, probability: float) -> bool:
        """Return True as often as that."""
        return self.random.random() < probability

    def harm(self, probability: float) -> bool:
        """Return True as often as that, while there is trouble."""
        return self.random.random() < probability * self.trouble


def leader_answer(
    log: PartitionLog, node_id: int, partition: int, data: bytes, dice: Dice
) -> PartitionProduceResponse | None:
    """Let a leader deal with a batch, as the dice will have it; None leaves it out of the answer."""
    if log.leader != node_id:
        return PartitionProduceResponse(partition, ErrorCode.NOT_LEADER_OR_FOLLOWER, -1)
    if dice.harm(0.1):
        return PartitionProduceResponse(partition, dice.random.choice(REFUSED_BEFORE), -1)
    if dice.harm(0.03):
        guilty = (BatchIndexAndErrorMessage(0, "no"),) if dice.chance(0.5) else ()
        return PartitionProduceResponse(partition, dice.random.choice(FOR_GOOD), -1, record_errors=guilty)
    code, offset = log.append(data)
    if dice.harm(0.02):
        return None
    if code is ErrorCode.NONE and dice.harm(0.08):
        return PartitionProduceResponse(partition, dice.random.choice(TROUBLE_AFTER), -1)
    return PartitionProduceResponse(partition, code, offset)


class ModelSender:
    """Does what `aioproducer.net.sender` and `aioproducer.net.broker` do, for one node."""

    def __init__(self, simulation: Simulation, node: NodeQueue) -> None:
        self.simulation = simulation
        self.node = node
        self.connection: ModelConnection | None = None
        self.is_closed = False
        self._is_connecting = False
        self._is_compressing = False
        self._planned = 0

    def wake(self) -> None:
        """Look at the node when it is due, which is sooner than was planned."""
        accumulator = self.simulation.accumulator
        if self.node.due <= self.simulation.timers.now or accumulator.schedule.urgent:
            self.node.armed = BLOCKED
            self._plan_at(self.simulation.timers.now)
        else:
            self.node.armed = self.node.due
            self._plan_at(self.node.due)

    def pump(self) -> None:
        """Send all that is due and may be sent, and plan when to look again."""
        if self.is_closed:
            return
        self._planned += 1
        self.node.armed = BLOCKED
        simulation = self.simulation
        now = simulation.timers.now
        while self._may_send():
            batches = simulation.schedule.drain(self.node, now, MAX_REQUEST, simulation.ordering.may_send)
            if not batches:
                simulation.held_back()
                break
            if simulation.dice.chance(0.2):
                self._is_compressing = True
                simulation.timers.call_at(now + simulation.latency(), lambda b=batches: self._compressed(b))  # type: ignore[misc] # a default is no argument
            else:
                self._write(batches)
        if self.node.is_empty():
            self.node.armed = NEVER
        elif self.connection is not None and not self._is_busy():
            self.node.armed = self.node.due
            if self.node.due < NEVER:
                self._plan_at(self.node.due)

    def close(self) -> None:
        """Stop: another sender takes the node over."""
        self.is_closed = True
        if self.connection is not None:
            self.connection.drop()

    def lost_connection(self) -> None:
        """Tell the batches of all requests under way, oldest first."""
        connection, self.connection = self.connection, None
        assert connection is not None
        pending, connection.pending = connection.pending, deque()
        error = BrokerConnectionError("the connection was lost")
        for request in pending:
            for batch in request.asked.values():
                self.simulation.settlement.lost(batch, error, self.simulation.timers.now)
            self._after_answer()
        self.pump()

    def answered(self, request: ModelRequest) -> None:
        """Settle what an answer speaks of, and what it leaves out."""
        simulation = self.simulation
        now = simulation.timers.now
        for place, batch in request.asked.items():
            answer = request.answers.get(place)
            if answer is None:
                simulation.settlement.lost(batch, no_answer(batch, self.node.node_id), now)
                continue
            simulation.settlement.answered(batch, answer, now)
            if answer.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER and simulation.dice.chance(0.5):
                simulation.take_hint(place)
        self._after_answer()

    def _after_answer(self) -> None:
        self.node.armed = BLOCKED
        self.simulation.released()
        self.pump()

    def _is_busy(self) -> bool:
        connection = self.connection
        in_flight = len(connection.pending) if connection is not None else 0
        return self._is_compressing or in_flight >= REQUESTS_IN_FLIGHT

    def _may_send(self) -> bool:
        if self.node.is_empty() or self._is_busy():
            return False
        if self.connection is None:
            if not self._is_connecting:
                self._is_connecting = True
                timers = self.simulation.timers
                timers.call_at(timers.now + self.simulation.latency(), self._connected)
            return False
        return True

    def _connected(self) -> None:
        self._is_connecting = False
        if not self.is_closed:
            self.simulation.verify_cluster()
            self.connection = ModelConnection(self)
            self.pump()

    def _plan_at(self, when: float) -> None:
        self._planned += 1
        planned = self._planned

        def look() -> None:
            if self._planned == planned:
                self.pump()

        self.simulation.timers.call_at(when, look)

    def _compressed(self, batches: list[ProducerBatch]) -> None:
        self._is_compressing = False
        if self.connection is not None:
            self._write(batches)
        else:
            for batch in batches:
                self.simulation.settlement.unsent(batch, None, self.simulation.timers.now)
        self.pump()

    def _write(self, batches: list[ProducerBatch]) -> None:
        simulation = self.simulation
        now = simulation.timers.now
        asked: dict[Place, ProducerBatch] = {}
        for batch in batches:
            if batch.result.done or not simulation.ordering.assign(batch):
                simulation.settlement.unsent(batch, None, now)
            else:
                asked[batch.queue.topic, batch.queue.partition] = batch
        if not asked:
            return
        parts = {}
        for place, batch in asked.items():
            stamped = batch.builder.stamp(
                batch.producer_id, batch.producer_epoch, batch.sequence, transactional=False
            )
            parts[place] = bytes(stamped)
        assert self.connection is not None
        self.connection.send(ModelRequest(parts, asked, now + REQUEST_TIMEOUT, simulation.cluster))
