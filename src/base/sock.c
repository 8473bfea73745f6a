#include "base/sock.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/fault.h"

int ig_sock_accept(int fd)
{
    if (ig_fault_hit(IG_FAULT_OPEN)) return -1;
    int got;
    do got = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    while (got < 0 && (errno == EINTR || errno == ECONNABORTED));
    return got;
}

long ig_sock_recv(int fd, void *out, size_t n)
{
    size_t want = ig_fault_short(IG_FAULT_READ) && n ? 1 : n;
    if (ig_fault_hit(IG_FAULT_READ)) return -1;
    ssize_t got;
    do got = recv(fd, out, want, 0);
    while (got < 0 && errno == EINTR);
    return (long)got;
}

long ig_sock_send(int fd, const void *p, size_t n)
{
    size_t want = ig_fault_short(IG_FAULT_WRITE) && n ? 1 : n;
    if (ig_fault_hit(IG_FAULT_WRITE)) return -1;
    ssize_t done;
    do done = send(fd, p, want, MSG_NOSIGNAL);
    while (done < 0 && errno == EINTR);
    return (long)done;
}
