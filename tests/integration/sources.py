"""The source of a test's broker: the first of these that is available.

KAFKA_BOOTSTRAP      a broker named in the environment
KafkaContainer       a container, if Docker runs
KafkaCluster         Apache Kafka from Maven, on Java
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING

from tests.integration.container import KafkaContainer
from tests.integration.kafka import NEWEST, Kafka, KafkaCluster, KafkaMissingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


@contextmanager
def single_broker(version: str = NEWEST) -> Iterator[Kafka]:
    """Return one broker; KafkaMissingError names the reason for each missing source."""
    with ExitStack() as stack:
        yield _enter_first(stack, version)


def _enter_first(stack: ExitStack, version: str) -> Kafka:
    sources: list[Callable[[str], AbstractContextManager[Kafka]]] = [_named, KafkaContainer, KafkaCluster]
    reasons = []
    for source in sources:
        try:
            return stack.enter_context(source(version))
        except KafkaMissingError as missing:
            reasons.append(str(missing))
    message = f"no Kafka {version}: {'; '.join(reasons)}"
    raise KafkaMissingError(message)


def _named(version: str) -> AbstractContextManager[Kafka]:
    bootstrap = os.environ.get("KAFKA_BOOTSTRAP")
    if not bootstrap:
        message = "KAFKA_BOOTSTRAP is not set"
        raise KafkaMissingError(message)
    if version != NEWEST:
        message = f"KAFKA_BOOTSTRAP stands for the newest Kafka, not for {version}"
        raise KafkaMissingError(message)
    return nullcontext(Kafka(bootstrap, version))
