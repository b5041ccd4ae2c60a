cimport cython

from aioproducer.delivery cimport BatchResult
from aioproducer.records.batch cimport RecordBatchBuilder

@cython.final
cdef class NodeQueue:
    cdef public int node_id
    cdef public object ready
    cdef public object lingering
    cdef public double due
    cdef public double armed
    cdef public double starved_since

    cpdef bint is_empty(self) except -1

@cython.final
cdef class ProducerBatch:
    cdef public PartitionQueue queue
    cdef public RecordBatchBuilder builder
    cdef public BatchResult result
    cdef public double created
    cdef public double oldest_send
    cdef public long long serial
    cdef public Py_ssize_t charged
    cdef public long long attempts
    cdef public double sent_at
    cdef public bint in_flight
    cdef public bint maybe_written
    cdef public long long producer_id
    cdef public int producer_epoch
    cdef public long long sequence
    cdef public Py_ssize_t split_of
    cdef public object last_error

@cython.final
cdef class PartitionQueue:
    cdef public str topic
    cdef public int partition
    cdef public NodeQueue node
    cdef public int leader_epoch
    cdef public ProducerBatch open
    cdef public object closed
    cdef public list unsettled
    cdef public Py_ssize_t on_wire
    cdef public NodeQueue wire_node
    cdef public double not_before
    cdef public object last_error
    cdef public bint is_ready
    cdef public bint lingers
    cdef public long long producer_id
    cdef public int producer_epoch
    cdef public long long next_sequence
    cdef public bint bump_wanted

    cpdef Py_ssize_t length(self) except -1
    cpdef double due(self, double linger) except -1
    cpdef ProducerBatch first(self)
    cpdef ProducerBatch take(self)
