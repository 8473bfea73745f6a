/* Files relative to an open folder, locks between processes, clones: the part of the seam to the operating system that
 * a store on disk needs. Every function goes through the fault shim where it can fail for want of space, memory or a
 * sound disk; EINTR and short transfers are handled inside (M09). Functions that return int or ssize_t leave errno. */
#ifndef IG_BASE_DISK_H
#define IG_BASE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Opens close-on-exec and never waits for a FIFO; -1 on failure. */
int ig_disk_open(int dir, const char *name, int flags, mode_t mode);
/* Opens for reading and accepts nothing but a regular file that is no symbolic link (M13); else -1 with ELOOP, EISDIR
 * or EINVAL. sb may be NULL. */
int ig_disk_open_regular(int dir, const char *name, int flags, struct stat *sb);
/* Reads n bytes at an offset, fewer only at the end of the file; -1 on failure. */
ssize_t ig_disk_read_at(int fd, void *p, size_t n, uint64_t offset);
/* Reads up to n bytes from where the descriptor stands; 0 at the end. */
ssize_t ig_disk_read(int fd, void *p, size_t n);
/* Writes all n bytes; false on failure. */
bool ig_disk_write_at(int fd, const void *p, size_t n, uint64_t offset);
bool ig_disk_write(int fd, const void *p, size_t n);
bool ig_disk_sync(int fd);
/* Begins to write these bytes to the disk and does not wait, so that a later sync has less to do. */
void ig_disk_begin_sync(int fd, uint64_t offset, uint64_t n_bytes);
/* Syncs the folder in which `path` lies (also one that ends with a slash), so that its entry is on the disk. Where that
 * folder may not be read, or its file system cannot sync folders, nothing can be done, which is no failure. */
bool ig_disk_sync_parent(int dir, const char *path);
/* Makes a folder where there is none, its entry on the disk; a new one that could not be synced is gone again. always:
 * the entry of one that was there is synced, too, since an earlier try may not have come so far. */
bool ig_disk_make_folder(int dir, const char *path, mode_t mode, bool always);
bool ig_disk_rename(int from_dir, const char *from, int to_dir, const char *to);
/* A file in the making: it has no name (O_TMPFILE) where the file system can do that, so that nothing is left of it
 * when its process is killed; else it is called NAME.<16 digits>.tmp. It is locked until it is closed, so that a
 * leftover is told from a file that is being written. */
typedef struct ig_draft {
    int fd;        /* open for writing; -1 when closed */
    char tmp[256]; /* its name, "" as long as it has none */
} ig_draft;
/* False with errno on failure; nothing is left then. */
bool ig_draft_begin(int dir, const char *name, mode_t mode, ig_draft *out);
/* Syncs, gives the name, syncs the folder, closes. NULL on success; else errno tells why and the text is what could not
 * be done: "sync", "close", "rename to", "sync the folder of"; after all but the last nothing has changed. */
const char *ig_draft_commit(int dir, const char *name, ig_draft *d);
void ig_draft_drop(int dir, ig_draft *d); /* closes and removes it; a closed one is fine */
/* Removes what killed processes left of drafts of this name; NULL: of any in the folder. */
void ig_draft_clean(int dir, const char *name);

/* Writes `name` in the folder so that it is either the old or the new content whole: temporary file, sync, rename,
 * sync of the folder (M01). On failure the temporary file is gone and errno tells why. */
bool ig_disk_write_whole(int dir, const char *name, const void *p, size_t n, mode_t mode);

/* Lock of an open file as flock(2) knows it: it belongs to the open file, so that it dies with the last process that
 * holds the descriptor, wherever that was passed. False with EWOULDBLOCK when it is taken and wait is false. */
bool ig_disk_lock(int fd, bool exclusive, bool wait);

/* Makes `to` (empty, open for writing) share the blocks of `from` (FICLONE); false where the file system cannot. */
bool ig_disk_clone(int to, int from);
/* Sets blocks aside for n bytes without changing the size; false with ENOSPC when they are not there. A file system
 * that cannot do it says true. */
bool ig_disk_reserve(int fd, uint64_t n_bytes);
/* Bytes that a caller without privileges may still write there; UINT64_MAX when unknown. */
uint64_t ig_disk_free(int fd);

/* Seconds since 1970, and an id that changes with every start of the machine ("" when unknown). */
int64_t ig_clock_s(void);
int64_t ig_clock_ms(void); /* milliseconds since 1970 */
void ig_boot_id(char out[64]);
/* Sleeps, at most until a signal comes. */
void ig_sleep_ms(unsigned ms);

#endif
