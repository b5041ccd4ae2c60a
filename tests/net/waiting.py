"""A producer in a process of its own, which measures its cost while it waits.

    python waiting.py SERVERS OPTIONS           the options as JSON

It reads commands, one a line, and prints a line of JSON for each:

    start               wait until the producer has found its cluster; the search begins at once
    send TOPIC COUNT    send so many records without waiting for them
    flush               wait for all records
    measure SECONDS     {"cpu": share of a core, "connects": attempts to connect per second,
                         "pending": records that still wait at the end}

Nothing else runs in this process, so its CPU time is the producer's.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from aioproducer import Delivery, Producer

connects = 0


def count_connects(event: str, _arguments: object) -> None:
    """Count the audit events of `socket.connect`."""
    global connects  # noqa: PLW0603 - the only state there is
    connects += event == "socket.connect"


async def measure(seconds: float) -> dict[str, float]:
    """Wait, and return the cost of the wait."""
    began, busy, tried = time.monotonic(), time.process_time(), connects
    await asyncio.sleep(seconds)
    took = time.monotonic() - began
    return {"cpu": (time.process_time() - busy) / took, "connects": (connects - tried) / took}


async def main(servers: str, options: str) -> None:
    """Run the commands of standard input."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    producer = Producer(servers, **json.loads(options))
    deliveries: list[Delivery] = []
    starting = asyncio.create_task(producer.start())
    async for line in lines:
        answer: dict[str, float] = {}
        match line.decode().split():
            case ["start"]:
                await starting
            case ["send", topic, count]:
                keys = (b"%d" % number for number in range(int(count)))
                deliveries += [producer.send(topic, b"value" * 10, key=key) for key in keys]
            case ["flush"]:
                await producer.flush()
            case ["measure", seconds]:
                answer = await measure(float(seconds))
                answer["pending"] = sum(not delivery.done() for delivery in deliveries)
            case unknown:
                raise ValueError(unknown)
        print(json.dumps(answer), flush=True)  # noqa: T201 - the answer
    starting.cancel()
    await asyncio.wait([starting])
    await producer.stop(timeout=0)


if __name__ == "__main__":
    sys.addaudithook(count_connects)
    asyncio.run(main(*sys.argv[1:]))
