"""One broker: a request frame in, a response frame out.

    frame ── receive ──▶ Call ── answer ──▶ response ── encode ──▶ frame
             decoded request,    apis/*_answer   None: acks=0
             its faults

A broker does no I/O and never waits. `FakeConnection` reads and writes the frames, and runs the
faults that take time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from aioproducer.errors import ProtocolError, UnsupportedVersionError, plural
from aioproducer.protocol.api import ApiKey
from aioproducer.protocol.frame import decode_request_header, encode_response
from aioproducer.testing.apis import (
    api_versions_answer,
    init_producer_id_answer,
    metadata_answer,
    out_of_place_answer,
    produce_answer,
    sasl_authenticate_answer,
    sasl_handshake_answer,
)
from aioproducer.testing.call import Call
from aioproducer.testing.faults import AddUnasked, Rewrite, Throttle
from aioproducer.testing.refusal import ConnectionDropped
from aioproducer.testing.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aioproducer.protocol.api import Message, Request, Response
    from aioproducer.protocol.fields import Chunk
    from aioproducer.protocol.reader import Reader
    from aioproducer.testing.call import Settings
    from aioproducer.testing.faults import Fault, Script, Target
    from aioproducer.testing.topology import Topology
    from aioproducer.testing.versions import BrokerVersion


# A request begins with API key, version and correlation id; then the client id with its length.
_FIXED_SIZE = 8
_CLIENT_ID_AT = 10
_NO_CLIENT_ID = b"\xff\xff"


def _no_targets(_request: object, _topology: Topology) -> Iterable[Target]:
    return ()


def _unchanged(_call: Call, response: object, *_: object) -> object:
    return response


@dataclass(frozen=True, slots=True)
class Api:
    """The functions of one API: answer a request, and match it with faults.

    `acknowledge` checks a held response again before it is sent.
    """

    request: type[Request[Any]]
    answer: Callable[[Call], Response | None]
    targets: Callable[[Any, Topology], Iterable[Target]] = _no_targets
    acknowledge: Callable[[Call, Any], Any] = _unchanged
    add_unasked: Callable[[Call, Any, AddUnasked], Any] = _unchanged

    @property
    def has_topics(self) -> bool:
        """Whether its requests have topics, so that a fault can match one topic."""
        return self.targets is not _no_targets


APIS: dict[ApiKey, Api] = {
    ApiKey.PRODUCE: Api(
        produce_answer.REQUEST,
        produce_answer.answer,
        produce_answer.targets,
        produce_answer.acknowledge,
        produce_answer.add_unasked,
    ),
    ApiKey.METADATA: Api(
        metadata_answer.REQUEST,
        metadata_answer.answer,
        metadata_answer.targets,
        add_unasked=metadata_answer.add_unasked,
    ),
    ApiKey.API_VERSIONS: Api(api_versions_answer.REQUEST, api_versions_answer.answer),
    ApiKey.INIT_PRODUCER_ID: Api(init_producer_id_answer.REQUEST, init_producer_id_answer.answer),
    ApiKey.SASL_HANDSHAKE: Api(sasl_handshake_answer.REQUEST, sasl_handshake_answer.answer),
    ApiKey.SASL_AUTHENTICATE: Api(sasl_authenticate_answer.REQUEST, sasl_authenticate_answer.answer),
}

WITHOUT_THROTTLE = frozenset({ApiKey.SASL_HANDSHAKE, ApiKey.SASL_AUTHENTICATE})
"""The APIs whose responses have no throttle time."""

# Kafka's names of other APIs that clients may request.
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
    """Return the API with this number; raises ConnectionDropped for others."""
    try:
        key = ApiKey(number)
    except ValueError:
        name = _OTHER_APIS.get(number, f"API key {number}")
    else:
        if key in APIS:
            return key
        name = key.name
    message = f"FakeCluster does not implement {name}, only {', '.join(key.name for key in APIS)}"
    raise ConnectionDropped(message)


class FakeBroker:
    """One node of the cluster."""

    def __init__(
        self, node_id: int, version: BrokerVersion, topology: Topology, settings: Settings, script: Script
    ) -> None:
        self.node_id = node_id
        self.version = version
        self._topology = topology
        self._settings = settings
        self._script = script

    def upgrade(self, version: BrokerVersion) -> None:
        """Play another release from now on."""
        self.version = version

    def open_session(self) -> Session:
        """Return the session of a new connection."""
        return Session(
            self._settings.security, self.node_id, token_ends_session=self.version.token_ends_session
        )

    def receive(self, frame: Chunk, session: Session) -> Call:
        """Decode a request and find its faults; ConnectionDropped if Kafka would close the connection."""
        try:
            header, reader = decode_request_header(
                frame if self._settings.strict else _without_client_id(frame)
            )
        except ProtocolError as error:
            message = f"this is no valid request header: {error}"
            raise ConnectionDropped(message) from None
        key = _implemented(header.api_key)
        session.admit(key)
        try:
            request = self._decode(key, reader, header.version)
        except (ProtocolError, UnsupportedVersionError) as error:
            raise ConnectionDropped(str(error)) from None
        # Faults count a request when it is decoded, so `skip` and `times` follow the order of arrival.
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
            session=session,
            now_ms=time.time_ns() // 1_000_000,
            faults=faults,
        )

    def _decode(self, key: ApiKey, reader: Reader, version: int) -> Message | None:
        """Return the request, or None for an ApiVersions request in an unknown version."""
        versions = self.version.apis.get(key)
        if versions is None:
            message = f"this broker ({self.version.name}) was made without {key.name}"
            raise ConnectionDropped(message)
        kind = APIS[key].request
        if version in versions and version in kind.versions:
            return self._read(kind, reader, version)
        if key is not ApiKey.API_VERSIONS:
            if version in versions:
                message = f"FakeCluster implements {key.name} {kind.versions}, not {version}"
            else:
                message = f"this broker ({self.version.name}) has {key.name} {versions}, not {version}"
            raise ConnectionDropped(message)
        # Kafka reads the header of an unknown version too: a flexible one ends with tagged fields.
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
            raise ConnectionDropped(message) from None
        if reader.remaining and self._settings.strict:
            message = (
                f"{plural(reader.remaining, 'byte')} left over after {kind.__name__} version {version}; "
                "a cluster with strict=False ignores them, as Kafka does"
            )
            raise ConnectionDropped(message)
        return request

    def answer(self, call: Call) -> Response | None:
        """Return the response, None for acks=0; ConnectionDropped closes the connection."""
        if call.request is None:
            return api_versions_answer.unsupported(call.broker)
        api = APIS[call.api]
        is_out_of_place = call.session.is_out_of_place(call.api)
        response: Any = out_of_place_answer.answer(call) if is_out_of_place else api.answer(call)
        # Several faults may change one response, in the order of their creation.
        for fault in call.faults if response is not None else ():
            match fault.action:
                case Rewrite(function):
                    response = function(response)
                case Throttle(milliseconds) if call.api not in WITHOUT_THROTTLE:
                    response = replace(response, throttle_time_ms=milliseconds)
                case AddUnasked() as unasked:
                    response = api.add_unasked(call, response, unasked)
                case _:
                    pass
        return cast("Response | None", response)

    def acknowledge(self, call: Call, response: Response) -> Response:
        """Return the response after a hold, with the replicas in sync checked again."""
        return cast("Response", APIS[call.api].acknowledge(call, response))

    def encode(self, call: Call, response: Response) -> list[Chunk]:
        """Return the frame of a response, in chunks."""
        # Only an ApiVersions request in an unknown version has no decoded request (KIP-511).
        version = 0 if call.request is None else call.version
        return encode_response(response, version, call.correlation_id)


def _without_client_id(frame: Chunk) -> Chunk:
    """Return a request without its client id, because Kafka accepts any bytes there."""
    # A negative length is null, as Kafka reads it.
    end = _CLIENT_ID_AT + max(0, int.from_bytes(frame[_FIXED_SIZE:_CLIENT_ID_AT], "big", signed=True))
    if not _CLIENT_ID_AT <= end <= len(frame):
        return frame
    return b"".join((frame[:_FIXED_SIZE], _NO_CLIENT_ID, frame[end:]))
