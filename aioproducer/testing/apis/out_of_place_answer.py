"""The answer to a request in the middle of a SASL exchange: ILLEGAL_SASL_STATE in all its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.api_versions import ApiVersionsRequest, ApiVersionsResponse
from aioproducer.protocol.metadata import MetadataRequest, MetadataResponse, MetadataResponseTopic
from aioproducer.protocol.sasl import SaslHandshakeRequest, SaslHandshakeResponse
from aioproducer.testing.refusal import ConnectionDropped

if TYPE_CHECKING:
    from aioproducer.protocol.api import Response
    from aioproducer.testing.call import Call

_CODE = ErrorCode.ILLEGAL_SASL_STATE


def answer(call: Call) -> Response:
    """Return the response; the connection is closed after it. Raises ConnectionDropped."""
    call.session.fail()
    match call.request:
        case ApiVersionsRequest():
            return ApiVersionsResponse(error_code=_CODE, api_keys=())
        case SaslHandshakeRequest():
            return SaslHandshakeResponse(error_code=_CODE)
        case MetadataRequest(topics=topics):
            refused = [MetadataResponseTopic(_CODE, topic.name, topic.topic_id) for topic in topics or ()]
            return MetadataResponse(brokers=(), topics=tuple(refused))
        case _:
            message = f"{call.api.name} came in the middle of a SASL exchange"
            raise ConnectionDropped(message)
