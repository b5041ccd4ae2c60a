"""InitProducerId: gives every producer an id that no other has.

Transactions are not there yet: who asks with a transactional id is told so at once.
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
    """Give a new producer id, with epoch 0."""
    request: InitProducerIdRequest = call.request
    scripted = call.scripted()
    if isinstance(scripted, AnswerError):
        return InitProducerIdResponse(error_code=scripted.code, producer_epoch=-1)
    if request.transactional_id is not None:
        return InitProducerIdResponse(error_code=ErrorCode.INVALID_REQUEST, producer_epoch=-1)
    if (request.producer_id == -1) != (request.producer_epoch == -1):
        return InitProducerIdResponse(error_code=ErrorCode.INVALID_REQUEST, producer_epoch=-1)
    return InitProducerIdResponse(error_code=ErrorCode.NONE, producer_id=call.topology.new_producer_id())
