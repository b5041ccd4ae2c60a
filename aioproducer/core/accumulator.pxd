cimport cython

from aioproducer.core.buffer cimport RecordBuffer
from aioproducer.core.incomplete cimport IncompleteBatches
from aioproducer.core.partitioner cimport RecordPartitioner, StickyPartitioner
from aioproducer.core.queues cimport TopicQueue
from aioproducer.core.batch cimport ProducerBatch
from aioproducer.core.queues cimport PartitionQueue
from aioproducer.core.schedule cimport Schedule
from aioproducer.batch_result cimport BatchResult
from aioproducer.delivery cimport Delivery, index_of, move_delivery, new_delivery, result_of
from aioproducer.records.batch cimport RecordBatchBuilder, encode_headers
from aioproducer.records.murmur2 cimport partition_of_key

cdef Py_ssize_t _overhead
cdef Py_ssize_t _header_size
cdef Py_ssize_t _sticky

@cython.final
cdef class Accumulator:
    cdef public object shell
    cdef public Schedule schedule
    cdef public RecordBuffer buffer
    cdef public Py_ssize_t batch_size
    cdef public Py_ssize_t max_record
    cdef public str limiting_option
    cdef public RecordPartitioner partitioner
    cdef public bint by_murmur2
    cdef public object wall_clock_ns
    cdef public tuple sticky_options
    cdef public dict topics
    cdef public IncompleteBatches incomplete
    cdef public long long serial
    cdef public bint has_deadline

    @cython.locals(
        section=bytearray,
        nanoseconds="long long",
        timestamp="long long",
        size=Py_ssize_t,
        index=Py_ssize_t,
        buffer=RecordBuffer,
        topic_queue=TopicQueue,
        queue=PartitionQueue,
    )
    cpdef Delivery append(self, topic, value, key, partition, timestamp_ms, headers)

    @cython.locals(left=Py_ssize_t, sticky=StickyPartitioner, queue=PartitionQueue, batch=ProducerBatch)
    cdef PartitionQueue _queue_for(self, TopicQueue topic_queue, Py_ssize_t index, Py_ssize_t size)

    @cython.locals(batch=ProducerBatch, builder=RecordBatchBuilder, taken=Py_ssize_t)
    cdef Delivery _put(self, TopicQueue topic_queue, PartitionQueue queue, long long timestamp, bytes key, bytes value, bytearray section)

    @cython.locals(now=double, builder=RecordBatchBuilder, result=BatchResult, batch=ProducerBatch)
    cdef _open(self, TopicQueue topic_queue, PartitionQueue queue, long long timestamp)

    cdef _watch(self)

    cdef _close(self, PartitionQueue queue)
