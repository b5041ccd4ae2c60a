"""Fixtures of wider scopes, for conftest.py: one cluster for a module, a package or the session.

    import pytest
    from aioproducer.testing.fixtures import cluster_fixture, producer_fixture

    pytest_plugins = ["aioproducer.testing.plugin"]
    kafka_cluster = cluster_fixture("module", topics={"orders": 6})
    producer = producer_fixture("module", linger_ms=0)

The tests run in the event loop of the scope:

    @pytest.mark.asyncio(loop_scope="module")
    async def test_an_order_is_stored(kafka_cluster, producer):
        await producer.send("orders", b"tea", key=b"42")

They share topics, records and faults; `kafka_cluster.heal()` removes the faults.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import pytest

from aioproducer.producer import Producer
from aioproducer.testing.cluster import FakeCluster
from aioproducer.testing.faults import report_of

try:
    import pytest_asyncio
except ImportError:
    pytest_asyncio = None  # type: ignore[assignment] # tests may use only anyio's plugin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["cluster_fixture", "producer_fixture"]

STOP_TIMEOUT = 5.0
"""The time in seconds for a test's producer to deliver its remaining records at the end."""

HAS_FAILED: Final = pytest.StashKey[bool]()
"""Whether a test has failed; its unmatched faults are not reported then."""

Scope: TypeAlias = Literal["class", "module", "package", "session"]


def cluster_fixture(
    scope: Scope,
    *,
    loop_scope: Scope | None = None,
    anyio: bool = False,
    **options: Any,  # noqa: ANN401 - FakeCluster checks them
) -> Callable[..., object]:
    """Return a fixture of a wider scope with the `options` of `FakeCluster`.

    Assign it to the name `kafka_cluster`. It runs in pytest-asyncio's loop of `loop_scope` (default:
    the scope). With `anyio` it runs in the loop of anyio's plugin, which needs a fixture
    `anyio_backend` of the scope. The tests must run in the same loop, and share topics, records and
    faults. Raises RuntimeError without pytest-asyncio and `anyio`.
    """

    async def kafka_cluster(request: pytest.FixtureRequest) -> AsyncIterator[FakeCluster]:
        async with running_cluster(request, options) as cluster:
            yield cluster

    fixture: Callable[..., object] = _wide(scope, loop_scope, anyio=anyio)(kafka_cluster)
    return fixture


def producer_fixture(
    scope: Scope,
    *,
    loop_scope: Scope | None = None,
    anyio: bool = False,
    **options: Any,  # noqa: ANN401 - Producer checks them
) -> Callable[..., object]:
    """Return a fixture `producer` of a wider scope, for `kafka_cluster`; see `cluster_fixture`.

    `options` are those of `Producer`.
    """

    async def producer(kafka_cluster: FakeCluster) -> AsyncIterator[Producer[Any, Any]]:
        async with running_producer(kafka_cluster, options) as producer:
            yield producer

    fixture: Callable[..., object] = _wide(scope, loop_scope, anyio=anyio)(producer)
    return fixture


def _wide(scope: Scope, loop_scope: Scope | None, *, anyio: bool) -> Any:  # noqa: ANN401 - two kinds of decorator
    if anyio:
        return pytest.fixture(scope=scope)
    if pytest_asyncio is None:
        message = "pytest-asyncio is not installed: install it, or pass anyio=True"
        raise RuntimeError(message)
    return pytest_asyncio.fixture(scope=scope, loop_scope=loop_scope or scope)


@asynccontextmanager
async def running_cluster(
    request: pytest.FixtureRequest, options: dict[str, Any]
) -> AsyncIterator[FakeCluster]:
    """Run a cluster, and fail at the end if a scripted fault matched no request."""
    cluster = FakeCluster(**options)
    await cluster.start()
    try:
        yield cluster
    finally:
        # Look before `heal`, which removes the faults.
        unmatched = cluster.unmatched_faults()
        cluster.heal()
        await cluster.stop()
    if unmatched and not request.node.stash.get(HAS_FAILED, default=False):
        pytest.fail(report_of(unmatched, cluster.topology.topics), pytrace=False)


@asynccontextmanager
async def running_producer(
    kafka_cluster: FakeCluster, options: dict[str, Any]
) -> AsyncIterator[Producer[Any, Any]]:
    """Run a producer for the cluster."""
    producer: Producer[Any, Any] = Producer(kafka_cluster.bootstrap, **options)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop(STOP_TIMEOUT)
