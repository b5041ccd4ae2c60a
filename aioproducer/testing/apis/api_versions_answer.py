"""ApiVersions: lists the broker's APIs and their versions."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, assert_never

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.api import ApiKey
from aioproducer.protocol.api_versions import ApiVersion, ApiVersionsRequest, ApiVersionsResponse
from aioproducer.testing.faults import AnswerError
from aioproducer.testing.refusal import ConnectionDropped
from aioproducer.testing.versions import UnknownVersion

if TYPE_CHECKING:
    from aioproducer.testing.call import Call
    from aioproducer.testing.versions import BrokerVersion

REQUEST = ApiVersionsRequest

FETCH = 1


def answer(call: Call) -> ApiVersionsResponse:
    """List the versions."""
    request: ApiVersionsRequest = call.request
    scripted = call.scripted()
    if isinstance(scripted, AnswerError):
        # A scripted UNSUPPORTED_VERSION lists the versions too, so that clients can try again.
        if scripted.code is ErrorCode.UNSUPPORTED_VERSION:
            return unsupported(call.broker)
        return ApiVersionsResponse(error_code=scripted.code, api_keys=())
    if call.version >= request.software_from and not request.has_valid_software:
        return ApiVersionsResponse(error_code=ErrorCode.INVALID_REQUEST, api_keys=())
    call.session.versions_sent()
    return ApiVersionsResponse(error_code=ErrorCode.NONE, api_keys=_all(call.broker))


def unsupported(broker: BrokerVersion) -> ApiVersionsResponse:
    """Answer a request in an unknown version (KIP-511)."""
    match broker.unknown_version:
        case UnknownVersion.LIST_OWN:
            own = broker.apis[ApiKey.API_VERSIONS]
            listed: tuple[ApiVersion, ...] = (ApiVersion(ApiKey.API_VERSIONS, own.min, own.max),)
        case UnknownVersion.LIST_ALL:
            listed = _all(broker)
        case UnknownVersion.LIST_NONE:
            listed = ()
        case UnknownVersion.CLOSE_CONNECTION:
            message = f"{broker.name} does not have this version of ApiVersions"
            raise ConnectionDropped(message)
        case unreachable:
            assert_never(unreachable)
    return ApiVersionsResponse(error_code=ErrorCode.UNSUPPORTED_VERSION, api_keys=listed)


def _all(broker: BrokerVersion) -> tuple[ApiVersion, ...]:
    # librdkafka derives the record format and lz4 from these two, although its producer never sends them.
    others = [(FETCH, broker.fetch), (ApiKey.FIND_COORDINATOR, broker.find_coordinator)]
    listed = [(int(api), span) for api, span in broker.apis.items()] + others
    return tuple([ApiVersion(api, span.min, span.max) for api, span in sorted(listed, key=itemgetter(0))])
