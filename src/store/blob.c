/* Blobs: written beside their place under a temporary name, hashed on the way, synced, and moved where their digest
 * says. A descriptor of a blob holds a shared lock on the file; garbage collection takes only what it can lock alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/os.h"
#include "inner.h"

enum { BLOCK = 1 << 18, LEASE_TRIES = 200, LEASE_WAIT_MS = 10, PART_TRIES = 4 };

void ig_blob_place(const ig_digest *d, char out[3 + IG_HEX_LEN + 1])
{
    (void)snprintf(out, 3 + IG_HEX_LEN + 1, "%.2s/%s", d->hex, d->hex);
}

bool ig_blob_folder(ig_store *s, const ig_digest *d)
{
    char folder[3] = {d->hex[0], d->hex[1], 0};
    if (mkdirat(s->blobs_fd, folder, 0700) == 0) return ig_disk_sync(s->blobs_fd);
    return errno == EEXIST;
}

static bool sync_folder(ig_store *s, const ig_digest *d)
{
    char folder[3] = {d->hex[0], d->hex[1], 0};
    int fd = ig_disk_open(s->blobs_fd, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (fd < 0) return false;
    bool ok = ig_disk_sync(fd);
    int e = errno;
    close(fd);
    errno = e;
    return ok;
}

ig_status ig_blobs_settle(ig_store *s, const ig_store_file *files, size_t n, ig_error *err)
{
    bool seen[256] = {false}, outside = false, any = false;
    for (size_t i = 0; i < n; i++) {
        char place[3 + IG_HEX_LEN + 1];
        const ig_digest *d = &files[i].digest;
        ig_blob_place(d, place);
        if (faccessat(s->blobs_fd, place, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
            outside = true;
            continue;
        }
        bool *here = &seen[strtoul((char[]){d->hex[0], d->hex[1], 0}, NULL, 16) & 255];
        if (!*here && !sync_folder(s, d)) return ig_disk_failed(s, errno, "sync the folder of the blob", d->hex, err);
        *here = any = true;
    }
    if ((any && !ig_disk_sync(s->blobs_fd)) || (outside && !ig_disk_sync(s->refs_fd)))
        return ig_disk_failed(s, errno, "sync the folder", any ? "blobs" : "refs", err);
    return IG_OK;
}

bool ig_store_blob_has(ig_store *s, const ig_digest *d, uint64_t *size)
{
    int fd;
    if (ig_store_blob_open(s, d, &fd, size, NULL) != IG_OK) return false;
    close(fd);
    return true;
}

/* A blob of this name and size is there already. */
static bool is_there(const ig_store *s, int fd, const char *place, struct stat *old)
{
    struct stat sb;
    return fstat(fd, &sb) == 0 && fstatat(s->blobs_fd, place, old, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(old->st_mode) &&
           old->st_size == sb.st_size;
}

/* A failed sync is final (M08): what the kernel could not write is not written later either. */
static bool settle(int fd) { return fchmod(fd, 0444) == 0 && ig_disk_sync(fd); }

/* With the store's lock. */
static ig_status put_in_place(ig_store *s, int fd, bool settled, const char *from, const ig_digest *d, ig_error *err)
{
    char place[3 + IG_HEX_LEN + 1];
    struct stat old;
    ig_blob_place(d, place);
    if (is_there(s, fd, place, &old)) {
        if (old.st_nlink == 1) (void)utimensat(s->blobs_fd, place, NULL, 0); /* its hour begins anew */
        (void)unlinkat(s->parts_fd, from, 0);
        return IG_OK;
    }
    if (!(settled || settle(fd)) || !ig_blob_folder(s, d) || !ig_disk_rename(s->parts_fd, from, s->blobs_fd, place) ||
        !sync_folder(s, d))
        return ig_disk_failed(s, errno, "store the blob", d->hex, err);
    return IG_OK;
}

ig_status ig_blob_publish(ig_store *s, int fd, const char *from, const ig_digest *d, int *lease_fd, uint64_t *size,
                          ig_error *err)
{
    char place[3 + IG_HEX_LEN + 1];
    struct stat old;
    int lock;
    ig_blob_place(d, place);
    const bool settled = !is_there(s, fd, place, &old); /* before the lock, since it may take long */
    if (settled && !settle(fd)) return ig_disk_failed(s, errno, "store the blob", d->hex, err);
    IG_TRY(ig_store_lock(s, true, &lock, err));
    ig_status st = put_in_place(s, fd, settled, from, d, err);
    if (st == IG_OK) (void)ig_disk_lock(fd, false, false); /* others may read it from now on */
    if (st == IG_OK && lease_fd) st = ig_store_blob_open(s, d, lease_fd, size, err);
    close(lock);
    return st;
}

/* ------------------------------------------------------------------------------------------------ reading */

/* Shared lock on an open file that still has a name. */
static bool lease(int fd)
{
    struct stat sb;
    for (unsigned i = 0; !ig_disk_lock(fd, false, false); i++) {
        if (errno != EWOULDBLOCK || i == LEASE_TRIES) return false;
        ig_sleep_ms(LEASE_WAIT_MS);
    }
    if (fstat(fd, &sb) == 0 && sb.st_nlink > 0) return true;
    errno = ENOENT;
    return false;
}

/* The file elsewhere that stands for a blob: unchanged since it was taken in, or refused. */
static ig_status open_reference(ig_store *s, const ig_digest *d, int *fd, struct stat *sb, ig_error *err)
{
    char file[IG_HEX_LEN + 8];
    ig_buf buf;
    json_t *j = NULL;
    uint64_t size = 0, mtime = 0, ino = 0;
    (void)snprintf(file, sizeof file, "%s.json", d->hex);
    int ref = ig_disk_open_regular(s->refs_fd, file, O_RDONLY, NULL);
    if (ref < 0) return ig_fail(err, IG_NOT_FOUND, 0, "blob sha256:%s is not in the store", d->hex);
    ig_buf_init(&buf, 8192);
    ig_status st = ig_fd_read_all(ref, file, &buf, err);
    close(ref);
    if (st == IG_OK) st = ig_store_json(file, (ig_str){buf.ptr ? buf.ptr : "", buf.len}, 100, &j, err);
    ig_buf_fini(&buf);
    IG_TRY(st);
    const char *path = ig_json_text(j, "path");
    bool sound = path && path[0] == '/' && ig_json_size(j, "size", &size) && ig_json_size(j, "mtime_ns", &mtime) &&
                 ig_json_size(j, "ino", &ino);
    if (!sound) {
        st = ig_fail(err, IG_BAD_INPUT, 0, "the reference of blob sha256:%s is damaged", d->hex);
    } else if ((*fd = ig_disk_open_regular(AT_FDCWD, path, O_RDONLY, sb)) < 0) {
        st = ig_fail_errno(err, IG_NOT_FOUND, errno, "cannot open %.300s, which a model of the store refers to", path);
    } else if ((uint64_t)sb->st_size != size || (uint64_t)sb->st_ino != ino ||
               (uint64_t)sb->st_mtim.tv_sec * 1000000000u + (uint64_t)sb->st_mtim.tv_nsec != mtime) {
        close(*fd);
        st = ig_fail(err, IG_BAD_INPUT, 0, "%.300s was changed since the store refers to it, import it again", path);
    }
    json_decref(j);
    return st;
}

static bool owner_fits(const ig_store *s, uid_t uid) { return uid == s->owner || uid == 0 || uid == geteuid(); }

static ig_status open_once(ig_store *s, const ig_digest *d, int *fd, uint64_t *size, bool *gone, ig_error *err)
{
    char place[3 + IG_HEX_LEN + 1];
    struct stat sb;
    *gone = false;
    ig_blob_place(d, place);
    *fd = ig_disk_open_regular(s->blobs_fd, place, O_RDONLY, &sb);
    if (*fd < 0 && errno != ENOENT)
        return ig_fail_errno(err,
                             errno == EACCES                      ? IG_DENIED
                             : errno == EMFILE || errno == ENFILE ? IG_IO
                                                                  : IG_BAD_INPUT,
                             errno, "blob sha256:%s cannot be opened as a regular file", d->hex);
    if (*fd < 0) return open_reference(s, d, fd, &sb, err);
    if (!owner_fits(s, sb.st_uid)) {
        close(*fd);
        return ig_fail(err, IG_BAD_INPUT, 0, "blob sha256:%s belongs to uid %u, expected %u", d->hex,
                       (unsigned)sb.st_uid, (unsigned)s->owner);
    }
    if (!lease(*fd)) {
        int e = errno;
        close(*fd);
        *gone = e == ENOENT;
        return ig_fail_errno(err, *gone ? IG_NOT_FOUND : IG_IO, e, "cannot keep blob sha256:%s", d->hex);
    }
    if (size) *size = (uint64_t)sb.st_size;
    return IG_OK;
}

ig_status ig_store_blob_open(ig_store *s, const ig_digest *digest, int *fd, uint64_t *size, ig_error *err)
{
    bool gone;
    ig_digest d;
    *fd = -1;
    IG_TRY(ig_digest_parse(digest->hex, &d, err));
    ig_status st = open_once(s, &d, fd, size, &gone, err);
    if (gone) st = open_once(s, &d, fd, size, &gone, err);
    if (st != IG_OK) {
        *fd = -1;
        return st;
    }
    struct stat sb;
    if (size && fstat(*fd, &sb) == 0) *size = (uint64_t)sb.st_size;
    return IG_OK;
}

ig_status ig_store_files_open(ig_store *s, const ig_manifest *m, int *fds, ig_error *err)
{
    size_t n = 0;
    ig_status st = IG_OK;
    for (; n < m->n_files && st == IG_OK; n++) {
        uint64_t size = 0;
        st = ig_store_blob_open(s, &m->files[n].digest, &fds[n], &size, err);
        if (st == IG_OK && size != m->files[n].size) {
            close(fds[n]);
            fds[n] = -1;
            st = ig_fail(
                err, IG_BAD_INPUT, 0, "file %.120s of model %.100s has %llu bytes, expected %llu. Type: ingle verify",
                m->files[n].name, m->name.text, (unsigned long long)size, (unsigned long long)m->files[n].size);
        }
    }
    if (st == IG_OK) return st;
    for (size_t i = 0; i < n; i++)
        if (fds[i] >= 0) close(fds[i]);
    for (size_t i = 0; i < m->n_files; i++) fds[i] = -1;
    return st;
}

/* ------------------------------------------------------------------------------------------------ writing */

struct ig_blob_writer {
    ig_store *s;
    int fd;
    char file[32];
    ig_sha *sha;
    uint64_t size;
    bool has_expected;
    ig_digest expected;
};

void ig_blob_abandon(ig_blob_writer *w)
{
    if (!w) return;
    if (w->file[0]) (void)unlinkat(w->s->parts_fd, w->file, 0);
    if (w->fd >= 0) close(w->fd);
    ig_sha_free(w->sha);
    ig_free(w);
}

ig_status ig_part_room(ig_store *s, int fd, uint64_t size, ig_error *err)
{
    uint64_t room = ig_disk_free(s->parts_fd), need, whole = size;
    struct stat sb;
    if (size == 0) return IG_OK;
    if (fstat(fd, &sb) == 0) { /* what it has already need not be free again */
        uint64_t has = (uint64_t)sb.st_blocks * 512;
        size -= has < size ? has : size;
    }
    if (!ig_add_u64(size, s->reserve_bytes, &need) || need > room)
        return ig_fail_errno(
            err, IG_IO, ENOSPC,
            "%llu MiB are needed and %llu MiB are free in %.200s, of which %llu MiB stay free: free some "
            "space (ingle gc, ingle rm) or choose another folder",
            (unsigned long long)(size >> 20), (unsigned long long)(room >> 20), s->root,
            (unsigned long long)(s->reserve_bytes >> 20));
    if (!ig_disk_reserve(fd, whole)) return ig_disk_failed(s, errno, "set space aside for", "a file", err);
    return IG_OK;
}

/* A new file that is locked before garbage collection can take it for a leftover; -1 with errno. */
static int locked_part(ig_store *s, char file[32])
{
    struct stat sb;
    for (int i = 0; i < PART_TRIES; i++) {
        uint64_t unique;
        ig_random(&unique, sizeof unique);
        (void)snprintf(file, 32, "new-%016llx.part", (unsigned long long)unique);
        int fd = ig_disk_open(s->parts_fd, file, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
        if (fd < 0) return -1;
        if (ig_disk_lock(fd, false, true) && fstat(fd, &sb) == 0 && sb.st_nlink > 0) return fd;
        close(fd);
    }
    errno = EBUSY;
    return -1;
}

ig_status ig_part_new(ig_store *s, uint64_t size, char file[32], int *fd, ig_error *err)
{
    *fd = locked_part(s, file);
    if (*fd < 0) return ig_disk_failed(s, errno, "make the file", "for a blob", err);
    ig_status st = ig_part_room(s, *fd, size, err);
    if (st == IG_OK) return st;
    (void)unlinkat(s->parts_fd, file, 0);
    close(*fd);
    *fd = -1;
    return st;
}

ig_status ig_blob_begin(ig_store *s, const ig_digest *expected, uint64_t size, ig_blob_writer **out, ig_error *err)
{
    *out = NULL;
    IG_TRY(ig_store_writable(s, err));
    ig_blob_writer *w = ig_calloc(1, sizeof *w);
    if (!w) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a blob");
    w->s = s;
    w->fd = -1;
    w->sha = ig_sha_new();
    ig_status st = w->sha ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a blob");
    if (st == IG_OK && expected) {
        w->has_expected = true;
        st = ig_digest_parse(expected->hex, &w->expected, err);
    }
    if (st == IG_OK && (st = ig_part_new(s, size, w->file, &w->fd, err)) != IG_OK) w->file[0] = 0;
    if (st == IG_OK)
        *out = w;
    else
        ig_blob_abandon(w);
    return st;
}

ig_status ig_blob_write(ig_blob_writer *w, const void *p, size_t n, ig_error *err)
{
    if (!ig_add_u64(w->size, n, &w->size) || w->size > INT64_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "a blob is too large for this machine");
    if (!ig_disk_write(w->fd, p, n)) return ig_disk_failed(w->s, errno, "write", "a blob", err);
    ig_sha_add(w->sha, p, n);
    return IG_OK;
}

ig_status ig_blob_commit(ig_blob_writer *w, ig_digest *digest, uint64_t *size, int *lease_fd, ig_error *err)
{
    ig_digest d;
    ig_sha_end(w->sha, &d);
    w->sha = NULL;
    ig_status st = IG_OK;
    if (w->has_expected && strcmp(d.hex, w->expected.hex))
        st = ig_fail(err, IG_BAD_INPUT, 0, "the content has the digest sha256:%s, expected sha256:%s", d.hex,
                     w->expected.hex);
    if (st == IG_OK) st = ig_blob_publish(w->s, w->fd, w->file, &d, lease_fd, NULL, err);
    if (st == IG_OK) {
        w->file[0] = 0;
        if (digest) *digest = d;
        if (size) *size = w->size;
    }
    ig_blob_abandon(w);
    return st;
}

ig_status ig_blob_copy(ig_store *s, int fd, const ig_digest *expected, ig_hash_progress progress, void *ctx,
                       ig_digest *digest, uint64_t *size, int *lease_fd, ig_error *err)
{
    struct stat sb;
    ig_blob_writer *w;
    uint64_t total = fstat(fd, &sb) == 0 && S_ISREG(sb.st_mode) ? (uint64_t)sb.st_size : 0;
    IG_TRY(ig_blob_begin(s, expected, total, &w, err));
    char *block = ig_alloc(BLOCK);
    ig_status st = block ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a blob");
    for (unsigned i = 0; st == IG_OK; i++) {
        ssize_t n = ig_disk_read(fd, block, BLOCK);
        if (n < 0) st = ig_fail_errno(err, IG_IO, errno, "cannot read what is to be stored");
        if (n <= 0) break;
        st = ig_blob_write(w, block, (size_t)n, err);
        if (st == IG_OK && progress && i % 64 == 0 && !progress(ctx, w->size, total))
            st = ig_fail(err, IG_CANCELLED, 0, "storing a file was cancelled");
    }
    ig_free(block);
    if (st == IG_OK) return ig_blob_commit(w, digest, size, lease_fd, err);
    ig_blob_abandon(w);
    return st;
}

ig_status ig_blob_add_fd(ig_store *s, int fd, const ig_digest *expected, ig_digest *digest, uint64_t *size,
                         int *lease_fd, ig_error *err)
{
    return ig_blob_copy(s, fd, expected, NULL, NULL, digest, size, lease_fd, err);
}
