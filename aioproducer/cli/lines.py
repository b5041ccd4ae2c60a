r"""Lines of bytes from a file or a pipe, read without blocking the event loop.

A line ends with a delimiter, `\n` by default. Its other bytes stay unchanged, `\r` and invalid
UTF-8 too. A thread reads, because a pipe may be silent for hours.
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
    """Yield lists of lines as they arrive; the last line may end without a delimiter."""
    unfinished = bytearray()
    while chunk := await _read(descriptor):
        # A delimiter of several bytes may begin in the chunk before: "<-" + ">" with "<->".
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

    # A daemon thread: a thread of the loop's pool would keep the process alive after Ctrl-C while
    # the pipe is silent. `os.read`: the lock of `sys.stdin.buffer` must be free at exit.
    threading.Thread(target=read, name="aioproducer-read", daemon=True).start()
    return await future
