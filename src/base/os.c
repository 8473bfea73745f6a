#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cores.h"
#include "base/disk.h"
#include "base/fault.h"

static ig_status open_failed(const char *path, ig_error *err)
{
    int e = errno;
    ig_status st = e == ENOENT || e == ENOTDIR ? IG_NOT_FOUND : e == EACCES || e == EPERM ? IG_DENIED : IG_IO;
    return ig_fail_errno(err, st, e, "cannot open %.300s", path);
}

static int open_fd(const char *path, int flags, mode_t mode)
{
    if (ig_fault_hit(IG_FAULT_OPEN)) return -1;
    int fd;
    do fd = open(path, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

static ig_status map_fd(int fd, const char *path, ig_file *out, ig_error *err)
{
    struct stat sb;
    if (fstat(fd, &sb) < 0) return ig_fail_errno(err, IG_IO, errno, "cannot read the size of %.300s", path);
    if (!S_ISREG(sb.st_mode))
        return ig_fail(err, IG_BAD_INPUT, 0, "%.300s is %s, expected a regular file", path,
                       S_ISDIR(sb.st_mode) ? "a directory" : "no regular file");
    out->size = (uint64_t)sb.st_size;
    if (out->size == 0) return IG_OK;
    void *p = ig_fault_hit(IG_FAULT_MAP) ? MAP_FAILED : mmap(NULL, (size_t)out->size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) return ig_fail_errno(err, IG_IO, errno, "cannot map %.300s", path);
    out->data = p;
    /* Large pages where the file system has them: weights are read whole for every token, and with small pages a third
     * of the time goes into finding them. No more than a wish. */
    madvise(p, (size_t)out->size, MADV_HUGEPAGE);
    return IG_OK;
}

ig_status ig_file_map(const char *path, ig_file *out, ig_error *err)
{
    *out = (ig_file){0};
    int fd = open_fd(path, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0) return open_failed(path, err);
    ig_status st = map_fd(fd, path, out, err);
    close(fd);
    if (st != IG_OK) *out = (ig_file){0};
    return st;
}

ig_status ig_file_map_fd(int fd, const char *name, ig_file *out, ig_error *err)
{
    *out = (ig_file){0};
    ig_status st = map_fd(fd, name, out, err);
    if (st != IG_OK) *out = (ig_file){0};
    return st;
}

void ig_file_unmap(ig_file *file)
{
    if (file->data) munmap((void *)(uintptr_t)file->data, (size_t)file->size);
    *file = (ig_file){0};
}

bool ig_is_directory(const char *path)
{
    struct stat sb;
    return stat(path, &sb) == 0 && S_ISDIR(sb.st_mode);
}

ig_status ig_fd_read_all(int fd, const char *name, ig_buf *buf, ig_error *err)
{
    char block[65536];
    for (;;) {
        size_t want = ig_fault_short(IG_FAULT_READ) ? 1 : sizeof block;
        ssize_t n = ig_fault_hit(IG_FAULT_READ) ? -1 : read(fd, block, want);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return ig_fail_errno(err, IG_IO, errno, "cannot read %.300s", name);
        if (n == 0) return IG_OK;
        if (buf->len + (size_t)n > buf->max_bytes)
            return ig_fail(err, IG_TOO_LARGE, 0, "%.300s is larger than the limit of %zu bytes", name, buf->max_bytes);
        if (!ig_buf_add(buf, block, (size_t)n))
            return ig_fail(err, IG_NO_MEMORY, 0, "out of memory while reading %.300s", name);
    }
}

ig_status ig_file_read(const char *path, ig_buf *buf, ig_error *err)
{
    int fd = open_fd(path, O_RDONLY, 0);
    if (fd < 0) return open_failed(path, err);
    ig_status st = ig_fd_read_all(fd, path, buf, err);
    close(fd);
    return st;
}

/* ------------------------------------------------------------------------------------------------ files in pieces */

typedef struct writer_place {
    ig_draft draft;
    int dir;
    const char *name; /* of the file in its folder: the end of w->path */
} writer_place;

/* The folder of the path; *name is what stands behind it. */
static int open_folder_of(char *path, const char **name)
{
    char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    if (!slash || slash == path) return open_fd(slash ? "/" : ".", O_RDONLY | O_DIRECTORY, 0);
    *slash = 0;
    int fd = open_fd(path, O_RDONLY | O_DIRECTORY, 0);
    *slash = '/';
    return fd;
}

ig_status ig_writer_begin(ig_file_writer *w, const char *path, ig_error *err)
{
    writer_place *at = ig_calloc(1, sizeof *at);
    *w = (ig_file_writer){.fd = -1, .path = ig_alloc(strlen(path) + 1), .internal = at};
    if (at) at->dir = at->draft.fd = -1;
    if (!w->path || !at) {
        ig_writer_abandon(w);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the name of %.300s", path);
    }
    memcpy(w->path, path, strlen(path) + 1);
    at->dir = open_folder_of(w->path, &at->name);
    if (at->dir >= 0) ig_draft_clean(at->dir, at->name);
    if (at->dir < 0 || !ig_draft_begin(at->dir, at->name, 0666, &at->draft)) {
        ig_status st = open_failed(path, err);
        ig_writer_abandon(w);
        return st;
    }
    w->fd = at->draft.fd;
    return IG_OK;
}

ig_status ig_writer_write(ig_file_writer *w, const void *data, size_t n, ig_error *err)
{
    const char *p = data;
    while (n) {
        size_t want = ig_fault_short(IG_FAULT_WRITE) ? 1 : n;
        ssize_t done = ig_fault_hit(IG_FAULT_WRITE) ? -1 : write(w->fd, p, want);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return ig_fail_errno(err, IG_IO, errno, "cannot write %.300s", w->path);
        p += done;
        n -= (size_t)done;
    }
    return IG_OK;
}

ig_status ig_writer_commit(ig_file_writer *w, ig_error *err)
{
    writer_place *at = w->internal;
    const char *failed = ig_draft_commit(at->dir, at->name, &at->draft);
    ig_status st = failed ? ig_fail_errno(err, IG_IO, errno, "cannot %s %.300s", failed, w->path) : IG_OK;
    ig_writer_abandon(w);
    return st;
}

void ig_writer_abandon(ig_file_writer *w)
{
    writer_place *at = w->internal;
    if (at) {
        ig_draft_drop(at->dir, &at->draft);
        if (at->dir >= 0) close(at->dir);
    }
    ig_free(at);
    ig_free(w->path);
    *w = (ig_file_writer){.fd = -1};
}

ig_status ig_file_write_atomic(const char *path, const void *data, size_t n, ig_error *err)
{
    ig_file_writer w;
    IG_TRY(ig_writer_begin(&w, path, err));
    ig_status st = ig_writer_write(&w, data, n, err);
    if (st != IG_OK) {
        ig_writer_abandon(&w);
        return st;
    }
    return ig_writer_commit(&w, err);
}

void *ig_reserve(uint64_t size)
{
    if (size == 0 || size > SIZE_MAX / 2 || ig_fault_hit(IG_FAULT_MAP)) return NULL;
    void *p = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void ig_unreserve(void *p, uint64_t size)
{
    if (p) munmap(p, (size_t)size);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t ig_now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
uint64_t ig_boot_ns(void) { return clock_ns(CLOCK_BOOTTIME); }

void ig_random(void *out, size_t n)
{
    char *p = out;
    while (n) {
        ssize_t got = getrandom(p, n > 256 ? 256 : n, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) abort(); /* the kernel has no randomness: nothing in ingle may go on with a guessable seed */
        p += got;
        n -= (size_t)got;
    }
}

#if defined SYS_request_key && defined SYS_keyctl
size_t ig_keyring_read(const char *name, char *out, size_t n)
{
    enum { READ_KEY = 11 }; /* KEYCTL_READ of linux/keyctl.h, which not every system has */
    long key = syscall(SYS_request_key, "user", name, NULL, 0L);
    long len = key < 0 ? -1 : syscall(SYS_keyctl, (long)READ_KEY, key, out, n);
    return len > 0 && (size_t)len <= n ? (size_t)len : 0;
}
#else
size_t ig_keyring_read(const char *name, char *out, size_t n)
{
    (void)name, (void)out, (void)n;
    return 0;
}
#endif

/* First line of a small text file, or "" */
static uint64_t fold_bytes(const char *text)
{
    unsigned long long v;
    return sscanf(text, "%llu", &v) == 1 ? v : UINT64_MAX;
}

unsigned ig_cores(void)
{
    uint64_t usable[IG_CPUS_MAX / 64] = {0};
    if (sched_getaffinity(0, sizeof usable, (cpu_set_t *)(void *)usable) != 0) usable[0] = 1;
    return ig_cores_in("", usable, IG_CPUS_MAX / 64);
}

uint64_t ig_memory_available(void)
{
    char line[128];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/meminfo", "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1) break;
    if (f) fclose(f);
    uint64_t host = kib ? (uint64_t)kib * 1024 : UINT64_MAX, limit = ig_cgroup_min("", "memory.max", fold_bytes);
    uint64_t high = ig_cgroup_min("", "memory.high", fold_bytes); /* above it everything is slowed down */
    if (high < limit) limit = high;
    return limit < host ? limit : host;
}
