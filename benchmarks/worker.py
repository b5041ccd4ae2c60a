"""Run one measurement of one client, in its own process.

`produce.py` and `latency.py` start it with a JSON object as its argument (see `Job`); the last line
of its output is the outcome, as JSON. CPU seconds are user and system time of the whole process,
all threads, between the first and the last record of the measured part. Memory is the peak of
resident pages. A few records are sent first, to set up connections, metadata and producer ids;
`sent` counts those too, `records` does not.

Modules are imported only when needed, so that the import time of a client is measured correctly.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from peer import Peer, Rows

    Outcome = dict[str, float]

MODULES: Final = {
    "aioproducer": "aioproducer",
    "aioproducer-pure": "aioproducer",
    "aiokafka": "aiokafka",
    "confluent": "confluent_kafka",
    "confluent-bare": "confluent_kafka",
    "wrap": "confluent_kafka",
    "confluent-aio": "confluent_kafka.aio",
}
DISTINCT_VALUES: Final = 4096
DISTINCT_DOCUMENTS: Final = 1024
DISTINCT_KEYS: Final = 16_384
KEY_BYTES: Final = 16
HEADERS: Final = [("trace", b"0af7651916cd43dd8448eb211c80319c"), ("content-type", b"application/json")]
LAG_INTERVAL: Final = 0.01
GRACE_SECONDS: Final = 60


class Job:
    """The parameters of a measurement: the fields of the argument, and their defaults."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.peer: str = fields["peer"]
        self.measure: str = fields["measure"]
        self.settings: dict[str, Any] = fields["settings"]
        self.topic: str = fields["topic"]
        self.records: int = fields.get("records", 0)
        self.shape: str = fields.get("shape", "plain")
        self.value: str = fields.get("value", "random")
        self.value_bytes: int = fields.get("value_bytes", 100)
        self.window: int = fields.get("window", 0)
        self.rate: float = fields.get("rate", 0)
        self.seconds: float = fields.get("seconds", 0)
        self.uvloop: bool = fields.get("uvloop", False)


def document(rng: random.Random, size: int) -> bytes:
    """Return a random order as JSON of exactly `size` bytes."""
    order = {
        "order_id": rng.randrange(10**9),
        "customer": f"customer-{rng.randrange(10**6):06}",
        "created_at": f"2025-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}T12:00:00Z",
        "lines": [
            {
                "sku": f"SKU-{rng.randrange(10**5):05}",
                "quantity": rng.randint(1, 9),
                "price": rng.randrange(10**4) / 100,
            }
            for _ in range(12)
        ],
        "note": "",
    }
    missing = size - len(json.dumps(order))
    words = ("leave", "at", "the", "door", "please", "ring", "twice", "thank", "you", "blue", "gift")
    order["note"] = " ".join(rng.choices(words, k=missing))[: max(missing, 0)]
    return json.dumps(order).encode()


def make_rows(job: Job, count: int) -> Rows:
    """Prepare the records of a job, the same for every client."""
    from peer import Rows  # noqa: PLC0415

    rng = random.Random(1)  # noqa: S311 - must be reproducible
    if job.value == "json":
        values = [document(rng, job.value_bytes) for _ in range(DISTINCT_DOCUMENTS)]
    else:
        values = [rng.randbytes(job.value_bytes) for _ in range(DISTINCT_VALUES)]
    keys: list[bytes] = []
    if job.shape != "plain":
        keys = [rng.randbytes(KEY_BYTES) for _ in range(DISTINCT_KEYS)]
    if job.shape == "full":
        return Rows(job.topic, count, values, keys, time.time_ns() // 1_000_000, HEADERS)
    return Rows(job.topic, count, values, keys)


def resident_bytes() -> int:
    """Return the present memory of the process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def peak_bytes() -> int:
    """Return the peak memory of the process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


class Meter:
    """Measures wall clock and CPU."""

    def __init__(self) -> None:
        self.cpu = time.process_time()
        self.wall = time.perf_counter()

    def outcome(self, records: int, sent: int, failed: int) -> Outcome:
        """Return the cost of sending `records`."""
        seconds = time.perf_counter() - self.wall
        cpu = time.process_time() - self.cpu
        return {
            "records": records,
            "sent": sent,
            "failed": failed,
            "seconds": seconds,
            "cpu_seconds": cpu,
            "us_per_record": cpu / max(records, 1) * 1e6,
            "records_per_second": records / seconds,
            "peak_mb": peak_bytes() / 1e6,
        }


async def warm_up(peer: Peer, job: Job) -> int:
    """Send a few records to every partition, and warm up the interpreter."""
    count = min(1000, max(job.records // 50, 100))
    await peer.bulk(make_rows(job, count))
    return count


async def measure_bulk(peer: Peer, job: Job) -> Outcome:
    """Send all, read no results, flush."""
    rows = make_rows(job, job.records)
    warm = await warm_up(peer, job)
    meter = Meter()
    failed = await peer.bulk(rows)
    return meter.outcome(job.records, job.records + warm, failed)


async def measure_windows(peer: Peer, job: Job) -> Outcome:
    """Send windows, read each delivery."""
    rows = make_rows(job, job.records)
    warm = await warm_up(peer, job)
    meter = Meter()
    failed = await peer.windows(rows, job.window)
    return meter.outcome(job.records, job.records + warm, failed)


async def measure_pipeline(peer: Peer, job: Job) -> Outcome:
    """Keep a number of records in flight, await the oldest."""
    rows = make_rows(job, job.records)
    warm = await warm_up(peer, job)
    meter = Meter()
    failed = await peer.pipeline(rows, job.window)
    return meter.outcome(job.records, job.records + warm, failed)


async def measure_hold(peer: Peer, job: Job) -> Outcome:
    """Send all without waiting, and measure the memory of an unsent record."""
    rows = make_rows(job, job.records)
    warm = await warm_up(peer, job)
    gc.collect()
    before = resident_bytes()
    meter = Meter()
    held = await peer.hold(rows)
    await asyncio.sleep(0.2)
    bytes_held = (resident_bytes() - before) / job.records
    await peer.flush()
    outcome = meter.outcome(job.records, job.records + warm, 0)
    del held
    return outcome | {"bytes_per_record": bytes_held}


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value that `share` of the ordered values do not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def latencies(seconds: list[float]) -> Outcome:
    """Summarize latencies in milliseconds."""
    ordered = sorted(seconds) or [float("nan")]
    return {
        "p50_ms": percentile(ordered, 0.5) * 1e3,
        "p99_ms": percentile(ordered, 0.99) * 1e3,
        "p999_ms": percentile(ordered, 0.999) * 1e3,
        "max_ms": ordered[-1] * 1e3,
    }


async def measure_lone(peer: Peer, job: Job) -> Outcome:
    """Await one send after the other, until `records` or `seconds` are reached."""
    values = make_rows(job, 1).values
    topic, clock = job.topic, time.perf_counter
    warm = 0
    until = clock() + min(1.0, job.seconds / 4)
    while warm < min(200, job.records) and clock() < until:
        await peer.confirm(topic, values[0])
        warm += 1
    taken: list[float] = []
    until = clock() + job.seconds
    meter = Meter()
    while len(taken) < job.records and (start := clock()) < until:
        await peer.confirm(topic, values[len(taken) % DISTINCT_VALUES])
        taken.append(clock() - start)
    return meter.outcome(len(taken), len(taken) + warm, 0) | latencies(taken)


async def measure_fan_in(peer: Peer, job: Job) -> Outcome:
    """Let `records` tasks await one send each, all at once."""
    from peer import note_failure  # noqa: PLC0415

    value = make_rows(job, 1).values[0]
    await asyncio.gather(*(peer.confirm(job.topic, value) for _ in range(10)))
    meter = Meter()
    outcomes = await asyncio.gather(
        *(peer.confirm(job.topic, value) for _ in range(job.records)), return_exceptions=True
    )
    failures = [outcome for outcome in outcomes if outcome is not None]
    if failures:
        note_failure(failures[0])
    result = meter.outcome(job.records, job.records + 10, len(failures))
    return result | {"ms": result["seconds"] * 1e3}


async def watch_lag(lags: list[float]) -> None:
    """Measure repeatedly how late the event loop wakes a sleeping task."""
    clock = time.perf_counter
    while True:
        due = clock() + LAG_INTERVAL
        await asyncio.sleep(LAG_INTERVAL)
        lags.append(clock() - due)


def arrivals(rate: float, seconds: float) -> list[float]:
    """Return random times of independent requests, the same for every client."""
    rng = random.Random(2)  # noqa: S311 - must be reproducible
    times: list[float] = []
    now = rng.expovariate(rate)
    while now < seconds:
        times.append(now)
        now += rng.expovariate(rate)
    return times


async def open_loop(peer: Peer, job: Job, schedule: list[float], taken: list[float]) -> int:
    """Start a task for each request at its due time, without waiting for others; count failures.

    A latency is counted from the due time of its request, so that a blocked event loop lengthens
    all latencies.
    """
    from peer import note_failure  # noqa: PLC0415

    value = make_rows(job, 1).values[0]
    topic, clock = job.topic, time.perf_counter
    tasks: set[asyncio.Task[None]] = set()
    failed = 0

    async def request(due: float) -> None:
        nonlocal failed
        try:
            await peer.confirm(topic, value)
        except Exception as error:  # noqa: BLE001 - each client has its own errors; all count
            failed += 1
            note_failure(error)
        else:
            taken.append(clock() - due)

    start = clock()
    for moment in schedule:
        due = start + moment
        while (pause := due - clock()) > 0:  # noqa: ASYNC110 - waits for a time, not an event
            await asyncio.sleep(pause)
        task = asyncio.create_task(request(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=GRACE_SECONDS)
        failed += len(late)
    return failed


async def measure_open_loop(peer: Peer, job: Job) -> Outcome:
    """Measure web traffic: `rate` requests per second for `seconds`, each awaits its send."""
    warm: list[float] = []
    await open_loop(peer, job, arrivals(min(job.rate, 500), 0.5), warm)
    schedule = arrivals(job.rate, job.seconds)
    taken: list[float] = []
    lags: list[float] = []
    watcher = asyncio.create_task(watch_lag(lags))
    meter = Meter()
    failed = await open_loop(peer, job, schedule, taken)
    outcome = meter.outcome(len(schedule), len(schedule) + len(warm), failed)
    watcher.cancel()
    return (
        outcome
        | latencies(taken)
        | {
            "cpu_percent": outcome["cpu_seconds"] / outcome["seconds"] * 100,
            "lag_p99_ms": percentile(sorted(lags), 0.99) * 1e3,
        }
    )


async def measure_start(job: Job, imported: float) -> Outcome:
    """Measure from the construction of a producer to its first acknowledged record."""
    from peer import Settings  # noqa: PLC0415
    from peers import PEERS  # noqa: PLC0415

    settings = Settings(**job.settings)
    peer = PEERS[job.peer]()
    meter = Meter()
    await peer.open(settings)
    await peer.confirm(job.topic, b"first")
    outcome = meter.outcome(1, 1, 0)
    resident = resident_bytes()
    await peer.close()
    return outcome | {
        "import_ms": imported * 1e3,
        "first_ack_ms": outcome["seconds"] * 1e3,
        "resident_mb": resident / 1e6,
    }


MEASURES: Final[dict[str, Callable[[Peer, Job], Awaitable[Outcome]]]] = {
    "bulk": measure_bulk,
    "windows": measure_windows,
    "pipeline": measure_pipeline,
    "hold": measure_hold,
    "lone": measure_lone,
    "fan_in": measure_fan_in,
    "open_loop": measure_open_loop,
}


async def measure(job: Job) -> Outcome:
    """Open the client, measure, close it."""
    from peer import Settings  # noqa: PLC0415
    from peers import PEERS  # noqa: PLC0415

    peer = PEERS[job.peer]()
    await peer.open(Settings(**job.settings))
    try:
        return await MEASURES[job.measure](peer, job)
    finally:
        await peer.close()


def main() -> None:
    """Run the measurement and print its outcome."""
    job = Job(json.loads(sys.argv[1]))
    if job.measure == "start":
        begin = time.perf_counter()
        import_module(MODULES[job.peer])
        imported = time.perf_counter() - begin
        task = measure_start(job, imported)
    else:
        task = measure(job)
    factory = import_module("uvloop").new_event_loop if job.uvloop else None
    with asyncio.Runner(loop_factory=factory) as runner:
        outcome = runner.run(task)
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
