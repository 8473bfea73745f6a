#include "base/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/os.h"

int ig_disk_open(int dir, const char *name, int flags, mode_t mode)
{
    if (ig_fault_hit(IG_FAULT_OPEN)) return -1;
    int fd;
    do fd = openat(dir, name, flags | O_CLOEXEC | O_NONBLOCK, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

int ig_disk_open_regular(int dir, const char *name, int flags, struct stat *sb)
{
    struct stat own;
    if (!sb) sb = &own;
    int fd = ig_disk_open(dir, name, flags | O_NOFOLLOW, 0);
    if (fd < 0) return -1;
    int e = EINVAL;
    if (fstat(fd, sb) < 0)
        e = errno;
    else if (S_ISREG(sb->st_mode))
        return fd;
    else if (S_ISDIR(sb->st_mode))
        e = EISDIR;
    close(fd);
    errno = e;
    return -1;
}

ssize_t ig_disk_read(int fd, void *p, size_t n)
{
    for (;;) {
        ssize_t got = ig_fault_hit(IG_FAULT_READ) ? -1 : read(fd, p, n && ig_fault_short(IG_FAULT_READ) ? 1 : n);
        if (got >= 0 || errno != EINTR) return got;
    }
}

ssize_t ig_disk_read_at(int fd, void *p, size_t n, uint64_t offset)
{
    size_t done = 0;
    while (done < n) {
        size_t want = ig_fault_short(IG_FAULT_READ) ? 1 : n - done;
        ssize_t got = ig_fault_hit(IG_FAULT_READ) ? -1 : pread(fd, (char *)p + done, want, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        if (got == 0) break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

bool ig_disk_write_at(int fd, const void *p, size_t n, uint64_t offset)
{
    for (size_t done = 0; done < n;) {
        size_t want = ig_fault_short(IG_FAULT_WRITE) ? 1 : n - done;
        ssize_t put =
            ig_fault_hit(IG_FAULT_WRITE) ? -1 : pwrite(fd, (const char *)p + done, want, (off_t)(offset + done));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return false;
        done += (size_t)put;
    }
    return true;
}

bool ig_disk_write(int fd, const void *p, size_t n)
{
    for (size_t done = 0; done < n;) {
        size_t want = ig_fault_short(IG_FAULT_WRITE) ? 1 : n - done;
        ssize_t put = ig_fault_hit(IG_FAULT_WRITE) ? -1 : write(fd, (const char *)p + done, want);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return false;
        done += (size_t)put;
    }
    return true;
}

bool ig_disk_sync(int fd)
{
    if (ig_fault_hit(IG_FAULT_SYNC) || fsync(fd) < 0) return false;
    ig_fault_synced(fd);
    return true;
}

bool ig_disk_sync_parent(int dir, const char *path)
{
    char up[PATH_MAX];
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    while (n && path[n - 1] != '/') n--;
    while (n > 1 && path[n - 1] == '/') n--;
    if (n >= sizeof up) return errno = ENAMETOOLONG, false;
    memcpy(up, path, n);
    up[n] = 0;
    int fd = ig_disk_open(dir, n ? up : ".", O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0) return errno == EACCES;
    bool ok = ig_disk_sync(fd) || errno == EINVAL || errno == EROFS;
    int e = errno;
    close(fd);
    errno = e;
    return ok;
}

bool ig_disk_make_folder(int dir, const char *path, mode_t mode, bool always)
{
    bool made = mkdirat(dir, path, mode) == 0;
    if (!made && errno != EEXIST) return false;
    if ((!made && !always) || ig_disk_sync_parent(dir, path)) return true;
    int e = errno;
    if (made) (void)unlinkat(dir, path, AT_REMOVEDIR);
    errno = e;
    return false;
}

void ig_disk_begin_sync(int fd, uint64_t offset, uint64_t n_bytes)
{
    (void)sync_file_range(fd, (off_t)offset, (off_t)n_bytes, SYNC_FILE_RANGE_WRITE);
}

bool ig_disk_rename(int from_dir, const char *from, int to_dir, const char *to)
{
    return !ig_fault_hit(IG_FAULT_RENAME) && renameat(from_dir, from, to_dir, to) == 0;
}

/* ------------------------------------------------------------------------------------------------ drafts */

enum { NAME_TRIES = 4 };

static bool draft_name(const char *name, char out[256])
{
    uint64_t unique;
    ig_random(&unique, sizeof unique);
    if (snprintf(out, 256, "%s.%016llx.tmp", name, (unsigned long long)unique) < 256) return true;
    errno = ENAMETOOLONG;
    return false;
}

/* A file without a name, which can be given one; -1 where this system cannot. */
static int open_nameless(int dir, mode_t mode)
{
    char path[64];
    if (ig_fault_hit(IG_FAULT_TMPFILE)) return -1;
    int fd = openat(dir, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, mode);
    if (fd < 0) return -1;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (access(path, F_OK) == 0 && ig_disk_lock(fd, true, false)) return fd;
    close(fd);
    return -1;
}

bool ig_draft_begin(int dir, const char *name, mode_t mode, ig_draft *out)
{
    struct stat sb;
    *out = (ig_draft){.fd = -1};
    if (!*name) {
        errno = EISDIR;
        return false;
    }
    if (!draft_name(name, out->tmp)) return false; /* a name that is too long is seen at the beginning */
    if (ig_fault_hit(IG_FAULT_OPEN)) return false;
    out->tmp[0] = 0;
    out->fd = open_nameless(dir, mode);
    for (int i = 0; out->fd < 0 && i < NAME_TRIES; i++) {
        if (!draft_name(name, out->tmp)) return false;
        do out->fd = openat(dir, out->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
        while (out->fd < 0 && errno == EINTR);
        if (out->fd < 0) return false;
        (void)ig_disk_lock(out->fd, true, false);
        if (fstat(out->fd, &sb) == 0 && sb.st_nlink > 0) break;
        close(out->fd); /* somebody took it for a leftover before it was locked */
        out->fd = -1;
    }
    return out->fd >= 0;
}

/* Gives a nameless draft the name: at once where nothing has it, else a temporary one, to be renamed. *done: at once.
 */
static bool draft_link(int dir, const char *name, ig_draft *d, bool *done)
{
    char path[64];
    *done = false;
    if (d->tmp[0]) return true;
    if (ig_fault_hit(IG_FAULT_RENAME)) return false;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", d->fd);
    *done = linkat(AT_FDCWD, path, dir, name, AT_SYMLINK_FOLLOW) == 0;
    if (*done || errno != EEXIST) return *done;
    if (!draft_name(name, d->tmp)) return false;
    if (linkat(AT_FDCWD, path, dir, d->tmp, AT_SYMLINK_FOLLOW) == 0) return true;
    d->tmp[0] = 0;
    return false;
}

void ig_draft_drop(int dir, ig_draft *d)
{
    int e = errno;
    if (d->tmp[0] && d->fd >= 0) (void)unlinkat(dir, d->tmp, 0);
    if (d->fd >= 0) close(d->fd);
    *d = (ig_draft){.fd = -1};
    errno = e;
}

const char *ig_draft_commit(int dir, const char *name, ig_draft *d)
{
    bool done;
    const char *failed = NULL;
    if (!ig_disk_sync(d->fd))
        failed = "sync";
    else if (!draft_link(dir, name, d, &done) || (!done && !ig_disk_rename(dir, d->tmp, dir, name)))
        failed = "rename to";
    if (failed) {
        ig_draft_drop(dir, d);
        return failed;
    }
    int rc = close(d->fd);
    *d = (ig_draft){.fd = -1};
    if (rc < 0) return "close";
    return ig_disk_sync(dir) ? NULL : "sync the folder of";
}

/* NAME.<16 hexadecimal digits>.tmp; name NULL: any. */
static bool is_draft_of(const char *entry, const char *name)
{
    size_t all = strlen(entry), n = name ? strlen(name) : all > 21 ? all - 21 : 0;
    return n && all == n + 21 && (!name || !strncmp(entry, name, n)) && entry[n] == '.' &&
           strspn(entry + n + 1, "0123456789abcdef") == 16 && !strcmp(entry + n + 17, ".tmp");
}

void ig_draft_clean(int dir, const char *name)
{
    int own = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = own < 0 ? NULL : fdopendir(own);
    if (!d) {
        if (own >= 0) close(own);
        return;
    }
    for (struct dirent *e; (e = readdir(d));) {
        struct stat sb;
        if (!is_draft_of(e->d_name, name)) continue;
        int fd = ig_disk_open_regular(dir, e->d_name, O_RDONLY, &sb);
        if (fd < 0) continue;
        if (sb.st_uid == geteuid() && ig_disk_lock(fd, true, false)) (void)unlinkat(dir, e->d_name, 0);
        close(fd);
    }
    closedir(d);
}

bool ig_disk_write_whole(int dir, const char *name, const void *p, size_t n, mode_t mode)
{
    ig_draft d;
    if (!ig_draft_begin(dir, name, mode, &d)) return false;
    if (ig_disk_write(d.fd, p, n)) return !ig_draft_commit(dir, name, &d);
    ig_draft_drop(dir, &d);
    return false;
}

/* ------------------------------------------------------------------------------------------------ locks, space */

bool ig_disk_lock(int fd, bool exclusive, bool wait)
{
    int rc;
    do rc = flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | (wait ? 0 : LOCK_NB));
    while (rc < 0 && errno == EINTR);
    return rc == 0;
}

bool ig_disk_clone(int to, int from) { return ioctl(to, FICLONE, from) == 0; }

bool ig_disk_reserve(int fd, uint64_t n_bytes)
{
    int rc;
    if (n_bytes == 0) return true;
    if (ig_fault_hit(IG_FAULT_WRITE)) return errno != ENOSPC;
    do rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)n_bytes);
    while (rc < 0 && errno == EINTR);
    return rc == 0 || (errno != ENOSPC && errno != EDQUOT && errno != EFBIG);
}

uint64_t ig_disk_free(int fd)
{
    struct statvfs s;
    uint64_t n;
    if (fstatvfs(fd, &s) < 0 || !ig_mul_u64(s.f_bavail, s.f_frsize, &n)) return UINT64_MAX;
    return n;
}

int64_t ig_clock_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec + ig_fault_clock_off();
}

int64_t ig_clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return ((int64_t)t.tv_sec + ig_fault_clock_off()) * 1000 + t.tv_nsec / 1000000;
}

void ig_boot_id(char out[64])
{
    ssize_t n = -1;
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, out, 63);
        close(fd);
    }
    out[n > 0 ? n : 0] = 0;
    out[strcspn(out, "\n")] = 0;
}

void ig_sleep_ms(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&t, NULL);
}
