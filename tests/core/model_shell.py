"""The shell of a producer without sockets: senders, connections, timers, and random faults.

It carries out the decisions of the core's send loop as `aioproducer.net` does: a sender looks at its node
only after a wake-up, a timer, a response or a new connection. A wake-up that the core forgets is missing
here, too.

    Simulation ── ModelSender 0 ── ModelConnection ──▶ PartitionLog t-0
        │     └── ModelSender 1 ── ModelConnection ──▶ PartitionLog t-1 …
     Accumulator, Sequences, Settlement, Dispatch, ProduceRequests
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING, TypeAlias, assert_never

from aioproducer.core.batch import NEVER
from aioproducer.core.dispatch import Connect, Dispatch, Send, Wait
from aioproducer.core.failures import no_response
from aioproducer.error_code import ErrorCode
from aioproducer.errors import BrokerConnectionError
from aioproducer.protocol.fields import ZERO_UUID
from aioproducer.protocol.produce import (
    BatchIndexAndErrorMessage,
    PartitionProduceResponse,
    ProduceResponse,
    TopicProduceResponse,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from aioproducer.core.batch import ProducerBatch
    from aioproducer.core.produce_request import ProduceCall
    from aioproducer.core.queues import NodeQueue
    from tests.core.model_broker import PartitionLog
    from tests.core.simulation import Simulation

Place: TypeAlias = tuple[str, int]

VERSION = 9
"""Names topics by name."""

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
    """A Produce request on its way, and the partitions' responses to it so far."""

    call: ProduceCall
    deadline: float
    cluster: int
    answers: dict[Place, PartitionProduceResponse] = field(default_factory=dict)
    parts: dict[Place, bytes] = field(init=False)

    def __post_init__(self) -> None:
        # The bytes as they are sent: a retry stamps the same buffer again.
        self.parts = {
            (topic.name, data.index): bytes(data.records or b"")
            for topic in self.call.request.topic_data
            for data in topic.partition_data
        }

    def response(self) -> ProduceResponse:
        """Return the response to the request."""
        topics: dict[str, list[PartitionProduceResponse]] = {}
        for (topic, _), answer in self.answers.items():
            topics.setdefault(topic, []).append(answer)
        return ProduceResponse(
            responses=tuple(
                TopicProduceResponse(topic, ZERO_UUID, tuple(answers)) for topic, answers in topics.items()
            )
        )


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
    """The sender of one node and its connection: carries out the decisions of the real `Dispatch`."""

    def __init__(self, simulation: Simulation, node: NodeQueue) -> None:
        self.simulation = simulation
        self.node = node
        self.connection: ModelConnection | None = None
        self.is_closed = False
        self.dispatch = Dispatch(
            node,
            simulation.schedule,
            simulation.ordering,
            simulation.settlement,
            simulation,
            max_in_flight=REQUESTS_IN_FLIGHT,
            max_request_size=MAX_REQUEST,
        )
        self._is_connecting = False
        self._planned = 0

    def wake(self) -> None:
        """Look at the node when it is due."""
        self._look_at(self.dispatch.wake(self.simulation.timers.now))

    def pump(self) -> None:
        """Carry out decisions until there is nothing more to send."""
        if self.is_closed:
            return
        self._planned += 1
        now = self.simulation.timers.now
        while True:
            decision = self.dispatch.decide(now, None if self.connection is None else now)
            match decision:
                case Send(batches):
                    self._compress(batches)
                case Connect():
                    self._connect()
                    return
                case Wait(until):
                    self._look_at(until)
                    return
                case _:
                    assert_never(decision)

    def close(self) -> None:
        """Stop: another sender takes the node over."""
        self.is_closed = True
        self.dispatch.close()
        if self.connection is not None:
            self.connection.drop()

    def lost_connection(self) -> None:
        """Settle the batches of all requests in flight, oldest first."""
        connection, self.connection = self.connection, None
        assert connection is not None
        pending, connection.pending = connection.pending, deque()
        error = BrokerConnectionError("the connection was lost")
        for request in pending:
            self.dispatch.request_ended()
            for batch in request.call.batches():
                self.simulation.settlement.lost(batch, error, self.simulation.timers.now)
            self.pump()
        self.pump()

    def answered(self, request: ModelRequest) -> None:
        """Settle the batches of a response."""
        simulation = self.simulation
        now = simulation.timers.now
        self.dispatch.request_ended()
        matches = request.call.match(request.response(), VERSION)
        for batch, partition in matches.pairs:
            simulation.settlement.settle(batch, partition, now)
            if partition.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER and simulation.dice.chance(0.5):
                simulation.take_hint((batch.queue.topic, batch.queue.partition))
        for batch in matches.missing:
            simulation.settlement.lost(batch, no_response(batch, self.node.node_id), now)
        assert not matches.unexpected
        self.pump()

    def _connect(self) -> None:
        if not self._is_connecting:
            self._is_connecting = True
            timers = self.simulation.timers
            timers.call_at(timers.now + self.simulation.latency(), self._connected)

    def _connected(self) -> None:
        self._is_connecting = False
        if not self.is_closed:
            self.simulation.verify_cluster()
            self.connection = ModelConnection(self)
            self.pump()

    def _look_at(self, when: float) -> None:
        self._planned += 1
        planned = self._planned

        def look() -> None:
            if self._planned == planned:
                self.pump()

        if when < NEVER:
            self.simulation.timers.call_at(when, look)

    def _compress(self, batches: list[ProducerBatch]) -> None:
        simulation = self.simulation
        if simulation.dice.chance(0.2):
            self.dispatch.compression_started()
            ready_at = simulation.timers.now + simulation.latency()
            simulation.timers.call_at(ready_at, lambda: self._compressed(batches))
        else:
            self._write(batches)

    def _compressed(self, batches: list[ProducerBatch]) -> None:
        self.dispatch.compression_ended()
        if self.connection is not None:
            self._write(batches)
        else:
            self.dispatch.give_back(batches, self.simulation.timers.now)
        self.pump()

    def _write(self, batches: list[ProducerBatch]) -> None:
        simulation = self.simulation
        now = simulation.timers.now
        batches = self.dispatch.assign(batches, now)
        if not batches:
            return
        assert self.connection is not None
        call = simulation.requests.build(batches)
        self.dispatch.request_sent()
        self.connection.send(ModelRequest(call, now + REQUEST_TIMEOUT, simulation.cluster))
