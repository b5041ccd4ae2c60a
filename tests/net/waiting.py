"""A producer in a process of its own, which tells what it costs while it waits.

    python waiting.py SERVERS OPTIONS           the options as JSON

It does what the lines say that it reads, one after the other, and prints a line of JSON for each:

    start               wait until the producer has found its cluster, which it looks for at once
    send TOPIC COUNT    give it so many records and wait for none of them
    flush               wait for all of them
    measure SECONDS     {"cpu": share of a core, "connects": attempts to connect a second,
                         "pending": how many records wait at the end}

The one idea: nothing else runs in this process, so that its CPU time is the producer's.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from aioproducer import Delivery, Producer

connects = 0


def count_connects(event: str, _arguments: object) -> None:
    """Count what Python tells its auditors."""
    global connects  # noqa: PLW0603 - the only state there is
    connects += event == "socket.connect"


async def measure(seconds: float) -> dict[str, float]:
    """Do nothing for so long, and return what has happened meanwhile."""
    began, busy, tried = time.monotonic(), time.process_time(), connects
    await asyncio.sleep(seconds)
    took = time.monotonic() - began
    return {"cpu": (time.process_time() - busy) / took, "connects": (connects - tried) / took}


async def main(servers: str, options: str) -> None:
    """Do what the lines of standard input say, until it ends."""
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
