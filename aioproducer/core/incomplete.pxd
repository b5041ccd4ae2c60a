cimport cython

from aioproducer.core.batch cimport ProducerBatch

@cython.final
cdef class IncompleteBatches:
    cdef public object _batches
    cdef public dict _aged
    cdef public list _ages

    cpdef add(self, ProducerBatch batch)

    cpdef discard(self, ProducerBatch batch)
