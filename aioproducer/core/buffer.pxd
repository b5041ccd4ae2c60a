cimport cython

from aioproducer.core.schedule cimport Schedule

@cython.final
cdef class RecordBuffer:
    cdef public object shell
    cdef public Schedule schedule
    cdef public Py_ssize_t memory
    cdef public double max_block
    cdef public double max_wait
    cdef public Py_ssize_t used
    cdef public Py_ssize_t waiting
    cdef public object records
    cdef public object waits
    cdef public list room_waiters

    cpdef void charge(self, Py_ssize_t size) noexcept
    cpdef release(self, Py_ssize_t size)
    cdef _count(self, Py_ssize_t change)
    cdef _freed(self)
