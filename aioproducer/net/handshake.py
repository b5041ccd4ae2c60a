"""The first words on a connection, which ask for the versions that the broker speaks.

Old brokers do not know the newest form of the question, and say so in the oldest form;
some services cut the connection instead. So the question is asked again in an older form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.error_code import ErrorCode
from aioproducer.errors import BrokerConnectionError, BrokerError, RequestTimeoutError
from aioproducer.protocol.api import ApiKey, VersionRange
from aioproducer.protocol.api_versions import ApiVersionsRequest, ApiVersionsResponse, software_name
from aioproducer.protocol.frame import decode_response
from aioproducer.version import __version__

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Question = tuple[ApiVersionsRequest, int]

CUTS_BEFORE_OLDER = 2
"""How often a broker may cut the connection before it is asked in an older form."""

_OLDER = {4: 3, 3: 0}

_QUESTION = ApiVersionsRequest(
    client_software_name="aioproducer", client_software_version=software_name(__version__)
)


class Handshake:
    """What one broker's answers have taught about how to ask it.

    `is_worth_another_try` is whether a connection that was cut off leaves hope for the next one.
    """

    def __init__(self) -> None:
        self.versions: dict[int, VersionRange] = {}
        self._ceiling = ApiVersionsRequest.versions.max
        self._asked = self._ceiling
        self._cuts = 0
        self.is_worth_another_try = False

    async def agree(
        self, ask: Callable[[ApiVersionsRequest, int], Awaitable[memoryview]]
    ) -> dict[int, VersionRange]:
        """Have the question asked until it is answered, and return what the broker speaks.

        `ask(request, version)` gives the answer's frame. Raises what it raises, ProtocolError
        and BrokerError.
        """
        question: Question | None = self.begin()
        while question is not None:
            try:
                frame = await ask(*question)
            except RequestTimeoutError:
                raise
            except BrokerConnectionError:
                self.was_cut_off()
                raise
            question = self.receive(frame)
        return self.versions

    def begin(self) -> Question:
        """Return the question for a new connection, and the version to ask it in."""
        self._asked = self._ceiling
        self.is_worth_another_try = False
        return _QUESTION, self._asked

    def receive(self, frame: memoryview) -> Question | None:
        """Take an answer; return the next question, or None when `versions` is complete.

        Raises ProtocolError, BrokerError.
        """
        self._cuts = 0
        _, answer = decode_response(ApiVersionsResponse, frame, self._asked)
        versions = {api.api_key: VersionRange(api.min_version, api.max_version) for api in answer.api_keys}
        code = ErrorCode.of(answer.error_code)
        if code is ErrorCode.UNSUPPORTED_VERSION and self._asked > 0:
            known = versions.get(ApiKey.API_VERSIONS)
            self._asked = 0 if known is None else min(known.max, self._asked - 1)
            return _QUESTION, self._asked
        if code is not ErrorCode.NONE:
            raise BrokerError.of(code, "ApiVersions")
        self.versions = versions
        return None

    def was_cut_off(self) -> None:
        """Take note that the broker closed the connection instead of answering."""
        self._cuts += 1
        self.is_worth_another_try = True
        if self._cuts >= CUTS_BEFORE_OLDER:
            self._cuts = 0
            # Not even the oldest form helped, so the form is not what the broker minds.
            self.is_worth_another_try = self._ceiling in _OLDER
            self._ceiling = _OLDER.get(self._ceiling, ApiVersionsRequest.versions.max)
