"""Start and stop: many cycles, dead clusters, and the end of the interpreter."""

import asyncio
import gc
import logging
import sys
import textwrap
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aioproducer import BootstrapError, Producer, ProducerClosedError
from aioproducer.testing import ApiKey, ErrorCode, FakeCluster
from tests.net.quick import insides, quick, until
from tests.net.traces import no_traces, timers

ROOT = Path(__file__).parent.parent
SOON = 30.0
PATIENCE = 120.0
"""Seconds that an interpreter may take on a busy machine."""

CYCLES = 200
FIRST = 60
"""Cycles after which all caches are full: memory that still grows is a leak."""

A_CYCLE = 100
"""Memory growth per cycle, in bytes, of the interpreter's own caches; every object of ours is counted."""


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(topics={"orders": 2, "held": 1}) as cluster:
        yield cluster


# Many cycles.


async def _cycle(bootstrap: str, number: int) -> None:
    """Start a producer, send, and stop it in one of four ways."""
    producer = quick(bootstrap, compression_type=("none", "gzip", "lz4")[number % 3])
    await producer.start()
    await producer.send("orders", b"x" * 200, key=b"key", headers={"name": b"value"})
    deliveries = [producer.send("orders", b"y") for _ in range(3)]
    await producer.drain()
    match number % 4:
        case 0:
            await producer.flush()
            await producer.stop()
        case 1:
            deliveries.append(producer.send("orders", b"z"))
            await producer.stop(0)
        case 2:
            stopping = asyncio.create_task(producer.stop())
            await asyncio.sleep(0)
            stopping.cancel()
            await asyncio.wait([stopping])
        case _:
            await asyncio.gather(producer.partitions_for("orders"), producer.flush(1))
            await asyncio.gather(producer.stop(), producer.stop(1))
    for delivery in deliveries:
        delivery.exception()  # unread failures are logged, and pytest keeps the log records


def _open_files() -> int:
    folder = Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")
    return len(list(folder.iterdir()))


def _ours() -> Counter[str]:
    """Count the package's objects that the garbage collector tracks."""
    gc.collect()
    kinds = (type(each) for each in gc.get_objects())
    return Counter(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds if _is_of_ours(kind))


def _is_of_ours(kind: type) -> bool:
    # `__module__` may be a property, so convert it.
    return str(kind.__module__).startswith("aioproducer")


SERVER = """
import asyncio, sys
from aioproducer.testing import FakeCluster

async def main():
    async with FakeCluster(topics={"orders": 2}, check_records=False) as cluster:
        print(cluster.bootstrap, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@asynccontextmanager
async def _cluster_elsewhere() -> AsyncIterator[str]:
    """Run a cluster in its own process, so that its stored records do not count as a leak."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            yield (await process.stdout.readline()).decode().strip()
    finally:
        process.stdin.close()
        await process.wait()


async def test_many_cycles_leak_nothing(caplog: pytest.LogCaptureFixture) -> None:
    # pytest keeps log records, and with them errors and brokers, if an earlier test has set the level.
    caplog.set_level(logging.CRITICAL)
    caplog.set_level(logging.CRITICAL, "aioproducer")
    async with _cluster_elsewhere() as bootstrap:
        tasks, files = asyncio.all_tasks(), _open_files()
        objects: Counter[str] = Counter()
        memory = 0
        tracemalloc.start()
        try:
            for number in range(1, CYCLES + 1):
                await _cycle(bootstrap, number)
                if number == FIRST:
                    objects, memory = _ours(), tracemalloc.get_traced_memory()[0]
            more = _ours() - objects
            grown = tracemalloc.get_traced_memory()[0] - memory
        finally:
            tracemalloc.stop()
        assert not more, more
        if isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop):
            # uvloop keeps freed objects for reuse, more of them with each cycle.
            assert grown < A_CYCLE * (CYCLES - FIRST)
        assert asyncio.all_tasks() == tasks
        await until(lambda: _open_files() == files)
        assert not timers()


# Dead clusters.


async def _gone(cluster: FakeCluster, producer: Producer[Any, Any]) -> None:
    await cluster.stop()
    await until(lambda: not producer.metrics()["producer-metrics"]["connection-count"])


async def _silent(cluster: FakeCluster, _producer: Producer[Any, Any]) -> None:
    cluster.on(times=None).fall_silent()


async def _cutting_off(cluster: FakeCluster, _producer: Producer[Any, Any]) -> None:
    cluster.on(times=None).disconnect()


async def _refusing(cluster: FakeCluster, _producer: Producer[Any, Any]) -> None:
    cluster.on(ApiKey.PRODUCE, times=None).answer(ErrorCode.NOT_ENOUGH_REPLICAS)


async def _asking_for_silence(cluster: FakeCluster, producer: Producer[Any, Any]) -> None:
    cluster.on(ApiKey.PRODUCE).throttle(600_000)
    await producer.send("orders", b"before", partition=0)


@pytest.mark.scenario("stop")
@pytest.mark.parametrize("timeout", [0.0, 0.2])
@pytest.mark.parametrize("die", [_gone, _silent, _cutting_off, _refusing, _asking_for_silence])
async def test_stop_returns_within_timeout(
    cluster: FakeCluster, die: Callable[[FakeCluster, Producer[Any, Any]], Any], timeout: float
) -> None:
    async with no_traces():
        producer = quick(cluster, request_timeout_ms=5_000, buffer_memory=4_000, batch_size=500)
        await producer.start()
        await producer.send("orders", b"first", partition=0)
        await die(cluster, producer)
        deliveries = [producer.send("orders", bytes(300), partition=0) for _ in range(12)]
        deliveries += [producer.send(topic, b"in line") for topic in ("unknown", "unknown", "another")]
        async with asyncio.timeout(timeout + SOON):
            await producer.stop(timeout)
        for delivery in deliveries:
            assert isinstance(delivery.exception(), ProducerClosedError)


async def test_stop_ends_waiting_start() -> None:
    async with FakeCluster() as gone:
        address = gone.bootstrap
    async with no_traces():
        producer = quick(address, max_block_ms=60_000)
        starting = asyncio.create_task(producer.start())
        await until(lambda: insides(producer).metadata.next_refresh(0) > 0)
        async with asyncio.timeout(SOON):
            await producer.stop()
            with pytest.raises(ProducerClosedError):
                await starting


async def test_failed_start_leaves_nothing() -> None:
    async with FakeCluster() as gone:
        address = gone.bootstrap
    async with no_traces():
        for _ in range(5):
            with pytest.raises(BootstrapError):
                async with quick(address, max_block_ms=50):
                    pytest.fail("there is no broker")


# The end of the interpreter.

BEGINNING = '''
import asyncio, signal, sys
from aioproducer import Producer

def make(**options):
    return Producer(sys.argv[1], linger_ms=0, **options)

def be_patient():
    # No warnings about slow callbacks on a busy machine.
    asyncio.get_running_loop().slow_callback_duration = 1000

async def started(producer):
    be_patient()
    await producer.start()
    return producer

def interrupt_soon():
    asyncio.get_running_loop().call_later(0.1, signal.raise_signal, signal.SIGINT)

def interrupt_anywhere():
    """Interrupt whatever runs in 0.1 s, but not asyncio's own bookkeeping.

    Interrupted while it takes or makes a callback, the loop loses the callback, and with it perhaps
    a task's next step: then `asyncio.run` waits for that task for ever.
    """
    def interrupt(_signal, frame):
        if is_in_asyncio(frame):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        else:
            raise KeyboardInterrupt

    def is_in_asyncio(frame):
        if frame.f_code.co_filename.endswith("selectors.py"):
            return False  # the loop waits
        while frame is not None:
            name = frame.f_code.co_filename
            if "/asyncio/" in name:
                return True
            if "aioproducer" in name or name == "<string>" and frame.f_code is not interrupt.__code__:
                return False
            frame = frame.f_back
        return False

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)

def run(main):
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("interrupted")
'''

NOT_STOPPED = "before stop() was called"
UNSEEN = "failed and their deliveries were never looked at"

ENDS: dict[str, tuple[str, set[str]]] = {
    "stopped": (
        """
        async def main():
            producer = await started(make())
            await producer.send("orders", b"")
            await producer.stop()
        run(main)
        """,
        set(),
    ),
    "never started": ("producer = make()", set()),
    "stopped without a start": ("producer = make(); asyncio.run(producer.stop())", set()),
    "never stopped": (
        """
        async def main():
            producer = await started(make())
            await producer.send("orders", b"")
        run(main)
        """,
        {NOT_STOPPED},
    ),
    "never stopped, and kept": (
        """
        producer = make()
        async def main():
            await started(producer)
            await producer.send("orders", b"")
        run(main)
        """,
        {NOT_STOPPED},
    ),
    "its loop closed under it": (
        """
        producer = make()
        loop = asyncio.new_event_loop()
        loop.run_until_complete(started(producer))
        loop.close()
        """,
        set(),
    ),
    "with records pending": (
        """
        async def main():
            producer = await started(make())
            for _ in range(100):
                producer.send("held", b"")
            await asyncio.sleep(0.05)
        run(main)
        """,
        {NOT_STOPPED, UNSEEN},
    ),
    "with deliveries kept to the very end": (
        """
        class Ring:
            pass
        ring = Ring()
        ring.ring = ring
        async def main():
            producer = ring.producer = await started(make())
            ring.deliveries = [producer.send("held", b"") for _ in range(100)]
            await asyncio.sleep(0.05)
        run(main)
        """,
        {NOT_STOPPED, UNSEEN},
    ),
    "stopped with deliveries pending": (
        """
        deliveries = []
        async def main():
            producer = await started(make())
            deliveries.extend(producer.send("held", b"") for _ in range(100))
            await producer.stop(0)
        run(main)
        """,
        {UNSEEN},
    ),
    "with a thread compressing": (
        """
        async def main():
            producer = await started(make(compression_type="gzip", batch_size=1_000_000))
            await producer.send("orders", b"")
            for _ in range(300):
                producer.send("orders", bytes(range(250)) * 10)
            await asyncio.sleep(0)
        run(main)
        """,
        {NOT_STOPPED, UNSEEN},
    ),
    "interrupted": (
        """
        async def main():
            be_patient()
            async with make() as producer:
                interrupt_soon()
                while True:
                    await producer.send("orders", b"")
        run(main)
        """,
        set(),
    ),
    "interrupted, never stopped": (
        """
        async def main():
            producer = await started(make())
            interrupt_soon()
            while True:
                await producer.send("orders", b"")
        run(main)
        """,
        {NOT_STOPPED, UNSEEN},
    ),
    "interrupted in the middle of anything": (
        """
        async def main():
            producer = await started(make())
            interrupt_anywhere()
            while True:
                producer.send("orders", bytes(100))
                await producer.drain()
        run(main)
        """,
        {NOT_STOPPED, UNSEEN},
    ),
    "interrupted in a task of the producer": (
        """
        import logging
        class Interrupting(logging.Handler):
            def emit(self, record):
                if record.getMessage().startswith("producer id"):
                    logger.removeHandler(self)
                    raise KeyboardInterrupt
        async def main():
            logger.setLevel(logging.INFO)
            logger.addHandler(Interrupting())
            producer = await started(make())
            await producer.send("held", b"")
        logger = logging.getLogger("aioproducer")
        run(main)
        """,
        {NOT_STOPPED, UNSEEN},
    ),
    "interrupted while only the loop runs": (
        """
        async def main():
            producer = await started(make())
            interrupt_anywhere()
            await producer.send("held", b"")
        run(main)
        """,
        {NOT_STOPPED, UNSEEN},
    ),
}


@pytest.mark.parametrize("end", ENDS)
async def test_interpreter_exits_without_warnings(cluster: FakeCluster, end: str) -> None:
    cluster.on(ApiKey.PRODUCE, topic="held", times=None, optional=True).hold()
    script, may_log = ENDS[end]
    whole = f"{BEGINNING}{textwrap.dedent(script)}\nprint('the end')\n"
    code, output, errors = await _interpret(whole, cluster.bootstrap)
    assert code == 0, errors
    assert output.splitlines() == [*["interrupted"] * end.startswith("interrupted"), "the end"]
    for line in errors.splitlines():
        assert any(words in line for words in may_log), errors


async def _interpret(script: str, bootstrap: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", "-W", "error", "-c", script, bootstrap),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            output, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return process.returncode, output.decode(), errors.decode()
