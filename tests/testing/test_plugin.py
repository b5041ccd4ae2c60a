"""The fixtures work in users' tests: each test here runs pytest on a small file of tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from textwrap import dedent
from typing import TYPE_CHECKING, Protocol

import pytest

from aioproducer.testing import plugin

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 100.0
"""Seconds that a run may take: less than `delivery_timeout_ms`, which no test may wait for."""

USES = """
    import pytest
    from aioproducer import ProducerClosedError

    pytestmark = pytest.mark.{mark}
    former = []

    async def test_record_is_in_the_cluster(kafka_cluster, producer):
        former.append(producer)
        metadata = await producer.send("orders", b"tea", key=b"42")
        (record,) = kafka_cluster.records("orders")
        assert (record.offset, record.key, record.value) == (metadata.offset, b"42", b"tea")

    async def test_next_test_has_own_cluster(kafka_cluster, producer):
        assert (await producer.send("orders", b"tea")).offset == 0

    async def test_producer_is_stopped_after_test():
        with pytest.raises(ProducerClosedError):
            former[0].send("orders", b"tea")

    async def test_cluster_without_producer(kafka_cluster):
        assert kafka_cluster.connections(1) == 0

    @pytest.mark.parametrize("kafka_cluster_options", [{"brokers": 3, "topics": {"orders": 6}}])
    @pytest.mark.parametrize("producer_options", [{"linger_ms": 0, "client_id": "me"}])
    async def test_options_can_be_parametrized(kafka_cluster, producer):
        assert producer.client_id == "me"
        leaders = [partition.leader_id for partition in await producer.partitions_for("orders")]
        assert (len(leaders), set(leaders)) == (6, {1, 2, 3})

    class TestOverride:
        @pytest.fixture
        def kafka_cluster_options(self):
            return {"topics": {"orders": 4}}

        async def test_options_can_be_overridden(self, producer):
            assert len(await producer.partitions_for("orders")) == 4
"""
USES_PASSED = 6


class Run(Protocol):
    """Runs pytest on one file of tests, and returns its counts and output."""

    def __call__(self, tests: str, *options: str, mark: str = ..., conftest: str = ...) -> Outcome: ...


class Outcome:
    """The output of a run, and how many tests passed, failed, and so on."""

    def __init__(self, output: str) -> None:
        self.output = output
        counts = re.findall(r"(\d+) (passed|failed|errors?|warnings?)", output.strip().splitlines()[-1])
        self.counts = Counter({what.removesuffix("s"): int(number) for number, what in counts})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(
        tests: str,
        *options: str,
        mark: str = "asyncio",
        conftest: str = 'pytest_plugins = ["aioproducer.testing.plugin"]\n',
    ) -> Outcome:
        (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
        # Load only the named plugins: this environment has more than a user's has.
        environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
        (tmp_path / "conftest.py").write_text(conftest)
        (tmp_path / "test_user.py").write_text(dedent(tests).replace("{mark}", mark))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(tmp_path)]
        done = subprocess.run(  # noqa: S603 - a fixed command
            command, capture_output=True, text=True, timeout=PATIENCE, env=environ, check=False
        )
        return Outcome(done.stdout + done.stderr)

    return run


ANYIO = ["-p", "anyio.pytest_plugin"]


def asyncio_in(mode: str, test_loops: str = "function") -> list[str]:
    """Return the options that load pytest-asyncio."""
    return [
        *("-p", "pytest_asyncio.plugin"),
        *("-o", f"asyncio_mode={mode}"),
        *("-o", "asyncio_default_fixture_loop_scope=function"),
        *("-o", f"asyncio_default_test_loop_scope={test_loops}"),
    ]


def test_plugin_example_passes(run: Run) -> None:
    example = (plugin.__doc__ or "").partition("\n\n")[2].partition("\n\nEach test has")[0]
    assert len(example.replace("\n\n", "\n").splitlines()) <= 10
    outcome = run(example, *asyncio_in("strict"), conftest="")
    assert outcome.counts == {"passed": 1}, outcome.output


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_pytest_asyncio_tests_get_fixtures(mode: str, run: Run) -> None:
    outcome = run(USES, *asyncio_in(mode))
    assert outcome.counts == {"passed": USES_PASSED}, outcome.output


def test_fixtures_run_in_test_loop(run: Run) -> None:
    outcome = run(
        """
        import pytest

        @pytest.mark.parametrize("time", [1, 2])
        class Sends:
            async def test_it_sends(self, producer, time):
                assert (await producer.send("orders", b"tea")).offset == 0

        class TestInLoopOfFunction(Sends):
            pytestmark = pytest.mark.asyncio

        class TestInLoopOfClass(Sends):
            pytestmark = pytest.mark.asyncio(loop_scope="class")

        class TestInLoopOfModule(Sends):
            pytestmark = pytest.mark.asyncio(loop_scope="module")

        class TestInLoopOfPackage(Sends):
            pytestmark = pytest.mark.asyncio(loop_scope="package")

        class TestInLoopOfSession(Sends):
            pytestmark = pytest.mark.asyncio(loop_scope="session")
        """,
        *asyncio_in("strict"),
    )
    assert outcome.counts == {"passed": 10}, outcome.output


def test_session_loop_for_all_tests(run: Run) -> None:
    outcome = run(USES, *asyncio_in("strict", test_loops="session"))
    assert outcome.counts == {"passed": USES_PASSED}, outcome.output


ON_BACKEND = """
    @pytest.fixture
    def anyio_backend():
        return "{}"
"""


@pytest.mark.parametrize("others", [[], asyncio_in("strict")], ids=["alone", "beside pytest-asyncio"])
def test_anyio_tests_get_fixtures(others: list[str], run: Run) -> None:
    outcome = run(USES + ON_BACKEND.format("asyncio"), *ANYIO, *others, mark="anyio")
    assert outcome.counts == {"passed": USES_PASSED}, outcome.output


def test_other_backend_is_explained(run: Run) -> None:
    tests = """
    import pytest

    @pytest.mark.anyio
    async def test_it(kafka_cluster): ...
    """
    outcome = run(tests + ON_BACKEND.format("trio"), *ANYIO)
    assert outcome.counts == {"error": 1}, outcome.output
    assert "needs asyncio, and the test runs on trio" in outcome.output


def test_missing_loop_is_explained(run: Run) -> None:
    outcome = run("def test_it(producer): ...", *ANYIO)
    assert outcome.counts == {"error": 1}, outcome.output
    assert "install pytest-asyncio, or mark the test with pytest.mark.anyio" in outcome.output


# Unmatched faults.


def test_unmatched_fault_is_an_error(run: Run) -> None:
    outcome = run(
        """
        import pytest

        pytestmark = pytest.mark.asyncio

        @pytest.mark.parametrize("kafka_cluster_options", [{"topics": ["orders"]}])
        async def test_misspelt(kafka_cluster, producer):
            kafka_cluster.on("PRODUCE", topic="order").answer("NOT_LEADER_OR_FOLLOWER")
            await producer.send("orders", b"tea")

        async def test_optional(kafka_cluster, producer):
            kafka_cluster.on("PRODUCE", optional=True).disconnect()

        async def test_fails_before(kafka_cluster):
            kafka_cluster.on("PRODUCE").disconnect()
            assert False, "enough"
        """,
        *asyncio_in("strict"),
    )
    assert outcome.counts == {"passed": 2, "error": 1, "failed": 1}, outcome.output
    assert "on(PRODUCE, topic='order')" in outcome.output
    assert "did you mean 'orders'?" in outcome.output


# Wider scopes, and the mock.

SHARED = """
    import pytest

    pytestmark = pytest.mark.{mark}

    async def test_first(kafka_cluster, producer):
        assert (await producer.send("orders", b"tea")).offset == 0
        assert len(await producer.partitions_for("orders")) == 1

    async def test_second(kafka_cluster, producer):
        assert (await producer.send("orders", b"tea")).offset == 1
        assert len(kafka_cluster.records("orders")) == 2
"""
WIDE = """
import pytest
from aioproducer.testing.fixtures import cluster_fixture, producer_fixture

pytest_plugins = ["aioproducer.testing.plugin"]
kafka_cluster = cluster_fixture("{scope}", topics={{"orders": 1}}{more})
producer = producer_fixture("{scope}", linger_ms=0{more})
"""


@pytest.mark.parametrize("scope", ["module", "package", "session"])
def test_wider_scope_shares_cluster(scope: str, run: Run) -> None:
    outcome = run(
        SHARED,
        *asyncio_in("strict"),
        mark=f'asyncio(loop_scope="{scope}")',
        conftest=WIDE.format(scope=scope, more=""),
    )
    assert outcome.counts == {"passed": 2}, outcome.output


def test_loop_scope_can_be_wider(run: Run) -> None:
    outcome = run(
        SHARED,
        *asyncio_in("strict"),
        mark='asyncio(loop_scope="session")',
        conftest=WIDE.format(scope="module", more=', loop_scope="session"'),
    )
    assert outcome.counts == {"passed": 2}, outcome.output


def test_anyio_tests_share_cluster(run: Run) -> None:
    backend = '@pytest.fixture(scope="module")\ndef anyio_backend(): return "asyncio"\n'
    outcome = run(
        SHARED, *ANYIO, mark="anyio", conftest=WIDE.format(scope="module", more=", anyio=True") + backend
    )
    assert outcome.counts == {"passed": 2}, outcome.output


def test_shared_cluster_reports_unmatched_faults(run: Run) -> None:
    outcome = run(
        """
        import pytest

        @pytest.mark.asyncio(loop_scope="module")
        async def test_it(kafka_cluster):
            kafka_cluster.on("PRODUCE").disconnect()
        """,
        *asyncio_in("strict"),
        conftest=WIDE.format(scope="module", more=""),
    )
    assert outcome.counts == {"passed": 1, "error": 1}, outcome.output


MOCK = """
    import pytest
    from aioproducer.testing import MockProducer

    pytestmark = pytest.mark.{mark}

    async def test_it_is_started(mock_producer):
        assert isinstance(mock_producer, MockProducer)
        assert (await mock_producer.send("orders", b"tea")).offset == 0

    @pytest.mark.parametrize("mock_producer_options", [{{"topics": {{"orders": 6}}, "auto_complete": False}}])
    async def test_it_has_options(mock_producer):
        assert len(await mock_producer.partitions_for("orders")) == 6
        delivery = mock_producer.send("orders", b"tea")
        assert not delivery.done()
        assert mock_producer.complete_next()
"""


def test_mock_producer_uses_test_loop(run: Run) -> None:
    tests = MOCK.format(mark="asyncio")
    outcome = run(tests, *asyncio_in("strict", test_loops="session"))
    assert outcome.counts == {"passed": 2}, outcome.output
    outcome = run(MOCK.format(mark="anyio") + ON_BACKEND.format("asyncio"), *ANYIO)
    assert outcome.counts == {"passed": 2}, outcome.output


def test_undeliverable_record_delays_no_test(run: Run) -> None:
    outcome = run(
        """
        import pytest
        from aioproducer.testing import ApiKey, fixtures

        fixtures.STOP_TIMEOUT = 0.1

        @pytest.mark.asyncio
        async def test_no_response(kafka_cluster, producer):
            fault = kafka_cluster.on(ApiKey.PRODUCE, times=None).fall_silent()
            producer.send("orders", b"tea")
            await fault.hit()
        """,
        *asyncio_in("strict"),
    )
    assert outcome.counts == {"passed": 1}, outcome.output


def test_fixtures_need_the_plugin(run: Run) -> None:
    outcome = run("def test_it(kafka_cluster): ...", *asyncio_in("auto"), conftest="")
    assert outcome.counts == {"error": 1}, outcome.output
    assert "fixture 'kafka_cluster' not found" in outcome.output


def test_package_does_not_import_pytest() -> None:
    code = "import sys, aioproducer.testing; sys.exit('pytest' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)  # noqa: S603 - a fixed command
