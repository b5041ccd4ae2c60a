"""A benchmark of your own brokers: bulk throughput, and the latency of awaited sends.

python benchmark.py localhost:9092 --records 1000000 --size 100
"""

import argparse
import asyncio
import os
import statistics
import time

from aioproducer import Producer


async def measure_throughput(producer: Producer, topic: str, value: bytes, records: int) -> float:
    """Return the records per second of a plain loop of sends."""
    began = time.perf_counter()
    for _ in range(records):
        producer.send(topic, value)
        await producer.drain()
    await producer.flush()
    return records / (time.perf_counter() - began)


async def measure_latency(producer: Producer, topic: str, value: bytes, records: int) -> list[float]:
    """Return the milliseconds of awaited sends, one after the other."""
    latencies = []
    for _ in range(records):
        began = time.perf_counter()
        await producer.send(topic, value)
        latencies.append((time.perf_counter() - began) * 1e3)
    return latencies


async def main(arguments: argparse.Namespace) -> None:
    """Measure both, and print a table."""
    topic, value = arguments.topic, os.urandom(arguments.size)
    async with Producer(arguments.bootstrap, batch_size=128 * 1024) as producer:
        await producer.partitions_for(topic)  # do not measure the first metadata request
        rate = await measure_throughput(producer, topic, value, arguments.records)
    async with Producer(arguments.bootstrap, linger_ms=0) as producer:
        await producer.partitions_for(topic)
        latencies = await measure_latency(producer, topic, value, max(2, arguments.records // 1000))
    percentiles = statistics.quantiles(latencies, n=100, method="inclusive")
    print(f"{rate:14,.0f} records/s in bulk, {rate * arguments.size / 1e6:,.1f} MB/s")
    print(f"{percentiles[49]:14.2f} ms per awaited send, 50th percentile")
    print(f"{percentiles[98]:14.2f} ms per awaited send, 99th percentile")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "bootstrap", nargs="?", default=os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
    )
    parser.add_argument("--topic", default="benchmark")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=100, help="bytes per value")
    asyncio.run(main(parser.parse_args()))
