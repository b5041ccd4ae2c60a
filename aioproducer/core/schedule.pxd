cimport cython

from aioproducer.core.batch cimport ProducerBatch
from aioproducer.core.queues cimport NodeQueue, PartitionQueue

@cython.final
cdef class Schedule:
    cdef public double linger
    cdef public dict nodes
    cdef public Py_ssize_t urgent
    cdef public object shell

    cpdef opened(self, PartitionQueue queue)

    cpdef closed(self, PartitionQueue queue)

    cpdef enlist(self, PartitionQueue queue)

    @cython.locals(node=NodeQueue, due=double)
    cdef _plan(self, PartitionQueue queue)

    @cython.locals(size=Py_ssize_t, due=double, in_haste=bint, queue=PartitionQueue, batch=ProducerBatch)
    cpdef list drain(self, NodeQueue node, double now, Py_ssize_t limit, may_send)

    @cython.locals(queue=PartitionQueue, batch=ProducerBatch)
    cdef double _ripen(self, NodeQueue node, double opened_until) except? -1
