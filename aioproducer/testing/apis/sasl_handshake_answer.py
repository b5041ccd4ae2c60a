"""SaslHandshake: chooses the mechanism of the exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.sasl import SaslHandshakeRequest, SaslHandshakeResponse
from aioproducer.testing.faults import AnswerError

if TYPE_CHECKING:
    from aioproducer.testing.call import Call

REQUEST = SaslHandshakeRequest


def answer(call: Call) -> SaslHandshakeResponse:
    """Return whether the mechanism is enabled; after an error the connection is closed."""
    scripted = call.scripted()
    if isinstance(scripted, AnswerError):
        call.session.fail()
        is_listed = scripted.code is ErrorCode.UNSUPPORTED_SASL_MECHANISM
        mechanisms = call.settings.security.mechanisms if is_listed else ()
        return SaslHandshakeResponse(error_code=scripted.code, mechanisms=mechanisms)
    return call.session.handshake(call.request, call.version)
