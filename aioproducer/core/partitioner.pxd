cimport cython

from aioproducer.core.queues cimport NodeQueue, PartitionQueue
from aioproducer.records.murmur2 cimport partition_of_key

@cython.final
cdef class RecordPartitioner:
    cdef public object kind
    cdef public object custom
    cdef public tuple faults
    cdef public bint ignore_keys
    cdef public bint by_murmur2

    cpdef Py_ssize_t choose(self, StickyPartitioner sticky, bytes key) except -2
    cdef Py_ssize_t _ask(self, StickyPartitioner sticky, bytes key) except -2

@cython.final
cdef class StickyPartitioner:
    cdef public str topic
    cdef public list partitions
    cdef public Py_ssize_t count
    cdef public Py_ssize_t batch_size
    cdef public object random
    cdef public bint adaptive
    cdef public double availability_timeout
    cdef public Py_ssize_t current
    cdef public Py_ssize_t produced
    cdef public Py_ssize_t turn

    cpdef Py_ssize_t place(self, Py_ssize_t size, double now) except -2
    @cython.locals(partition=Py_ssize_t)
    cpdef Py_ssize_t next_in_turn(self) except -2
    @cython.locals(queue=PartitionQueue, longest=Py_ssize_t, usable=Py_ssize_t, weight=Py_ssize_t, left=Py_ssize_t)
    cdef Py_ssize_t _draw(self, double now) except -2
    @cython.locals(partition=Py_ssize_t, queue=PartitionQueue, waiting=Py_ssize_t)
    cdef Py_ssize_t _draw_light(self, double now) except -2
    @cython.locals(node=NodeQueue, timeout=double)
    cdef bint _is_available(self, PartitionQueue queue, double now) except -1
