"""`aioproducer metadata`: the brokers of a cluster, its topics, their partitions and leaders.

It works without a producer: the first bootstrap server that responds to a Metadata request is enough.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aioproducer.cli.client_options import (
    add_config_file_option,
    add_properties_option,
    all_properties,
    given_properties,
)
from aioproducer.cli.servers import add_servers_option, cluster, named_servers
from aioproducer.cli.tables import table
from aioproducer.config import ProducerConfig
from aioproducer.config.kinds import format_address
from aioproducer.error_code import ErrorCode
from aioproducer.errors import plural
from aioproducer.net.bootstrap import Bootstrap
from aioproducer.net.client_context import ClientContext
from aioproducer.protocol.metadata import MetadataRequest, MetadataRequestTopic

if TYPE_CHECKING:
    import argparse

    from aioproducer.protocol.metadata import MetadataResponse, MetadataResponseTopic

CLIENT_ID = "aioproducer-metadata"

EXCHANGE_TIMEOUT = 10.0
"""Seconds in which a server must respond."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "metadata",
        help="show brokers, topics, partitions and leaders",
        description="Show the brokers of a cluster, its topics, their partitions and leaders.",
    )
    parser.add_argument("topics", metavar="TOPIC", nargs="*", help="topics to show (default: all)")
    add_servers_option(parser)
    add_properties_option(parser)
    add_config_file_option(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run, parser=parser, more_to="topics", may_embed=False)


async def run(arguments: argparse.Namespace) -> int:
    """Ask, print, and return the exit code."""
    topics: list[str] = arguments.topics
    given = given_properties(arguments)
    servers = named_servers(arguments, given)
    properties = all_properties(given, is_embedded=servers is None)
    async with cluster(servers, {"example": 1}) as bootstrap:
        config = ProducerConfig.from_properties(properties, bootstrap_servers=bootstrap)
        response = await _ask(config, topics)
    print(json.dumps(_as_json(response), indent=2) if arguments.json else _as_text(response))
    # A script may test for a topic: an unknown one is exit code 1.
    return 1 if any(topic.error_code for topic in response.topics) else 0


async def _ask(config: ProducerConfig, topics: list[str]) -> MetadataResponse:
    request = MetadataRequest(
        topics=tuple([MetadataRequestTopic(name) for name in topics]) or None,
        allow_auto_topic_creation=False,
    )
    servers = Bootstrap(ClientContext.without_producer(config, CLIENT_ID), request)
    try:
        # The race asks all addresses in the first half of this time.
        async with asyncio.timeout(EXCHANGE_TIMEOUT):
            found = await servers.ask({}, within=EXCHANGE_TIMEOUT)
    except TimeoutError:
        found = None
    if found is None:
        raise servers.error(EXCHANGE_TIMEOUT)
    return found[0]


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
