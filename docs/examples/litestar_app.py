"""A Litestar service that produces one record per request.

KAFKA_BOOTSTRAP_SERVERS=localhost:9092 uvicorn litestar_app:app
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Request, Response, post
from litestar.datastructures import State
from litestar.params import FromPath

from aioproducer import Producer, ProducerError, RecordTooLargeError


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    """Run one producer for the whole application."""
    bootstrap = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
    async with Producer(
        bootstrap, linger_ms=1, delivery_timeout_ms=15_000, request_timeout_ms=5_000
    ) as producer:
        app.state.producer = producer
        yield


@post("/orders/{customer:str}", status_code=200)
async def create_order(
    customer: FromPath[str], request: Request[Any, Any, Any], state: State
) -> dict[str, int]:
    """Store an order, and answer when the brokers have it."""
    metadata = await state.producer.send("orders", await request.body(), key=customer.encode())
    return {"partition": metadata.partition, "offset": metadata.offset}


def report_failure(_request: Request[Any, Any, Any], error: ProducerError) -> Response[dict[str, object]]:
    """Answer 413 for a record that is too large, and 503 where a later request may succeed."""
    status = 413 if isinstance(error, RecordTooLargeError) else 503
    return Response({"error": str(error), "may_be_written": error.may_be_written}, status_code=status)


app = Litestar([create_order], lifespan=[lifespan], exception_handlers={ProducerError: report_failure})
