"""SaslAuthenticate: the next bytes of the mechanism."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.sasl import SaslAuthenticateRequest, SaslAuthenticateResponse
from aioproducer.testing.faults import AnswerAuthBytes, AnswerError

if TYPE_CHECKING:
    from aioproducer.testing.call import Call

REQUEST = SaslAuthenticateRequest


def answer(call: Call) -> SaslAuthenticateResponse:
    """Return the mechanism's answer; after an error the connection is closed."""
    data = call.request.auth_bytes
    scripted = call.scripted()
    if isinstance(scripted, AnswerError):
        call.session.fail()
        return SaslAuthenticateResponse(error_code=scripted.code, error_message=scripted.reason)
    for fault in call.faults:
        if isinstance(fault.action, AnswerAuthBytes):
            # The mechanism does not see the client's bytes, so the exchange goes on.
            return SaslAuthenticateResponse(
                error_code=ErrorCode.NONE, error_message="", auth_bytes=fault.action.answer_to(data)
            )
    return call.session.authenticate(data)
