"""The rules between options, as in Kafka's producer.

Each rule changes `values`, the checked value of every option, or raises `ConfigurationError`.
`given` are the options that were set. Two conflicting options that were both set are an error. A
default that conflicts with a set option changes, with a log message.
"""

from __future__ import annotations

import logging
import math
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from aioproducer.config.kinds import INT_MAX
from aioproducer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection

logger: Final = logging.getLogger("aioproducer.config")

_ALL = -1
_MOST_IN_FLIGHT = 5


def settle(values: dict[str, Any], given: Collection[str]) -> None:
    """Apply every rule to `values`."""
    _settle_idempotence(values, given)
    _settle_delivery_timeout(values, given)
    _settle_backoffs(values, given)
    if values["compression_type"] == "snappy" and find_spec("cramjam") is None:
        message = "compression_type='snappy' needs an extra: pip install 'aioproducer[snappy]'"
        raise ConfigurationError(message, option="compression_type", value="snappy")


def _settle_idempotence(values: dict[str, Any], given: Collection[str]) -> None:
    in_flight = values["max_in_flight_requests_per_connection"]
    # Kafka checks this even if acks=1 disables idempotence.
    if values["enable_idempotence"] and in_flight > _MOST_IN_FLIGHT:
        message = (
            f"max_in_flight_requests_per_connection={in_flight} is more than the {_MOST_IN_FLIGHT} that "
            "idempotence allows; only enable_idempotence=False removes that limit"
        )
        raise ConfigurationError(message, option="max_in_flight_requests_per_connection", value=in_flight)
    obstacle = "acks" if values["acks"] != _ALL else "retries" if values["retries"] == 0 else None
    if values["enable_idempotence"] and obstacle is not None:
        cause = f"{obstacle}={values[obstacle]}"
        if "enable_idempotence" in given:
            message = f"enable_idempotence=True needs acks='all' and retries above 0, not {cause}"
            raise ConfigurationError(message, option=obstacle, value=values[obstacle])
        logger.info("Idempotence is disabled because of %s: records may be duplicated or reordered", cause)
        values["enable_idempotence"] = False
    if values["transactional_id"] is not None and not values["enable_idempotence"]:
        message = "transactional_id needs idempotence, with acks='all' and retries above 0"
        raise ConfigurationError(message, option="transactional_id", value=values["transactional_id"])


def _settle_delivery_timeout(values: dict[str, Any], given: Collection[str]) -> None:
    timeout, linger, request = (
        values[f"{name}_ms"] for name in ("delivery_timeout", "linger", "request_timeout")
    )
    # A batch must have the time for its linger and for one request: 5 + 30,000 ms.
    least = min(math.ceil(linger) + request, INT_MAX)
    if timeout >= least:
        return
    minimum = f"linger_ms + request_timeout_ms ({linger} + {request})"
    if "delivery_timeout_ms" in given:
        message = f"delivery_timeout_ms={timeout} must be at least {minimum}"
        raise ConfigurationError(message, option="delivery_timeout_ms", value=timeout)
    logger.warning("delivery_timeout_ms is raised from %s to %s, at least %s", timeout, least, minimum)
    values["delivery_timeout_ms"] = least


def _settle_backoffs(values: dict[str, Any], given: Collection[str]) -> None:
    # As in Java: a reconnect_backoff_ms that is set alone stays constant, at 5000 too.
    if "reconnect_backoff_ms" in given and "reconnect_backoff_max_ms" not in given:
        values["reconnect_backoff_max_ms"] = values["reconnect_backoff_ms"]
        logger.warning(
            "The reconnect backoff stays at reconnect_backoff_ms=%s, because reconnect_backoff_max_ms "
            "is not set",
            values["reconnect_backoff_ms"],
        )
    for name in ("reconnect_backoff", "retry_backoff", "socket_connection_setup_timeout"):
        first, longest = values[f"{name}_ms"], values[f"{name}_max_ms"]
        if first > longest:
            logger.warning("%s_ms=%s is above %s_max_ms=%s; the maximum applies", name, first, name, longest)
