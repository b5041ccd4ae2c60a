"""InitProducerId: returns a new producer id to each request.

Transactions are not implemented yet: a request with a transactional id gets INVALID_REQUEST.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from aioproducer.testing.authorizer import CLUSTER_NAME, Operation, ResourceType
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
    code = _authorize(call)
    if code is not ErrorCode.NONE:
        return InitProducerIdResponse(error_code=code, producer_epoch=-1)
    if request.transactional_id is not None:
        return InitProducerIdResponse(error_code=ErrorCode.INVALID_REQUEST, producer_epoch=-1)
    # A bump (KIP-360) has both an id and an epoch; one without the other is invalid.
    if (request.producer_id == -1) != (request.producer_epoch == -1):
        return InitProducerIdResponse(error_code=ErrorCode.INVALID_REQUEST, producer_epoch=-1)
    return InitProducerIdResponse(error_code=ErrorCode.NONE, producer_id=call.topology.new_producer_id())


def _authorize(call: Call) -> ErrorCode:
    transactional_id = call.request.transactional_id
    if transactional_id is not None:
        if call.allows(Operation.WRITE, ResourceType.TRANSACTIONAL_ID, transactional_id):
            return ErrorCode.NONE
        return ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    if call.allows(Operation.IDEMPOTENT_WRITE, ResourceType.CLUSTER, CLUSTER_NAME):
        return ErrorCode.NONE
    # Since 2.8 a client that may write to any topic may do so idempotently (KIP-679).
    authorizer = call.settings.security.authorizer
    if call.broker.takes_topic_writers and authorizer.allows_on_any_topic(
        call.session.principal, Operation.WRITE
    ):
        return ErrorCode.NONE
    return ErrorCode.CLUSTER_AUTHORIZATION_FAILED
