cimport cython

@cython.locals(folded="unsigned long long")
cpdef void put_varint(bytearray buffer, long long value) noexcept

@cython.locals(folded="unsigned long long", size=int)
cpdef int varint_size(long long value) noexcept
