"""The stand-alone broker, used by other clients and from a shell."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer as LibrdkafkaProducer
from confluent_kafka.admin import AdminClient

from aioproducer import Producer, UnknownTopicError
from aioproducer.protocol.api_versions import ApiVersionsRequest
from aioproducer.protocol.frame import encode_request
from aioproducer.protocol.metadata import MetadataRequest
from aioproducer.testing import ApiKey
from aioproducer.testing.__main__ import main
from tests.testing.raw_client import RawClient
from tests.testing.stand_alone import PATIENCE, stand_alone

if TYPE_CHECKING:
    from pathlib import Path

    from confluent_kafka import Message

RECORDS = 300


def with_librdkafka(bootstrap: str, **config: object) -> list[tuple[int, int]]:
    """Produce with confluent-kafka, and return (partition, offset) of each record."""
    places = []

    def delivered(error: object, message: Message) -> None:
        assert error is None
        places.append((message.partition(), message.offset()))

    producer = LibrdkafkaProducer({"bootstrap.servers": bootstrap, "linger.ms": 1, "log_level": 0, **config})
    for number in range(RECORDS):
        producer.produce("orders", b"%d" % number, key=b"k%d" % (number % 7), on_delivery=delivered)
    assert producer.flush(PATIENCE) == 0
    return [
        (partition, offset) for partition, offset in places if partition is not None and offset is not None
    ]


async def with_aiokafka(bootstrap: str, *, idempotent: bool) -> list[tuple[int, int]]:
    """Produce with aiokafka, and return (partition, offset) of each record."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, retry_backoff_ms=10, enable_idempotence=idempotent
    )
    await producer.start()
    try:
        sent = [
            await producer.send("orders", b"%d" % number, key=b"k%d" % (number % 7))
            for number in range(RECORDS)
        ]
        return [(place.partition, place.offset) for place in await asyncio.gather(*sent)]
    finally:
        await producer.stop()


def check(places: list[tuple[int, int]]) -> None:
    """Assert that the offsets of each partition count from 0 without gaps."""
    assert len(places) == RECORDS
    for partition in {partition for partition, _ in places}:
        offsets = sorted(offset for index, offset in places if index == partition)
        assert offsets == list(range(len(offsets)))


# Clients.


@pytest.mark.parametrize("idempotent", [False, True])
def test_librdkafka_produces(*, idempotent: bool) -> None:
    with stand_alone("--nodes", "3", "--topic", "orders:6") as broker:
        check(with_librdkafka(broker.bootstrap, **{"enable.idempotence": idempotent}))
        assert broker.end() == [f"orders: {RECORDS} records"]


@pytest.mark.parametrize("idempotent", [False, True])
async def test_aiokafka_produces(*, idempotent: bool) -> None:
    with stand_alone("--nodes", "3", "--topic", "orders:6") as broker:
        check(await with_aiokafka(broker.bootstrap, idempotent=idempotent))
        assert broker.end() == [f"orders: {RECORDS} records"]


async def test_aioproducer_produces() -> None:
    with stand_alone("--partitions", "4", "--topic", "audit", "--topic", "payments:2") as broker:
        async with Producer(broker.bootstrap) as producer:
            sizes = [len(await producer.partitions_for(topic)) for topic in ("audit", "orders", "payments")]
            for number in range(RECORDS):
                producer.send("orders", b"%d" % number)
        assert sizes == [4, 4, 2]
        assert broker.end() == ["audit: 0 records", f"orders: {RECORDS} records", "payments: 0 records"]


@pytest.mark.parametrize(
    ("release", "highest"), [("kafka-2.1", 7), ("kafka-2.8", 9), ("kafka-4", 13), ("redpanda", 7)]
)
async def test_versions_option_plays_other_brokers(release: str, highest: int) -> None:
    with stand_alone("--versions", release, "--topic", "orders:6") as broker:
        host, _, port = broker.bootstrap.rpartition(":")
        async with await RawClient.connect_to(host, int(port)) as client:
            listed = await client.ask(ApiVersionsRequest(), 2)
        assert [api.max_version for api in listed.api_keys if api.api_key == ApiKey.PRODUCE] == [highest]

        check(await asyncio.to_thread(with_librdkafka, broker.bootstrap))
        assert broker.end() == [f"orders: {RECORDS} records"]


async def test_no_auto_create_option() -> None:
    with stand_alone("--no-auto-create", "--topic", "orders") as broker:
        async with Producer(broker.bootstrap, max_block_ms=3_000) as producer:
            await producer.send("orders", b"tea")
            with pytest.raises(UnknownTopicError):
                await producer.send("audit", b"tea")
        assert broker.end() == ["orders: 1 record"]


def test_librdkafka_lists_topics() -> None:
    """The C client writes bytes after the last field of Metadata, which Kafka ignores."""
    with stand_alone("--topic", "orders:6") as broker:
        client = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        topics = client.list_topics(timeout=PATIENCE).topics
        assert {name: len(topic.partitions) for name, topic in topics.items()} == {"orders": 6}
        assert broker.end() == ["orders: 0 records"]


async def test_strict_refuses_trailing_bytes() -> None:
    with stand_alone("--strict") as broker:
        host, _, port = broker.bootstrap.rpartition(":")
        async with await RawClient.connect_to(host, int(port)) as client:
            body = b"".join(encode_request(MetadataRequest(topics=None), 9, 1, "raw"))[4:] + b"more"
            client.send_bytes(len(body).to_bytes(4) + body)
            assert await client.closed() == b""


# The command.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_the_broker(number: signal.Signals) -> None:
    with stand_alone("--nodes", "3") as broker:
        addresses = broker.bootstrap.split(",")
        assert [bool(re.fullmatch(r"127\.0\.0\.1:\d+", address)) for address in addresses] == [True] * 3
        assert len(set(addresses)) == 3
        assert broker.end(number) == []


def free_ports(count: int) -> int:
    """Return the first of `count` consecutive free ports."""
    while True:
        sockets = [socket.socket()]
        try:
            sockets[0].bind(("127.0.0.1", 0))
            first = int(sockets[0].getsockname()[1])
            for port in range(first + 1, first + count):
                sockets.append(socket.socket())
                sockets[-1].bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            continue
        else:
            return first
        finally:
            for each in sockets:
                each.close()


async def test_nodes_have_consecutive_ports() -> None:
    port = free_ports(3)
    with stand_alone("--port", str(port), "--nodes", "3") as broker:
        assert broker.bootstrap == ",".join(f"127.0.0.1:{each}" for each in range(port, port + 3))


@pytest.mark.parametrize(
    ("options", "host"),
    [([], "localhost"), (["--advertised-host", "127.0.0.1"], "127.0.0.1")],
)
async def test_advertised_address_is_reachable(options: list[str], host: str) -> None:
    with stand_alone("--host", "0.0.0.0", *options) as broker:  # noqa: S104 - the case under test
        assert broker.bootstrap.rpartition(":")[0] == host
        async with Producer(broker.bootstrap) as producer:
            await producer.send("orders", b"tea")


def test_port_in_use_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("python -m aioproducer.testing: ")
    assert str(port) in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nodes", "0"], "must be a whole number from 1 to 1000, not '0'"),
        (["--port", "x"], "must be a whole number from 0 to 65535, not 'x'"),
        (["--port", "65535", "--nodes", "2"], "2 nodes from port 65535 on need ports above 65535"),
        (["--topic", "orders:many"], "must be a whole number from 1 to 100000, not 'many'"),
        (["--topic", "no topic"], "'no topic' is no legal topic name"),
        (["--topic", "orders", "--topic", "orders:3"], "'orders' exists already"),
        (["orders"], "unrecognized arguments"),
        (["--versions", "kafka-1"], "choose from"),
        (["--security", "TLS"], "choose from"),
        (["--security", "SASL_SSL"], "SASL_SSL needs users in the environment: KAFKA_USERS=alice:secret"),
        (["--mechanism", "PLAIN"], "sasl_mechanisms has no effect with security='PLAINTEXT'"),
        (["--ca-file", "ca.pem"], "--ca-file needs --security SSL or SASL_SSL, not PLAINTEXT"),
    ],
)
def test_bad_arguments_are_reported(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert message in capsys.readouterr().err


def test_malformed_users_do_not_show(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAFKA_USERS", "alice:secret,hunter2")
    with pytest.raises(SystemExit, match="2"):
        main(["--security", "SASL_PLAINTEXT"])
    error = capsys.readouterr().err
    assert "KAFKA_USERS holds users as name:password, separated by commas" in error
    assert "hunter2" not in error


def test_librdkafka_authenticates_with_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KAFKA_USERS", "alice:secret,bob:other")
    ca = tmp_path / "ca.pem"
    options = ["--security", "SASL_SSL", "--mechanism", "SCRAM-SHA-512", "--ca-file", str(ca)]
    with stand_alone("--topic", "orders:6", *options) as broker:
        config = {
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(ca),
            "sasl.mechanisms": "SCRAM-SHA-512",
            "sasl.username": "bob",
            "sasl.password": "other",
        }
        check(with_librdkafka(broker.bootstrap, **config))
        assert broker.end() == [f"orders: {RECORDS} records"]


def test_help_names_the_signals(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "Ctrl-C or SIGTERM" in capsys.readouterr().out.replace("\n", " ")
