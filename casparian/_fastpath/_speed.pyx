# cython: language_level=3, boundscheck=False, wraparound=False
"""Compiled twin of _pure.py: the same functions, the same errors, the same results.

Whatever is out of order is handed to the domain's own function, which finds the words for it.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from posix.fcntl cimport O_CREAT, O_EXCL, O_WRONLY
from posix.fcntl cimport open as open_file
from posix.stat cimport mkdir
from posix.unistd cimport close, write

import os
from operator import index

import pyarrow as pa

from casparian.domain import lineage
from casparian.domain import wire

cdef uint8_t VERSION = wire.VERSION
cdef int HEADER_SIZE = wire.HEADER.size
cdef int LAST_OPCODE = max(wire.OpCode)
cdef int FLAG_COUNT = len(wire.FLAGS)
cdef object INT64_MAX = 2**63 - 1
cdef tuple OPCODES = tuple(wire.OPCODES.get(code) for code in range(max(wire.OpCode) + 1))
cdef tuple FLAGS = tuple(wire.FLAGS)
cdef object Header = wire.Header
cdef object RemoteProtocolError = wire.RemoteProtocolError
cdef object wire_pack_header = wire.pack_header
cdef object wire_unpack_header = wire.unpack_header

cdef object INT64 = pa.int64()
cdef object from_buffers = pa.Array.from_buffers
cdef object allocate_buffer = pa.allocate_buffer
cdef object py_buffer = pa.py_buffer
cdef object read_record_batch = pa.ipc.read_record_batch
cdef tuple LINEAGE_COLUMNS = tuple(lineage.COLUMNS)
cdef list LINEAGE_FIELDS = [pa.field(name, INT64, nullable=False) for name in LINEAGE_COLUMNS]

cdef extern from "<fcntl.h>":
    int O_CLOEXEC

cdef struct RawHeader:
    uint8_t version
    uint8_t opcode
    uint16_t flags
    uint32_t meta_length
    uint64_t job_id


# --- headers -----------------------------------------------------------------------------------

cdef inline uint64_t read_big_endian(const uint8_t* at, int size) noexcept nogil:
    cdef uint64_t value = 0
    cdef int place
    for place in range(size):
        value = (value << 8) | at[place]
    return value


cdef inline void write_big_endian(uint8_t* at, int size, uint64_t value) noexcept nogil:
    cdef int place
    for place in range(size):
        at[size - 1 - place] = value & 0xFF
        value >>= 8


cdef inline void read_raw(const uint8_t* at, RawHeader* raw) noexcept nogil:
    raw.version = at[0]
    raw.opcode = at[1]
    raw.flags = <uint16_t> read_big_endian(at + 2, 2)
    raw.meta_length = <uint32_t> read_big_endian(at + 4, 4)
    raw.job_id = read_big_endian(at + 8, 8)


cdef inline bint in_order(RawHeader* raw) noexcept:
    return (
        raw.version == VERSION
        and 0 < raw.opcode <= LAST_OPCODE
        and raw.flags < FLAG_COUNT
    )


cdef Py_ssize_t read_header(object buffer, RawHeader* raw) except -1:
    """Fills `raw` and returns the buffer's length; raises what the domain raises."""
    cdef Py_buffer view
    cdef Py_ssize_t length
    cdef bint good = False
    PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
    length = view.len
    if length >= HEADER_SIZE:
        read_raw(<const uint8_t*> view.buf, raw)
        good = in_order(raw)
    PyBuffer_Release(&view)
    if not good:
        wire_unpack_header(buffer)
        raise AssertionError("the twins disagree about a header")
    return length


def pack_header(opcode, flags, meta_length, job_id):
    cdef uint8_t raw[16]
    cdef uint32_t length
    cdef uint64_t job
    cdef int code
    cdef int bits
    if not (
        isinstance(opcode, int)
        and isinstance(flags, int)
        and isinstance(meta_length, int)
        and isinstance(job_id, int)
    ):
        # C would take a float here and cut it.
        return wire_pack_header(opcode, flags, meta_length, job_id)
    try:
        code, bits, length, job = opcode, flags, meta_length, job_id
    except OverflowError:
        return wire_pack_header(opcode, flags, meta_length, job_id)
    if not (0 < code <= LAST_OPCODE and 0 <= bits < FLAG_COUNT):
        return wire_pack_header(opcode, flags, meta_length, job_id)
    raw[0] = VERSION
    raw[1] = <uint8_t> code
    write_big_endian(raw + 2, 2, bits)
    write_big_endian(raw + 4, 4, length)
    write_big_endian(raw + 8, 8, job)
    return PyBytes_FromStringAndSize(<char*> raw, 16)


def unpack_header(buffer):
    cdef RawHeader raw
    read_header(buffer, &raw)
    return Header(raw.version, OPCODES[raw.opcode], FLAGS[raw.flags], raw.meta_length, raw.job_id)


def split_head(frame):
    cdef RawHeader raw
    cdef Py_ssize_t length = read_header(frame, &raw)
    if length != HEADER_SIZE + <Py_ssize_t> raw.meta_length:
        raise RemoteProtocolError(
            f"the header announces {raw.meta_length} bytes of metadata, "
            f"{length - HEADER_SIZE} came"
        )
    return (
        raw.version,
        OPCODES[raw.opcode],
        FLAGS[raw.flags],
        raw.job_id,
        memoryview(frame)[HEADER_SIZE:],
    )


# --- lineage -----------------------------------------------------------------------------------

cdef object filled(int64_t first, int64_t step, Py_ssize_t rows):
    """An int64 array first, first + step, ... without nulls."""
    cdef Py_buffer view
    cdef int64_t* at
    cdef Py_ssize_t row
    cdef object data = allocate_buffer(rows * 8)
    if rows:
        PyObject_GetBuffer(data, &view, PyBUF_WRITABLE)
        at = <int64_t*> view.buf
        with nogil:
            for row in range(rows):
                at[row] = first + step * row
        PyBuffer_Release(&view)
    return from_buffers(INT64, rows, [None, data], 0)


def lineage_arrays(first_row, rows, job_id, file_version_id):
    first_row, rows = index(first_row), index(rows)
    job_id, file_version_id = index(job_id), index(file_version_id)
    if rows < 0 or first_row < 0 or first_row + rows > INT64_MAX:
        raise ValueError(f"{rows} rows from row {first_row} on cannot be numbered")
    if not (-INT64_MAX <= job_id <= INT64_MAX and -INT64_MAX <= file_version_id <= INT64_MAX):
        raise ValueError(f"job id {job_id} or file version id {file_version_id} is no int64")
    return filled(job_id, 0, rows), filled(file_version_id, 0, rows), filled(first_row, 1, rows)


def add_lineage(batch, job_id, file_version_id, first_row):
    cdef object schema = batch.schema
    cdef object name
    for name in LINEAGE_COLUMNS:
        if schema.get_all_field_indices(name):
            raise ValueError(
                f"the batch already has a column {name!r}: names that begin with "
                f"{lineage.PREFIX!r} are the engine's, drop or rename it before publishing"
            )
    arrays = lineage_arrays(first_row, batch.num_rows, job_id, file_version_id)
    for field, array in zip(LINEAGE_FIELDS, arrays):
        batch = batch.append_column(field, array)
    return batch


# --- payloads ----------------------------------------------------------------------------------

def batch_from_frame(payload, schema):
    buffer = py_buffer(payload)
    if buffer.address % 8:
        buffer = py_buffer(bytes(payload))
    try:
        return read_record_batch(buffer, schema)
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, EOFError) as error:
        raise RemoteProtocolError(f"the payload is no Arrow record batch: {error}") from error


# --- files -------------------------------------------------------------------------------------

cdef struct RawFile:
    char* path
    const char* content
    size_t size


cdef int write_file(RawFile* file) noexcept nogil:
    """Zero, or the errno. A short write goes on where it ended."""
    cdef int problem = 0
    cdef size_t done = 0
    cdef ssize_t written
    cdef int descriptor
    while True:
        descriptor = open_file(file.path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
        if descriptor >= 0:
            break
        if errno != EINTR:
            return errno
    while done < file.size:
        written = write(descriptor, file.content + done, file.size - done)
        if written >= 0:
            done += written
        elif errno != EINTR:
            problem = errno
            break
    # Linux closes whatever close says; an error of the bytes is told by the sync.
    close(descriptor)
    return problem


def write_directory(path, files):
    cdef list names = [os.path.join(path, name) for name, _ in files]
    cdef list encoded = [os.fsencode(name) for name in names]
    cdef bytes directory = os.fsencode(path)
    cdef char* directory_path = directory
    cdef Py_ssize_t count = len(names)
    cdef Py_ssize_t taken = 0
    cdef Py_ssize_t at = 0
    cdef int problem = 0
    cdef bint made = False
    cdef RawFile* raw = <RawFile*> PyMem_Calloc(count or 1, sizeof(RawFile))
    cdef Py_buffer* views = <Py_buffer*> PyMem_Calloc(count or 1, sizeof(Py_buffer))
    try:
        if raw == NULL or views == NULL:
            raise MemoryError
        for _, content in files:
            PyObject_GetBuffer(content, &views[taken], PyBUF_SIMPLE)
            raw[taken].path = encoded[taken]
            raw[taken].content = <const char*> views[taken].buf
            raw[taken].size = views[taken].len
            taken += 1
        with nogil:
            made = mkdir(directory_path, 0o777) == 0
            if not made:
                problem = errno
            while made and at < count:
                problem = write_file(&raw[at])
                if problem:
                    break
                at += 1
    finally:
        for i in range(taken):
            PyBuffer_Release(&views[i])
        PyMem_Free(views)
        PyMem_Free(raw)
    if problem:
        raise OSError(problem, os.strerror(problem), names[at] if made else path)
