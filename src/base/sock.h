/* The seam to connected sockets: accept, receive and send, through the fault shim like files (IG_FAULT_OPEN for accept,
 * IG_FAULT_READ, IG_FAULT_WRITE). EINTR is handled inside; EAGAIN is the caller's. */
#ifndef IG_BASE_SOCK_H
#define IG_BASE_SOCK_H

#include <stddef.h>

/* Accepted descriptor, close-on-exec and non-blocking; -1 with errno. */
int ig_sock_accept(int fd);
/* Bytes, 0 at the end of the stream, -1 with errno. No SIGPIPE. */
long ig_sock_recv(int fd, void *out, size_t n);
long ig_sock_send(int fd, const void *p, size_t n);

#endif
