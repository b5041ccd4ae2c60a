"""`aioproducer metadata`: the brokers of a cluster, its topics, their partitions and leaders.

The one idea: this needs no producer. One connection to the first server that answers, two
requests, and what came back as a table or as JSON.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from aioproducer.cli.servers import add_servers_option, cluster, named_servers
from aioproducer.cli.tables import table
from aioproducer.config import ProducerConfig
from aioproducer.config.kinds import format_address
from aioproducer.error_code import ErrorCode
from aioproducer.errors import BootstrapError, BrokerConnectionError, BrokerError, ProducerError, plural
from aioproducer.net.causes import cause_of
from aioproducer.protocol.api import ApiKey, Request, Response, VersionRange, negotiate
from aioproducer.protocol.api_versions import ApiVersionsRequest
from aioproducer.protocol.frame import FrameSplitter, decode_response, encode_request
from aioproducer.protocol.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponse

if TYPE_CHECKING:
    import argparse

    from aioproducer.protocol.metadata import MetadataResponseTopic

CLIENT_ID = "aioproducer-metadata"

EXCHANGE_TIMEOUT = 10.0
"""Seconds that one server may take for everything."""

_MAX_RESPONSE_SIZE = 100 * 1024 * 1024
_READ_SIZE = 64 * 1024

R = TypeVar("R", bound=Response)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "metadata",
        help="show brokers, topics, partitions and leaders",
        description="Show the brokers of a cluster, its topics, their partitions and leaders.",
    )
    parser.add_argument("topics", metavar="TOPIC", nargs="*", help="topics to show (default: all)")
    add_servers_option(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run, parser=parser, more_to="topics", may_embed=False)


async def run(arguments: argparse.Namespace) -> int:
    """Ask, print, and return the exit code."""
    topics: list[str] = arguments.topics
    async with cluster(named_servers(arguments, {}), {"example": 1}) as bootstrap:
        response = await _ask_any(ProducerConfig(bootstrap_servers=bootstrap).bootstrap_servers, topics)
    print(json.dumps(_as_json(response), indent=2) if arguments.json else _as_text(response))
    return 1 if any(topic.error_code for topic in response.topics) else 0


async def _ask_any(servers: tuple[tuple[str, int], ...], topics: list[str]) -> MetadataResponse:
    causes: dict[str, Exception] = {}
    for host, port in servers:
        address = format_address(host, port)
        try:
            async with asyncio.timeout(EXCHANGE_TIMEOUT):
                return await _ask(host, port, topics)
        except TimeoutError:
            causes[address] = BrokerConnectionError(f"no answer within {EXCHANGE_TIMEOUT:g} s")
        except ProducerError as error:
            causes[address] = error
        except OSError as error:
            causes[address] = BrokerConnectionError(cause_of(error))
    words = "; ".join(f"{address}: {cause}" for address, cause in causes.items())
    message = f"no server could be asked: {words}"
    raise BootstrapError(message, causes=causes)


async def _ask(host: str, port: int, topics: list[str]) -> MetadataResponse:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        # Version 0 is what every broker answers, and it lists all that is needed here.
        listed = await _exchange(reader, writer, ApiVersionsRequest(), 0)
        if listed.error_code:
            raise BrokerError.of(ErrorCode.of(listed.error_code), "ApiVersions")
        spans = {api.api_key: VersionRange(api.min_version, api.max_version) for api in listed.api_keys}
        request = MetadataRequest(
            topics=tuple([MetadataRequestTopic(name) for name in topics]) or None,
            allow_auto_topic_creation=False,
        )
        version = negotiate(ApiKey.METADATA, request.without_topic_creation, spans.get(ApiKey.METADATA))
        return await _exchange(reader, writer, request, version)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request[R], version: int
) -> R:
    writer.writelines(encode_request(request, version, version, CLIENT_ID))
    splitter = FrameSplitter(_MAX_RESPONSE_SIZE)
    while chunk := await reader.read(_READ_SIZE):
        for frame in splitter.feed(chunk):
            _, response = decode_response(request.response, frame, version)
            return response
    message = "the connection was closed before an answer came"
    raise BrokerConnectionError(message)


def _as_json(response: MetadataResponse) -> dict[str, Any]:
    return {
        "cluster_id": response.cluster_id,
        "controller_id": response.controller_id,
        "brokers": [asdict(broker) for broker in response.brokers],
        "topics": [_topic_as_json(topic) for topic in _sorted(response)],
    }


def _topic_as_json(topic: MetadataResponseTopic) -> dict[str, Any]:
    return {
        "name": topic.name,
        "topic_id": str(topic.topic_id),
        "error": _error_name(topic.error_code),
        "is_internal": topic.is_internal,
        "partitions": [
            {
                "partition": partition.partition_index,
                "leader": partition.leader_id,
                "leader_epoch": partition.leader_epoch,
                "replicas": list(partition.replica_nodes),
                "in_sync": list(partition.isr_nodes),
                "offline": list(partition.offline_replicas),
                "error": _error_name(partition.error_code),
            }
            for partition in sorted(topic.partitions, key=lambda each: each.partition_index)
        ],
    }


def _as_text(response: MetadataResponse) -> str:
    cluster_line = f"Cluster {response.cluster_id or '(no id)'}, {plural(len(response.brokers), 'broker')}"
    brokers = [
        (
            broker.node_id,
            format_address(broker.host, broker.port),
            broker.rack or "",
            "controller" if broker.node_id == response.controller_id else "",
        )
        for broker in sorted(response.brokers, key=lambda each: each.node_id)
    ]
    parts = [f"{cluster_line}\n", table(("node", "address", "rack", ""), brokers)]
    partitions: list[tuple[object, ...]] = []
    for topic in _sorted(response):
        if topic.error_code:
            partitions.append((topic.name or topic.topic_id, "", "", "", "", _error_name(topic.error_code)))
        partitions += [
            (
                topic.name,
                partition.partition_index,
                partition.leader_id,
                ",".join(map(str, partition.replica_nodes)),
                ",".join(map(str, partition.isr_nodes)),
                _error_name(partition.error_code) or "",
            )
            for partition in sorted(topic.partitions, key=lambda each: each.partition_index)
        ]
    if partitions:
        header = ("topic", "partition", "leader", "replicas", "in sync", "")
        parts += ["", table(header, partitions)]
    return "\n".join(parts)


def _sorted(response: MetadataResponse) -> list[MetadataResponseTopic]:
    return sorted(response.topics, key=lambda topic: topic.name or "")


def _error_name(code: int) -> str | None:
    return ErrorCode.of(code).name if code else None
