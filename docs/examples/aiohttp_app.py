"""An aiohttp service that produces one record per request.

KAFKA_BOOTSTRAP_SERVERS=localhost:9092 python aiohttp_app.py
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from aioproducer import Producer, ProducerError, RecordTooLargeError

PRODUCER = web.AppKey("producer", Producer)


async def run_producer(app: web.Application) -> AsyncIterator[None]:
    """Run one producer for the whole application."""
    bootstrap = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
    async with Producer(
        bootstrap, linger_ms=1, delivery_timeout_ms=15_000, request_timeout_ms=5_000
    ) as producer:
        app[PRODUCER] = producer
        yield


async def create_order(request: web.Request) -> web.Response:
    """Store an order, and answer when the brokers have it."""
    key = request.match_info["customer"].encode()
    metadata = await request.app[PRODUCER].send("orders", await request.read(), key=key)
    return web.json_response({"partition": metadata.partition, "offset": metadata.offset})


@web.middleware
async def report_failure(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer 413 for a record that is too large, and 503 where a later request may succeed."""
    try:
        return await handler(request)
    except ProducerError as error:
        status = 413 if isinstance(error, RecordTooLargeError) else 503
        return web.json_response({"error": str(error), "may_be_written": error.may_be_written}, status=status)


def create_app() -> web.Application:
    """Make the application."""
    app = web.Application(middlewares=[report_failure])
    app.cleanup_ctx.append(run_producer)
    app.router.add_post("/orders/{customer}", create_order)
    return app


if __name__ == "__main__":
    web.run_app(create_app())
