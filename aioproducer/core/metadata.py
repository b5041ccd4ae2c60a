"""Metadata: the state of the cluster, and when to refresh which part of it.

Several reasons make a refresh due; one time delays it. The task that refreshes only follows:

    want ─────────────── a topic is new ──┐
    update ────── a topic is in error ────┤                                     ┌─▶ update
           ────── or has no leader ───────┼─▶ next_refresh ──▶ start_refresh ───┤
    request_update ── a leader is stale ──┤      (sleep)            (ask)       └─▶ failed
    max_age ───── all of it is too old ───┘

A new topic is asked for at once. Other refreshes wait for the first backoff after a response, longer
while responses bring no change (an election may take seconds), and longer with each failure. One request
asks for all topics if all are due, otherwise for the new ones, those in error and those without a leader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.core.metadata_cache import FINAL_TOPIC_ERRORS, MetadataCache
from aioproducer.core.metadata_refresh import RefreshPlan, Scope
from aioproducer.error_code import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from aioproducer.core.backoff import Backoff
    from aioproducer.core.cluster_view import MetadataChange, Node, TopicMetadata
    from aioproducer.core.metadata_cache import ClusterCheck
    from aioproducer.protocol.metadata import MetadataResponse
    from aioproducer.protocol.produce import NodeEndpoint


class Metadata:
    """The known cluster, the topics of interest, and the next refresh.

    Times are in seconds. `max_age` is the longest time between two full refreshes, a topic
    unused for `max_idle` is dropped, `rebootstrap_trigger` is the longest time without a
    response when one is needed (KIP-1102), None for `metadata_recovery_strategy` "none".
    """

    __slots__ = (
        "_cache",
        "_due",
        "_max_idle",
        "_must_rebootstrap",
        "_needed_since",
        "_never_answered",
        "_plan",
        "_rebootstrap_trigger",
        "_used",
        "errors",
        "nodes",
        "topics",
    )

    def __init__(
        self,
        *,
        max_age: float,
        max_idle: float,
        backoff: Backoff,
        rebootstrap_trigger: float | None = None,
    ) -> None:
        self._plan = RefreshPlan(max_age, backoff)
        self._max_idle = max_idle
        self._rebootstrap_trigger = rebootstrap_trigger

        self._cache = MetadataCache()
        self.nodes: Mapping[int, Node] = self._cache.nodes
        """The brokers that are alive, by node id."""
        self.topics: Mapping[str, TopicMetadata] = self._cache.topics
        """The topics of interest that are known, by name."""
        self.errors: dict[str, ErrorCode] = {}
        """The errors of topics in the last responses about them."""

        # Topics of interest with the time of their last use; the part of them to ask for before the
        # next full refresh; the part of that which no response has contained yet.
        self._used: dict[str, float] = {}
        self._due: set[str] = set()
        self._never_answered: set[str] = set()

        self._needed_since: float | None = None
        self._must_rebootstrap = False

    @property
    def cluster_id(self) -> str | None:
        """The cluster's id, None before the first response."""
        return self._cache.cluster_id

    def age(self, now: float) -> float:
        """Return the seconds since all topics were last refreshed, 0.0 if they never were."""
        return self._plan.age(now)

    def want(self, topic: str, now: float) -> None:
        """Add a topic of interest; a refresh becomes due if it is unknown."""
        is_first = topic not in self._used
        self._used[topic] = now
        if topic in self.topics:
            return
        # A topic that is due waits for the backoff, one that was never answered does not.
        self._due.add(topic)
        if is_first:
            self._never_answered.add(topic)

    def touch(self, topic: str, now: float) -> None:
        """Note that a topic of interest is in use."""
        if topic in self._used:
            self._used[topic] = now

    def expire(self, now: float, busy: Container[str] = ()) -> list[str]:
        """Drop the topics that were not used for `max_idle`, except those `busy`; return their names."""
        idle = [
            topic for topic, used in self._used.items() if now - used >= self._max_idle and topic not in busy
        ]
        for topic in idle:
            del self._used[topic]
            self._due.discard(topic)
            self._never_answered.discard(topic)
            self.errors.pop(topic, None)
            self._cache.forget(topic)
        return idle

    def request_update(self, now: float) -> None:
        """Make a full refresh due: a leader is out of date."""
        self._plan.request()
        self._need(now)

    def next_refresh(self, now: float) -> float:
        """Return when to refresh, `now` if it is time. `want` and `request_update` may bring it forward."""
        return self._plan.next(now, has_new=bool(self._never_answered), has_due=bool(self._due))

    def start_refresh(self, now: float) -> tuple[str, ...]:
        """Begin a refresh and return the topics to ask for; none to ask for the nodes only.

        Topics that become due after this belong to the next refresh. Call `update` with the response,
        or `failed`.
        """
        # The topic "new" is wanted while an election lets "orders" back off: ask for "new" alone.
        scope = self._plan.start(now, has_new=bool(self._never_answered), has_due=bool(self._due))
        self._need(now)
        if scope is Scope.ALL:
            topics = tuple(self._used)
        else:
            topics = tuple(sorted(self._due if scope is Scope.DUE else self._never_answered))
        self._plan.ask_for(len(topics))
        return topics

    def update(
        self,
        response: MetadataResponse,
        asked: Sequence[str],
        now: float,
        *,
        reliable_epochs: bool = True,
    ) -> MetadataChange:
        """Use the response to a request for the topics `asked`.

        `asked` is the result of `start_refresh`, or empty for a bootstrap server's response: then the
        topics stay due. A response with an error or without brokers counts as a failure, and
        `change.error` tells it. `reliable_epochs` tells that the version is 9 or later.
        """
        change = self._cache.merge(response, asked=asked, wanted=self._used, reliable_epochs=reliable_epochs)
        if change.error:
            # KIP-1102: the broker tells the client to begin again with the bootstrap servers.
            self._must_rebootstrap = change.error is ErrorCode.REBOOTSTRAP_REQUIRED
            self.failed(now)
            return change

        self._note_errors(asked, change.errors)
        self._plan.succeeded(now, asked=len(asked), is_news=change.is_news)
        self._needed_since = None
        self._must_rebootstrap = False
        return change

    def sample(self, limit: int) -> tuple[str, ...]:
        """Return up to `limit` topics to ask about with `verify`."""
        return self._cache.sample(limit)

    def verify(self, response: MetadataResponse) -> ClusterCheck:
        """Compare an answer about a `sample` with what is known; it changes nothing."""
        return self._cache.verify(response)

    def failed(self, now: float) -> None:
        """Note that a refresh failed: no node to ask, no response, or an invalid one."""
        self._plan.failed(now)

    def apply_leader_hint(
        self,
        topic: str,
        partition: int,
        leader_id: int,
        leader_epoch: int,
        endpoints: Iterable[NodeEndpoint],
    ) -> MetadataChange | None:
        """Use the new leader that a Produce response names (KIP-951).

        Return None if nothing changes, or if the node is unknown: then a refresh has to find it.
        """
        change = self._cache.apply_leader_hint(topic, partition, leader_id, leader_epoch, endpoints)
        if change is not None:
            self._plan.end_backoff_growth()
        return change

    def needs_rebootstrap(self, now: float) -> bool:
        """Whether to give up the known nodes and begin again with the bootstrap servers.

        True if a broker asks for it, or if a needed response did not come within
        `rebootstrap_trigger`. The caller checks whether known nodes can be reached (KIP-899).
        """
        if self._rebootstrap_trigger is None:
            return False
        if self._must_rebootstrap:
            return True
        return self._needed_since is not None and now - self._needed_since > self._rebootstrap_trigger

    def rebootstrapped(self, now: float) -> None:
        """Note that the next response comes from the bootstrap servers; keep the cache until then."""
        self._must_rebootstrap = False
        # Count `rebootstrap_trigger` anew, or each failure would start another rebootstrap at once.
        self._needed_since = now
        self._plan.request()

    def _note_errors(self, asked: Iterable[str], errors: Mapping[str, ErrorCode]) -> None:
        for topic in asked:
            self.errors.pop(topic, None)
        self.errors.update(errors)
        self._never_answered.difference_update(asked)
        self._due.difference_update(asked)
        # Asking again does not mend an illegal name; a missing topic may exist in the next second.
        self._due.update(topic for topic, code in errors.items() if code not in FINAL_TOPIC_ERRORS)
        self._due |= self._cache.leaderless

    def _need(self, now: float) -> None:
        # The first of several needs counts: a new request must not put the rebootstrap off.
        if self._needed_since is None:
            self._needed_since = now
