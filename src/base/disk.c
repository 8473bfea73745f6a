#include "base/disk.h"

#include <errno.h>
#include <fcntl.h>
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

bool ig_disk_sync(int fd) { return !ig_fault_hit(IG_FAULT_SYNC) && fsync(fd) == 0; }

void ig_disk_begin_sync(int fd, uint64_t offset, uint64_t n_bytes)
{
    (void)sync_file_range(fd, (off_t)offset, (off_t)n_bytes, SYNC_FILE_RANGE_WRITE);
}

bool ig_disk_rename(int from_dir, const char *from, int to_dir, const char *to)
{
    return !ig_fault_hit(IG_FAULT_RENAME) && renameat(from_dir, from, to_dir, to) == 0;
}

bool ig_disk_write_whole(int dir, const char *name, const void *p, size_t n, mode_t mode)
{
    char tmp[300];
    uint64_t unique;
    ig_random(&unique, sizeof unique);
    if (snprintf(tmp, sizeof tmp, "%s.%016llx.tmp", name, (unsigned long long)unique) > 255) {
        errno = ENAMETOOLONG;
        return false;
    }
    int fd = ig_disk_open(dir, tmp, O_WRONLY | O_CREAT | O_EXCL, mode);
    if (fd < 0) return false;
    bool ok = ig_disk_write(fd, p, n) && ig_disk_sync(fd);
    int e = errno;
    if (close(fd) < 0 && ok) ok = false, e = errno;
    if (ok && !ig_disk_rename(dir, tmp, dir, name)) ok = false, e = errno;
    if (!ok) (void)unlinkat(dir, tmp, 0);
    errno = e;
    return ok && ig_disk_sync(dir);
}

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
    return (int64_t)t.tv_sec;
}

int64_t ig_clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
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
