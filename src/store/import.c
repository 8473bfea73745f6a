/* Files that lie on this machine already become blobs, if possible without a second copy: blocks shared by the file
 * system (FICLONE); a hard link, where nobody but this user could change the file; a reference to it where it lies.
 * The content is hashed in any case, and of a clone it is the clone that is hashed, which nobody else can change. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/disk.h"
#include "inner.h"

typedef struct taker {
    ig_store *s;
    int fd;
    const char *path;
    const ig_digest *expected;
    ig_hash_progress progress;
    void *ctx;
    ig_taken *out;
} taker;

static ig_status compare(const taker *t, const ig_digest *d, ig_error *err)
{
    if (!t->expected || !strcmp(t->expected->hex, d->hex)) return IG_OK;
    return ig_fail(err, IG_BAD_INPUT, 0, "%.250s is damaged: its digest is %.12s, expected %.12s", t->path, d->hex,
                   t->expected->hex);
}

static ig_status lease_it(const taker *t, ig_took how, ig_error *err)
{
    t->out->how = how;
    return ig_store_blob_open(t->s, &t->out->digest, &t->out->lease, &t->out->size, err);
}

/* *done false: this file system cannot clone. */
static ig_status by_clone(const taker *t, bool *done, ig_error *err)
{
    char file[32];
    int fd;
    *done = false;
    IG_TRY(ig_part_new(t->s, 0, file, &fd, err));
    ig_status st = IG_OK;
    *done = ig_disk_clone(fd, t->fd);
    if (*done) {
        st = ig_hash_fd(fd, t->path, t->progress, t->ctx, &t->out->digest, &t->out->size, err);
        if (st == IG_OK) st = compare(t, &t->out->digest, err);
        t->out->how = IG_TOOK_CLONE;
        if (st == IG_OK) st = ig_blob_publish(t->s, fd, file, &t->out->digest, &t->out->lease, &t->out->size, err);
    }
    if (!*done || st != IG_OK) (void)unlinkat(t->s->parts_fd, file, 0);
    close(fd);
    return st;
}

/* A file that only this user can change, so that sharing its inode gives nobody else a hand in the store. */
static bool link_is_safe(const taker *t, const struct stat *sb)
{
    return sb->st_uid == geteuid() && sb->st_uid == t->s->owner && !(sb->st_mode & (S_IWGRP | S_IWOTH));
}

static bool by_link(const taker *t)
{
    char place[3 + IG_HEX_LEN + 1], from[64], folder[3] = {t->out->digest.hex[0], t->out->digest.hex[1], 0};
    ig_blob_place(&t->out->digest, place);
    (void)snprintf(from, sizeof from, "/proc/self/fd/%d", t->fd);
    if (!ig_disk_sync(t->fd) || !ig_blob_folder(t->s, &t->out->digest) ||
        linkat(AT_FDCWD, from, t->s->blobs_fd, place, AT_SYMLINK_FOLLOW) < 0)
        return false;
    int dir = ig_disk_open(t->s->blobs_fd, folder, O_RDONLY | O_DIRECTORY, 0);
    bool ok = dir >= 0 && ig_disk_sync(dir);
    if (dir >= 0) close(dir);
    return ok;
}

static ig_status by_reference(const taker *t, const struct stat *sb, ig_error *err)
{
    char file[IG_HEX_LEN + 8];
    (void)snprintf(file, sizeof file, "%s.json", t->out->digest.hex);
    json_t *j = json_pack("{s:s, s:I, s:I, s:I}", "path", t->path, "size", (json_int_t)sb->st_size, "ino",
                          (json_int_t)sb->st_ino, "mtime_ns",
                          (json_int_t)sb->st_mtim.tv_sec * 1000000000 + (json_int_t)sb->st_mtim.tv_nsec);
    char *text = j ? ig_json_dump(j) : NULL;
    json_decref(j);
    if (!text) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the reference to %.200s", t->path);
    ig_status st = IG_OK;
    if (!ig_disk_write_whole(t->s->refs_fd, file, text, strlen(text), 0644))
        st = ig_disk_failed(t->s, errno, "write the reference to", t->path, err);
    ig_free(text);
    return st;
}

static ig_status by_copy(const taker *t, ig_error *err)
{
    if (lseek(t->fd, 0, SEEK_SET) < 0) return ig_fail_errno(err, IG_IO, errno, "cannot read %.250s", t->path);
    t->out->how = IG_TOOK_COPY;
    return ig_blob_copy(t->s, t->fd, t->expected, t->progress, t->ctx, &t->out->digest, &t->out->size, &t->out->lease,
                        err);
}

static ig_status in_place(const taker *t, ig_take how, ig_error *err)
{
    struct stat sb, after;
    if (fstat(t->fd, &sb) < 0) return ig_fail_errno(err, IG_IO, errno, "cannot read %.250s", t->path);
    IG_TRY(ig_hash_fd(t->fd, t->path, t->progress, t->ctx, &t->out->digest, &t->out->size, err));
    IG_TRY(compare(t, &t->out->digest, err));
    if (fstat(t->fd, &after) < 0 || after.st_size != sb.st_size || after.st_mtim.tv_sec != sb.st_mtim.tv_sec ||
        after.st_mtim.tv_nsec != sb.st_mtim.tv_nsec)
        return ig_fail(err, IG_BAD_INPUT, 0, "%.250s was changed while it was read", t->path);
    if (ig_store_blob_has(t->s, &t->out->digest, NULL)) return lease_it(t, IG_TOOK_PRESENT, err);
    if (link_is_safe(t, &sb) && by_link(t)) return lease_it(t, IG_TOOK_LINK, err);
    if (how < IG_TAKE_REFER) return by_copy(t, err);
    IG_TRY(by_reference(t, &sb, err));
    return lease_it(t, IG_TOOK_REFERENCE, err);
}

ig_status ig_take_file(ig_store *s, int fd, const char *path, ig_take how, const ig_digest *expected,
                       ig_hash_progress progress, void *ctx, ig_taken *out, ig_error *err)
{
    taker t = {s, fd, path, expected, progress, ctx, out};
    bool done;
    *out = (ig_taken){.lease = -1};
    IG_TRY(ig_store_writable(s, err));
    if (expected && ig_store_blob_has(s, expected, NULL)) {
        out->digest = *expected;
        return lease_it(&t, IG_TOOK_PRESENT, err);
    }
    IG_TRY(by_clone(&t, &done, err));
    if (done) return IG_OK;
    return how == IG_TAKE_COPY ? by_copy(&t, err) : in_place(&t, how, err);
}
