"""The API versions that a broker supports, and how to ask for them.

The client does not know which version of ApiVersions a broker can read:

    broker                                        client
    reads version 4                               reads the response
    reads an older version, says UNSUPPORTED      asks again on the same connection
    closes the connection (some proxies do)       asks an older version on a later connection
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.error_code import ErrorCode
from aioproducer.errors import BrokerError
from aioproducer.protocol.api import ApiKey, VersionRange, negotiate
from aioproducer.protocol.api_versions import ApiVersionsRequest, ApiVersionsResponse, software_name
from aioproducer.protocol.frame import decode_response
from aioproducer.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    VersionedRequest = tuple[ApiVersionsRequest, int]

CLOSES_BEFORE_OLDER = 2
"""How often a broker may close the connection before the client asks in an older version."""

_OLDER = {4: 3, 3: 0}

_REQUEST = ApiVersionsRequest(
    client_software_name="aioproducer", client_software_version=software_name(__version__)
)


class BrokerVersions:
    """The API versions that one broker supports, and the finalized features of its cluster.

    `features` maps names such as `transaction.version` to the level in force.
    """

    __slots__ = ("_chosen", "apis", "features")

    def __init__(
        self, apis: Mapping[int, VersionRange] | None = None, features: Mapping[str, int] | None = None
    ) -> None:
        self.apis = dict(apis or {})
        self.features = dict(features or {})
        self._chosen: dict[tuple[ApiKey, int, int | None], int] = {}

    @classmethod
    def of(cls, response: ApiVersionsResponse) -> BrokerVersions:
        """Take the versions and features from a response."""
        # A later version of Kafka may list APIs that this client does not know: keep them by number.
        apis = {api.api_key: VersionRange(api.min_version, api.max_version) for api in response.api_keys}
        return cls(apis, response.feature_levels)

    def choose(self, api: ApiKey, client: VersionRange, *, at_most: int | None = None) -> int:
        """Return the highest version that both sides support; raises UnsupportedVersionError."""
        # Each Produce request asks this: negotiate once for each API and limit.
        version = self._chosen.get((api, client.min, at_most))
        if version is None:
            version = negotiate(api, client, self.apis.get(api), at_most=at_most)
            self._chosen[api, client.min, at_most] = version
        return version


class VersionDiscovery:
    """The ApiVersions requests to one broker, over all its connections.

    After a connection that the broker closed, `should_reconnect` says whether another connection
    may go better.
    """

    def __init__(self) -> None:
        self.versions = BrokerVersions()
        self.has_begun = False
        self.should_reconnect = False
        self._highest = ApiVersionsRequest.versions.max
        self._asked = self._highest
        self._closes = 0

    def begin(self) -> VersionedRequest:
        """Return the request for a new connection, and its version."""
        self._asked = self._highest
        self.has_begun = True
        self.should_reconnect = False
        return _REQUEST, self._asked

    def receive(self, frame: memoryview) -> VersionedRequest | None:
        """Take a response; return the next request, or None when `versions` is complete.

        Raises ProtocolError, BrokerError.
        """
        self._closes = 0
        _, response = decode_response(ApiVersionsResponse, frame, self._asked)
        versions = BrokerVersions.of(response)
        code = ErrorCode.of(response.error_code)
        if code is ErrorCode.UNSUPPORTED_VERSION and self._asked > 0:
            known = versions.apis.get(ApiKey.API_VERSIONS)
            # Ask a lower version than before, whatever the broker claims: this must end.
            self._asked = 0 if known is None else min(known.max, self._asked - 1)
            return _REQUEST, self._asked
        if code is not ErrorCode.NONE:
            raise BrokerError.of(code, "ApiVersions")
        self.versions = versions
        return None

    def connection_closed(self) -> None:
        """Note that the broker closed the connection instead of responding."""
        self._closes += 1
        self.should_reconnect = True
        if self._closes >= CLOSES_BEFORE_OLDER:
            self._closes = 0
            # Version 0 was refused too, so the version is not the cause: start over with 4.
            self.should_reconnect = self._highest in _OLDER
            # Some services close the connection on version 4: after two closes try 3, then 0.
            self._highest = _OLDER.get(self._highest, ApiVersionsRequest.versions.max)
