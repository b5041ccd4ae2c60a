"""The pytest plugin: the fixtures `kafka_cluster`, `producer` and `mock_producer`.

    import pytest

    pytest_plugins = ["aioproducer.testing.plugin"]  # best at home in conftest.py


    @pytest.mark.asyncio
    @pytest.mark.parametrize("kafka_cluster_options", [{"brokers": 3, "topics": {"orders": 6}}])
    async def test_an_order_is_stored(kafka_cluster, producer):
        await producer.send("orders", b"tea", key=b"42")
        assert [record.value for record in kafka_cluster.records("orders")] == [b"tea"]

Each test has its own cluster; `aioproducer.testing.fixtures` makes clusters of wider scopes. A
test ends with an error if a scripted fault matched no request, unless the fault is optional.

A cluster and a producer belong to the event loop of the test. pytest-asyncio and anyio choose that
loop per test. So each fixture exists once for every loop scope of pytest-asyncio and once for
anyio's plugin, and the public fixture returns the matching one.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

from aioproducer.testing.fixtures import HAS_FAILED, running_cluster, running_producer
from aioproducer.testing.mock_producer import MockProducer

try:
    import pytest_asyncio
except ImportError:
    pytest_asyncio = None  # type: ignore[assignment] # tests may use only anyio's plugin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aioproducer.producer import Producer
    from aioproducer.testing.cluster import FakeCluster

__all__ = [
    "kafka_cluster",
    "kafka_cluster_options",
    "mock_producer",
    "mock_producer_options",
    "producer",
    "producer_options",
]

_LOOPS: Final = ("function", "class", "module", "package", "session")
_ANYIO = "anyio"


@pytest.fixture
def kafka_cluster_options() -> dict[str, Any]:
    """Arguments of the test's `FakeCluster`: override it, or parametrize it directly."""
    return {}


@pytest.fixture
def producer_options() -> dict[str, Any]:
    """Options of the test's `Producer`: override it, or parametrize it directly."""
    return {}


@pytest.fixture
def mock_producer_options() -> dict[str, Any]:
    """Arguments of the test's `MockProducer`: override it, or parametrize it directly."""
    return {}


# The options are arguments here too, although unused: otherwise tests could not parametrize them.


@pytest.fixture
def kafka_cluster(
    request: pytest.FixtureRequest,
    kafka_cluster_options: dict[str, Any],  # noqa: ARG001
) -> FakeCluster:
    """Provide a new `FakeCluster` for each test, in the test's event loop."""
    return cast("FakeCluster", _of_the_loop_of(request, "kafka_cluster"))


@pytest.fixture
def producer(
    request: pytest.FixtureRequest,
    kafka_cluster: FakeCluster,  # noqa: ARG001
    producer_options: dict[str, Any],  # noqa: ARG001
) -> Producer[Any, Any]:
    """Provide a started `Producer` for `kafka_cluster`; it is stopped after the test."""
    return cast("Producer[Any, Any]", _of_the_loop_of(request, "producer"))


@pytest.fixture
def mock_producer(
    request: pytest.FixtureRequest,
    mock_producer_options: dict[str, Any],  # noqa: ARG001
) -> MockProducer[Any, Any]:
    """Provide a started `MockProducer`; it is stopped after the test."""
    return cast("MockProducer[Any, Any]", _of_the_loop_of(request, "mock_producer"))


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Note a failed test: its unmatched faults are not reported too."""
    if call.when == "call":
        item.stash[HAS_FAILED] = call.excinfo is not None


def _of_the_loop_of(request: pytest.FixtureRequest, name: str) -> object:
    # anyio's plugin adds this fixture to each test that it runs.
    if "anyio_backend" in request.fixturenames:
        backend = request.getfixturevalue("anyio_backend_name")
        if backend != "asyncio":
            pytest.fail(
                f"{name} needs asyncio, and the test runs on {backend}: "
                "let the fixture `anyio_backend` return 'asyncio'",
                pytrace=False,
            )
        loop = _ANYIO
    elif request.config.pluginmanager.is_registered(sys.modules.get("pytest_asyncio.plugin")):
        loop = _pytest_asyncio_loop(request)
    else:
        pytest.fail(
            f"{name} needs an event loop: install pytest-asyncio, or mark the test with pytest.mark.anyio",
            pytrace=False,
        )
    return request.getfixturevalue(_name(name, loop))


def _pytest_asyncio_loop(request: pytest.FixtureRequest) -> str:
    """Return the scope of the loop that the test runs in."""
    # The marker's scope overrides the ini option: @pytest.mark.asyncio(loop_scope="module").
    marker = request.node.get_closest_marker("asyncio")
    chosen = None if marker is None else marker.kwargs.get("loop_scope") or marker.kwargs.get("scope")
    return str(chosen or request.config.getini("asyncio_default_test_loop_scope"))


def _name(name: str, loop: str) -> str:
    return f"_{name}_in_{loop}_loop"


def _define(loop: str, fixture: Callable[..., Any]) -> None:
    """Define the fixtures for one loop."""

    async def run_cluster(
        request: pytest.FixtureRequest, kafka_cluster_options: dict[str, Any]
    ) -> AsyncIterator[FakeCluster]:
        async with running_cluster(request, kafka_cluster_options) as cluster:
            yield cluster

    async def run_producer(
        kafka_cluster: FakeCluster, producer_options: dict[str, Any]
    ) -> AsyncIterator[Producer[Any, Any]]:
        async with running_producer(kafka_cluster, producer_options) as producer:
            yield producer

    async def run_mock_producer(
        mock_producer_options: dict[str, Any],
    ) -> AsyncIterator[MockProducer[Any, Any]]:
        async with MockProducer(**mock_producer_options) as producer:
            yield producer

    functions = {
        "kafka_cluster": run_cluster,
        "producer": run_producer,
        "mock_producer": run_mock_producer,
    }
    # pytest finds fixtures as module attributes: `_producer_in_session_loop` and so on.
    for name, function in functions.items():
        globals()[_name(name, loop)] = fixture(function, name=_name(name, loop))


_define(_ANYIO, pytest.fixture)
if pytest_asyncio is not None:
    for _loop in _LOOPS:
        _define(_loop, partial(pytest_asyncio.fixture, loop_scope=cast("Any", _loop)))
