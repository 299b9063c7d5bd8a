/* A disk that remembers and a disk that fails, put between a process and its libc (LD_PRELOAD).

   cc -O2 -shared -fPIC -o disk.so disk.c -ldl -lpthread

   It watches one folder.  disk_record() writes every change of a file or name below it to a record
   file, in the order they happened; disk_mark() puts a number in between.  disk_fail() lets calls
   fail.  LMDB's lock.mdb is shared memory, not data, and is left alone.

   One entry of the record, little endian, packed:
       op 1, flag 1, inode 8, at 8, name length 4, data length 4, name, data
   op: W write (flag 1: the file is O_DSYNC)   S fsync, fdatasync of a file   T truncate to `at`
       C file made   D folder made   R renamed (name: from NUL to)   U removed   F folder synced
       M mark (at: the number)                                                                      */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))real(#name))
#define CACHED(name) static __typeof__(&name) call; if (!call) call = REAL(name)

static char folder[4096];
static size_t folder_size;
static int record = -1;
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;

static long calls;        /* Changing calls seen since disk_fail. */
static long fail_first;   /* The first of them that fails, from 1; 0 for none. */
static long fail_times;
static int fail_errno;    /* 0: a write is cut short instead. */

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

void disk_watch(const char *path) {
    snprintf(folder, sizeof folder, "%s", path);
    folder_size = strlen(folder);
}

void disk_record(const char *path) {
    static int (*call)(const char *, int, ...);
    if (!call) call = (int (*)(const char *, int, ...))real("open64");
    record = call(path, O_CREAT | O_TRUNC | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
}

void disk_fail(long first, long times, int error) {
    calls = 0;
    fail_first = first;
    fail_times = times;
    fail_errno = error;
}

long disk_calls(void) { return calls; }

static int is_watched(const char *path) {
    size_t size = strlen(path);
    if (!folder_size || strncmp(path, folder, folder_size)) return 0;
    if (path[folder_size] && path[folder_size] != '/') return 0;
    return size < 8 || strcmp(path + size - 8, "lock.mdb");
}

static int path_of(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t got = readlink(link, path, size - 1);
    if (got < 0) return 0;
    path[got] = 0;
    return is_watched(path);
}

/* 0: go on.  1: fail with errno set.  2: cut the write short. */
static int fault(void) {
    long n = ++calls;
    if (!fail_first || n < fail_first || n >= fail_first + fail_times) return 0;
    if (!fail_errno) return 2;
    errno = fail_errno;
    return 1;
}

static void note(char op, int flag, uint64_t inode, uint64_t at, const char *name, uint32_t names,
                 const void *data, uint32_t size) {
    static ssize_t (*call)(int, const void *, size_t);
    if (!call) call = (ssize_t(*)(int, const void *, size_t))real("write");
    if (record < 0) return;
    int kept = errno;
    char head[26];
    head[0] = op;
    head[1] = (char)flag;
    memcpy(head + 2, &inode, 8);
    memcpy(head + 10, &at, 8);
    memcpy(head + 18, &names, 4);
    memcpy(head + 22, &size, 4);
    pthread_mutex_lock(&guard);
    if (call(record, head, 26) != 26 || call(record, name, names) != (ssize_t)names ||
        call(record, data, size) != (ssize_t)size)
        abort();
    pthread_mutex_unlock(&guard);
    errno = kept;
}

void disk_mark(uint64_t number) { note('M', 0, 0, number, "", 0, "", 0); }

static uint64_t inode_of(int fd) {
    struct stat s;
    return fstat(fd, &s) ? 0 : (uint64_t)s.st_ino;
}

static void noted_write(int fd, const void *data, size_t size, off_t at) {
    note('W', (fcntl(fd, F_GETFL) & O_DSYNC) ? 1 : 0, inode_of(fd), at, "", 0, data, size);
}

/* Writes. */

ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) {
    CACHED(pwrite64);
    char path[4096];
    if (!path_of(fd, path, sizeof path)) return call(fd, data, size, at);
    int how = fault();
    if (how == 1) return -1;
    ssize_t done = call(fd, data, how == 2 && size > 1 ? size / 2 : size, at);
    if (done > 0) noted_write(fd, data, done, at);
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }

ssize_t write(int fd, const void *data, size_t size) {
    CACHED(write);
    char path[4096];
    if (!folder_size || !path_of(fd, path, sizeof path)) return call(fd, data, size);
    int how = fault();
    if (how == 1) return -1;
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t done = call(fd, data, how == 2 && size > 1 ? size / 2 : size);
    if (done > 0) noted_write(fd, data, done, at);
    return done;
}

static void noted_parts(int fd, const struct iovec *parts, int count, off_t at, ssize_t left) {
    for (int i = 0; i < count && left > 0; i++) {
        size_t size = parts[i].iov_len < (size_t)left ? parts[i].iov_len : (size_t)left;
        noted_write(fd, parts[i].iov_base, size, at);
        at += size;
        left -= size;
    }
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t at) {
    CACHED(pwritev64);
    char path[4096];
    if (!path_of(fd, path, sizeof path)) return call(fd, parts, count, at);
    int how = fault();
    if (how == 1) return -1;
    ssize_t done = call(fd, parts, how == 2 && count > 1 ? count / 2 : count, at);
    noted_parts(fd, parts, count, at, done);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    CACHED(writev);
    char path[4096];
    if (!folder_size || !path_of(fd, path, sizeof path)) return call(fd, parts, count);
    int how = fault();
    if (how == 1) return -1;
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t done = call(fd, parts, how == 2 && count > 1 ? count / 2 : count);
    noted_parts(fd, parts, count, at, done);
    return done;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { return pwritev64(fd, parts, count, at); }

int ftruncate64(int fd, off_t size) {
    CACHED(ftruncate64);
    char path[4096];
    int mine = path_of(fd, path, sizeof path);
    if (mine && fault() == 1) return -1;
    int failed = call(fd, size);
    if (mine && !failed) note('T', 0, inode_of(fd), size, "", 0, "", 0);
    return failed;
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

/* Syncs. */

static int synced(int fd, int (*call)(int)) {
    char path[4096];
    if (!path_of(fd, path, sizeof path)) return call(fd);
    if (fault() == 1) return -1;
    int failed = call(fd);
    struct stat s;
    if (!failed && !fstat(fd, &s)) {
        if (S_ISDIR(s.st_mode)) note('F', 0, s.st_ino, 0, path, strlen(path), "", 0);
        else note('S', 0, s.st_ino, 0, "", 0, "", 0);
    }
    return failed;
}
int fdatasync(int fd) { CACHED(fdatasync); return synced(fd, call); }
int fsync(int fd) { CACHED(fsync); return synced(fd, call); }

/* Names. */

int open64(const char *path, int flags, ...) {
    static int (*call)(const char *, int, ...);
    if (!call) call = (int (*)(const char *, int, ...))real("open64");
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (!(flags & O_CREAT) || !is_watched(path)) return call(path, flags, mode);
    int is_new = access(path, F_OK) != 0;
    if (is_new && fault() == 1) return -1;
    int fd = call(path, flags, mode);
    if (fd >= 0 && is_new) note('C', 0, inode_of(fd), 0, path, strlen(path), "", 0);
    else if (fd >= 0 && (flags & O_TRUNC)) note('T', 0, inode_of(fd), 0, "", 0, "", 0);
    return fd;
}
int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open64(path, flags, mode);
}

int mkdir(const char *path, mode_t mode) {
    CACHED(mkdir);
    int mine = is_watched(path);
    if (mine && fault() == 1) return -1;
    int failed = call(path, mode);
    if (mine && !failed) note('D', 0, 0, 0, path, strlen(path), "", 0);
    return failed;
}

int rename(const char *from, const char *to) {
    CACHED(rename);
    int mine = is_watched(to);
    if (mine && fault() == 1) return -1;
    int failed = call(from, to);
    if (mine && !failed) {
        char both[8200];
        int size = snprintf(both, sizeof both, "%s%c%s", from, 0, to);
        note('R', 0, 0, 0, both, size, "", 0);
    }
    return failed;
}

int unlink(const char *path) {
    CACHED(unlink);
    int mine = is_watched(path);
    if (mine && fault() == 1) return -1;
    int failed = call(path);
    if (mine && !failed) note('U', 0, 0, 0, path, strlen(path), "", 0);
    return failed;
}
