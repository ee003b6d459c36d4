/* Preloaded into the engine: counts the calls that change files or make them durable, and those that
 * send to a server, over all threads, and at the n-th dies by SIGKILL, or lets it fail. A write dies or
 * fails half done.
 *
 * CRASH_AT   n: die in place of this call. Without it and FAIL_AT: only count
 * CRASH_FROM a file: calls count from when it is there
 * CRASH_LOG  a file that gets one line for each call: number, call, path
 * CRASH_CUT  file systems, by a directory in each, that stop without their logs right before it
 *            dies, as if the power went: separated by colons
 *
 * FAULT_PORT the server's, on whatever address: without it nothing of it is counted
 *
 * FAIL_AT    n: this call fails, and those after it, as many as FAIL_TIMES says (1 if unset)
 * FAIL_ERRNO the error, as a number. Opens for writing are counted, too; and of all calls only
 *            those whose error it can be: on a full disk, say, files can be removed. ECONNRESET
 *            is that of a server alone, and what comes from it is counted, too
 *
 * Children are left alone: the first thing done here is to take LD_PRELOAD away from them. A process
 * that was forked from one with this shim calls `count_from_here`, and is then as if it had just
 * been started with the variables that it has now.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_long calls;
static long crash_at, fail_at, fail_times;
static int fail_errno;
static int server_port;
static int log_fd = -1;
static char *cut;
static char *from;

static long number_of(const char *variable, long unset) {
    const char *value = getenv(variable);
    return value ? atol(value) : unset;
}

__attribute__((constructor)) void count_from_here(void) {
    const char *path = getenv("CRASH_LOG");
    atomic_store(&calls, 0);
    crash_at = number_of("CRASH_AT", -1);
    fail_at = number_of("FAIL_AT", -1);
    fail_times = number_of("FAIL_TIMES", 1);
    fail_errno = number_of("FAIL_ERRNO", 0);
    server_port = number_of("FAULT_PORT", 0);
    cut = getenv("CRASH_CUT") ? strdup(getenv("CRASH_CUT")) : NULL;
    from = getenv("CRASH_FROM") ? strdup(getenv("CRASH_FROM")) : NULL;
    if (path) {
        int opened = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        /* Out of the way of descriptors that the program or its shell redirects. */
        log_fd = fcntl(opened, F_DUPFD_CLOEXEC, 500);
        close(opened);
    }
    unsetenv("LD_PRELOAD");
}

/* True when this call is one to die in, or to fail. */
static int reached(const char *call, const char *path) {
    if (from) {
        int before = errno, there = !syscall(SYS_faccessat, AT_FDCWD, from, F_OK);
        errno = before;
        if (!there) return 0;
    }
    long n = atomic_fetch_add(&calls, 1) + 1;
    if (crash_at > 0 && n > crash_at) pause(); /* Another thread is dying: nothing more is done. */
    if (log_fd >= 0) {
        int before = errno;
        char line[4200];
        int size = snprintf(line, sizeof line, "%ld %s %s\n", n, call, path);
        if (size > (int)sizeof line) size = sizeof line;
        syscall(SYS_write, log_fd, line, size);
        errno = before;
    }
    return n == crash_at || (fail_at > 0 && n >= fail_at && n < fail_at + fail_times);
}

/* EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN: 2 leaves out the log. */
static void cut_power(void) {
    unsigned without_log = 2;
    for (char *path = strtok(cut, ":"); path; path = strtok(NULL, ":")) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || ioctl(fd, 0x8004587d, &without_log)) abort();
    }
}

static void die(void) {
    if (cut) cut_power();
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* What the call is to return where it is one to fail: does not return where it is one to die in. */
static int fails(void) {
    if (fail_at < 0) die();
    errno = fail_errno;
    return -1;
}

/* A call that changes files: it needs no new descriptor, and no server. */
static int changes_files(void) { return fail_errno != EMFILE && fail_errno != ECONNRESET; }

static int at_path(const char *call, const char *path) {
    return changes_files() && reached(call, path) ? fails() : 0;
}

/* One that needs no room either. */
static int at_removal(const char *call, const char *path) {
    return fail_errno != ENOSPC ? at_path(call, path) : 0;
}

static const char *path_of(int fd, char *into, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, into, size - 1);
    into[length < 0 ? 0 : length] = 0;
    return into;
}

static int at_fd(const char *call, int fd) {
    char path[4096];
    return at_path(call, path_of(fd, path, sizeof path));
}

/* Standard streams and the log above are no state of the program, and what SQLite keeps in its
 * -shm file is made anew by whoever opens it first. */
static int is_state(int fd) {
    struct stat status;
    if (fd <= 2 || fd == log_fd || fstat(fd, &status) || !S_ISREG(status.st_mode)) return 0;
    char path[4096];
    size_t length = strlen(path_of(fd, path, sizeof path));
    return length < 4 || strcmp(path + length - 4, "-shm");
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

int fsync(int fd) { REAL(int, "fsync", int); return at_fd("fsync", fd) ? -1 : real(fd); }
int fdatasync(int fd) { REAL(int, "fdatasync", int); return at_fd("fdatasync", fd) ? -1 : real(fd); }
int syncfs(int fd) { REAL(int, "syncfs", int); return at_fd("syncfs", fd) ? -1 : real(fd); }

int ftruncate(int fd, off_t size) {
    REAL(int, "ftruncate", int, off_t);
    if (is_state(fd) && at_fd("ftruncate", fd)) return -1;
    return real(fd, size);
}
int ftruncate64(int fd, off64_t size) {
    REAL(int, "ftruncate64", int, off64_t);
    if (is_state(fd) && at_fd("ftruncate", fd)) return -1;
    return real(fd, size);
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    if (at_path("rename", to)) return -1;
    return real(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
    REAL(int, "renameat", int, const char *, int, const char *);
    if (at_path("renameat", to)) return -1;
    return real(a, from, b, to);
}
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned);
    if (at_path(flags & 2 ? "exchange" : "renameat2", to)) return -1;
    return real(a, from, b, to, flags);
}

int link(const char *from, const char *to) {
    REAL(int, "link", const char *, const char *);
    if (at_path("link", to)) return -1;
    return real(from, to);
}
int linkat(int a, const char *from, int b, const char *to, int flags) {
    REAL(int, "linkat", int, const char *, int, const char *, int);
    if (at_path("linkat", to)) return -1;
    return real(a, from, b, to, flags);
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    if (at_removal("unlink", path)) return -1;
    return real(path);
}
int unlinkat(int fd, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    if (at_removal("unlinkat", path)) return -1;
    return real(fd, path, flags);
}
int rmdir(const char *path) {
    REAL(int, "rmdir", const char *);
    if (at_removal("rmdir", path)) return -1;
    return real(path);
}
int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    if (at_path("mkdir", path)) return -1;
    return real(path, mode);
}

/* Dies or fails after half of it was written; an error that is told counts as none of it. */
#define WRITING(call, fd, half) \
    if (is_state(fd) && changes_files()) { \
        char path[4096]; \
        if (reached(call, path_of(fd, path, sizeof path))) { (void)!half; return fails(); } \
    }

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    WRITING("write", fd, real(fd, data, size / 2))
    return real(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    WRITING("pwrite", fd, real(fd, data, size / 2, at))
    return real(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    WRITING("pwrite", fd, real(fd, data, size / 2, at))
    return real(fd, data, size, at);
}

/* Only where calls are to fail: an open by itself leaves nothing behind. */
static int at_open(const char *path, int flags) {
    int device = !strncmp(path, "/dev/", 5) && strncmp(path, "/dev/shm/", 9);
    if (!fail_errno || fail_errno == ECONNRESET || device || !strncmp(path, "/proc/", 6)) return 0;
    int writes = flags & (O_WRONLY | O_RDWR | O_CREAT);
    if (!writes || (fail_errno == ENOSPC && !(flags & O_CREAT))) return 0;
    return reached("open", path) ? fails() : 0;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    }

int open(const char *path, int flags, ...) {
    REAL(int, "open", const char *, int, ...);
    MODE(flags)
    return at_open(path, flags) ? -1 : real(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    REAL(int, "open64", const char *, int, ...);
    MODE(flags)
    return at_open(path, flags) ? -1 : real(path, flags, mode);
}
int openat(int at, const char *path, int flags, ...) {
    REAL(int, "openat", int, const char *, int, ...);
    MODE(flags)
    return at_open(path, flags) ? -1 : real(at, path, flags, mode);
}
int openat64(int at, const char *path, int flags, ...) {
    REAL(int, "openat64", int, const char *, int, ...);
    MODE(flags)
    return at_open(path, flags) ? -1 : real(at, path, flags, mode);
}

static int is_server(int fd) {
    struct sockaddr_in peer;
    socklen_t size = sizeof peer;
    if (!server_port || getpeername(fd, (struct sockaddr *)&peer, &size)) return 0;
    return peer.sin_family == AF_INET && ntohs(peer.sin_port) == server_port;
}

/* What can be read of a message: of a statement its text. */
static const char *words_of(const void *data, size_t length, char *into, size_t size) {
    size_t used = 0;
    for (size_t at = 0; at < length && used < size - 1; at++) {
        unsigned char here = ((const unsigned char *)data)[at];
        if (isgraph(here)) into[used++] = here;
        else if (used && into[used - 1] != ' ') into[used++] = ' ';
    }
    into[used] = 0;
    return into;
}

/* A connection is lost for both ways, and the server hears of it, too. */
static int is_lost(int fd) {
    if (fail_at >= 0) shutdown(fd, SHUT_RDWR);
    return fails();
}

ssize_t send(int fd, const void *data, size_t size, int flags) {
    REAL(ssize_t, "send", int, const void *, size_t, int);
    if ((!fail_errno || fail_errno == ECONNRESET) && is_server(fd)) {
        char words[200];
        if (reached("send", words_of(data, size, words, sizeof words))) {
            (void)!real(fd, data, size / 2, flags);
            return is_lost(fd);
        }
    }
    return real(fd, data, size, flags);
}
/* Only where calls are to fail: what was sent before may have been done, and nobody knows. */
ssize_t recv(int fd, void *data, size_t size, int flags) {
    REAL(ssize_t, "recv", int, void *, size_t, int);
    if (fail_errno == ECONNRESET && is_server(fd) && reached("recv", "")) return is_lost(fd);
    return real(fd, data, size, flags);
}
