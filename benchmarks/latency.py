"""Compare producers by the latency and the CPU cost of an awaited send.

    W5     one awaited send after the other at linger 0: p50, p99, CPU of each
    W4     1,000 and 10,000 tasks that each await one send of 1 KB, all at once, over 12
           partitions and over 1: the time until the last one ends; failed ones are counted
    W6     web traffic, an open loop: requests arrive at random (1,000 and 5,000 per second on
           average), each awaits one send; latency from the due time of the request,
           CPU in per cent of a core, and the delay of a sleeping task in the event loop
    -far   W5 and W6 with a broker 5 ms away (always against the sink)

The schedule of W6 does not wait for responses: a slow client gets the next requests anyway.
`harness` is no client: its futures are resolved in the next iteration of the event loop, without
linger or network, so its CPU is the lower bound. Settings are those of produce.py. `confluent`
runs only the lone send, because programs that call it have no event loop.

Examples: `python benchmarks/latency.py --quick`, `... --uvloop --only W5`,
`... --bootstrap localhost:9092 --json out.json --plot out.png`.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final

from case import Case, Column
from comparison import add_common_arguments, compare

if TYPE_CHECKING:
    from collections.abc import Iterator

ASYNC: Final = ("aioproducer", "aiokafka", "confluent-aio", "wrap")
FAR_MS: Final = 5

P50: Final = Column("p50_ms", "p50 ms", 3)
P99: Final = Column("p99_ms", "p99 ms", 3)
P999: Final = Column("p999_ms", "p99.9 ms", 3)
CPU_US: Final = Column("us_per_record", "CPU us/send", 1)


def lone_cases(seconds: float) -> Iterator[Case]:
    """Return W5, near and far."""
    for suffix, delay_ms in (("", 0), ("-far", FAR_MS)):
        yield Case(
            f"W5{suffix}",
            "lone awaited sends, linger 0" + (f", broker {delay_ms} ms away" if delay_ms else ""),
            "lone",
            (P50, P99, CPU_US),
            ("aioproducer", "aiokafka", "wrap", "confluent", "confluent-aio"),
            settings={"linger_ms": 0},
            job={"records": 10_000, "seconds": seconds},
            delay_ms=delay_ms,
        )


def fan_in_cases(counts: list[int]) -> Iterator[Case]:
    """Return W4."""
    for tasks in counts:
        for partitions in (12, 1):
            yield Case(
                f"W4-{tasks}-{partitions}",
                f"{tasks:,} tasks await at once, {partitions} partition{'s' * (partitions > 1)}",
                "fan_in",
                (Column("ms", "ms", 1), CPU_US, Column("peak_mb", "peak MB", 0)),
                ("harness", *ASYNC),
                job={"records": tasks, "value_bytes": 1024},
                partitions=partitions,
            )


def traffic_cases(rates: list[int], seconds: float) -> Iterator[Case]:
    """Return W6, near and far."""
    for suffix, delay_ms in (("", 0), ("-far", FAR_MS)):
        for rate in rates:
            yield Case(
                f"W6-{rate}{suffix}",
                f"web traffic, {rate:,} a second" + (f", broker {delay_ms} ms away" if delay_ms else ""),
                "open_loop",
                (P50, P99, P999, Column("cpu_percent", "CPU %", 1), Column("lag_p99_ms", "lag p99 ms", 2)),
                ("harness", *ASYNC),
                job={"rate": rate, "seconds": seconds},
                delay_ms=delay_ms,
            )


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_arguments(parser)
    parser.add_argument("--tasks", type=int, nargs="+", help="numbers of tasks in W4 (default 1000 10000)")
    parser.add_argument("--rates", type=int, nargs="+", help="requests per second in W6 (default 1000 5000)")
    parser.add_argument("--seconds", type=float, help="length of each W5 and W6 (default 10)")
    arguments = parser.parse_args()
    seconds = arguments.seconds or (2 if arguments.quick else 10)
    tasks = arguments.tasks or ([1000] if arguments.quick else [1000, 10_000])
    rates = arguments.rates or [1000, 5000]
    cases = [*lone_cases(seconds), *fan_in_cases(tasks), *traffic_cases(rates, seconds)]
    return compare(cases, arguments)


if __name__ == "__main__":
    sys.exit(main())
