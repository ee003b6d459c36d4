/* Preloaded into the engine: counts the calls that change files or make them durable, over all
 * threads, and dies by SIGKILL in place of the n-th. A write dies half done.
 *
 * CRASH_AT   n, or unset: only count
 * CRASH_LOG  a file that gets one line for each call: number, call, path
 * CRASH_CUT  file systems, by a directory in each, that stop without their logs right before it
 *            dies, as if the power went: separated by colons
 *
 * Children are left alone: the first thing done here is to take LD_PRELOAD away from them.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_long calls;
static long crash_at = -1;
static int log_fd = -1;
static char *cut;

__attribute__((constructor)) static void begin(void) {
    const char *at = getenv("CRASH_AT"), *path = getenv("CRASH_LOG");
    if (getenv("CRASH_CUT")) cut = strdup(getenv("CRASH_CUT"));
    if (at) crash_at = atol(at);
    if (path) {
        int opened = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        /* Out of the way of descriptors that the program or its shell redirects. */
        log_fd = fcntl(opened, F_DUPFD_CLOEXEC, 500);
        close(opened);
    }
    unsetenv("LD_PRELOAD");
}

/* True when this call is the one to die in. */
static int reached(const char *call, const char *path) {
    long n = atomic_fetch_add(&calls, 1) + 1;
    if (crash_at > 0 && n > crash_at) pause(); /* Another thread is dying: nothing more is done. */
    if (log_fd >= 0) {
        char line[4200];
        int size = snprintf(line, sizeof line, "%ld %s %s\n", n, call, path);
        if (size > (int)sizeof line) size = sizeof line;
        syscall(SYS_write, log_fd, line, size);
    }
    return n == crash_at;
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

static void at_path(const char *call, const char *path) {
    if (reached(call, path)) die();
}

static const char *path_of(int fd, char *into, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, into, size - 1);
    into[length < 0 ? 0 : length] = 0;
    return into;
}

static void at_fd(const char *call, int fd) {
    char path[4096];
    at_path(call, path_of(fd, path, sizeof path));
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

int fsync(int fd) { REAL(int, "fsync", int); at_fd("fsync", fd); return real(fd); }
int fdatasync(int fd) { REAL(int, "fdatasync", int); at_fd("fdatasync", fd); return real(fd); }
int syncfs(int fd) { REAL(int, "syncfs", int); at_fd("syncfs", fd); return real(fd); }

int ftruncate(int fd, off_t size) {
    REAL(int, "ftruncate", int, off_t);
    if (is_state(fd)) at_fd("ftruncate", fd);
    return real(fd, size);
}
int ftruncate64(int fd, off64_t size) {
    REAL(int, "ftruncate64", int, off64_t);
    if (is_state(fd)) at_fd("ftruncate", fd);
    return real(fd, size);
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    at_path("rename", to);
    return real(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
    REAL(int, "renameat", int, const char *, int, const char *);
    at_path("renameat", to);
    return real(a, from, b, to);
}
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned);
    at_path(flags & 2 ? "exchange" : "renameat2", to);
    return real(a, from, b, to, flags);
}

int link(const char *from, const char *to) {
    REAL(int, "link", const char *, const char *);
    at_path("link", to);
    return real(from, to);
}
int linkat(int a, const char *from, int b, const char *to, int flags) {
    REAL(int, "linkat", int, const char *, int, const char *, int);
    at_path("linkat", to);
    return real(a, from, b, to, flags);
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    at_path("unlink", path);
    return real(path);
}
int unlinkat(int fd, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    at_path("unlinkat", path);
    return real(fd, path, flags);
}
int rmdir(const char *path) {
    REAL(int, "rmdir", const char *);
    at_path("rmdir", path);
    return real(path);
}
int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    at_path("mkdir", path);
    return real(path, mode);
}

/* Dies after half of it was written. */
#define WRITING(call, fd, half) \
    if (is_state(fd)) { \
        char path[4096]; \
        if (reached(call, path_of(fd, path, sizeof path))) { (void)!half; die(); } \
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
