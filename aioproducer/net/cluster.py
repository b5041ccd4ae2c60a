"""The cluster: the search for it, its metadata, and a broker and a sender for each node.

bootstrap servers ──first response──▶ Metadata ──▶ nodes, leaders ──▶ accumulator
                                         ▲
  age, error, new topic, stale leader ───┘  requested from the least loaded broker
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import checkpoint

from aioproducer.config.kinds import format_address
from aioproducer.core.batch import NEVER
from aioproducer.core.queues import NO_LEADER
from aioproducer.error_code import ErrorCode
from aioproducer.errors import AuthenticationError, BrokerConnectionError, ConfigurationError
from aioproducer.net.ask import Ask
from aioproducer.net.bootstrap import Bootstrap
from aioproducer.net.broker import Broker
from aioproducer.net.endpoint import Endpoint
from aioproducer.net.timer import late_timeout
from aioproducer.net.verification import Verification
from aioproducer.protocol.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aioproducer.core.accumulator import Accumulator
    from aioproducer.core.cluster_view import MetadataChange, Node
    from aioproducer.core.metadata import Metadata
    from aioproducer.core.queues import NodeQueue
    from aioproducer.core.settlement import Settlement
    from aioproducer.errors import BootstrapError, ProducerError
    from aioproducer.net.client_context import ClientContext
    from aioproducer.net.outages import Outages
    from aioproducer.net.sender import Sender
    from aioproducer.net.sender_factory import SenderFactory
    from aioproducer.net.setup import Setup
    from aioproducer.net.tasks import Tasks
    from aioproducer.protocol.produce import NodeEndpoint

logger = logging.getLogger("aioproducer.cluster")

FIND_NODES = MetadataRequest(topics=(), allow_auto_topic_creation=False)
"""The request to bootstrap servers: all nodes, no topics."""


class Cluster:
    """The nodes of the cluster, and the task that keeps the metadata fresh.

    It is the listener of its brokers. `sender_factory` makes the sender of each new node.
    """

    def __init__(
        self,
        client: ClientContext,
        *,
        metadata: Metadata,
        accumulator: Accumulator,
        settlement: Settlement,
        tasks: Tasks,
        sender_factory: SenderFactory,
        outages: Outages,
    ) -> None:
        self.metadata = metadata
        self.brokers: dict[int, Broker] = {}
        self.ask = Ask(client, self.brokers, outages)
        self.is_found = False
        self._senders: dict[int, Sender] = {}
        self._client = client
        self._clock = client.clock
        self._accumulator = accumulator
        self._settlement = settlement
        self._tasks = tasks
        self._sender_factory = sender_factory
        self._outages = outages
        self._bootstrap = Bootstrap(client, FIND_NODES)
        self._is_search_failing = False
        self._finders: set[asyncio.Future[None]] = set()
        self._refresh_due = asyncio.Event()
        self._verification = Verification(client, metadata, settlement)
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}

    async def find(self, timeout: float) -> None:
        """Ask the bootstrap servers until one responds; raises BootstrapError after `timeout` seconds.

        With a timeout of 0 each address is tried once, within the limits of one attempt.
        """
        started = self._clock()
        limit = timeout or self._client.config.delivery_timeout
        with suppress(TimeoutError), late_timeout(limit):
            while not await self._ask_bootstrap(within=limit):
                waited = self._clock() - started
                # Names that cannot be resolved end the search after bootstrap_resolve_timeout_ms
                # (KIP-909).
                is_hopeless = self._bootstrap.only_names_failed
                if not timeout or (is_hopeless and waited >= self._client.config.bootstrap_resolve_timeout):
                    break
                await anyio.sleep(max(0.0, self.metadata.next_refresh(self._clock()) - self._clock()))
            else:
                return
        raise self.bootstrap_error(self._clock() - started)

    async def wait_until_found(self) -> None:
        """Wait until the cluster is found, or until `wake_waiters`."""
        if not self.is_found:
            finder: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._finders.add(finder)
            try:
                await finder
            finally:
                self._finders.discard(finder)

    def bootstrap_error(self, waited: float) -> BootstrapError:
        """Return the error of a search of `waited` seconds, with the cause at each address."""
        return self._bootstrap.error(waited)

    async def run(self) -> None:
        """Find the cluster, unless `find` did, and keep the metadata fresh, until cancelled."""
        while not self.is_found and not await self._ask_bootstrap_again():
            now = self._clock()
            await anyio.sleep(max(0.0, self.metadata.next_refresh(now) - now))
        while True:
            now = self._clock()
            when = self.metadata.next_refresh(now)
            if when > now:
                self._refresh_due.clear()
                with anyio.move_on_after(when - now):
                    await self._refresh_due.wait()
                continue
            self._forget_idle_topics(now)
            await self._refresh(now)

    def request_update(self) -> None:
        """Refresh the metadata as soon as the backoff allows."""
        self.metadata.request_update(self._clock())
        # `run` waits for the next refresh: let it compute the time anew.
        self._refresh_due.set()

    def want_topic(self, topic: str) -> None:
        """Request a topic's metadata; again if it is known but lacks a partition."""
        now = self._clock()
        self.metadata.want(topic, now)
        # The topic is known, but not the partition of a record: it may have been added since.
        if topic in self.metadata.topics:
            self.metadata.request_update(now)
        self._refresh_due.set()

    async def wait_for_topic(self, topic: str) -> None:
        """Wait for the next Metadata response to a request for the topic."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(topic, set())
        waiters.add(waiter)
        self.want_topic(topic)
        try:
            await waiter
        finally:
            waiters.discard(waiter)

    def take_hint(
        self, topic: str, partition: int, leader_id: int, leader_epoch: int, endpoints: Iterable[NodeEndpoint]
    ) -> None:
        """Apply the leader that a Produce response names (KIP-951)."""
        change = self.metadata.apply_leader_hint(topic, partition, leader_id, leader_epoch, tuple(endpoints))
        if change is not None:
            self._apply(change)

    def wake(self, node: NodeQueue) -> None:
        """Wake the sender of a node, or refresh the metadata for partitions without a leader."""
        sender = self._senders.get(node.node_id)
        if sender is not None:
            sender.wake()
        elif node.node_id == NO_LEADER:
            # This queue has no sender. A partition moves to another when its leader is found.
            node.block()
            self._refresh_due.set()

    def is_idle(self) -> bool:
        """Return whether no record is in a batch."""
        return not self._accumulator.incomplete

    def broker_changed(self, broker: Broker) -> None:
        """Let the sender of a broker send, or connect."""
        sender = self._senders.get(broker.node_id)
        # The node may have moved: its new sender has another broker.
        if sender is not None and sender.broker is broker:
            # A new connection, a lost one, or one that takes bytes again: the sender decides what
            # follows.
            sender.pump()

    def broker_lost(self, broker: Broker) -> None:  # noqa: ARG002 - any broker may lead other partitions now
        """Refresh the metadata: other brokers may lead the partitions now."""
        self.request_update()

    def broker_refused(self, broker: Broker, error: AuthenticationError) -> None:
        """Fail the batches for a broker that this client cannot authenticate with, as Java does."""
        sender = self._senders.get(broker.node_id)
        if sender is not None and sender.broker is broker:
            self._settlement.refuse_node(broker.node_id, error, self._clock())

    def close(self, error: ProducerError) -> None:
        """Close all connections."""
        for sender in self._senders.values():
            sender.close()
        for broker in self.brokers.values():
            broker.close(error)
        self._client.close()
        self.wake_waiters()

    def wake_waiters(self) -> None:
        """Wake all waiting calls: the producer's state has changed."""
        for topic in list(self._waiters):
            self._wake_waiters(topic)
        self._wake_finders()

    def _wake_finders(self) -> None:
        finders, self._finders = self._finders, set()
        for finder in finders:
            if not finder.done():
                finder.set_result(None)

    def _wake_waiters(self, topic: str) -> None:
        for waiter in self._waiters.pop(topic, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def _refresh(self, now: float) -> None:
        metadata = self.metadata
        if metadata.needs_rebootstrap(now):
            await self._rebootstrap("no metadata for too long, or a broker asks for it")
            return
        asked = metadata.start_refresh(now)
        request = MetadataRequest(
            topics=tuple(MetadataRequestTopic(name=topic) for topic in asked), allow_auto_topic_creation=True
        )
        outcome = await self.ask.attempt(request)
        if outcome is None or outcome.response is None:
            metadata.failed(self._clock())
            if outcome is not None and outcome.error is not None:
                self._outages.metadata_failed(outcome.broker.outage() or outcome.error)
                if isinstance(outcome.error, AuthenticationError):
                    self._refused(outcome.error)
            # All known brokers back off: the cluster may have moved to other addresses (KIP-899).
            if outcome is None and self._client.config.metadata_recovery_strategy == "rebootstrap":
                await self._rebootstrap("no known broker can be connected to")
            return
        self._outages.metadata_received()
        response = outcome.response
        version = outcome.broker.version(request.api_key, request.versions)
        self._take(response, asked, reliable_epochs=version >= response.reliable_epochs_from)

    async def verify(self, setup: Setup) -> None:
        """Check that a new connection leads to the cluster that gave the producer id."""
        other = await self._verification.run(setup)
        if other is not None:
            self._take(other.response, other.asked, reliable_epochs=other.has_reliable_epochs)
            self.request_update()

    async def _fail_rejected(self) -> None:
        # In a task of its own: new records may need the metadata task in the meantime.
        while self._settlement.fail_rejected():
            await checkpoint()

    async def _rebootstrap(self, reason: str) -> None:
        logger.info("asking the bootstrap servers again: %s", reason)
        self.metadata.rebootstrapped(self._clock())
        await self._ask_bootstrap_again()

    async def _ask_bootstrap_again(self) -> bool:
        try:
            return await self._ask_bootstrap()
        except (AuthenticationError, ConfigurationError) as error:
            self._search_failed(f"{error}")
            self._refused(error)
            return False

    async def _ask_bootstrap(self, *, within: float = NEVER) -> bool:
        self.metadata.start_refresh(self._clock())
        now = self._clock()
        # Leave out the addresses that have just failed for a broker: they back off.
        answer = await self._bootstrap.ask(
            {
                broker.address: broker.last_error
                for broker in self.brokers.values()
                if broker.last_error is not None and now < broker.backing_off_until
            },
            within=within,
        )
        if answer is None:
            self._search_failed(self._bootstrap.summary())
            return False
        if self._is_search_failing:
            self._is_search_failing = False
            logger.info("a bootstrap server answers again")
        response, version = answer
        self._take(response, (), reliable_epochs=version >= response.reliable_epochs_from)
        self._outages.metadata_received()
        self.is_found = True
        self._wake_finders()
        return True

    def _search_failed(self, summary: str) -> None:
        self.metadata.failed(self._clock())
        # The first failure is logged at WARNING, repetitions at INFO.
        level = logging.INFO if self._is_search_failing else logging.WARNING
        self._is_search_failing = True
        self._outages.metadata_failed(BrokerConnectionError(f"no bootstrap server can be used: {summary}"))
        logger.log(level, "no bootstrap server can be used: %s", summary)

    def _refused(self, error: ProducerError) -> None:
        """Fail waiting records and calls: no metadata comes until the credentials are changed."""
        self._outages.refused(error)
        self._settlement.refuse_waiting(error)
        if self._settlement.fail_rejected():
            self._tasks.spawn("rejection", self._fail_rejected)
        self.wake_waiters()

    def _take(self, response: MetadataResponse, asked: tuple[str, ...], *, reliable_epochs: bool) -> None:
        change = self.metadata.update(response, asked, self._clock(), reliable_epochs=reliable_epochs)
        if change.error is not ErrorCode.NONE:
            logger.warning("a Metadata response has the error %s", change.error.name)
            return
        self._apply(change)
        self._settlement.topic_errors(dict(change.errors))
        if self._settlement.fail_rejected():
            self._tasks.spawn("rejection", self._fail_rejected)
        for topic in asked:
            self._wake_waiters(topic)
        # A record may wait for a topic that the metadata knows and the accumulator has forgotten.
        found = [
            topic for topic in self._accumulator.buffer.records.topics() if topic in self.metadata.topics
        ]
        for topic in found:
            self._introduce(topic)
        self._accumulator.admit(found)
        if any(topic in self.metadata.topics for topic in self._accumulator.buffer.records.topics()):
            # The topic is known, but not the partition of the record: new partitions appear late.
            self.metadata.request_update(self._clock())

    def _apply(self, change: MetadataChange) -> None:
        if change.is_other_cluster:
            logger.warning("another cluster answers, its id is %s", self.metadata.cluster_id)
            self._settlement.logs_replaced()
        elif change.recreated:
            for topic in sorted(change.recreated):
                logger.warning("topic %r was deleted and created anew", topic)
            self._settlement.logs_replaced(change.recreated)
        for node_id in change.removed_nodes:
            self._remove_node(node_id, "it is not in the cluster any more")
        for node in change.nodes:
            # Connect anew even where the address is the same: new connections are verified.
            address = format_address(node.host, node.port)
            where = "of another cluster" if change.is_other_cluster else f"at {address}"
            # Batches in flight there are lost and retried on the new connection.
            self._remove_node(node.id, f"it is {where} now")
            self._add_node(node)
        for topic in change.sizes:
            self._introduce(topic)
        for topic, partition, leader_id, leader_epoch in change.leaders:
            if topic in self._accumulator.topics:
                self._accumulator.set_leader(topic, partition, leader_id, leader_epoch)

    def _introduce(self, topic: str) -> None:
        known = self.metadata.topics[topic]
        self._settlement.topic_found(topic)
        self._accumulator.set_partitions(topic, len(known.partitions), known.topic_id)
        for partition in known.partitions:
            self._accumulator.set_leader(topic, partition.index, partition.leader_id, partition.leader_epoch)

    def _add_node(self, node: Node) -> None:
        broker = Broker(Endpoint(node.id, node.host, node.port), self._client, self)
        self.brokers[node.id] = broker
        self._outages.broker_added(broker)
        self._senders[node.id] = self._sender_factory.make(broker)
        self._tasks.spawn(f"broker-{node.id}", broker.run)
        # The node's queue may have batches already: ask for a connection.
        self._senders[node.id].pump()

    def _remove_node(self, node_id: int, reason: str) -> None:
        broker = self.brokers.pop(node_id, None)
        if broker is not None:
            self._outages.broker_removed(node_id)
            self._senders.pop(node_id).close()
            broker.close(BrokerConnectionError(f"broker {node_id} at {broker.address} is dropped: {reason}"))

    def _forget_idle_topics(self, now: float) -> None:
        accumulator = self._accumulator
        for topic, topic_queue in accumulator.topics.items():
            self.metadata.touch(topic, topic_queue.last_used)
        for topic in self.metadata.expire(now, accumulator.busy_topics()):
            # The sequences stay in `Sequences`: the broker remembers them longer than this client
            # does.
            accumulator.forget_topic(topic)
            self._settlement.topic_forgotten(topic)
