"""What options must be together, as Kafka's own producer has it.

Each rule changes `values`, the checked value of every option, or raises `ConfigurationError`.
`given` names those that were set: an option at odds with another is an error where the user
asked for both, while a mere default gives way, which is logged.
"""

from __future__ import annotations

import logging
import math
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from aioproducer.errors import ConfigurationError
from aioproducer.options import INT_MAX

if TYPE_CHECKING:
    from collections.abc import Collection

logger = logging.getLogger("aioproducer.config")

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
    # Kafka insists on this even where acks=1 is about to switch idempotence off.
    if values["enable_idempotence"] and in_flight > _MOST_IN_FLIGHT:
        message = (
            f"max_in_flight_requests_per_connection={in_flight} is more than the {_MOST_IN_FLIGHT} that "
            "idempotence allows; only enable_idempotence=False lifts that limit"
        )
        raise ConfigurationError(message, option="max_in_flight_requests_per_connection", value=in_flight)
    obstacle = "acks" if values["acks"] != _ALL else "retries" if values["retries"] == 0 else None
    if values["enable_idempotence"] and obstacle is not None:
        cause = f"{obstacle}={values[obstacle]}"
        if "enable_idempotence" in given:
            message = f"enable_idempotence=True needs acks='all' and retries above 0, not {cause}"
            raise ConfigurationError(message, option=obstacle, value=values[obstacle])
        logger.info("Idempotence is off, because of %s: records may be repeated or change places", cause)
        values["enable_idempotence"] = False
    if values["transactional_id"] is not None and not values["enable_idempotence"]:
        message = "transactional_id needs idempotence, with acks='all' and retries above 0"
        raise ConfigurationError(message, option="transactional_id", value=values["transactional_id"])


def _settle_delivery_timeout(values: dict[str, Any], given: Collection[str]) -> None:
    timeout, linger, request = (
        values[f"{name}_ms"] for name in ("delivery_timeout", "linger", "request_timeout")
    )
    least = min(math.ceil(linger) + request, INT_MAX)
    if timeout >= least:
        return
    words = f"linger_ms + request_timeout_ms ({linger} + {request})"
    if "delivery_timeout_ms" in given:
        message = f"delivery_timeout_ms={timeout} must be at least {words}"
        raise ConfigurationError(message, option="delivery_timeout_ms", value=timeout)
    logger.warning("delivery_timeout_ms is raised from %s to %s, at least %s", timeout, least, words)
    values["delivery_timeout_ms"] = least


def _settle_backoffs(values: dict[str, Any], given: Collection[str]) -> None:
    if "reconnect_backoff_ms" in given and "reconnect_backoff_max_ms" not in given:
        values["reconnect_backoff_max_ms"] = values["reconnect_backoff_ms"]
        logger.warning(
            "Pauses before a reconnect do not grow beyond reconnect_backoff_ms=%s: it is set, "
            "reconnect_backoff_max_ms is not",
            values["reconnect_backoff_ms"],
        )
    for name in ("reconnect_backoff", "retry_backoff", "socket_connection_setup_timeout"):
        first, longest = values[f"{name}_ms"], values[f"{name}_max_ms"]
        if first > longest:
            logger.warning("%s_ms=%s is above %s_max_ms=%s, which alone counts", name, first, name, longest)
