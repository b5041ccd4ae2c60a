cimport cython

@cython.final
cdef class RecordMetadata:
    cdef readonly str topic
    cdef readonly int partition
    cdef readonly long long offset
    cdef readonly long long timestamp_ms

@cython.final
cdef class BatchResult:
    cdef public str topic
    cdef public int partition
    cdef public object loop
    cdef public bint done
    cdef public long long base_offset
    cdef public long long log_append_time_ms
    cdef public Py_ssize_t count
    cdef public set seen
    cdef public object error
    cdef public dict record_errors
    cdef public list waiters
    cdef public list callbacks
    cdef public list pieces

    cpdef void resolve(self, Py_ssize_t count, long long base_offset, long long log_append_time_ms) except *
    cpdef add_waiter(self, Py_ssize_t index, long long timestamp_ms, future)
    cpdef error_of(self, Py_ssize_t index)
    @cython.locals(offset="long long")
    cpdef RecordMetadata metadata_of(self, Py_ssize_t index, long long timestamp_ms)
