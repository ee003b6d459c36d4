# cython: language_level=3, boundscheck=False, wraparound=False
"""Compiled twin of listing.py: directories are listed and examined, and small files read, without
the GIL."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_SET_ITEM
from libc.errno cimport ENOENT, errno
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memcmp, memcpy, strlen

import os

from casparian.domain.files import StatIdentity
from casparian.domain.ports import FileEntry

cdef extern from "<dirent.h>" nogil:
    ctypedef struct DIR:
        pass
    struct dirent:
        char* d_name
        uint8_t d_type
    enum: DT_REG, DT_DIR, DT_UNKNOWN
    DIR* fdopendir(int fd)
    dirent* readdir(DIR* stream)
    int closedir(DIR* stream)

cdef extern from "<sys/stat.h>" nogil:
    struct timespec:
        int64_t tv_sec
        int64_t tv_nsec
    struct stat_t "stat":
        uint64_t st_mode
        uint64_t st_nlink
        int64_t st_size
        uint64_t st_ino
        uint64_t st_dev
        timespec st_mtim
        timespec st_ctim
    int fstatat(int fd, const char* name, stat_t* found, int flags)
    int fstat(int fd, stat_t* found)
    bint S_ISREG(uint64_t mode)
    bint S_ISDIR(uint64_t mode)

cdef extern from "<fcntl.h>" nogil:
    enum: AT_SYMLINK_NOFOLLOW, O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_CLOEXEC
    int openat(int fd, const char* name, int flags)

cdef extern from "<unistd.h>" nogil:
    int dup(int fd)
    int close(int fd)
    ssize_t read(int fd, void* buffer, size_t count)

cdef extern from *:
    """
    #include <errno.h>
    static inline void clear_errno(void) { errno = 0; }
    """
    void clear_errno() nogil

cdef extern from *:
    """
    /* What tuple.__new__ does for a subclass, without the call of a Python function. */
    static PyObject *empty_tuple_of(PyObject *kind, Py_ssize_t count) {
        return ((PyTypeObject *) kind)->tp_alloc((PyTypeObject *) kind, count);
    }
    """
    object empty_tuple_of(object kind, Py_ssize_t count)

cdef int64_t SECOND_NS = 1_000_000_000

cdef struct Name:
    # The name stands in the listing's text, a '/' behind it where it is a directory's.
    Py_ssize_t at
    Py_ssize_t length
    bint is_directory
    bint linked
    int problem
    # For qsort, which takes no context.
    const char* text
    int64_t size
    int64_t mtime_ns
    int64_t ctime_ns
    uint64_t inode
    uint64_t device

cdef object named(object kind, tuple values):
    """A named tuple of `kind` with these values."""
    cdef Py_ssize_t i
    cdef object value, made = empty_tuple_of(kind, len(values))
    for i in range(len(values)):
        value = values[i]
        Py_INCREF(value)
        PyTuple_SET_ITEM(made, i, value)
    return made


cdef object identity_of(
    int64_t size, int64_t mtime_ns, int64_t ctime_ns, uint64_t inode, uint64_t device
):
    return named(StatIdentity, (size, mtime_ns, ctime_ns, inode, device))


cdef struct Seed:
    uint64_t first
    uint64_t second

cdef Seed SEED
SEED.first, SEED.second = (int.from_bytes(os.urandom(8), "little") for _ in range(2))


cdef int by_bytes(const void* one, const void* other) noexcept nogil:
    cdef const Name* a = <const Name*> one
    cdef const Name* b = <const Name*> other
    cdef Py_ssize_t shorter = a.length if a.length < b.length else b.length
    cdef int order = memcmp(a.text + a.at, b.text + b.at, shorter)
    return order if order else (a.length > b.length) - (a.length < b.length)


cdef inline uint64_t mixed(uint64_t value) noexcept nogil:
    # The finalizer of MurmurHash3: each bit of the value changes half of the result's.
    value ^= value >> 33
    value *= <uint64_t> 0xFF51AFD7ED558CCD
    value ^= value >> 33
    value *= <uint64_t> 0xC4CEB9FE1A85EC53
    return value ^ (value >> 33)


cdef uint64_t chained(uint64_t state, const Name* name, const char* text) noexcept nogil:
    cdef uint64_t word
    cdef Py_ssize_t done = 0
    while done < name.length:
        word = 0
        memcpy(&word, text + done, name.length - done if name.length - done < 8 else 8)
        state = mixed(state ^ word) + done
        done += 8
    state = mixed(state ^ <uint64_t> name.length)
    state = mixed(state ^ <uint64_t> name.size)
    state = mixed(state ^ <uint64_t> name.mtime_ns)
    state = mixed(state ^ <uint64_t> name.ctime_ns)
    state = mixed(state ^ name.inode)
    return mixed(state ^ name.device)


cdef class Listing:
    """The regular files and the directories of one directory, in the byte order of whole paths."""

    cdef Name* names
    cdef char* text
    cdef Py_ssize_t count, room, length, text_room
    cdef bytes prefix

    def __dealloc__(self):
        free(self.names)
        free(self.text)

    cdef int add(self, dirent* entry, bint is_directory, stat_t* found, int problem) noexcept nogil:
        cdef Py_ssize_t length = strlen(entry.d_name)
        cdef Name* name
        cdef void* grown
        if self.count == self.room:
            grown = realloc(self.names, (2 * self.room + 64) * sizeof(Name))
            if grown == NULL:
                return -1
            self.names = <Name*> grown
            self.room = 2 * self.room + 64
        if self.length + length + 1 > self.text_room:
            grown = realloc(self.text, 2 * self.text_room + 4096)
            if grown == NULL:
                return -1
            self.text = <char*> grown
            self.text_room = 2 * self.text_room + 4096
        memcpy(self.text + self.length, entry.d_name, length)
        name = &self.names[self.count]
        name.at, name.length = self.length, length
        name.is_directory, name.problem = is_directory, problem
        name.size = name.mtime_ns = name.ctime_ns = 0
        name.inode = name.device = 0
        name.linked = False
        if is_directory:
            self.text[self.length + length] = b"/"
            name.length += 1
        elif not problem:
            name.size, name.inode, name.device = found.st_size, found.st_ino, found.st_dev
            name.linked = found.st_nlink > 1
            name.mtime_ns = found.st_mtim.tv_sec * SECOND_NS + found.st_mtim.tv_nsec
            name.ctime_ns = found.st_ctim.tv_sec * SECOND_NS + found.st_ctim.tv_nsec
        self.length += name.length
        self.count += 1
        return 0

    cdef int read(self, DIR* stream, int fd) noexcept nogil:
        """0, an errno, or -1 without memory. Ends with the names in order."""
        cdef dirent* entry
        cdef stat_t found
        cdef int problem
        cdef uint8_t kind
        cdef Py_ssize_t i
        while True:
            clear_errno()
            entry = readdir(stream)
            if entry == NULL:
                problem = errno
                if problem:
                    return problem
                break
            kind = entry.d_type
            if kind != DT_REG and kind != DT_DIR and kind != DT_UNKNOWN:
                continue
            if entry.d_name[0] == b"." and (
                entry.d_name[1] == 0 or (entry.d_name[1] == b"." and entry.d_name[2] == 0)
            ):
                continue
            problem = 0
            if kind != DT_DIR:
                if fstatat(fd, entry.d_name, &found, AT_SYMLINK_NOFOLLOW):
                    problem = errno
                    if problem == ENOENT:
                        continue
                elif S_ISDIR(found.st_mode):
                    # It was another kind of thing when it was listed, or the kind was not told.
                    kind = DT_DIR
                elif not S_ISREG(found.st_mode):
                    continue
            if self.add(entry, kind == DT_DIR, &found, problem):
                return -1
        for i in range(self.count):
            self.names[i].text = self.text
        qsort(self.names, self.count, sizeof(Name), &by_bytes)
        return 0

    cdef list split(self):
        """Not kept here: the runs refer to this, and who refers to no circle is gone at once."""
        cdef Py_ssize_t i, begin = 0
        cdef list parts = []
        for i in range(self.count):
            if self.names[i].is_directory:
                parts.append(self.run(begin, i))
                begin = i + 1
                parts.append(
                    PyBytes_FromStringAndSize(
                        self.text + self.names[i].at, self.names[i].length - 1
                    )
                )
        parts.append(self.run(begin, self.count))
        return parts

    cdef Run run(self, Py_ssize_t begin, Py_ssize_t end):
        cdef Run found = Run.__new__(Run)
        found.listing, found.begin, found.end = self, begin, end
        found.prefix = self.prefix
        return found


cdef class Run:
    """Files of one directory that follow one another: a FileListing."""

    cdef Listing listing
    cdef Py_ssize_t begin, end
    cdef bytes prefix

    def __len__(self):
        return self.end - self.begin

    def digest(self):
        cdef uint64_t first = SEED.first, second = SEED.second
        cdef char[16] sums
        cdef const Name* name
        cdef const char* text
        cdef Py_ssize_t i
        with nogil:
            for i in range(self.begin, self.end):
                name = &self.listing.names[i]
                if name.problem:
                    break
                text = self.listing.text + name.at
                first = chained(first, name, text)
                second = chained(second, name, text)
            else:
                i = self.end
        if i < self.end:
            return None
        memcpy(sums, &first, 8)
        memcpy(sums + 8, &second, 8)
        return PyBytes_FromStringAndSize(sums, 16)

    def __iter__(self):
        cdef Py_ssize_t i
        cdef Name* name
        for i in range(self.begin, self.end):
            name = &self.listing.names[i]
            path = self.prefix + PyBytes_FromStringAndSize(
                self.listing.text + name.at, name.length
            )
            if name.problem:
                yield FileEntry(path, None, os.strerror(name.problem))
            else:
                identity = identity_of(
                    name.size, name.mtime_ns, name.ctime_ns, name.inode, name.device
                )
                yield named(FileEntry, (path, identity, None, name.linked))


def list_directory(int fd, bytes prefix):
    cdef Listing listing = Listing.__new__(Listing)
    cdef int own = dup(fd)
    cdef DIR* stream = NULL
    cdef int problem
    if own >= 0:
        stream = fdopendir(own)
    if stream == NULL:
        problem = errno
        if own >= 0:
            os.close(own)
        raise OSError(problem, os.strerror(problem))
    listing.prefix = prefix
    with nogil:
        problem = listing.read(stream, fd)
        closedir(stream)
    if problem < 0:
        raise MemoryError
    if problem:
        raise OSError(problem, os.strerror(problem))
    return listing.split()


cdef struct Read:
    const char* name
    char* data
    stat_t status


cdef bint same(const stat_t* one, const stat_t* other) noexcept nogil:
    return (
        one.st_size == other.st_size
        and one.st_ino == other.st_ino
        and one.st_dev == other.st_dev
        and one.st_mtim.tv_sec == other.st_mtim.tv_sec
        and one.st_mtim.tv_nsec == other.st_mtim.tv_nsec
        and one.st_ctim.tv_sec == other.st_ctim.tv_sec
        and one.st_ctim.tv_nsec == other.st_ctim.tv_nsec
    )


cdef void read_one(int directory, Read* one, int64_t limit) noexcept nogil:
    """Leaves `data` NULL unless all went as it should."""
    cdef stat_t after
    cdef ssize_t count
    cdef int fd = openat(directory, one.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
    if fd < 0:
        return
    if not fstat(fd, &one.status) and S_ISREG(one.status.st_mode) and one.status.st_size <= limit:
        one.data = <char*> malloc(one.status.st_size + 1)
        if one.data != NULL:
            # One byte more than there should be tells that there is more.
            count = read(fd, one.data, one.status.st_size + 1)
            if count != one.status.st_size or fstat(fd, &after) or not same(&one.status, &after):
                free(one.data)
                one.data = NULL
    close(fd)


def read_files(int directory, list names, int64_t limit):
    cdef Py_ssize_t i, count = len(names)
    cdef Read* reads = <Read*> calloc(count + 1, sizeof(Read))
    cdef stat_t* status
    cdef bytes name
    cdef list found = []
    if reads == NULL:
        raise MemoryError
    try:
        for i in range(count):
            name = names[i]
            # The list keeps it.
            reads[i].name = PyBytes_AS_STRING(name)
        with nogil:
            for i in range(count):
                read_one(directory, &reads[i], limit)
        for i in range(count):
            if reads[i].data == NULL:
                found.append(None)
                continue
            status = &reads[i].status
            found.append((
                PyBytes_FromStringAndSize(reads[i].data, status.st_size),
                identity_of(
                    status.st_size,
                    status.st_mtim.tv_sec * SECOND_NS + status.st_mtim.tv_nsec,
                    status.st_ctim.tv_sec * SECOND_NS + status.st_ctim.tv_nsec,
                    status.st_ino,
                    status.st_dev,
                ),
            ))
    finally:
        for i in range(count):
            free(reads[i].data)
        free(reads)
    return found
