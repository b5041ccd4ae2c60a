"""The credentials of a producer: asked for anew before each authentication.

    options ──▶ Credentials.mechanism() ──▶ Plain, Scram, OAuthBearer, Gssapi, AwsMskIam

A callable may be sync or async, slow, or fail. It never runs in the event loop's thread unless it is
async, and it gets `request_timeout_ms`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import anyio

from aioproducer.errors import ProducerError
from aioproducer.net.oauth import token_provider
from aioproducer.net.providers import Providers
from aioproducer.net.tokens import TokenSource
from aioproducer.sasl.aws_msk_iam import AwsCredentials, AwsMskIam
from aioproducer.sasl.gssapi import Gssapi
from aioproducer.sasl.mechanism import failed
from aioproducer.sasl.oauthbearer import OAuthBearer
from aioproducer.sasl.plain import Plain
from aioproducer.sasl.scram import Scram, ScramHash

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.config import ProducerConfig
    from aioproducer.sasl.mechanism import Mechanism

_SCRAM = {"SCRAM-SHA-256": ScramHash.SHA_256, "SCRAM-SHA-512": ScramHash.SHA_512}


class Credentials:
    """Makes the mechanism of each authentication from the options.

    `providers` has the threads for steps that may block.
    """

    def __init__(self, config: ProducerConfig, random: Callable[[], float]) -> None:
        self.providers = Providers()
        self._config = config
        self._tokens: TokenSource | None = None
        if config.sasl_mechanism == OAuthBearer.name:
            self._tokens = TokenSource(token_provider(config), config, random, self.providers)

    def close(self) -> None:
        """End a request for a token: the client is closed."""
        if self._tokens is not None:
            self._tokens.close()

    async def mechanism(self) -> Mechanism:
        """Return the mechanism with the present credentials; raises AuthenticationError."""
        name, config = self._config.sasl_mechanism, self._config
        if self._tokens is not None:
            return OAuthBearer(await self._tokens.token())
        if name == Gssapi.name:
            return Gssapi(
                config.sasl_kerberos_service_name or "kafka",
                principal=config.sasl_kerberos_principal,
                keytab=config.sasl_kerberos_keytab,
            )
        if name == AwsMskIam.name:
            credentials: AwsCredentials = await self._bounded(AwsCredentials.load, "the credentials of AWS")
            # For host names without a region, such as those of a private DNS zone.
            region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
            return AwsMskIam(credentials, default_region=region)
        username = await self._text("sasl_username", config.sasl_username)
        password = await self._text("sasl_password", config.sasl_password)
        if name == Plain.name:
            return Plain(username, password)
        return Scram(_SCRAM[name], username, password, delegation_token=config.sasl_scram_tokenauth)

    async def _text(self, option: str, value: object) -> str:
        if callable(value):
            value = await self._bounded(value, option)
        if not isinstance(value, str) or not value:
            # Not the value: it may be a secret of the wrong type.
            given = "an empty one" if value == "" else type(value).__name__
            message = f"{option} must give a non-empty string, it gave {given}"
            raise failed(self._config.sasl_mechanism, message)
        return value

    async def _bounded(self, provider: Callable[[], Any], what: str) -> Any:  # noqa: ANN401 -- the user's callable
        limit = self._config.request_timeout
        with anyio.move_on_after(limit):
            try:
                return await self.providers.call(provider)
            except ProducerError:
                raise
            except Exception as error:
                # Not the text of the error: it may contain the secret.
                message = f"{what} raised {type(error).__name__}"
                raise failed(self._config.sasl_mechanism, message) from error
        message = f"{what} took more than {limit:.1f} s (request_timeout_ms)"
        raise failed(self._config.sasl_mechanism, message)
