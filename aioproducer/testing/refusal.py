"""How a broker says no: with an error code, or by hanging up."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aioproducer.error_code import ErrorCode


class Refused(Exception):  # noqa: N818 - an answer to give, not a fault of the program
    """What was asked is answered with `code`; nothing was changed.

    `record_errors` maps the index of each record that is to blame to why (KIP-467). `is_told` says
    that Kafka gives a reason too; it is silent about most. `log_start_offset` is where the log of the
    partition starts, -1 if that is not told.
    """

    def __init__(
        self,
        code: ErrorCode,
        reason: str | None = None,
        record_errors: Mapping[int, str | None] | None = None,
        *,
        is_told: bool = False,
        log_start_offset: int = -1,
    ) -> None:
        super().__init__(f"{code.name}: {reason}" if reason else code.name)
        self.code = code
        self.reason = reason
        self.record_errors = dict(record_errors or {})
        self.is_told = is_told or bool(record_errors)
        self.log_start_offset = log_start_offset


class HungUp(Exception):  # noqa: N818 - as above
    """The connection is closed without an answer, which is all that Kafka has to say to some requests."""
