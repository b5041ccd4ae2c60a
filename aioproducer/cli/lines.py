r"""Lines of bytes out of a file or a pipe, without holding up the event loop.

A line ends with a delimiter, `\n` by default, and is otherwise left as it is, `\r` and broken
UTF-8 included. Reading happens in a thread, as a pipe may be silent for hours.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

CHUNK_SIZE = 256 * 1024


async def read_lines(descriptor: int, delimiter: bytes = b"\n") -> AsyncGenerator[list[bytes]]:
    """Give the lines as they come, several at a time; the last one needs no delimiter."""
    unfinished = bytearray()
    while chunk := await _read(descriptor):
        # A delimiter of several bytes may have begun in the chunk before.
        seam = unfinished[max(0, len(unfinished) - len(delimiter) + 1) :]
        if delimiter not in seam + chunk:
            unfinished += chunk
            continue
        lines = bytes(unfinished + chunk).split(delimiter)
        unfinished = bytearray(lines.pop())
        yield lines
    if unfinished:
        yield [bytes(unfinished)]


async def _read(descriptor: int) -> bytes:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bytes] = loop.create_future()

    def settle(result: bytes | OSError) -> None:
        if future.done():
            return
        if isinstance(result, OSError):
            future.set_exception(result)
        else:
            future.set_result(result)

    def read() -> None:
        result: bytes | OSError
        try:
            result = os.read(descriptor, CHUNK_SIZE)
        except OSError as error:
            result = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result)

    # A thread of the loop's pool would keep the process from ending on Ctrl-C for as long as
    # the pipe is silent; and `sys.stdin.buffer` has a lock that must be free at the end.
    threading.Thread(target=read, name="aioproducer-read", daemon=True).start()
    return await future
