# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Compiled twin of `encode_in_python` in _postgresql_copy.py: the same bytes."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

import pyarrow as pa

from casparian.adapters.sink import _postgresql_values as form

cdef extern from *:
    """
    typedef unsigned __int128 wide_t;
    """
    ctypedef unsigned long long wide_t
    uint16_t bswap16 "__builtin_bswap16"(uint16_t) nogil
    uint32_t bswap32 "__builtin_bswap32"(uint32_t) nogil
    uint64_t bswap64 "__builtin_bswap64"(uint64_t) nogil

cdef enum Kind:
    TRUTH, TWO, FOUR, EIGHT, CHARACTERS, INTERVAL, NUMERIC

cdef int64_t DAYS_TO_2000 = form.DAYS_TO_2000
cdef int64_t US_TO_2000 = form.US_TO_2000
cdef int MOST_GROUPS = 16
cdef int32_t FIXED[7]
FIXED[:] = [1, 2, 4, 8, 0, 16, 8 + 2 * MOST_GROUPS]

cdef struct Column:
    Kind kind
    int scale
    int64_t origin
    int64_t offset
    const uint8_t* valid
    const uint8_t* data
    const int32_t* ends


cdef size_t address(object buffer) except? 1:
    return 0 if buffer is None else buffer.address


cdef int describe(object array, Column* column) except -1:
    """How to read an array. Its buffers are the caller's to keep."""
    cdef object kind = array.type
    cdef object t = pa.types
    cdef list buffers = array.buffers()
    column.offset = array.offset
    column.valid = <const uint8_t*> address(buffers[0] if array.null_count else None)
    column.data = <const uint8_t*> address(buffers[1])
    column.origin = 0
    if t.is_string(kind) or t.is_binary(kind):
        column.kind = CHARACTERS
        column.ends = <const int32_t*> column.data
        column.data = <const uint8_t*> address(buffers[2])
    elif t.is_boolean(kind):
        column.kind = TRUTH
    elif t.is_duration(kind):
        column.kind = INTERVAL
    elif t.is_decimal128(kind) and kind.scale >= 0:
        column.kind = NUMERIC
        column.scale = kind.scale
    elif t.is_int16(kind):
        column.kind = TWO
    elif t.is_int32(kind) or t.is_float32(kind):
        column.kind = FOUR
    elif t.is_date32(kind):
        column.kind = FOUR
        column.origin = DAYS_TO_2000
    elif t.is_int64(kind) or t.is_float64(kind) or t.is_time64(kind):
        column.kind = EIGHT
    elif t.is_timestamp(kind):
        column.kind = EIGHT
        column.origin = US_TO_2000
    else:
        raise TypeError(f"{kind} has no binary form for COPY")
    return 0


cdef Py_ssize_t most_bytes(Column* column, Py_ssize_t rows) noexcept nogil:
    cdef Py_ssize_t size = (4 + FIXED[<int> column.kind]) * rows
    if column.kind == CHARACTERS and rows:
        size += column.ends[column.offset + rows] - column.ends[column.offset]
    return size


cdef inline void put16(uint8_t* at, int value) noexcept nogil:
    cdef uint16_t swapped = bswap16(<uint16_t> value)
    memcpy(at, &swapped, 2)


cdef inline void put32(uint8_t* at, int64_t value) noexcept nogil:
    cdef uint32_t swapped = bswap32(<uint32_t> value)
    memcpy(at, &swapped, 4)


cdef inline void put64(uint8_t* at, int64_t value) noexcept nogil:
    cdef uint64_t swapped = bswap64(<uint64_t> value)
    memcpy(at, &swapped, 8)


cdef int put_numeric(uint8_t* out, const uint8_t* data, int scale) noexcept nogil:
    """The field of a decimal of 128 bits; its length."""
    cdef wide_t value
    cdef uint16_t groups[16]
    cdef int count = 0
    cdef int behind = (scale + 3) // 4
    cdef int rest = scale % 4
    cdef wide_t power = 1
    cdef int at
    cdef bint negative = (data[15] & 0x80) != 0
    memcpy(&value, data, 16)
    if negative:
        value = -value
    if rest:
        # The last group has these digits only, and is filled up with zeros.
        for at in range(rest):
            power *= 10
        groups[count] = <uint16_t> (value % power)
        for at in range(4 - rest):
            groups[count] *= 10
        value = value // power
        count += 1
    while value or not count:
        groups[count] = <uint16_t> (value % 10_000)
        value = value // 10_000
        count += 1
    put16(out, count)
    put16(out + 2, count - 1 - behind)
    put16(out + 4, 0x4000 if negative else 0)
    put16(out + 6, scale)
    for at in range(count):
        put16(out + 8 + 2 * at, groups[count - 1 - at])
    return 8 + 2 * count


cdef uint8_t* put_field(uint8_t* out, Column* column, int64_t row) noexcept nogil:
    """Write one field; where the next one begins."""
    cdef int64_t at = column.offset + row
    cdef int32_t length
    cdef int16_t two
    cdef int32_t four
    cdef int64_t eight
    if column.valid != NULL and not (column.valid[at >> 3] >> (at & 7)) & 1:
        put32(out, -1)
        return out + 4
    length = FIXED[<int> column.kind]
    if column.kind == EIGHT:
        memcpy(&eight, column.data + 8 * at, 8)
        put64(out + 4, eight - column.origin)
    elif column.kind == CHARACTERS:
        length = column.ends[at + 1] - column.ends[at]
        memcpy(out + 4, column.data + column.ends[at], length)
    elif column.kind == FOUR:
        memcpy(&four, column.data + 4 * at, 4)
        put32(out + 4, four - column.origin)
    elif column.kind == TWO:
        memcpy(&two, column.data + 2 * at, 2)
        put16(out + 4, two)
    elif column.kind == TRUTH:
        out[4] = (column.data[at >> 3] >> (at & 7)) & 1
    elif column.kind == INTERVAL:
        memcpy(&eight, column.data + 8 * at, 8)
        put64(out + 4, eight)
        put64(out + 12, 0)
    else:
        length = put_numeric(out + 4, column.data + 16 * at, column.scale)
    put32(out, length)
    return out + 4 + length


def encode_rows(columns):
    cdef Py_ssize_t count = len(columns)
    cdef Py_ssize_t rows = len(columns[0]) if count else 0
    cdef Py_ssize_t most = 2 * rows
    cdef Py_ssize_t i
    cdef int64_t row
    cdef uint8_t* out = NULL
    cdef uint8_t* at
    cdef Column* found = <Column*> PyMem_Calloc(count or 1, sizeof(Column))
    try:
        if found == NULL:
            raise MemoryError
        for i in range(count):
            if len(columns[i]) != rows:
                raise ValueError("the columns are not of one length")
            describe(columns[i], &found[i])
            most += most_bytes(&found[i], rows)
        out = <uint8_t*> PyMem_Malloc(most or 1)
        if out == NULL:
            raise MemoryError
        at = out
        with nogil:
            for row in range(rows):
                put16(at, <int> count)
                at += 2
                for i in range(count):
                    at = put_field(at, &found[i], row)
        return PyBytes_FromStringAndSize(<char*> out, at - out)
    finally:
        PyMem_Free(out)
        PyMem_Free(found)
