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
    from aioproducer.net.authenticator import Authenticator, Session
    from aioproducer.net.channel import Channel
    from aioproducer.net.endpoint import Endpoint
    from aioproducer.sasl.mechanism import Mechanism

logger = logging.getLogger("aioproducer.broker")

SHORTEST_WAIT = 0.1
"""Seconds between two attempts to get credentials, at least."""


async def renew(
    channel: Channel, endpoint: Endpoint, authenticator: Authenticator, session: Session, timeout: float
) -> Session | None:
    """Authenticate again and return the new session, if it has an end.

    On failure the channel is closed, so that the next connection reports the cause.
    """
    try:
        # Before the pause: a token provider may be slow.
        mechanism = await _mechanism(channel, authenticator, session)
        channel.pause()
        # A response may come after the end of the session: brokers accept SaslHandshake then, too. One
        # that never comes ends the connection at the deadline of its request.
        await channel.drained()
        if channel.error is not None:
            return None
        setup = Setup(channel, endpoint, timeout)
        renewed = await authenticator.run(setup, mechanism)
        logger.debug("authenticated again at %s", endpoint.address)
    except ProducerError as error:
        logger.info("authentication on the connection to %s failed: %s", endpoint.address, error)
        lost = BrokerConnectionError(f"the session at {endpoint.address} could not be renewed: {error}")
        lost.__cause__ = error
        channel.close(lost)
        return None
    finally:
        channel.resume()
    return renewed


async def _mechanism(channel: Channel, authenticator: Authenticator, session: Session) -> Mechanism:
    while True:
        try:
            return await authenticator.mechanism()
        except AuthenticationError as error:
            remaining = session.ends_at - channel.clock()
            # The session is good for some time: a provider that fails now may work again by then.
            if channel.error is not None or remaining < SHORTEST_WAIT:
                raise
            logger.info("no credentials for %s yet: %s", channel.address, error)
            await anyio.sleep(max(SHORTEST_WAIT, remaining / 4))
