"""The behaviours that the tests must show, by name.

A test names them in its mark: ``@pytest.mark.scenario("split-too-large")``. The number is the
one of the project's catalogue of what a Kafka producer has to do under faults. Missing numbers
(66 to 80, 88, 90) are about transactions, telemetry and speed.
"""

from typing import NamedTuple


class Scenario(NamedTuple):
    """A row of the table: the catalogue's number, and what the tests show."""

    number: int
    title: str


SCENARIOS = {
    "lone-record-lingers": Scenario(1, "A lone record is sent after linger, not earlier"),
    "full-batch": Scenario(2, "A full batch is sent at once"),
    "record-larger-than-batch": Scenario(3, "A record larger than batch_size gets its own batch"),
    "request-size-limit": Scenario(4, "A record larger than max_request_size is rejected"),
    "buffer-size-limit": Scenario(5, "A record larger than buffer_memory is rejected"),
    "buffer-full": Scenario(6, "The buffer is full: records wait, first in, first out, up to max_block_ms"),
    "waiting-record-abandoned": Scenario(
        7, "A record that gives up waiting for memory leaves nothing behind"
    ),
    "memory-pressure": Scenario(8, "Under memory pressure every partition may send without linger"),
    "small-requests": Scenario(9, "Many partitions and small requests: each partition is served"),
    "request-fills": Scenario(
        10, "A request stays within max_request_size, but always carries its first batch"
    ),
    "flush": Scenario(
        11, "Flush sends lingering batches and waits for all accepted records, split parts too"
    ),
    "expired-batch-memory": Scenario(
        12, "A batch that expires in flight keeps its memory until the request ends"
    ),
    "ratio-estimate": Scenario(13, "The estimate of the compression ratio adapts, and splits stay rare"),
    "codecs": Scenario(14, "Each codec, empty and large values, headers, nulls: read back as sent"),
    "retry-backoff": Scenario(15, "A retriable error is retried after a growing backoff with jitter"),
    "leader-changed": Scenario(16, "A changed leader is tried without backoff"),
    "retries-exhausted": Scenario(17, "The original error is reported when the retries are used up"),
    "expired-unsent": Scenario(18, "Unsent batches expire when the leader cannot be reached"),
    "expired-in-flight": Scenario(19, "A batch in flight expires while its request is still unanswered"),
    "late-response": Scenario(20, "A late response to an expired batch changes nothing"),
    "delivery-timeout": Scenario(21, "The delivery timeout counts from the send, across retries and splits"),
    "split-too-large": Scenario(
        22, "A batch too large for the broker is split, in order, each record with its own offset"
    ),
    "split-ends": Scenario(23, "Splitting ends, even where batch_size is above the broker's limit"),
    "single-record-too-large": Scenario(24, "A single record too large for the broker fails alone"),
    "record-errors": Scenario(25, "Only the bad records of a batch get the broker's error for them"),
    "acks-zero": Scenario(26, "acks=0: no offset, and the broker's error shows as a closed connection"),
    "too-few-replicas": Scenario(27, "Retry until enough replicas are in sync"),
    "topic-deleted": Scenario(
        28, "A topic is deleted under load: an error in time, or success when it is back"
    ),
    "broker-message": Scenario(29, "The error carries the broker's own message"),
    "first-of-five-retried": Scenario(
        30, "Five in flight and the first fails: all are retried in order, none twice"
    ),
    "first-of-five-fails": Scenario(
        31, "The first of five fails for good: the others continue under new sequences"
    ),
    "next-out-of-order": Scenario(32, "Out of order for the very next batch: a new epoch"),
    "later-out-of-order": Scenario(33, "Out of order for a later batch: a retry"),
    "duplicate": Scenario(34, "A duplicate is a success"),
    "response-lost": Scenario(35, "A response lost after the append: no record is stored twice"),
    "sequence-gap": Scenario(
        36, "Expired unsent leaves no gap; expired after it was sent: the next batch finds out"
    ),
    "first-batch-expires": Scenario(
        37, "An expired first batch: a new epoch only where later batches fail too"
    ),
    "unknown-producer-id": Scenario(38, "The log start passed the producer id: records are still stored"),
    "sequence-wrap": Scenario(
        39, "Sequences wrap after 2147483647; the last epoch is followed by a new producer id"
    ),
    "epoch-bump-isolated": Scenario(40, "A new epoch of one partition delays no other"),
    "one-in-flight": Scenario(41, "One request in flight keeps the order without idempotence"),
    "producer-id-denied": Scenario(42, "A refused producer id is an error, without an endless loop"),
    "producer-id-expired": Scenario(43, "The broker expired the producer id: the next records are stored"),
    "cancelled-awaiter": Scenario(44, "A cancelled awaiter neither loses, doubles nor reorders its record"),
    "key-partitioning": Scenario(45, "Keys go to the same partitions as with Java's producer"),
    "sticky-partition": Scenario(46, "Records without keys stay on a partition until its batch is full"),
    "even-share": Scenario(47, "Records without keys give all partitions the same share"),
    "slow-broker-share": Scenario(48, "A slow broker's partitions get fewer records"),
    "unavailable-broker": Scenario(49, "The partitions of a broker that takes no requests are left out"),
    "leaderless-partition": Scenario(
        50, "A partition without a leader is chosen for keys only, and waited for"
    ),
    "new-partitions": Scenario(51, "New partitions are found and used"),
    "missing-topic": Scenario(
        52, "A missing topic: an error after max_block_ms, unless it is created meanwhile"
    ),
    "unused-topic": Scenario(53, "An unused topic is forgotten"),
    "stale-metadata": Scenario(54, "Stale leader epochs are ignored; a new topic id is taken"),
    "leader-hint": Scenario(
        55, "The broker's hint of the new leader is used; without one metadata is requested"
    ),
    "brokers-replaced": Scenario(56, "All brokers are replaced at new addresses: found again"),
    "several-addresses": Scenario(57, "A name with several addresses: the next one is tried"),
    "connection-setup": Scenario(58, "Connecting takes a bounded time, and reconnecting too"),
    "silent-broker": Scenario(59, "A silent broker: the request times out and its batches are sent again"),
    "throttling": Scenario(60, "Throttling is obeyed"),
    "version-negotiation": Scenario(61, "Versions are negotiated, with old brokers too"),
    "topic-ids": Scenario(62, "A topic without an id and a recreated topic are written to"),
    "broker-restarts": Scenario(63, "Brokers restart under load: no record lost, none twice, all in order"),
    "lossy-network": Scenario(64, "A slow, lossy network: correct, and not stuck"),
    "mixed-releases": Scenario(65, "Brokers from 2.1 to 4.x, and mixed clusters"),
    "sasl": Scenario(
        81, "Each mechanism; bad credentials are an error at once, and good ones help without a restart"
    ),
    "reauthentication": Scenario(82, "Re-authentication under load loses nothing"),
    "tls": Scenario(83, "TLS: wrong CA, wrong host name, client certificates, expired certificates"),
    "authorization": Scenario(84, "A denied operation is named, and the ACL helps without a restart"),
    "stop": Scenario(85, "Stop sends in time, or fails the rest; from a callback; during start"),
    "callbacks": Scenario(86, "Callbacks may raise without harm, and may send"),
    "configuration": Scenario(87, "Configuration is validated as a whole"),
    "metrics": Scenario(89, "Metrics count exactly"),
}


def table_of(tests: dict[str, set[str]]) -> str:
    """Return the table as Markdown: one row per scenario, with the tests that show it."""
    unknown = sorted(set(tests) - set(SCENARIOS))
    if unknown:
        message = f"tests are marked with scenarios that tests/scenarios.py does not know: {unknown}"
        raise ValueError(message)
    rows = (
        f"| {scenario.number} | {name} | {scenario.title} | {'<br>'.join(sorted(tests.get(name, ())))} |\n"
        for name, scenario in SCENARIOS.items()
    )
    return f"{INTRODUCTION}| number | scenario | shows | tests |\n|---|---|---|---|\n{''.join(rows)}"


INTRODUCTION = """\
# Scenarios and the tests that show them

Generated from the tests' marks (`@pytest.mark.scenario`). Do not edit it by hand:

    pytest --collect-only -q --scenario-table tests/SCENARIOS.md

"""
