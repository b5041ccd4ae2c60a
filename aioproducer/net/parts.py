"""Makes the parts of the core that an engine puts together, from the configuration."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aioproducer.core.accumulator import Accumulator
from aioproducer.core.metadata import Metadata
from aioproducer.core.partitioner import KeyPartitioner, RecordPartitioner
from aioproducer.core.settlement import Settlement

if TYPE_CHECKING:
    from aioproducer.config import ProducerConfig
    from aioproducer.core.backoff import Backoff
    from aioproducer.core.events import Listener
    from aioproducer.core.failures import OutageSource
    from aioproducer.core.sequences import Ordering
    from aioproducer.core.shell import Shell


def make_accumulator(config: ProducerConfig, shell: Shell, events: Listener) -> Accumulator:
    """Make the accumulator of a producer."""
    return Accumulator(
        shell,
        # As in Java, 0 means that each record is a batch of its own.
        batch_size=max(config.batch_size, 1),
        linger=config.linger,
        buffer_memory=config.buffer_memory,
        max_block=config.max_block,
        max_request_size=config.max_request_size,
        partitioner=_make_partitioner(config),
        adaptive=config.partitioner_adaptive_partitioning_enable,
        availability_timeout=config.availability_timeout,
        delivery_timeout=config.delivery_timeout,
        events=events,
    )


def _make_partitioner(config: ProducerConfig) -> RecordPartitioner:
    choice = config.partitioner
    if callable(choice):
        # A partitioner that raises CancelledError must not cancel the task that calls `send`.
        faults = (Exception, asyncio.CancelledError)
        return RecordPartitioner(custom=choice, faults=faults, ignore_keys=config.partitioner_ignore_keys)
    return RecordPartitioner(KeyPartitioner(choice), ignore_keys=config.partitioner_ignore_keys)


def make_metadata(config: ProducerConfig, backoff: Backoff) -> Metadata:
    """Make the metadata of a producer: no broker is known yet."""
    # With "none" the client keeps to the known brokers, even if none of them responds (KIP-899).
    rebootstraps = config.metadata_recovery_strategy == "rebootstrap"
    return Metadata(
        max_age=config.metadata_max_age,
        max_idle=config.metadata_max_idle,
        backoff=backoff,
        rebootstrap_trigger=config.rebootstrap_trigger if rebootstraps else None,
    )


def make_settlement(
    config: ProducerConfig,
    accumulator: Accumulator,
    ordering: Ordering,
    events: Listener,
    backoff: Backoff,
    shell: Shell,
    outages: OutageSource,
) -> Settlement:
    """Make the settlement of a producer's batches."""
    return Settlement(
        accumulator,
        ordering,
        events,
        backoff,
        shell,
        outages,
        idempotent=config.enable_idempotence,
        retries=config.retries,
        delivery_timeout=config.delivery_timeout,
    )
