/* The seam to the operating system: files, maps, clock, randomness, machine facts. Everything here goes through the
 * fault shim (base/fault.h); EINTR and short transfers are handled inside (rule M09). */
#ifndef IG_BASE_OS_H
#define IG_BASE_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"

/* A regular file mapped read-only and shared. Zero-initialised is closed and valid. */
typedef struct ig_file {
    const uint8_t *data; /* [size], NULL when size is 0 */
    uint64_t size;
} ig_file;
/* Opens, checks that it is a regular file (FIFO, device, directory: BAD_INPUT), maps; the descriptor is closed again.
 * Errors: NOT_FOUND, DENIED, BAD_INPUT, IO; the text names the path. */
ig_status ig_file_map(const char *path, ig_file *out, ig_error *err);
/* The same for an open descriptor, which stays the caller's; `name` appears in messages. */
ig_status ig_file_map_fd(int fd, const char *name, ig_file *out, ig_error *err);
void ig_file_unmap(ig_file *file);
/* False also where nothing is there or nothing may be seen. */
bool ig_is_directory(const char *path);

/* Reads a whole file, or standard input for fd 0, of at most buf->max_bytes; TOO_LARGE names the limit. */
ig_status ig_file_read(const char *path, ig_buf *buf, ig_error *err);
ig_status ig_fd_read_all(int fd, const char *name, ig_buf *buf, ig_error *err);
/* Writes `path` so that it is either the old or the new content whole: temporary file beside it, fsync, rename, fsync
 * of the directory (rule M01). The temporary file is removed on failure. */
ig_status ig_file_write_atomic(const char *path, const void *data, size_t n, ig_error *err);

/* The same for content that comes in pieces: begin, write as often as needed, then commit or abandon. */
typedef struct ig_file_writer {
    int fd;         /* -1 when closed */
    char *path;     /* owned */
    void *internal; /* owned */
} ig_file_writer;
/* What killed processes left of the same path is removed first. */
ig_status ig_writer_begin(ig_file_writer *w, const char *path, ig_error *err);
ig_status ig_writer_write(ig_file_writer *w, const void *data, size_t n, ig_error *err);
ig_status ig_writer_commit(ig_file_writer *w, ig_error *err);
void ig_writer_abandon(ig_file_writer *w);

/* Address space that reads as zero and takes memory page by page on first touch; NULL on failure. */
void *ig_reserve(uint64_t size);
void ig_unreserve(void *p, uint64_t size);

uint64_t ig_now_ns(void);  /* CLOCK_MONOTONIC */
uint64_t ig_boot_ns(void); /* CLOCK_BOOTTIME: goes on while the machine sleeps */
void ig_random(void *out, size_t n);
/* A key of type "user" that this process may read in the kernel's keyring: its length, 0 where there is none or it is
 * longer than n. */
size_t ig_keyring_read(const char *name, char *out, size_t n);

/* Threads to compute with, at least 1: one a core of those that affinity and cpuset allow, the fast ones where cores
 * differ, at most cgroup v2's cpu.max (cores.h). */
unsigned ig_cores(void);
/* Bytes that may still be allocated: MemAvailable, or what the cgroup's memory.max leaves, whichever is less. */
uint64_t ig_memory_available(void);

#endif
