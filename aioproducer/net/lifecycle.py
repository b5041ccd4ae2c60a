"""The start and stop of a producer: each may be called in any task of its event loop.

    NEW ──start──▶ STARTING ──found, or not waited for──▶ RUNNING ──stop──▶ STOPPED

`stop` leads from every state to STOPPED, and so does a start that fails or is cancelled. A failed engine
leads from STARTING and RUNNING to FAILED. Only RUNNING accepts calls. After STOPPED the stop task still
sends the accepted records.
"""

from __future__ import annotations

import asyncio
import math
from enum import Enum
from typing import TYPE_CHECKING

import anyio

from aioproducer.errors import (
    IllegalStateError,
    ProducerClosedError,
    ProducerError,
    ProducerNotStartedError,
    WrongLoopError,
)

if TYPE_CHECKING:
    from aioproducer.net.engine import Engine

ELSEWHERE = (
    "the producer was called from another event loop or thread than the one it was started in: "
    "use loop.call_soon_threadsafe, or anyio.from_thread"
)


class ProducerState(Enum):
    """The states of a producer; the values are the words of `repr`."""

    NEW = "not started"
    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"
    STOPPED = "stopped"


_TRANSITIONS = {
    ProducerState.NEW: {ProducerState.STARTING, ProducerState.STOPPED},
    ProducerState.STARTING: {ProducerState.RUNNING, ProducerState.FAILED, ProducerState.STOPPED},
    ProducerState.RUNNING: {ProducerState.FAILED, ProducerState.STOPPED},
    ProducerState.FAILED: {ProducerState.STOPPED},
    ProducerState.STOPPED: set[ProducerState](),
}


class Lifecycle:
    """The state of a producer, and the event loop in which it was started."""

    def __init__(self, engine: Engine) -> None:
        self.state = ProducerState.NEW
        self.loop: asyncio.AbstractEventLoop | None = None
        self._engine = engine
        self._start_scope: anyio.CancelScope | None = None
        self._stop: tuple[asyncio.Task[None], anyio.CancelScope] | None = None

    async def start(self, *, wait: bool) -> None:
        """Start the engine; raises BootstrapError, and what `Producer.start` documents."""
        if self.state is ProducerState.STOPPED:
            message = "the producer was stopped; make a new one"
            raise ProducerClosedError(message)
        if self.state is not ProducerState.NEW:
            message = "the producer is started already"
            raise IllegalStateError(message)
        self._enter(ProducerState.STARTING)
        self.loop = asyncio.get_running_loop()
        await self._start_engine(wait=wait)
        await self._check_started()
        self._enter(ProducerState.RUNNING)

    async def stop(self, timeout: float | None) -> None:
        """Send the accepted records for `timeout` seconds at most, then close everything."""
        if self.loop is None or self.loop.is_closed():
            # No part of the producer is running.
            self._enter(ProducerState.STOPPED)
            return
        if asyncio.get_running_loop() is not self.loop:
            raise WrongLoopError(ELSEWHERE)
        deadline = math.inf if timeout is None else anyio.current_time() + timeout
        self._enter(ProducerState.STOPPED)
        if self._stop is None:
            sending = anyio.CancelScope()
            # A task of its own: several calls of `stop` wait for it, and each may be cancelled by
            # itself.
            name = f"aioproducer-{self._engine.client_id}-stop"
            self._stop = self.loop.create_task(self._stop_engine(sending), name=name), sending
        task, sending = self._stop
        # Of several calls the one with the earliest deadline decides.
        sending.deadline = min(sending.deadline, deadline)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            # A cancelled call does not wait for records, but everything is closed when it ends.
            sending.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.shield(task)
            raise

    def failed(self) -> None:
        """Note that the engine has failed: calls are refused."""
        if ProducerState.FAILED in _TRANSITIONS[self.state]:
            self._enter(ProducerState.FAILED)

    def refusal(self) -> ProducerError:
        """Return the error for a call that the state, the loop or the thread does not allow."""
        if self._engine.failure is not None:
            return self._engine.failed_error()
        if self.state is ProducerState.STOPPED:
            return ProducerClosedError("the producer was stopped")
        if self.state is not ProducerState.RUNNING:
            return ProducerNotStartedError(
                "the producer is not started: use `async with`, or `await start()` first"
            )
        if self.loop is not None and self.loop.is_closed():
            return WrongLoopError("the event loop that the producer was started in is closed")
        return WrongLoopError(ELSEWHERE)

    async def _start_engine(self, *, wait: bool) -> None:
        # A `stop` in another task cancels the scope: then this returns without an error.
        with anyio.CancelScope() as scope:
            self._start_scope = scope
            try:
                await self._engine.start(wait=wait)
            except BaseException:
                self._enter(ProducerState.STOPPED)
                with anyio.CancelScope(shield=True):
                    await self._engine.stop()
                raise
            finally:
                self._start_scope = None

    async def _check_started(self) -> None:
        if self.state is ProducerState.STOPPED:
            message = "the producer was stopped while it was starting"
            raise ProducerClosedError(message)
        if self._engine.failure is not None:
            await self.stop(None)
            raise self._engine.failed_error()

    async def _stop_engine(self, sending: anyio.CancelScope) -> None:
        engine = self._engine
        try:
            if self._start_scope is not None:
                self._start_scope.cancel()
            elif engine.failure is None:
                with sending:
                    await engine.flush(engine.accumulator.outstanding(), None)
        finally:
            with anyio.CancelScope(shield=True):
                await engine.stop()

    def _enter(self, state: ProducerState) -> None:
        if state is self.state:
            return
        if state not in _TRANSITIONS[self.state]:
            message = f"the producer cannot go from {self.state.name} to {state.name}"
            raise RuntimeError(message)
        self.state = state
