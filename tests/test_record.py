"""The types of the parts of a record."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from aioproducer import Producer, Record, TopicPartition


def test_topic_partition_str_matches_kafka() -> None:
    place = TopicPartition("orders", 3)

    assert str(place) == "orders-3"
    assert place == ("orders", 3)
    assert hash(place) == hash(("orders", 3))


def test_record_defaults_are_none() -> None:
    assert Record(topic="orders") == Record(
        topic="orders", value=None, key=None, partition=None, timestamp_ms=None, headers=None
    )


def test_record_is_frozen_and_keyword_only() -> None:
    record = Record(topic="orders", value=b"1")

    with pytest.raises(dataclasses.FrozenInstanceError):
        record.value = b"2"  # type: ignore[misc] # assigning is the test
    with pytest.raises(TypeError):
        Record("orders")  # type: ignore[call-arg] # the call is the test
    assert dataclasses.replace(record, value=b"2").value == b"2"


def test_as_arguments_matches_send() -> None:
    record = Record(
        topic="orders", value=b"1", key=b"k", partition=3, timestamp_ms=5, headers=[("trace", None)]
    )

    arguments = record.as_arguments()

    assert arguments == {
        "topic": "orders",
        "value": b"1",
        "key": b"k",
        "partition": 3,
        "timestamp_ms": 5,
        "headers": [("trace", None)],
    }
    assert arguments.keys() == inspect.signature(Producer.send).parameters.keys() - {"self"}
