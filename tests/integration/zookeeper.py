"""Asks a ZooKeeper for its registered brokers."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.wire import Address

_REGISTERED = re.compile(rb"/brokers/ids/(\d+)")


def registered_brokers(zookeeper: Address, timeout: float = 10.0) -> set[int]:
    """Return the ids of brokers with a session; a killed broker's session lasts until its timeout."""
    with socket.create_connection((zookeeper.host, zookeeper.port), timeout) as connection:
        connection.sendall(b"dump")
        with connection.makefile("rb") as answer:
            return {int(broker) for broker in _REGISTERED.findall(answer.read())}
