cimport cython

from aioproducer.core.batch cimport ProducerBatch

@cython.final
cdef class NodeQueue:
    cdef public int node_id
    cdef public object ready
    cdef public object lingering
    cdef public double due
    cdef public double armed
    cdef public double starved_since

    cpdef bint is_empty(self) except -1
    cpdef bint hasten(self, double due) except -1

@cython.final
cdef class PartitionQueue:
    cdef public str topic
    cdef public int partition
    cdef public NodeQueue node
    cdef public int leader_epoch
    cdef public ProducerBatch open
    cdef public object closed
    cdef public Py_ssize_t on_wire
    cdef public NodeQueue wire_node
    cdef public double not_before
    cdef public object last_error
    cdef public bint is_ready
    cdef public bint lingers
    cdef public object sequences

    cpdef Py_ssize_t length(self) except -1
    cpdef double due(self, double linger) except -1
    cpdef ProducerBatch first(self)
    cpdef open_batch(self, ProducerBatch batch)
    cpdef close_open(self)
    @cython.locals(batch=ProducerBatch)
    cpdef ProducerBatch take(self)
    cpdef land(self, ProducerBatch batch)
    cpdef start_linger(self)
    cpdef stop_linger(self)
    cpdef end_linger(self)
    cpdef start_ready(self)
    cpdef end_ready(self)

@cython.final
cdef class TopicQueue:
    cdef public str topic
    cdef public list partitions
    cdef public Py_ssize_t count
    # A StickyPartitioner: partitioner.pxd knows the types here, so this one cannot name that.
    cdef public object sticky
    cdef public Py_ssize_t batch_limit
    cdef public double last_used
    cdef public object topic_id
    cdef public dict retired

    cpdef used(self, double now)
