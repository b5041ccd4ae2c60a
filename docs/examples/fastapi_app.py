"""A FastAPI service that produces one record per request.

KAFKA_BOOTSTRAP_SERVERS=localhost:9092 uvicorn fastapi_app:app
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, TypedDict, cast

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from aioproducer import Producer, ProducerError, RecordTooLargeError


class State(TypedDict):
    """What the application shares with its requests."""

    producer: Producer


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
    """Run one producer for the whole application."""
    producer = Producer(
        os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092"),
        linger_ms=1,
        # The client gets an answer before a proxy in front of the service gives up (often 30 s).
        max_block_ms=5_000,
        request_timeout_ms=5_000,
        delivery_timeout_ms=15_000,
    )
    async with producer:
        yield {"producer": producer}


def get_producer(request: Request) -> Producer:
    """Return the application's producer."""
    return cast("Producer", request.state.producer)


app = FastAPI(lifespan=lifespan)


@app.post("/orders/{customer}")
async def create_order(
    customer: str, request: Request, producer: Annotated[Producer, Depends(get_producer)]
) -> dict[str, int]:
    """Store an order, and answer when the brokers have it."""
    metadata = await producer.send("orders", await request.body(), key=customer.encode())
    return {"partition": metadata.partition, "offset": metadata.offset}


@app.exception_handler(ProducerError)
async def report_failure(_request: Request, error: ProducerError) -> JSONResponse:
    """Answer 413 for a record that is too large, and 503 where a later request may succeed."""
    status = 413 if isinstance(error, RecordTooLargeError) else 503
    return JSONResponse({"error": str(error), "may_be_written": error.may_be_written}, status)
