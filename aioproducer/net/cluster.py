"""The cluster: finding it, knowing who leads what, and a broker and sender for every node.

bootstrap addresses ──first that answers──▶ Metadata ──▶ nodes, leaders ──▶ accumulator
                                               ▲
        age, error, new topic, stale leader ───┘  asked of the least loaded broker
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from aioproducer.config.kinds import format_address
from aioproducer.core.batch import NEVER
from aioproducer.core.metadata_cache import ClusterCheck
from aioproducer.core.queues import NO_LEADER
from aioproducer.error_code import ErrorCode
from aioproducer.errors import BootstrapError, BrokerConnectionError
from aioproducer.net.bootstrap import Bootstrap
from aioproducer.net.race import Race
from aioproducer.net.timer import late_timeout
from aioproducer.protocol.api import ApiKey, Response
from aioproducer.protocol.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from aioproducer.config import ProducerConfig
    from aioproducer.core.accumulator import Accumulator
    from aioproducer.core.metadata import Metadata
    from aioproducer.core.metadata_cache import MetadataChange, Node
    from aioproducer.core.queues import NodeQueue
    from aioproducer.core.settlement import Settlement
    from aioproducer.errors import ProducerError
    from aioproducer.net.broker import Broker
    from aioproducer.net.lifecycle import Lifecycle
    from aioproducer.net.outages import Outages
    from aioproducer.net.race import Outcome
    from aioproducer.net.sender import Sender
    from aioproducer.protocol.api import Request
    from aioproducer.protocol.produce import NodeEndpoint

logger = logging.getLogger("aioproducer.cluster")

R = TypeVar("R", bound=Response)

TOPICS_TO_VERIFY = 100
"""How many topics are asked about on a new connection at most."""


class Cluster:
    """The nodes of the cluster, and the task that keeps the metadata fresh.

    `make_broker(node_id, host, port)` and `make_sender(broker)` build what a new node needs.
    """

    def __init__(
        self,
        *,
        config: ProducerConfig,
        metadata: Metadata,
        accumulator: Accumulator,
        settlement: Settlement,
        lifecycle: Lifecycle,
        clock: Callable[[], float],
        random: Callable[[], float],
        make_broker: Callable[[int, str, int], Broker],
        make_sender: Callable[[Broker], Sender],
        outages: Outages,
    ) -> None:
        self.metadata = metadata
        self.brokers: dict[int, Broker] = {}
        self.senders: dict[int, Sender] = {}
        self._config = config
        self._accumulator = accumulator
        self._settlement = settlement
        self._lifecycle = lifecycle
        self._clock = clock
        self._random = random
        self._make_broker = make_broker
        self._make_sender = make_sender
        self._outages = outages
        self._bootstrap = Bootstrap(config, make_broker)
        self._is_lost = False
        self.is_found = False
        self._finders: set[asyncio.Future[None]] = set()
        self._due = asyncio.Event()
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}

    async def find(self, timeout: float) -> None:
        """Ask the bootstrap servers until one answers; raises BootstrapError after `timeout` seconds.

        With a timeout of 0 each address is tried once, for as long as an attempt may take.
        """
        started = self._clock()
        limit = timeout or self._config.delivery_timeout
        with suppress(TimeoutError), late_timeout(limit):
            while not await self._ask_bootstrap(within=limit):
                waited = self._clock() - started
                is_hopeless = self._bootstrap.only_names_failed
                if not timeout or (is_hopeless and waited >= self._config.bootstrap_resolve_timeout):
                    break
                await anyio.sleep(max(0.0, self.metadata.next_refresh(self._clock()) - self._clock()))
            else:
                return
        raise self.bootstrap_error(self._clock() - started)

    async def wait_until_found(self) -> None:
        """Return when the cluster is found, or when waiters have to look at the producer's state."""
        if not self.is_found:
            finder: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._finders.add(finder)
            try:
                await finder
            finally:
                self._finders.discard(finder)

    def bootstrap_error(self, waited: float) -> BootstrapError:
        """Make the error of a search that has taken `waited` seconds, with the cause at each address."""
        causes = dict(self._bootstrap.causes)
        for host, port in self._config.bootstrap_servers:
            causes.setdefault(format_address(host, port), BrokerConnectionError("no answer in time"))
        listed = "; ".join(f"{address}: {cause}" for address, cause in causes.items())
        msg = f"none of the bootstrap servers could be used within {waited:.1f} s: {listed}"
        return BootstrapError(msg, causes=causes)

    async def run(self) -> None:
        """Find the cluster, unless it is found, and keep the metadata fresh, until cancelled."""
        while not self.is_found and not await self._ask_bootstrap():
            now = self._clock()
            await anyio.sleep(max(0.0, self.metadata.next_refresh(now) - now))
        while True:
            now = self._clock()
            when = self.metadata.next_refresh(now)
            if when > now:
                self._due.clear()
                with anyio.move_on_after(when - now):
                    await self._due.wait()
                continue
            self._forget_idle_topics(now)
            await self._refresh(now)

    def request_update(self) -> None:
        """Have the metadata refreshed as soon as the backoff allows."""
        self.metadata.request_update(self._clock())
        self._due.set()

    def want_topic(self, topic: str) -> None:
        """Have a topic found; a known one, of which a partition is missing, is asked for again."""
        now = self._clock()
        self.metadata.want(topic, now)
        if topic in self.metadata.topics:
            self.metadata.request_update(now)
        self._due.set()

    async def wait_for_topic(self, topic: str) -> None:
        """Return when the next answer that concerns the topic has come."""
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
        """Take in a leader that a produce answer names (KIP-951)."""
        change = self.metadata.apply_leader_hint(topic, partition, leader_id, leader_epoch, tuple(endpoints))
        if change is not None:
            self._apply(change)

    def wake(self, node: NodeQueue) -> None:
        """Have a node's sender look at its queue, or find out who leads what nobody seems to lead."""
        sender = self.senders.get(node.node_id)
        if sender is not None:
            sender.wake()
        elif node.node_id == NO_LEADER:
            # Nobody sends from here; when a leader is found the partition moves.
            node.block()
            self._due.set()

    def is_idle(self) -> bool:
        """Return whether no record is in a batch."""
        return not self._accumulator.incomplete

    async def ask(self, request: Request[R]) -> Outcome[R] | None:
        """Send a request that any broker can answer; None if there is no broker to ask."""
        return await Race(request, self.least_loaded, timeout=self._config.request_timeout).run()

    def least_loaded(self, besides: Collection[Broker] = ()) -> Broker | None:
        """Return the broker that a request of no particular address had best go to, None if there is none."""
        brokers = [broker for broker in self.brokers.values() if broker not in besides]
        if not brokers:
            return None
        start = int(self._random() * len(brokers))
        brokers = brokers[start:] + brokers[:start]
        now = self._clock()
        ready = [broker for broker in brokers if broker.is_ready and now >= broker.throttled_until]
        if ready:
            return min(ready, key=lambda broker: broker.in_flight)
        free = [broker for broker in brokers if now >= broker.backing_off_until]
        return min(free, key=lambda broker: broker.last_attempt) if free else None

    def close(self, error: ProducerError) -> None:
        """Close all connections."""
        for sender in self.senders.values():
            sender.close()
        for broker in self.brokers.values():
            broker.close(error)
        self.wake_waiters()

    def wake_waiters(self) -> None:
        """Let those who wait for a topic, or for the cluster, look again."""
        for topic in list(self._waiters):
            self._tell_waiters(topic)
        self._tell_finders()

    def _tell_finders(self) -> None:
        finders, self._finders = self._finders, set()
        for finder in finders:
            if not finder.done():
                finder.set_result(None)

    def _tell_waiters(self, topic: str) -> None:
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
        outcome = await self.ask(request)
        if outcome is None or outcome.response is None:
            metadata.failed(self._clock())
            if outcome is not None and outcome.error is not None:
                self._outages.metadata_failed(outcome.broker.outage() or outcome.error)
            if outcome is None and self._config.metadata_recovery_strategy == "rebootstrap":
                await self._rebootstrap("no known broker can be connected to")
            return
            return
        self._outages.metadata_received()
        response = outcome.response
        version = outcome.broker.version(request.api_key, request.versions)
        self._take(response, asked, reliable_epochs=version >= response.reliable_epochs_from)

    async def _verify(self, broker: Broker) -> None:
        """Check that a new connection leads to the cluster that gave the producer id.

        Another cluster may listen at the address by now. It takes batches under a foreign producer id
        for duplicates of its own producer's. A cluster that was restored from a backup may have the
        same id, but has other topic ids, or no topics yet.
        """
        if not self._settlement.is_bound:
            return
        version = broker.version(ApiKey.METADATA, MetadataRequest.without_topic_creation)
        asked = self.metadata.sample(TOPICS_TO_VERIFY) if version >= MetadataResponse.topic_ids_from else ()
        request = MetadataRequest(
            topics=tuple(MetadataRequestTopic(name=topic) for topic in asked), allow_auto_topic_creation=False
        )
        response = await broker.request_in_setup(request, version)
        if not response.brokers:
            msg = f"{broker.address} knows no brokers yet"
            raise BrokerConnectionError(msg)
        check = self.metadata.verify(response)
        if check is ClusterCheck.OTHER:
            self._take(response, asked, reliable_epochs=version >= response.reliable_epochs_from)
            self.request_update()
        elif check is ClusterCheck.EMPTY:
            logger.warning("%s has none of the topics that were produced to", broker.address)
            self._settlement.logs_replaced(frozenset(asked))

    async def _fail_rejected(self) -> None:
        # In a task of its own: records that come meanwhile may need the metadata task.
        while self._settlement.fail_rejected():
            await checkpoint()

    async def _rebootstrap(self, why: str) -> None:
        logger.info("asking the bootstrap servers anew: %s", why)
        self.metadata.rebootstrapped(self._clock())
        await self._ask_bootstrap()

    async def _ask_bootstrap(self, *, within: float = NEVER) -> bool:
        self.metadata.start_refresh(self._clock())
        now = self._clock()
        answer = await self._bootstrap.ask(
            {
                broker.address: broker.last_error
                for broker in self.brokers.values()
                if broker.last_error is not None and now < broker.backing_off_until
            },
            within=within,
        )
        if answer is None:
            self.metadata.failed(self._clock())
            # The first failure is logged at WARNING, repetitions at INFO.
            level = logging.INFO if self._is_lost else logging.WARNING
            self._is_lost = True
            summary = self._bootstrap.summary()
            self._outages.metadata_failed(
                BrokerConnectionError(f"no bootstrap server can be used: {summary}")
            )
            logger.log(level, "no bootstrap server can be used: %s", summary)
            return False
        if self._is_lost:
            self._is_lost = False
            logger.info("a bootstrap server answers again")
        response, version = answer
        self._take(response, (), reliable_epochs=version >= response.reliable_epochs_from)
        self.is_found = True
        self._tell_finders()
        return True

    def _take(self, response: MetadataResponse, asked: tuple[str, ...], *, reliable_epochs: bool) -> None:
        change = self.metadata.update(response, asked, self._clock(), reliable_epochs=reliable_epochs)
        if change.error is not ErrorCode.NONE:
            logger.warning("a metadata answer is an error: %s", change.error.name)
            return
        self._apply(change)
        self._settlement.topic_errors(dict(change.errors))
        if self._settlement.fail_rejected():
            self._lifecycle.spawn("rejection", self._fail_rejected)
        for topic in asked:
            self._tell_waiters(topic)
        # A record may wait for a topic that was known, but not to the accumulator any more.
        found = [
            topic for topic in self._accumulator.buffer.records.topics() if topic in self.metadata.topics
        ]
        for topic in found:
            self._introduce(topic)
        self._accumulator.admit(found)
        if any(topic in self.metadata.topics for topic in self._accumulator.buffer.records.topics()):
            # The topic is known, the partition is not yet.
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
            # The connections to another cluster are new, so that each is verified.
            address = format_address(node.host, node.port)
            where = "of another cluster" if change.is_other_cluster else f"at {address}"
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
        broker = self._make_broker(node.id, node.host, node.port)
        broker.on_lost = self.request_update
        broker.on_open = self._verify
        self.brokers[node.id] = broker
        self._outages.broker_added(broker)
        self.senders[node.id] = self._make_sender(broker)
        self._lifecycle.spawn(f"broker-{node.id}", broker.run)
        self.senders[node.id].pump()

    def _remove_node(self, node_id: int, why: str) -> None:
        broker = self.brokers.pop(node_id, None)
        if broker is not None:
            self._outages.broker_removed(node_id)
            self.senders.pop(node_id).close()
            broker.close(BrokerConnectionError(f"broker {node_id} at {broker.address} is let go: {why}"))

    def _forget_idle_topics(self, now: float) -> None:
        accumulator = self._accumulator
        for topic, topic_queue in accumulator.topics.items():
            self.metadata.touch(topic, topic_queue.last_used)
        for topic in self.metadata.expire(now, accumulator.busy_topics()):
            accumulator.forget_topic(topic)
            self._settlement.topic_forgotten(topic)
