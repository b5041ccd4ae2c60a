"""Metadata: when to ask the cluster again, and for which topics, in simulated time."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aioproducer.core.backoff import Backoff
from aioproducer.core.metadata import Metadata
from aioproducer.core.queues import NO_LEADER
from aioproducer.error_code import ErrorCode
from tests.core.metadata_answers import answer, brokers, led_by, topic

START = 100.0
MAX_AGE = 300.0
MAX_IDLE = 60.0
TRIGGER = 200.0

UNKNOWN = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
INVALID = ErrorCode.INVALID_TOPIC_EXCEPTION


def new_metadata(rebootstrap_trigger: float | None = TRIGGER) -> Metadata:
    return Metadata(
        max_age=MAX_AGE,
        max_idle=MAX_IDLE,
        # Without jitter: 0.1, 0.2, 0.4, 0.8, 1.0 s.
        backoff=Backoff(0.1, 1.0, random=lambda: 0.5),
        rebootstrap_trigger=rebootstrap_trigger,
    )


def knowing(*names: str, now: float = START) -> Metadata:
    """Return metadata that has been fully refreshed at `now` and knows the topics."""
    metadata = new_metadata()
    for name in names:
        metadata.want(name, now)
    asked = metadata.start_refresh(now)
    metadata.update(answer(*(led_by(name, 1, 2, 3) for name in asked)), asked, now)
    return metadata


def wait(metadata: Metadata, now: float) -> float:
    return metadata.next_refresh(now) - now


def refresh_in_vain(metadata: Metadata, now: float) -> None:
    asked = metadata.start_refresh(now)
    metadata.update(answer(*(topic(name, error=UNKNOWN) for name in asked)), asked, now)


def test_first_refresh_is_due() -> None:
    metadata = new_metadata()

    assert metadata.next_refresh(START) == START
    assert metadata.start_refresh(START) == ()


def test_idle_refresh_comes_with_age() -> None:
    metadata = knowing("orders")

    assert metadata.next_refresh(START) == START + MAX_AGE
    assert metadata.next_refresh(START + MAX_AGE + 7) == START + MAX_AGE + 7
    assert metadata.start_refresh(START + MAX_AGE) == ("orders",)


def test_new_topic_is_asked_alone() -> None:
    metadata = knowing("orders")

    metadata.want("audit", START)

    assert metadata.next_refresh(START) == START
    assert metadata.start_refresh(START) == ("audit",)


def test_nodes_response_leaves_topic_due() -> None:
    metadata = new_metadata()
    metadata.want("orders", START)
    metadata.start_refresh(START)

    change = metadata.update(answer(), (), START + 1)

    assert change.errors == {}
    assert metadata.next_refresh(START + 1) == START + 1
    assert metadata.start_refresh(START + 1) == ("orders",)


def test_nodes_response_leaves_topics_due() -> None:
    metadata = knowing("orders", "audit")
    metadata.rebootstrapped(START + 1)
    metadata.start_refresh(START + 1)

    metadata.update(answer(nodes=brokers(1, 2, 3, 4)), (), START + 1)

    assert metadata.next_refresh(START + 1) == pytest.approx(START + 1.1)
    assert metadata.start_refresh(START + 2) == ("orders", "audit")
    assert metadata.age(START + 2) == 2


def test_new_topics_share_one_request() -> None:
    metadata = knowing("orders")
    for name in ("a", "c", "b"):
        metadata.want(name, START)

    assert metadata.start_refresh(START) == ("a", "b", "c")


def test_topic_wanted_meanwhile_comes_next() -> None:
    metadata = knowing()
    metadata.want("orders", START + 1)
    asked = metadata.start_refresh(START + 1)

    metadata.want("audit", START + 1.5)
    metadata.update(answer(led_by("orders", 1)), asked, START + 2)

    assert metadata.next_refresh(START + 2) == START + 2
    assert metadata.start_refresh(START + 2) == ("audit",)


def test_known_topic_needs_no_refresh() -> None:
    metadata = knowing("orders")

    metadata.want("orders", START + 1)

    assert metadata.next_refresh(START + 1) == START + MAX_AGE


def test_requested_update_asks_all_topics() -> None:
    metadata = knowing("orders", "audit")

    metadata.request_update(START + 0.03)

    assert metadata.next_refresh(START + 0.03) == pytest.approx(START + 0.1)
    assert metadata.next_refresh(START + 5) == START + 5
    assert set(metadata.start_refresh(START + 5)) == {"orders", "audit"}


def test_update_requested_meanwhile_stays_due() -> None:
    metadata = knowing("orders")
    metadata.request_update(START + 1)
    asked = metadata.start_refresh(START + 1)

    metadata.request_update(START + 1.5)
    metadata.update(answer(led_by("orders", 2, 2, 3, epoch=1)), asked, START + 2)

    assert metadata.next_refresh(START + 2) == pytest.approx(START + 2.1)
    assert metadata.start_refresh(START + 3) == ("orders",)


def test_failures_back_off() -> None:
    metadata = new_metadata()
    waits = []
    now = START
    for _ in range(6):
        metadata.start_refresh(now)
        metadata.failed(now)
        waits.append(wait(metadata, now))
        now = metadata.next_refresh(now)

    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])

    metadata.update(answer(), metadata.start_refresh(now), now)
    assert wait(metadata, now) == pytest.approx(MAX_AGE)
    metadata.request_update(now)
    assert wait(metadata, now) == pytest.approx(0.1)


def test_failures_delay_new_topics() -> None:
    metadata = new_metadata()
    metadata.start_refresh(START)
    metadata.failed(START)

    metadata.want("orders", START)

    assert wait(metadata, START) == pytest.approx(0.1)


def test_what_failed_is_asked_for_again() -> None:
    metadata = knowing("orders")
    metadata.want("audit", START + 1)
    metadata.start_refresh(START + 1)
    metadata.failed(START + 1)

    assert metadata.start_refresh(START + 2) == ("audit",)

    metadata.request_update(START + 2)
    metadata.start_refresh(START + 3)
    metadata.failed(START + 3)

    assert set(metadata.start_refresh(START + 4)) == {"orders", "audit"}


def test_responses_without_change_back_off() -> None:
    metadata = knowing()
    metadata.want("orders", START)
    waits = []
    now = START
    for _ in range(7):
        refresh_in_vain(metadata, now)
        waits.append(wait(metadata, now))
        now = metadata.next_refresh(now)

    # The first time it was new, and went before its time.
    assert waits == pytest.approx([0.1, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0])

    metadata.update(answer(led_by("orders", NO_LEADER)), metadata.start_refresh(now), now)
    assert wait(metadata, now) == pytest.approx(0.1)


def test_routine_refreshes_do_not_back_off() -> None:
    metadata = knowing("orders")
    now = START
    for _ in range(5):
        now += MAX_AGE
        metadata.update(answer(led_by("orders", 1, 2, 3)), metadata.start_refresh(now), now)

    metadata.request_update(now)

    assert wait(metadata, now) == pytest.approx(0.1)


def test_missing_topic_is_asked_alone() -> None:
    metadata = knowing("orders")
    metadata.want("created later", START + 1)
    refresh_in_vain(metadata, START + 1)

    assert metadata.errors == {"created later": UNKNOWN}
    assert metadata.start_refresh(START + 2) == ("created later",)

    change = metadata.update(answer(led_by("created later", 1)), ("created later",), START + 2)
    assert change.sizes == {"created later": 1}
    assert metadata.errors == {}
    assert metadata.next_refresh(START + 2) == START + MAX_AGE


def test_leaderless_topic_is_asked_alone() -> None:
    metadata = knowing("orders", "audit")
    metadata.request_update(START + 1)
    asked = metadata.start_refresh(START + 1)
    metadata.update(
        answer(led_by("orders", 1, NO_LEADER, 3, epoch=1), led_by("audit", 1, 2, 3)), asked, START + 1
    )

    assert metadata.next_refresh(START + 1) == pytest.approx(START + 1.1)
    assert metadata.start_refresh(START + 2) == ("orders",)

    metadata.update(answer(led_by("orders", 1, 3, 3, epoch=2)), ("orders",), START + 2)
    assert metadata.next_refresh(START + 2) == START + 1 + MAX_AGE


def test_lost_broker_makes_topics_due() -> None:
    metadata = knowing("orders", "audit")
    metadata.want("new", START + 1)
    asked = metadata.start_refresh(START + 1)

    metadata.update(answer(led_by("new", 1), nodes=brokers(1, 2)), asked, START + 1)

    assert metadata.start_refresh(START + 2) == ("audit", "orders")


@pytest.mark.parametrize("code", [INVALID, ErrorCode.TOPIC_AUTHORIZATION_FAILED])
def test_final_error_is_not_asked_again(code: ErrorCode) -> None:
    metadata = knowing("orders")
    metadata.want("no good", START)
    asked = metadata.start_refresh(START)
    change = metadata.update(answer(topic("no good", error=code)), asked, START)

    assert change.errors == metadata.errors == {"no good": code}
    assert metadata.next_refresh(START) == START + MAX_AGE

    # With a backoff, so that sending to it in a loop is no storm of requests.
    metadata.want("no good", START)
    assert wait(metadata, START) == pytest.approx(0.1)
    assert metadata.start_refresh(START + 1) == ("no good",)


def test_partial_refresh_keeps_age() -> None:
    metadata = knowing("orders")
    metadata.want("audit", START + 100)
    metadata.update(answer(led_by("audit", 1)), metadata.start_refresh(START + 100), START + 100)

    assert metadata.age(START + 120) == 120
    assert metadata.next_refresh(START + 120) == START + MAX_AGE


def test_age_begins_at_0() -> None:
    assert new_metadata().age(START) == 0.0


def test_response_without_brokers_is_failure() -> None:
    metadata = new_metadata()
    metadata.want("orders", START)
    asked = metadata.start_refresh(START)

    change = metadata.update(answer(led_by("orders", 1), nodes=()), asked, START)

    assert change.error is ErrorCode.BROKER_NOT_AVAILABLE
    assert "orders" not in metadata.topics
    assert wait(metadata, START) == pytest.approx(0.1)
    assert metadata.start_refresh(START + 1) == ("orders",)


@pytest.mark.scenario("unused-topic")
def test_a_topic_nobody_uses_is_dropped() -> None:
    metadata = knowing("orders", "audit")
    metadata.touch("orders", START + 30)

    assert metadata.expire(START + MAX_IDLE - 1) == []
    assert metadata.expire(START + MAX_IDLE) == ["audit"]

    assert list(metadata.topics) == ["orders"]
    assert metadata.start_refresh(START + MAX_AGE) == ("orders",)
    assert metadata.expire(START + 30 + MAX_IDLE) == ["orders"]


@pytest.mark.scenario("unused-topic")
def test_busy_topic_stays() -> None:
    metadata = knowing("orders", "audit")

    assert metadata.expire(START + MAX_IDLE, busy={"orders"}) == ["audit"]


@pytest.mark.scenario("unused-topic")
def test_missing_topic_is_dropped() -> None:
    metadata = knowing()
    metadata.want("orders", START)
    refresh_in_vain(metadata, START)
    metadata.want("audit", START)

    assert metadata.expire(START + MAX_IDLE) == ["orders", "audit"]

    assert metadata.errors == {}
    assert metadata.next_refresh(START + MAX_IDLE) == START + MAX_AGE


@pytest.mark.scenario("unused-topic")
def test_dropped_topic_stays_dropped() -> None:
    metadata = knowing("orders")
    metadata.request_update(START + 1)
    asked = metadata.start_refresh(START + 1)

    metadata.expire(START + MAX_IDLE)
    metadata.touch("orders", START + MAX_IDLE)
    late = metadata.update(answer(led_by("orders", 1)), asked, START + MAX_IDLE)
    without = metadata.update(answer(), asked, START + MAX_IDLE)

    assert not metadata.topics
    assert late.errors == without.errors == {}
    assert metadata.start_refresh(START + 2 * MAX_AGE) == ()


@pytest.mark.scenario("unused-topic")
def test_dropped_topic_is_new_again() -> None:
    metadata = knowing("orders")
    metadata.expire(START + MAX_IDLE)

    metadata.want("orders", START + MAX_IDLE)

    assert metadata.next_refresh(START + MAX_IDLE) == START + MAX_IDLE


@pytest.mark.scenario("leader-hint")
def test_hint_needs_no_refresh() -> None:
    metadata = knowing("orders")

    change = metadata.apply_leader_hint("orders", 0, 3, 1, [])

    assert change is not None
    assert metadata.topics["orders"].partitions[0].leader_id == 3
    assert metadata.next_refresh(START) == START + MAX_AGE


@pytest.mark.scenario("leader-hint")
def test_missing_hint_needs_refresh() -> None:
    metadata = knowing("orders")

    assert metadata.apply_leader_hint("orders", 0, -1, -1, []) is None

    metadata.request_update(START)
    assert wait(metadata, START) == pytest.approx(0.1)


@pytest.mark.scenario("leader-hint")
def test_hint_ends_backoff() -> None:
    metadata = knowing("orders")
    now = START
    for _ in range(5):
        metadata.request_update(now)
        now = metadata.next_refresh(now)
        metadata.update(answer(led_by("orders", 1, 2, 3)), metadata.start_refresh(now), now)

    metadata.apply_leader_hint("orders", 0, 3, 1, [])
    metadata.request_update(now + 5)
    metadata.update(answer(led_by("orders", 1, 2, 3)), metadata.start_refresh(now + 5), now + 5)

    metadata.request_update(now + 5)
    assert wait(metadata, now + 5) == pytest.approx(0.1)


@pytest.mark.scenario("brokers-replaced")
def test_missing_responses_cause_rebootstrap() -> None:
    metadata = knowing("orders")
    metadata.request_update(START + 1_000)
    now = START + 1_000
    while now <= START + 1_000 + TRIGGER:
        assert not metadata.needs_rebootstrap(now)
        metadata.start_refresh(now)
        metadata.failed(now)
        now = metadata.next_refresh(now)

    assert metadata.needs_rebootstrap(now)

    metadata.rebootstrapped(now)
    assert not metadata.needs_rebootstrap(now + TRIGGER)
    assert metadata.needs_rebootstrap(now + TRIGGER + 1)
    assert metadata.topics["orders"].partitions[0].leader_id == 1


@pytest.mark.scenario("brokers-replaced")
def test_rebootstrap_time_counts_from_need() -> None:
    by_request, by_age = knowing("orders"), knowing("orders")
    begin = START + MAX_AGE

    by_request.request_update(begin)
    by_request.start_refresh(begin + 100)
    by_age.start_refresh(begin)

    for metadata in (by_request, by_age):
        assert not metadata.needs_rebootstrap(begin + TRIGGER)
        assert metadata.needs_rebootstrap(begin + TRIGGER + 1)


@pytest.mark.scenario("brokers-replaced")
def test_response_delays_rebootstrap() -> None:
    metadata = knowing("orders")
    assert not metadata.needs_rebootstrap(START + 10 * TRIGGER)

    metadata.request_update(START)
    asked = metadata.start_refresh(START + 150)
    metadata.update(answer(led_by("orders", 1, 2, 3)), asked, START + 150)

    assert not metadata.needs_rebootstrap(START + TRIGGER + 100)


@pytest.mark.scenario("brokers-replaced")
def test_same_bootstrap_answer_is_not_sought_at_once() -> None:
    """The only node cannot be connected to: a wanted topic leads to the bootstrap server each time."""
    metadata = new_metadata()
    metadata.want("orders", START)
    now = START
    for pause in (0, 0.1, 0.2, 0.4):
        metadata.start_refresh(now)
        metadata.failed(now)
        metadata.rebootstrapped(now)
        metadata.start_refresh(now)
        metadata.update(answer(nodes=brokers(1)), (), now)
        # The first answer is news: the node can be asked for the topic at once.
        assert wait(metadata, now) == pytest.approx(pause)
        now = metadata.next_refresh(now)


def test_broker_may_request_rebootstrap() -> None:
    metadata = knowing("orders")
    metadata.request_update(START)
    asked = metadata.start_refresh(START + 1)

    change = metadata.update(answer(nodes=(), error=ErrorCode.REBOOTSTRAP_REQUIRED), asked, START + 1)

    assert change.error is ErrorCode.REBOOTSTRAP_REQUIRED
    assert metadata.needs_rebootstrap(START + 1)

    # The backoff holds all the same: a bootstrap server that says so again is no loop.
    metadata.rebootstrapped(START + 1)
    assert not metadata.needs_rebootstrap(START + 1)
    assert wait(metadata, START + 1) == pytest.approx(0.1)


@pytest.mark.scenario("brokers-replaced")
def test_strategy_none_prevents_rebootstrap() -> None:
    metadata = new_metadata(rebootstrap_trigger=None)
    asked = metadata.start_refresh(START)
    metadata.update(answer(error=ErrorCode.REBOOTSTRAP_REQUIRED), asked, START)

    assert not metadata.needs_rebootstrap(START + 10 * TRIGGER)


@pytest.mark.scenario("brokers-replaced")
def test_rebootstrap_replaces_the_cluster() -> None:
    metadata = knowing("orders")
    metadata.rebootstrapped(START + 1)
    assert metadata.next_refresh(START + 1) == START + 1
    asked = metadata.start_refresh(START + 1)

    change = metadata.update(
        answer(led_by("orders", 11, 12, 13, epoch=1), nodes=brokers(11, 12, 13)), asked, START + 1
    )

    assert [node.id for node in change.nodes] == [11, 12, 13]
    assert change.removed_nodes == (1, 2, 3)
    assert [one.leader_id for one in metadata.topics["orders"].partitions] == [11, 12, 13]


def test_max_age_0_keeps_backoff() -> None:
    metadata = Metadata(max_age=0, max_idle=MAX_IDLE, backoff=Backoff(0.1, 1.0, random=lambda: 0.5))

    metadata.update(answer(), metadata.start_refresh(START), START)

    assert wait(metadata, START) == pytest.approx(0.1)


def test_response_gives_cluster_id() -> None:
    metadata = new_metadata()
    assert metadata.cluster_id is None

    metadata.update(answer(), metadata.start_refresh(START), START)

    assert metadata.cluster_id == "cluster"


class RefreshTask(RuleBasedStateMachine):
    """A refresh task that does as it is told, while users and brokers do as they like."""

    names = st.sampled_from(["a", "b", "c"])

    def __init__(self) -> None:
        super().__init__()
        self.metadata = new_metadata()
        self.now = START
        self.wanted: set[str] = set()
        self.asked: tuple[str, ...] | None = None
        self.last = START - 1
        self.has_new_topic = False
        self.is_early = False

    @rule(seconds=st.floats(0.001, 20))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=names)
    def want(self, name: str) -> None:
        self.has_new_topic |= name not in self.wanted
        self.wanted.add(name)
        self.metadata.want(name, self.now)

    @rule()
    def request_update(self) -> None:
        self.metadata.request_update(self.now)

    @rule()
    def expire(self) -> None:
        self.wanted.difference_update(self.metadata.expire(self.now))

    @precondition(lambda self: self.asked is None)
    @rule()
    def ask(self) -> None:
        self.now = self.metadata.next_refresh(self.now)
        if not self.has_new_topic:
            assert self.now - self.last >= 0.1 - 1e-9
        # What is new goes before its time, and does not put off the rest.
        self.is_early = self.has_new_topic and self.now - self.last < 0.1 - 1e-9
        self.has_new_topic = False
        self.asked = self.metadata.start_refresh(self.now)
        assert set(self.asked) <= self.wanted

    @precondition(lambda self: self.asked is not None)
    @rule(leader=st.sampled_from([1, 2, NO_LEADER]), missing=st.sets(names))
    def answer_comes(self, leader: int, missing: set[str]) -> None:
        assert self.asked is not None
        topics = [
            topic(name, error=UNKNOWN) if name in missing else led_by(name, leader) for name in self.asked
        ]
        self.metadata.update(answer(*topics), self.asked, self.now)
        self.asked = None
        if not self.is_early:
            self.last = self.now

    @precondition(lambda self: self.asked is not None)
    @rule()
    def none_comes(self) -> None:
        self.metadata.failed(self.now)
        self.asked = None
        self.last = self.now

    @invariant()
    def what_is_lacking_is_asked_for_within_the_longest_backoff(self) -> None:
        lacking = {
            name
            for name in self.wanted
            if name not in self.metadata.topics
            or self.metadata.topics[name].partitions[0].leader_id == NO_LEADER
        }
        if lacking and self.asked is None:
            assert wait(self.metadata, self.now) <= 1.0


TestRefreshTask = RefreshTask.TestCase
TestRefreshTask.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
