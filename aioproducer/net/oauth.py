"""Where tokens for OAUTHBEARER come from: the user's provider, or a token endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aioproducer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.config import ProducerConfig


def token_provider(config: ProducerConfig) -> Callable[[], Any]:
    """Return what gives new tokens, by the options."""
    if config.sasl_token_provider is not None:
        return config.sasl_token_provider
    message = "sasl_oauthbearer_token_endpoint_url is not implemented yet"
    raise ConfigurationError(message, option="sasl_oauthbearer_token_endpoint_url")
