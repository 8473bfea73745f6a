#include "base/pass.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"

typedef union control { /* aligned room for the descriptors */
    struct cmsghdr head;
    char bytes[CMSG_SPACE(IG_PASS_FDS_MAX * sizeof(int))];
} control;

ssize_t ig_pass_send(int fd, const void *p, size_t n, const int *fds, size_t n_fds)
{
    control c;
    struct iovec piece = {(void *)(uintptr_t)p, ig_fault_short(IG_FAULT_WRITE) && n ? 1 : n};
    struct msghdr m = {.msg_iov = &piece, .msg_iovlen = 1};
    ssize_t done;
    if (n_fds > IG_PASS_FDS_MAX) return errno = EMSGSIZE, -1;
    if (n_fds) {
        memset(&c, 0, sizeof c);
        m.msg_control = c.bytes;
        m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(h), fds, n_fds * sizeof(int));
    }
    if (ig_fault_hit(IG_FAULT_WRITE)) return -1;
    do done = sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (done < 0 && errno == EINTR);
    return done;
}

static void close_all(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++) close(fds[i]);
}

/* Moves the descriptors of all control messages to fds. */
static size_t take_fds(struct msghdr *m, int *fds)
{
    size_t n = 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
        size_t here = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (here > IG_PASS_FDS_MAX - n) here = IG_PASS_FDS_MAX - n; /* cannot be: the room was for so many */
        memcpy(fds + n, CMSG_DATA(h), here * sizeof(int));
        n += here;
    }
    return n;
}

ssize_t ig_pass_receive(int fd, void *p, size_t n, int *fds, size_t *n_fds)
{
    control c;
    struct iovec piece = {p, ig_fault_short(IG_FAULT_READ) && n ? 1 : n};
    struct msghdr m = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = c.bytes, .msg_controllen = sizeof c.bytes};
    ssize_t got;
    *n_fds = 0;
    if (ig_fault_hit(IG_FAULT_READ)) return -1;
    do got = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0) return -1;
    *n_fds = take_fds(&m, fds);
    if (!(m.msg_flags & MSG_CTRUNC)) return got;
    close_all(fds, *n_fds);
    *n_fds = 0;
    errno = EMSGSIZE;
    return -1;
}

int ig_pass_wait(int fd, bool read, bool write, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = (short)((read ? POLLIN : 0) | (write ? POLLOUT : 0))};
    int n;
    do n = poll(&p, 1, timeout_ms);
    while (n < 0 && errno == EINTR);
    return n <= 0 ? n : p.revents;
}

static bool write_whole(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t done = ig_fault_hit(IG_FAULT_WRITE) ? -1 : write(fd, p, ig_fault_short(IG_FAULT_WRITE) ? 1 : n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return false;
        p += done;
        n -= (size_t)done;
    }
    return true;
}

int ig_sealed_new(const void *p, size_t n)
{
    int fd = ig_fault_hit(IG_FAULT_OPEN) ? -1 : memfd_create("ingle", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return -1;
    if (write_whole(fd, p, n) && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0)
        return fd;
    int e = errno;
    close(fd);
    errno = e;
    return -1;
}

int64_t ig_sealed_size(int fd)
{
    struct stat sb;
    int all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE, seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & all) != all || fstat(fd, &sb) < 0 || !S_ISREG(sb.st_mode)) return errno = EPERM, -1;
    return sb.st_size;
}

bool ig_sealed_read(int fd, void *p, size_t n)
{
    for (size_t at = 0; at < n;) {
        size_t want = ig_fault_short(IG_FAULT_READ) ? 1 : n - at;
        ssize_t got = ig_fault_hit(IG_FAULT_READ) ? -1 : pread(fd, (char *)p + at, want, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return got == 0 ? (errno = EIO, false) : false;
        at += (size_t)got;
    }
    return true;
}
