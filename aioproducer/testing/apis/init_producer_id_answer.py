"""InitProducerId: returns a new producer id to each request.

Transactions are not implemented yet: a request with a transactional id gets INVALID_REQUEST.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from aioproducer.testing.faults import AnswerError

if TYPE_CHECKING:
    from aioproducer.testing.call import Call

REQUEST = InitProducerIdRequest


def answer(call: Call) -> InitProducerIdResponse:
    """Return a new producer id, with epoch 0."""
    request: InitProducerIdRequest = call.request
    scripted = call.scripted()
    if isinstance(scripted, AnswerError):
        return InitProducerIdResponse(error_code=scripted.code, producer_epoch=-1)
    if request.transactional_id is not None:
        return InitProducerIdResponse(error_code=ErrorCode.INVALID_REQUEST, producer_epoch=-1)
    # A bump (KIP-360) has both an id and an epoch; one without the other is invalid.
    if (request.producer_id == -1) != (request.producer_epoch == -1):
        return InitProducerIdResponse(error_code=ErrorCode.INVALID_REQUEST, producer_epoch=-1)
    return InitProducerIdResponse(error_code=ErrorCode.NONE, producer_id=call.topology.new_producer_id())
