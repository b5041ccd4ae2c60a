cimport cython

from aioproducer.batch_result cimport BatchResult
from aioproducer.records.batch cimport RecordBatchBuilder

cdef int _OPEN
cdef int _CLOSED
cdef int _IN_FLIGHT
cdef int _RELEASED
cdef int _TO_CLOSED
cdef int _TO_IN_FLIGHT
cdef int _TO_RELEASED

@cython.final
cdef class ProducerBatch:
    # A PartitionQueue: queues.pxd knows this type, so this one cannot name that.
    cdef public object queue
    cdef public RecordBatchBuilder builder
    cdef public BatchResult result
    cdef public double created
    cdef public double oldest_send
    cdef public long long serial
    cdef public long long attempts
    cdef public bint maybe_written
    cdef public long long producer_id
    cdef public int producer_epoch
    cdef public long long sequence
    cdef public Py_ssize_t split_of
    cdef public object last_error
    cdef readonly int state

    cpdef Py_ssize_t release(self) except -1
    cpdef close(self)
    cpdef take(self)
    cpdef bint land(self) except *
    cdef int _enter(self, int state, int sources) except -1
