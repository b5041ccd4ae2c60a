"""Calls of the users' callables that give credentials."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aioproducer.net.providers import Providers

if TYPE_CHECKING:
    from collections.abc import Callable


async def give(value: str = "async") -> str:
    await asyncio.sleep(0)
    return value


class AsyncCallable:
    async def __call__(self) -> str:
        return "object"


@pytest.mark.parametrize(
    ("provider", "value"),
    [
        (lambda: "sync", "sync"),
        (give, "async"),
        (partial(give, "partial"), "partial"),
        (lambda: give("lambda"), "lambda"),
        (AsyncCallable(), "object"),
    ],
)
async def test_kinds_of_callables(provider: Callable[[], Any], value: str) -> None:
    assert await Providers().call(provider) == value


async def test_sync_provider_runs_in_thread() -> None:
    assert await Providers().call(threading.get_ident) != threading.get_ident()


async def test_async_provider_runs_in_loop() -> None:
    async def provider() -> int:
        return threading.get_ident()

    assert await Providers().call(provider) == threading.get_ident()


async def test_errors_are_passed_on() -> None:
    error = KeyError("k")

    def provider() -> str:
        raise error

    with pytest.raises(KeyError) as caught:
        await Providers().call(provider)
    assert caught.value is error


async def test_stop_iteration_ends_the_call() -> None:
    with pytest.raises(RuntimeError, match="the provider raised StopIteration"), anyio.fail_after(20):
        await Providers().call(lambda: next(iter(())))


async def test_context_variables_reach_threads() -> None:
    variable: ContextVar[str] = ContextVar("variable")
    variable.set("set")
    assert await Providers().call(variable.get) == "set"


async def test_cancellation_of_provider_is_an_error() -> None:
    """It would end the task of a broker."""

    async def provider() -> str:
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="the provider raised CancelledError"):
        await Providers().call(provider)


async def test_cancellation_of_caller_is_passed_on() -> None:
    task = asyncio.create_task(Providers().call(asyncio.Event().wait))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(TimeoutError), anyio.fail_after(0.01):
        await Providers().call(asyncio.Event().wait)


async def test_hanging_threads_are_bounded() -> None:
    """A provider that hangs keeps its thread; its calls wait for one another then."""
    providers, release = Providers(), threading.Event()
    started: list[None] = []

    def provider() -> None:
        started.append(None)
        release.wait(60)

    try:
        for _ in range(10):
            with anyio.move_on_after(0.02):
                await providers.call(provider)
        assert len(started) <= 4
    finally:
        release.set()
    with anyio.fail_after(20):
        assert await providers.call(lambda: "free again") == "free again"


def test_hanging_provider_does_not_keep_the_process() -> None:
    program = """
        import anyio, asyncio, time
        from aioproducer.net.providers import Providers

        async def main():
            with anyio.move_on_after(0.05):
                await Providers().call(lambda: time.sleep(3600))

        asyncio.run(main())
    """
    ended = subprocess.run(  # noqa: S603 - a program of this test
        [sys.executable, "-c", textwrap.dedent(program)], timeout=120, check=False, capture_output=True
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
