cimport cython

from aioproducer.batch_result cimport BatchResult, RecordMetadata

@cython.final
cdef class _Ready:
    cdef object value

@cython.final
cdef class Delivery:
    cdef BatchResult _result
    cdef int _index
    cdef readonly long long _timestamp_ms

    @cython.locals(result=BatchResult)
    cdef BatchResult _follow(self)
    @cython.locals(result=BatchResult)
    cpdef bint done(self) except *
    @cython.locals(result=BatchResult)
    cdef BatchResult _settled(self)

@cython.locals(delivery=Delivery)
cpdef Delivery new_delivery(BatchResult result, Py_ssize_t index, long long timestamp_ms)
cpdef BatchResult result_of(Delivery delivery)
cpdef int index_of(Delivery delivery) except? -1
@cython.locals(alone=BatchResult)
cpdef move_delivery(Delivery delivery, BatchResult result, Py_ssize_t index)
