"""One broker: bytes of a request in, bytes of its answer out.

    frame ── receive ──▶ Call ── answer ──▶ response ── encode ──▶ frame
             who asks what,      the API's       None: acks=0
             faults that are due module

The one idea: a broker does no I/O and never waits. The connection carries its frames, and
plays the faults that take time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from aioproducer.errors import ProtocolError, UnsupportedVersionError, plural
from aioproducer.protocol.api import ApiKey
from aioproducer.protocol.frame import decode_request_header, encode_response
from aioproducer.testing.apis import api_versions, init_producer_id, metadata, produce
from aioproducer.testing.call import Call
from aioproducer.testing.faults import AddUnasked, Rewrite, Throttle
from aioproducer.testing.refusal import HungUp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aioproducer.protocol.api import Message, Request, Response
    from aioproducer.protocol.fields import Chunk
    from aioproducer.protocol.reader import Reader
    from aioproducer.testing.call import Settings
    from aioproducer.testing.faults import Fault, Script, Target
    from aioproducer.testing.topology import Topology
    from aioproducer.testing.versions import BrokerVersion


# API key, version and correlation id; then the client id, which begins with its length.
_FIXED_SIZE = 8
_CLIENT_ID_AT = 10
_NO_CLIENT_ID = b"\xff\xff"


def _no_targets(_request: object, _topology: Topology) -> Iterable[Target]:
    return ()


def _as_it_is(_call: Call, response: object, *_: object) -> object:
    return response


@dataclass(frozen=True, slots=True)
class Api:
    """How one API is read, answered, and matched with faults.

    `acknowledge` looks again at an answer that was held back before it is sent.
    """

    request: type[Request[Any]]
    answer: Callable[[Call], Response | None]
    targets: Callable[[Any, Topology], Iterable[Target]] = _no_targets
    acknowledge: Callable[[Call, Any], Any] = _as_it_is
    add_unasked: Callable[[Call, Any, AddUnasked], Any] = _as_it_is

    @property
    def has_topics(self) -> bool:
        """Whether its requests name topics, so that a fault can be of one topic."""
        return self.targets is not _no_targets


APIS: dict[ApiKey, Api] = {
    ApiKey.PRODUCE: Api(
        produce.REQUEST, produce.answer, produce.targets, produce.acknowledge, produce.add_unasked
    ),
    ApiKey.METADATA: Api(
        metadata.REQUEST, metadata.answer, metadata.targets, add_unasked=metadata.add_unasked
    ),
    ApiKey.API_VERSIONS: Api(api_versions.REQUEST, api_versions.answer),
    ApiKey.INIT_PRODUCER_ID: Api(init_producer_id.REQUEST, init_producer_id.answer),
}


# Other APIs that clients ask for, by the names that Kafka gives them.
_OTHER_APIS = {
    1: "FETCH",
    2: "LIST_OFFSETS",
    8: "OFFSET_COMMIT",
    9: "OFFSET_FETCH",
    11: "JOIN_GROUP",
    12: "HEARTBEAT",
    13: "LEAVE_GROUP",
    14: "SYNC_GROUP",
    15: "DESCRIBE_GROUPS",
    16: "LIST_GROUPS",
    20: "DELETE_TOPICS",
    21: "DELETE_RECORDS",
    23: "OFFSET_FOR_LEADER_EPOCH",
    29: "DESCRIBE_ACLS",
    33: "ALTER_CONFIGS",
    37: "CREATE_PARTITIONS",
    42: "DELETE_GROUPS",
    65: "DESCRIBE_TRANSACTIONS",
    66: "LIST_TRANSACTIONS",
    68: "CONSUMER_GROUP_HEARTBEAT",
    75: "DESCRIBE_TOPIC_PARTITIONS",
    76: "SHARE_GROUP_HEARTBEAT",
}


def _implemented(number: int) -> ApiKey:
    """Return the API with this number; HungUp if there is none here."""
    try:
        key = ApiKey(number)
    except ValueError:
        name = _OTHER_APIS.get(number, f"API key {number}")
    else:
        if key in APIS:
            return key
        name = key.name
    message = f"FakeCluster does not implement {name}, only {', '.join(key.name for key in APIS)}"
    raise HungUp(message)


class Broker:
    """One node of the cluster."""

    def __init__(
        self, node_id: int, version: BrokerVersion, topology: Topology, settings: Settings, script: Script
    ) -> None:
        self.node_id = node_id
        self.version = version
        self._topology = topology
        self._settings = settings
        self._script = script

    def receive(self, frame: Chunk) -> Call:
        """Decode a request, and count it with the faults; HungUp where Kafka would close the connection."""
        try:
            header, reader = decode_request_header(
                frame if self._settings.strict else _without_client_id(frame)
            )
        except ProtocolError as error:
            message = f"no request that this broker knows: {error}"
            raise HungUp(message) from None
        key = _implemented(header.api_key)
        try:
            request = self._decode(key, reader, header.version)
        except (ProtocolError, UnsupportedVersionError) as error:
            raise HungUp(str(error)) from None
        faults: tuple[Fault, ...] = ()
        if self._script:
            targets = APIS[key].targets(request, self._topology) if request is not None else ()
            faults = self._script.due(key, self.node_id, targets)
        return Call(
            api=key,
            version=header.version,
            correlation_id=header.correlation_id,
            request=request,
            node_id=self.node_id,
            broker=self.version,
            topology=self._topology,
            settings=self._settings,
            now_ms=time.time_ns() // 1_000_000,
            faults=faults,
        )

    def _decode(self, key: ApiKey, reader: Reader, version: int) -> Message | None:
        """Return the request, or None for an ApiVersions request in a version that is not there."""
        versions = self.version.apis.get(key)
        if versions is None:
            message = f"this broker ({self.version.name}) was made without {key.name}"
            raise HungUp(message)
        kind = APIS[key].request
        if version in versions and version in kind.versions:
            return self._read(kind, reader, version)
        if key is not ApiKey.API_VERSIONS:
            if version in versions:
                message = f"FakeCluster implements {key.name} {kind.versions}, not {version}"
            else:
                message = f"this broker ({self.version.name}) has {key.name} {versions}, not {version}"
            raise HungUp(message)
        # The header is read to its end, in the form that it must have in that version.
        reader.flexible = version >= kind.flexible_from
        reader.tagged_fields()
        return None

    def _read(self, kind: type[Request[Any]], reader: Reader, version: int) -> Message:
        reader.flexible = version >= kind.flexible_from
        try:
            reader.tagged_fields()
            request = kind.read(reader, version)
        except ProtocolError as error:
            message = f"this is no {kind.__name__} version {version}: {error}"
            raise HungUp(message) from None
        if reader.remaining and self._settings.strict:
            message = (
                f"{plural(reader.remaining, 'byte')} left over behind {kind.__name__} version {version}; "
                "a cluster with strict=False ignores them, as Kafka does"
            )
            raise HungUp(message)
        return request

    def answer(self, call: Call) -> Response | None:
        """Do what is asked; None for no answer, HungUp for an end of the connection."""
        if call.request is None:
            return api_versions.unsupported(call.broker)
        api = APIS[call.api]
        response: Any = api.answer(call)
        for fault in call.faults if response is not None else ():
            match fault.action:
                case Rewrite(function):
                    response = function(response)
                case Throttle(milliseconds):
                    response = replace(response, throttle_time_ms=milliseconds)
                case AddUnasked() as unasked:
                    response = api.add_unasked(call, response, unasked)
                case _:
                    pass
        return cast("Response | None", response)

    def acknowledge(self, call: Call, response: Response) -> Response:
        """Return the answer as it is due now, after it was held back."""
        return cast("Response", APIS[call.api].acknowledge(call, response))

    def encode(self, call: Call, response: Response) -> list[Chunk]:
        """Return the frame of an answer."""
        version = 0 if call.request is None else call.version
        return encode_response(response, version, call.correlation_id)


def _without_client_id(frame: Chunk) -> Chunk:
    """Return a request without its client id: any will do for Kafka, text or not."""
    end = _CLIENT_ID_AT + max(0, int.from_bytes(frame[_FIXED_SIZE:_CLIENT_ID_AT], "big", signed=True))
    if not _CLIENT_ID_AT <= end <= len(frame):
        return frame
    return b"".join((frame[:_FIXED_SIZE], _NO_CLIENT_ID, frame[end:]))
