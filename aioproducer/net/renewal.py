"""Authentication on a live connection, before its session ends (KIP-368).

    requests ── pause ── responses of the requests in flight ── SASL ── resume ── requests

The broker closes the connection at the first request after the end of the session. Nothing else is in
flight meanwhile: brokers refuse other requests between SaslHandshake and the end of the exchange.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from aioproducer.errors import AuthenticationError, BrokerConnectionError, ProducerError
from aioproducer.net.setup import Setup

if TYPE_CHECKING:
    from aioproducer.net.authenticator import Authenticator
    from aioproducer.net.channel import Channel
    from aioproducer.net.endpoint import Endpoint
    from aioproducer.sasl.mechanism import Mechanism

logger = logging.getLogger("aioproducer.broker")

SHORTEST_WAIT = 0.1
"""Seconds between two attempts to get credentials, at least."""


async def renew(channel: Channel, endpoint: Endpoint, authenticator: Authenticator, timeout: float) -> None:
    """Authenticate again; on failure close the channel, so that the next connection reports it."""
    try:
        # Before the pause: a token provider may be slow.
        mechanism = await _mechanism(channel, authenticator)
        channel.pause()
        if channel.session is not None:
            # A response that does not come by the end of the session does not come in time.
            remaining = max(0.0, channel.session.ends_at - channel.clock())
            with anyio.move_on_after(remaining):
                await channel.drained()
        if channel.error is not None:
            return
        setup = Setup(channel, endpoint, timeout)
        setup.versions = channel.versions
        channel.authenticated(await authenticator.run(setup, mechanism))
        logger.debug("authenticated again at %s", endpoint.address)
    except ProducerError as error:
        logger.info("authentication on the connection to %s failed: %s", endpoint.address, error)
        lost = BrokerConnectionError(f"the session at {endpoint.address} could not be renewed: {error}")
        lost.__cause__ = error
        channel.close(lost)
    finally:
        channel.resume()


async def _mechanism(channel: Channel, authenticator: Authenticator) -> Mechanism:
    while True:
        try:
            return await authenticator.mechanism()
        except AuthenticationError as error:
            remaining = 0.0 if channel.session is None else channel.session.ends_at - channel.clock()
            # The session is good for some time: a provider that fails now may work again by then.
            if channel.error is not None or remaining < SHORTEST_WAIT:
                raise
            logger.info("no credentials for %s yet: %s", channel.address, error)
            await anyio.sleep(max(SHORTEST_WAIT, remaining / 4))
