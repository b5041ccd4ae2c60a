"""The public API as users write it: type checkers must accept every line.

This file is never run. `assert_type` states the inferred types, and each `type: ignore` marks an
error that the checkers must find: an unnecessary one is an error itself.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, assert_type

from aioproducer import (
    BootstrapError,
    BrokerError,
    Delivery,
    ErrorCode,
    Producer,
    ProducerConfig,
    ProducerError,
    Record,
    RecordMetadata,
    TopicPartition,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

Bytes = bytes | bytearray | memoryview


class Order(TypedDict):
    number: int
    item: str


def as_json(order: Order) -> bytes:
    return json.dumps(order).encode()


def by_length(topic: str, key: bytes | None, partitions: int) -> int:
    return len(key or topic) % partitions


def null_if_empty(text: str) -> bytes | None:
    return text.encode() or None


async def bytes_by_default() -> None:
    async with Producer("localhost:9092") as producer:
        assert_type(producer, Producer[Bytes, Bytes])
        assert_type(producer.send("orders", b"value"), Delivery)
        assert_type(await producer.send("orders", b"value", key=b"key"), RecordMetadata)
        producer.send("orders", bytearray(b"value"), key=memoryview(b"key"))
        producer.send("orders", None, key=b"deleted")
        producer.send("orders", partition=0, timestamp_ms=1_700_000_000_000)

        producer.send("orders", "text")  # type: ignore[arg-type]
        producer.send("orders", b"value", key=42)  # type: ignore[arg-type]
        producer.send("orders", b"value", b"key")  # type: ignore[call-arg]
        producer.send(b"orders", b"value")  # type: ignore[arg-type]
        producer.send("orders", b"value", partition="0")  # type: ignore[arg-type]
        producer.send("orders", b"value", timestamp=0)  # type: ignore[call-arg]


async def serializers_say_what_is_sent() -> None:
    async with Producer("localhost:9092", value_serializer=as_json) as orders:
        assert_type(orders, Producer[Bytes, Order])
        await orders.send("orders", {"number": 1, "item": "tea"}, key=b"42")
        orders.send("orders", {"number": "1", "item": "tea"})  # type: ignore[arg-type]
        orders.send("orders", b"value")  # type: ignore[arg-type]

    texts = Producer("localhost:9092", key_serializer=str.encode, value_serializer=null_if_empty)
    assert_type(texts, Producer[str, str])
    texts.send("texts", "value", key="key")
    texts.send("texts", "value", key=b"key")  # type: ignore[arg-type]

    keyed = Producer("localhost:9092", key_serializer=str.encode)
    assert_type(keyed, Producer[str, Bytes])

    Producer("localhost:9092", value_serializer=len)  # type: ignore[arg-type]
    anything = Producer[bytes, object]("localhost:9092", value_serializer=lambda value: repr(value).encode())
    anything.send("anything", {1, 2, 3})


async def password_from_vault() -> str:
    return "secret"


def security_options() -> None:
    Producer("localhost:9093", security_protocol="SSL", ssl_context=ssl.create_default_context())
    Producer("localhost:9093", security_protocol="SSL", ssl_truststore_location=Path("ca.pem"))
    Producer("localhost:9095", sasl_username="alice", sasl_password=password_from_vault)
    Producer("localhost:9095", sasl_username=lambda: "alice", sasl_password=str)
    Producer("localhost:9095", sasl_token_provider=password_from_vault)
    Producer("localhost:9095", sasl_oauthbearer_extensions={"logicalCluster": "lkc-1"})
    Producer("localhost:9095", sasl_password=b"secret")  # type: ignore[call-overload]


async def a_lambda_takes_anything() -> None:
    anything = Producer("localhost:9092", value_serializer=lambda value: json.dumps(value).encode())
    await anything.send("orders", {"number": 1}, key=b"42")
    await anything.send("orders", ["tea"])

    keys = Producer("localhost:9092", key_serializer=lambda key: str(key).encode())
    keys.send("orders", b"value", key=42)

    both = Producer(
        "localhost:9092",
        key_serializer=lambda key: str(key).encode(),
        value_serializer=lambda value: json.dumps(value).encode(),
    )
    both.send("orders", {"number": 1}, key=42)


class OrderProducer(Producer[Bytes, Order]):
    """A subclass for one type."""


async def wider_goes_where_narrower_is_asked_for() -> None:
    async def of_bytes(producer: Producer[bytes, bytes]) -> None:
        await producer.send("orders", b"value", key=b"key")

    async def of_orders(producer: Producer[bytes, Order]) -> None:
        await producer.send("orders", {"number": 1, "item": "tea"}, key=b"key")

    await of_bytes(Producer("localhost:9092"))
    await of_bytes(
        Producer[Bytes, object]("localhost:9092", value_serializer=lambda value: bytes(str(value), "ascii"))
    )
    await of_orders(Producer("localhost:9092", value_serializer=as_json))
    await of_orders(Producer("localhost:9092", value_serializer=lambda order: json.dumps(order).encode()))
    await of_orders(OrderProducer("localhost:9092", value_serializer=as_json))
    narrow: Producer[bytes, bytes] = Producer("localhost:9092")
    wide: Producer[Bytes, Bytes] = narrow  # type: ignore[assignment]
    await wide.stop()


async def headers(producer: Producer) -> None:
    producer.send("orders", headers=[("trace", b"1"), ("empty", b""), ("null", None), ("trace", b"2")])
    producer.send("orders", headers={"trace": b"1", "null": None})
    producer.send("orders", headers=(("trace", b"1"),))
    producer.send("orders", headers={"trace": "1"})  # type: ignore[dict-item]
    producer.send("orders", headers=[("trace", 1)])  # type: ignore[list-item]


async def deliveries(producer: Producer[bytes, bytes]) -> None:
    delivery = producer.send("orders", b"value")
    metadata = await delivery
    assert_type(metadata.topic, str)
    assert_type(metadata.partition, int)
    assert_type(metadata.offset, int)
    assert_type(metadata.timestamp_ms, int)

    assert_type(delivery.done(), bool)
    assert_type(delivery.result(), RecordMetadata)
    assert_type(delivery.exception(), ProducerError | None)
    delivery.add_done_callback(lambda done: done.result().offset)

    future: asyncio.Future[RecordMetadata] = delivery.future()
    assert_type(await future, RecordMetadata)
    # A delivery is an awaitable; `asyncio.wait` needs futures.
    assert_type(await asyncio.gather(delivery, delivery), tuple[RecordMetadata, RecordMetadata])
    assert_type(await asyncio.wait_for(delivery, timeout=1.0), RecordMetadata)
    assert_type(await asyncio.create_task(delivery), RecordMetadata)
    async with asyncio.TaskGroup() as group:
        assert_type(group.create_task(producer.send("orders", b"value")), asyncio.Task[RecordMetadata])
    await asyncio.wait([delivery.future()])
    waiting: Awaitable[RecordMetadata] = delivery
    await waiting

    delivery.offset  # type: ignore[attr-defined] # noqa: B018
    Delivery(delivery)  # type: ignore[call-arg]


async def the_other_calls(producer: Producer) -> None:
    await producer.start()
    await producer.drain()
    await producer.flush()
    await producer.flush(timeout=1.5)
    await producer.stop(5)
    for partition in await producer.partitions_for("orders"):
        assert_type(partition.index, int)
        assert_type(partition.leader_id, int)
    metrics = producer.metrics()
    assert_type(metrics["producer-metrics"]["record-send-rate"], float)
    assert_type(metrics["producer-topic-metrics"]["orders"], dict[str, float])
    metrics["consumer-metrics"]  # type: ignore[typeddict-item]


def configuration(properties: Mapping[str, object]) -> None:
    Producer(["a:9092", "b:9092"], linger_ms=0.5, acks="all", compression_type="zstd")
    Producer(("a:9092", "b:9092"), partitioner=by_length)
    Producer("a:9092", partitioner="crc32", enable_idempotence=False)
    Producer("a:9092", linger="5")  # type: ignore[call-overload]
    Producer("a:9092", linger_ms="5")  # type: ignore[call-overload]
    Producer("a:9092", partitioner="murmur3")  # type: ignore[call-overload]
    Producer("a:9092", value_serializer="json")  # type: ignore[call-overload]
    Producer()  # type: ignore[call-overload]

    config = ProducerConfig.from_properties(properties, linger_ms=5)
    assert_type(config, ProducerConfig)
    assert_type(config.batch_size, int)
    assert_type(config.replace(linger_ms=0).linger, float)
    assert_type(Producer.from_config(config), Producer[Bytes, Bytes])
    assert_type(Producer[str, Order].from_config(config), Producer[str, Order])
    config.linger_ms = 5  # type: ignore[misc]


def records() -> None:
    record = Record(topic="orders", value=b"value", headers={"trace": b"1"})
    assert_type(record.key, Bytes | None)
    Record("orders")  # type: ignore[call-arg]
    place = TopicPartition("orders", 0)
    topic, partition = place
    assert_type(topic, str)
    assert_type(partition, int)


async def errors(producer: Producer) -> None:
    try:
        await producer.send("orders", b"value")
    except BrokerError as error:
        assert_type(error.code, ErrorCode)
        assert_type(error.reason, str | None)
    except BootstrapError as error:
        assert_type(error.causes, dict[str, Exception])
    except ProducerError as error:
        assert_type(error.may_be_written, bool)
        assert_type(error.retriable, bool)
    except TimeoutError:
        raise
