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

from aioproducer.errors import ProtocolError, UnsupportedVersionError
from aioproducer.protocol.api import ApiKey
from aioproducer.protocol.frame import decode_request, decode_request_header, encode_response
from aioproducer.testing.apis import api_versions, init_producer_id, metadata, produce
from aioproducer.testing.call import Call
from aioproducer.testing.faults import Rewrite, Throttle
from aioproducer.testing.refusal import HungUp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aioproducer.protocol.api import Message, Request, Response
    from aioproducer.protocol.primitives import Chunk
    from aioproducer.testing.call import Settings
    from aioproducer.testing.faults import Fault, Script, Target
    from aioproducer.testing.topology import Topology


def _no_targets(_request: object, _topology: Topology) -> Iterable[Target]:
    return ()


@dataclass(frozen=True, slots=True)
class Api:
    """How one API is read, answered, and matched with faults."""

    request: type[Request[Any]]
    answer: Callable[[Call], Response | None]
    targets: Callable[[Any, Topology], Iterable[Target]] = _no_targets


APIS: dict[ApiKey, Api] = {
    ApiKey.PRODUCE: Api(produce.REQUEST, produce.answer, produce.targets),
    ApiKey.METADATA: Api(metadata.REQUEST, metadata.answer, metadata.targets),
    ApiKey.API_VERSIONS: Api(api_versions.REQUEST, api_versions.answer),
    ApiKey.INIT_PRODUCER_ID: Api(init_producer_id.REQUEST, init_producer_id.answer),
}


class Broker:
    """One node of the cluster."""

    def __init__(self, node_id: int, topology: Topology, settings: Settings, script: Script) -> None:
        self.node_id = node_id
        self._topology = topology
        self._settings = settings
        self._script = script

    def receive(self, frame: Chunk) -> Call:
        """Decode a request, and count it with the faults; HungUp where Kafka would close the connection."""
        try:
            header, reader = decode_request_header(frame)
            key = ApiKey(header.api_key)
        except (ProtocolError, ValueError) as error:
            message = f"no request that this broker knows: {error}"
            raise HungUp(message) from None
        versions = self._settings.versions.get(key)
        if versions is None:
            message = f"this broker has no {key.name}"
            raise HungUp(message)
        request: Message | None = None
        api = APIS[key]
        if header.version in versions:
            try:
                request = decode_request(api.request, reader, header.version)
            except (ProtocolError, UnsupportedVersionError) as error:
                raise HungUp(str(error)) from None
        elif key is not ApiKey.API_VERSIONS:
            message = f"this broker has {key.name} {versions}, not {header.version}"
            raise HungUp(message)
        faults: tuple[Fault, ...] = ()
        if self._script:
            targets = api.targets(request, self._topology) if request is not None else ()
            faults = self._script.due(key, self.node_id, targets)
        return Call(
            api=key,
            version=header.version,
            correlation_id=header.correlation_id,
            request=request,
            node_id=self.node_id,
            topology=self._topology,
            settings=self._settings,
            now_ms=time.time_ns() // 1_000_000,
            faults=faults,
        )

    def answer(self, call: Call) -> Response | None:
        """Do what is asked; None for no answer, HungUp for an end of the connection."""
        if call.request is None:
            return api_versions.unsupported(call.settings)
        response: Any = APIS[call.api].answer(call)
        for fault in call.faults if response is not None else ():
            if isinstance(fault.action, Rewrite):
                response = fault.action.function(response)
            elif isinstance(fault.action, Throttle):
                response = replace(response, throttle_time_ms=fault.action.milliseconds)
        return cast("Response | None", response)

    def encode(self, call: Call, response: Response) -> list[Chunk]:
        """Return the frame of an answer."""
        version = 0 if call.request is None else call.version
        return encode_response(response, version, call.correlation_id)
