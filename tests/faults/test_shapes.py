"""Records of every shape, with every codec, read back by another client's reader."""

import asyncio

import pytest

from aioproducer.protocol.frame import decode_request, decode_request_header
from aioproducer.protocol.produce import ProduceRequest
from aioproducer.records.compression import Codec
from aioproducer.records.reader import RecordBatch
from aioproducer.testing import ApiKey, FakeCluster
from tests.faults.outcomes import all_stored, batches
from tests.faults.stored import TOPIC
from tests.net.quick import quick
from tests.net.relay import SIZE, Relay
from tests.records.test_batch import Plain, read_by_aiokafka

NOW = 1_700_000_000_000

SHAPES = [
    Plain(NOW, b"key", b"value", ()),
    Plain(NOW - 5, None, None, ()),
    Plain(NOW + 5, b"", b"", ()),
    Plain(0, b"tombstone", None, ()),
    Plain(NOW, None, b"headers", (("a", b"1"), ("a", b"2"), ("", b""), ("größe", None))),
    Plain(NOW, bytes(range(256)), b"\x00" * 300, (("h", b"\xff" * 300),)),
    Plain(NOW, b"large", bytes(range(256)) * 800, ()),
]


def _written(relay: Relay) -> list[bytes]:
    """Return the bytes of each batch in the Produce requests."""
    found = []
    for asked in relay.asked(ApiKey.PRODUCE):
        header, reader = decode_request_header(asked.frame[SIZE:])
        request = decode_request(ProduceRequest, reader, header.version)
        found += [bytes(data.records or b"") for topic in request.topic_data for data in topic.partition_data]
    return found


@pytest.mark.scenario("codecs")
@pytest.mark.parametrize("batch_size", [1, 1_000_000], ids=["alone", "together"])
@pytest.mark.parametrize("codec", list(Codec))
async def test_every_record_shape_is_read_back(codec: Codec, batch_size: int) -> None:
    sent = SHAPES * 3
    async with (
        FakeCluster(topics={TOPIC: 1}) as cluster,
        Relay(cluster) as relay,
        quick(cluster, compression_type=codec.name.lower(), batch_size=batch_size) as producer,
    ):
        await producer.partitions_for(TOPIC)
        deliveries = [
            producer.send(
                TOPIC, each.value, key=each.key, timestamp_ms=each.timestamp, headers=list(each.headers)
            )
            for each in sent
        ]
        metadata = await all_stored(deliveries)
        await asyncio.sleep(0)

    assert [each.offset for each in metadata] == list(range(len(sent)))
    assert [each.timestamp_ms for each in metadata] == [each.timestamp for each in sent]
    written = _written(relay)
    assert {RecordBatch.parse(batch).codec for batch in written} == {codec}
    assert [record for batch in written for record in read_by_aiokafka(batch)] == sent
    stored = [Plain(r.timestamp_ms, r.key, r.value, r.headers) for r in cluster.records(TOPIC)]
    assert stored == sent
    assert len(batches(cluster)) == (len(sent) if batch_size == 1 else 1)
