"""A script: send one JSON record and print where it is stored.

python script.py localhost:9092 orders '{"id": 1, "item": "tea"}'
"""

import asyncio
import json
import sys

from aioproducer import Producer, ProducerError


async def main(bootstrap: str, topic: str, text: str) -> int:
    """Send the record, and return the exit code."""
    value = json.dumps(json.loads(text)).encode()
    try:
        async with Producer(bootstrap, max_block_ms=10_000) as producer:
            metadata = await producer.send(topic, value, headers={"content-type": b"application/json"})
    except ProducerError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(f"{metadata.topic}-{metadata.partition} at offset {metadata.offset}")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
