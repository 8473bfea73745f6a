/* Bytes together with descriptors over a unix socket, and sealed memory files: the part of the seam to the operating
 * system that frames between processes need. Goes through the fault shim; EINTR is handled inside. */
#ifndef IG_BASE_PASS_H
#define IG_BASE_PASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { IG_PASS_FDS_MAX = 250 }; /* descriptors of one call; the kernel takes 253 */

/* Sends up to n bytes without waiting, the descriptors (may be none; they stay the caller's) with the first of them.
 * Returns how many bytes went, or -1 with errno; EAGAIN: nothing fits now. Never raises SIGPIPE. */
ssize_t ig_pass_send(int fd, const void *p, size_t n, const int *fds, size_t n_fds);
/* Receives up to n bytes without waiting, and up to IG_PASS_FDS_MAX descriptors (close-on-exec, the caller's) into
 * fds. Returns the number of bytes, 0 at the end of the stream, or -1 with errno; EAGAIN: nothing is there; EMSGSIZE:
 * more descriptors than that came, or none could be taken; all of them are closed then. */
ssize_t ig_pass_receive(int fd, void *p, size_t n, int *fds, size_t *n_fds);
/* Waits until fd can be read (or written, or both), at most timeout_ms (-1: for ever). Returns 0 on time-out, else
 * what poll said, or -1 with errno. */
int ig_pass_wait(int fd, bool read, bool write, int timeout_ms);

/* A memory file with the n bytes that nobody can change any more; -1 with errno. */
int ig_sealed_new(const void *p, size_t n);
/* Size of such a file; -1 (errno EPERM) where fd is no memory file or is not sealed against every change. */
int64_t ig_sealed_size(int fd);
/* Reads its n bytes; false (errno) where that fails. Never maps: a strange file cannot raise SIGBUS. */
bool ig_sealed_read(int fd, void *p, size_t n);

#endif
