cimport cython

@cython.locals(
    octets="const unsigned char*",
    length=Py_ssize_t,
    mask="unsigned int",
    multiplier="unsigned int",
    hashed="unsigned int",
    word="unsigned int",
    whole=Py_ssize_t,
    position=Py_ssize_t,
    left=Py_ssize_t,
)
cpdef unsigned int murmur2(bytes key) noexcept

cpdef Py_ssize_t partition_of_key(bytes key, Py_ssize_t partitions) noexcept
