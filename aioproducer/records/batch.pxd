cimport cython

from aioproducer.records.varint cimport put_varint, varint_size

@cython.final
cdef class RecordBatchBuilder:
    cdef public bytearray buffer
    cdef public Py_ssize_t count
    cdef public int codec
    cdef public Py_ssize_t limit
    cdef public Py_ssize_t raw_size
    cdef public long long base_timestamp
    cdef public long long max_timestamp

    @cython.locals(
        buffer=bytearray,
        index=Py_ssize_t,
        delta="long long",
        key_size=Py_ssize_t,
        value_size=Py_ssize_t,
        body=Py_ssize_t,
        size=Py_ssize_t,
    )
    cpdef Py_ssize_t append(self, long long timestamp_ms, bytes key, bytes value, bytearray headers) except -2

@cython.locals(section=bytearray, name=str, encoded=bytes, data=bytes, count=Py_ssize_t)
cpdef bytearray encode_headers(headers)

cdef bytes _as_bytes(str name, value)
