from aioproducer.records.reader import RecordBatch
from aioproducer.testing.log import PartitionLog
from tests.testing.batches import make_batch


def batch(*values: bytes, producer: tuple[int, int, int] = (-1, -1, -1)) -> RecordBatch:
    return RecordBatch.parse(make_batch(*values, producer=producer))


def append(log: PartitionLog, appended: RecordBatch) -> int:
    return log.append(appended, leader_epoch=0, log_append_time_ms=-1).base_offset


def test_offsets_count_records() -> None:
    log = PartitionLog()
    assert [append(log, batch(b"a", b"b")), append(log, batch(b"c"))] == [0, 2]
    assert (log.start_offset, log.end_offset) == (0, 3)


def test_duplicate_is_not_stored() -> None:
    log = PartitionLog()
    first = batch(b"a", b"b", producer=(5, 0, 0))
    append(log, first)
    append(log, batch(b"c", producer=(5, 0, 2)))
    appended = log.append(first, leader_epoch=0, log_append_time_ms=-1)
    assert (appended.base_offset, appended.is_duplicate) == (0, True)
    assert log.end_offset == 3


def test_producers_have_their_own_sequences() -> None:
    log = PartitionLog()
    append(log, batch(b"a", producer=(5, 0, 0)))
    append(log, batch(b"b", producer=(6, 0, 0)))
    assert set(log.producers) == {5, 6}


def test_forgotten_producer_may_start_anywhere() -> None:
    log = PartitionLog()
    append(log, batch(b"a", producer=(5, 0, 0)))
    log.forget_producer(5)
    assert append(log, batch(b"b", producer=(5, 0, 9))) == 1


def test_retention_drops_whole_batches() -> None:
    one = batch(b"x" * 1000)
    log = PartitionLog(retention_bytes=2 * one.size)
    for _ in range(10):
        append(log, one)
    assert (log.start_offset, log.end_offset) == (8, 10)
    assert log.size == 2 * one.size


def test_deletion_keeps_crossing_batch() -> None:
    """A batch with records on both sides of the offset stays in the log."""
    log = PartitionLog()
    append(log, batch(b"a", b"b"))
    append(log, batch(b"c", b"d"))
    log.delete_before(3)
    assert log.start_offset == 3
    assert [stored.base_offset for stored in log] == [2]
    log.delete_before(99)
    assert (log.start_offset, list(log)) == (4, [])
