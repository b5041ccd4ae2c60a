"""ApiVersions: tells which versions of which APIs the broker has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.api import ApiKey
from aioproducer.protocol.api_versions import ApiVersion, ApiVersionsRequest, ApiVersionsResponse
from aioproducer.testing.faults import AnswerError

if TYPE_CHECKING:
    from aioproducer.testing.call import Call, Settings

REQUEST = ApiVersionsRequest

FIRST_VERSION_WITH_SOFTWARE = 3

# librdkafka takes a broker without Fetch for one that is too old for batches of magic 2, and
# one without FindCoordinator for one that is too old for lz4. Neither is answered.
_ADVERTISED_ONLY = (ApiVersion(1, 4, 11), ApiVersion(ApiKey.FIND_COORDINATOR, 0, 3))

# Kafka 4 lists versions of Produce that it has not, for old librdkafka's sake (KAFKA-18659).
_ADVERTISED_MINIMUM = {ApiKey.PRODUCE: 0}


def answer(call: Call) -> ApiVersionsResponse:
    """List the versions."""
    request: ApiVersionsRequest = call.request
    scripted = call.scripted()
    if isinstance(scripted, AnswerError):
        if scripted.code is ErrorCode.UNSUPPORTED_VERSION:
            return unsupported(call.settings)
        return ApiVersionsResponse(error_code=scripted.code, api_keys=())
    if call.version >= FIRST_VERSION_WITH_SOFTWARE and not request.has_valid_software:
        return ApiVersionsResponse(error_code=ErrorCode.INVALID_REQUEST, api_keys=())
    listed = [
        ApiVersion(api, _ADVERTISED_MINIMUM.get(api, span.min), span.max)
        for api, span in call.settings.versions.items()
    ]
    return ApiVersionsResponse(error_code=ErrorCode.NONE, api_keys=(*listed, *_ADVERTISED_ONLY))


def unsupported(settings: Settings) -> ApiVersionsResponse:
    """Answer a version that the broker has not: with its own versions of this API alone (KIP-511)."""
    own = settings.versions[ApiKey.API_VERSIONS]
    return ApiVersionsResponse(
        error_code=ErrorCode.UNSUPPORTED_VERSION,
        api_keys=(ApiVersion(ApiKey.API_VERSIONS, own.min, own.max),),
    )
