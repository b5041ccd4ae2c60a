"""The texts of system errors and of addresses."""

import errno
import logging
import socket

import pytest

from aioproducer import BootstrapError
from aioproducer.config.kinds import format_address, format_host
from aioproducer.net.causes import cause_of
from aioproducer.testing import FakeCluster
from tests.net.quick import insides, quick


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 9092)"), "connection refused"),
        (ConnectionResetError(errno.ECONNRESET, "x"), "connection reset by the peer"),
        (BrokenPipeError(errno.EPIPE, "x"), "connection closed by the peer"),
        (OSError(errno.EHOSTUNREACH, "x"), "no route to host"),
        (OSError(errno.ENETUNREACH, "x"), "network is unreachable"),
        (TimeoutError(errno.ETIMEDOUT, "x"), "connection timed out"),
        (OSError(errno.EIO, "x"), "Input/output error"),
        (TimeoutError("none was taken for 1 ms"), "none was taken for 1 ms"),
        (TimeoutError(), "TimeoutError"),
        (socket.gaierror(socket.EAI_NONAME, "x"), "name not known"),
        (socket.gaierror(socket.EAI_AGAIN, "x"), "name server does not answer"),
        (socket.gaierror(socket.EAI_SERVICE, "Servname not supported"), "Servname not supported"),
        (socket.gaierror("strange"), "strange"),
        (UnicodeError("label too long"), "not a host name"),
        (RuntimeError("the loop is closed"), "the loop is closed"),
    ],
)
def test_cause_in_words(error: Exception, cause: str) -> None:
    assert cause_of(error) == cause


@pytest.mark.parametrize(
    ("host", "written"), [("::1", "[::1]"), ("10.0.0.1", "10.0.0.1"), ("kafka.test", "kafka.test")]
)
def test_ipv6_in_brackets(host: str, written: str) -> None:
    assert format_host(host) == written
    assert format_address(host, 9092) == f"{written}:9092"


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
async def test_ipv6_cluster(caplog: pytest.LogCaptureFixture) -> None:
    """IPv6 addresses have brackets wherever they are printed."""
    caplog.set_level(logging.DEBUG)
    cluster = FakeCluster(topics={"orders": 1})
    node = cluster.topology.nodes[1]
    node.host = "::1"
    async with cluster:
        address = f"[::1]:{node.port}"
        assert cluster.bootstrap == address
        assert f"1={address}" in repr(cluster)
        async with quick(cluster) as producer:
            await producer.send("orders", b"1")
            (broker,) = insides(producer)._cluster.brokers.values()  # type: ignore[union-attr] # noqa: SLF001
            assert broker.address == address
            assert f" {address} " in repr(broker)
    with pytest.raises(BootstrapError) as raised:
        await quick(address, max_block_ms=100).start()
    assert set(raised.value.causes) == {address}
    assert str(raised.value.causes[address]) == f"cannot connect to {address}: connection refused"
    assert "::1" in caplog.text
    assert "::1" not in caplog.text.replace("[::1]", "")
    assert "Errno" not in caplog.text + str(raised.value)


async def test_reset_in_words() -> None:
    """The error of a reset connection names the address."""
    async with FakeCluster(topics={"orders": 1}) as cluster, quick(cluster) as producer:
        await producer.send("orders", b"1")
        (broker,) = insides(producer)._cluster.brokers.values()  # type: ignore[union-attr] # noqa: SLF001
        broker.channel._on_lost(ConnectionResetError(errno.ECONNRESET, "x"))  # type: ignore[union-attr] # noqa: SLF001 - as asyncio does
        assert str(broker.last_error) == (
            f"the connection to {broker.address} was lost: connection reset by the peer"
        )
