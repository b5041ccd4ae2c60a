"""The two ways a broker refuses a request: an error code, or a closed connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aioproducer.error_code import ErrorCode


class Refused(Exception):  # noqa: N818 - a response, not a fault of the program
    """The broker answers with the error `code`, and changed nothing.

    `record_errors` maps the index of each bad record to a message (KIP-467). `has_reason`: Kafka
    sends the reason too; for most codes it does not. `log_start_offset` is the start of the
    partition's log, -1 for unknown.
    """

    def __init__(
        self,
        code: ErrorCode,
        reason: str | None = None,
        record_errors: Mapping[int, str | None] | None = None,
        *,
        has_reason: bool = False,
        log_start_offset: int = -1,
    ) -> None:
        super().__init__(f"{code.name}: {reason}" if reason else code.name)
        self.code = code
        self.reason = reason
        self.record_errors = dict(record_errors or {})
        self.has_reason = has_reason or bool(record_errors)
        self.log_start_offset = log_start_offset

    def at_log_start(self, offset: int) -> Self:
        """Return this refusal with the log start offset of its partition."""
        self.log_start_offset = offset
        return self


class ConnectionDropped(Exception):  # noqa: N818 - as above
    """The broker closes the connection without a response, as Kafka does for some requests."""
