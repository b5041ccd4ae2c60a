"""Asks a ZooKeeper for its state and its registered brokers."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.wire import Address

_REGISTERED = re.compile(rb"/brokers/ids/(\d+)")
_NOT_SERVING = b"not currently serving"


def is_serving(zookeeper: Address) -> bool:
    """Whether it takes sessions. It accepts connections earlier, and may never answer those."""
    try:
        return _NOT_SERVING not in _dump(zookeeper, timeout=10.0)
    except OSError:
        return False


def registered_brokers(zookeeper: Address, timeout: float = 10.0) -> set[int]:
    """Return the ids of brokers with a session; a killed broker's session lasts until its timeout."""
    return {int(broker) for broker in _REGISTERED.findall(_dump(zookeeper, timeout))}


def _dump(zookeeper: Address, timeout: float) -> bytes:
    with socket.create_connection((zookeeper.host, zookeeper.port), timeout) as connection:
        connection.sendall(b"dump")
        with connection.makefile("rb") as answer:
            return answer.read()
