"""The log of retries: partitions with one cause share a line, which names the first of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aioproducer import BrokerConnectionError
from aioproducer.error_code import ErrorCode
from aioproducer.errors import BrokerError
from aioproducer.net.retry_log import RetryLog
from tests.core.harness import DeliveryHarness

if TYPE_CHECKING:
    import pytest

    from aioproducer.core.batch import ProducerBatch
    from aioproducer.errors import ProducerError

LOST = BrokerConnectionError("the connection was lost")


def batch_of(harness: DeliveryHarness, partition: int, error: ProducerError) -> ProducerBatch:
    harness.send(b"", partition=partition)
    batch = harness.take_one()
    batch.last_error = error
    batch.attempts += 1
    harness.answer(batch, offset=0)
    return batch


def test_many_partitions_are_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aioproducer.net.retry_log.MOST_NAMED", 2)
    harness = DeliveryHarness()
    log = RetryLog(harness)
    for partition in range(3):
        log.retried(batch_of(harness, partition, LOST))
    log.tell()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "sending 3 records for orders-0, orders-1 and 1 more again (attempt 1 failed): "
        "the connection was lost"
    )


def test_each_cause_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    harness = DeliveryHarness()
    log = RetryLog(harness)
    refused = BrokerError.of(ErrorCode.NOT_ENOUGH_REPLICAS, "3 records", reason="two are down")
    for error in (LOST, refused, BrokerConnectionError("lost again"), refused):
        log.retried(batch_of(harness, 0, error))
        log.tell()
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert messages[1].endswith("the broker answered NOT_ENOUGH_REPLICAS (19): two are down")


def test_recovery_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    harness = DeliveryHarness()
    log = RetryLog(harness)
    batch = batch_of(harness, 0, LOST)
    log.retried(batch)
    log.tell()
    harness.wait(2.5)
    for _ in range(2):
        log.stored(batch.queue)
        log.tell()
    assert not log.troubled
    assert [record.getMessage() for record in caplog.records][1:] == [
        "records for orders-0 are stored again after 2.5 s and 1 retry"
    ]
