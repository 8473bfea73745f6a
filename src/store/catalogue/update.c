/* The update: the workflow of the TUF specification, section 5, over a folder of trusted files and a source.
 *
 *   DIR/3.root.json      roots, from the pinned one on
 *   DIR/timestamp.json, snapshot.json, targets.json, d.ROLE.json
 *
 * Each file is written whole as soon as it is trusted, and what lies there is verified again before it is used, so a
 * kill at any time loses at most work. What is in force is not decided here (state.c). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/os.h"
#include "tuf.h"

typedef struct update {
    ig_tuf *t;
    int dir; /* -1: nothing is kept */
    const ig_origin *from;
} update;

static ig_str text_of(const ig_buf *b) { return (ig_str){b->ptr ? b->ptr : "", b->len}; }

/* NOT_FOUND when nothing usable is there; other failures are the machine's. */
static ig_status load(const update *u, const char *file, size_t bytes_max, ig_buf *out, ig_error *err)
{
    ig_buf_init(out, bytes_max);
    int fd = u->dir < 0 ? (errno = ENOENT, -1) : ig_disk_open_regular(u->dir, file, O_RDONLY, NULL);
    if (fd < 0)
        return ig_fail_errno(err, errno == ENOENT || errno == ELOOP || errno == EISDIR ? IG_NOT_FOUND : IG_IO, errno,
                             "cannot open the trusted file %.100s", file);
    ig_status st = ig_fd_read_all(fd, file, out, err);
    close(fd);
    if (st != IG_OK) ig_buf_fini(out);
    return st == IG_TOO_LARGE ? IG_NOT_FOUND : st;
}

static ig_status keep(const update *u, const char *file, const ig_buf *text, ig_error *err)
{
    if (u->dir < 0 || ig_disk_write_whole(u->dir, file, text->ptr ? text->ptr : "", text->len, 0600)) return IG_OK;
    return ig_fail_errno(err, IG_IO, errno, "cannot write the trusted file %.100s", file);
}

/* What must not be passed over: a local file that cannot be read now may hold the versions that protect from rollback.
 */
static bool is_machine_fault(ig_status st) { return st == IG_NO_MEMORY || st == IG_IO; }

/* ------------------------------------------------------------------------------------------------ roots */

/* 5.3.11: after a rotation of their keys the trusted timestamp and snapshot go, before the new root is kept; so a kill
 * in between does the same again. */
static ig_status forget_rotated(const update *u, const ig_doc *old, const ig_doc *new, ig_error *err)
{
    static const char *const files[] = {"timestamp.json", "snapshot.json"};
    bool same = ig_doc_same_keys(old, new, "timestamp") && ig_doc_same_keys(old, new, "snapshot");
    if (same || u->dir < 0) return IG_OK;
    for (size_t i = 0; i < 2; i++)
        if (unlinkat(u->dir, files[i], 0) < 0 && errno != ENOENT)
            return ig_fail_errno(err, IG_IO, errno, "cannot remove the trusted file %s", files[i]);
    return ig_disk_sync(u->dir) ? IG_OK : ig_fail_errno(err, IG_IO, errno, "cannot remove trusted files");
}

static void root_file(uint64_t version, char out[48])
{
    (void)snprintf(out, 48, "%llu.root.json", (unsigned long long)version);
}

static ig_status keep_root(const update *u, const ig_doc *before, ig_error *err)
{
    char file[48];
    if (before) IG_TRY(forget_rotated(u, before, u->t->root, err));
    root_file(u->t->root->version, file);
    return keep(u, file, &u->t->root->text, err);
}

typedef struct newest {
    uint64_t version, below;
} newest;

static bool see_root(void *ctx, int dir, const char *entry)
{
    newest *n = ctx;
    unsigned long long v;
    int end = 0;
    (void)dir;
    if (sscanf(entry, "%16llu.root.json%n", &v, &end) == 1 && end > 0 && !entry[end] && v < n->below && v > n->version)
        n->version = v;
    return true;
}

/* The newest root below the pinned version that was trusted here, for the comparison of keys; NULL. */
static ig_status older_root(const update *u, ig_doc **out, ig_error *err)
{
    newest n = {0, u->t->root->version};
    char file[48];
    ig_buf text;
    *out = NULL;
    if (u->dir < 0) return IG_OK;
    IG_TRY(ig_folder_walk(u->dir, ".", see_root, &n, err));
    if (n.version == 0) return IG_OK;
    root_file(n.version, file);
    ig_status st = load(u, file, IG_TUF_ROOT_BYTES_MAX, &text, err);
    if (st == IG_OK) {
        st = ig_doc_read(IG_TUF_ROOT, NULL, text_of(&text), out, err);
        ig_buf_fini(&text);
    }
    return is_machine_fault(st) ? st : IG_OK;
}

/* The pinned root begins; what was kept of its version must be the same. */
static ig_status begin(const update *u, ig_error *err)
{
    char file[48];
    ig_buf text;
    ig_doc *old = NULL;
    root_file(u->t->root->version, file);
    ig_status st = load(u, file, IG_TUF_ROOT_BYTES_MAX, &text, err);
    if (is_machine_fault(st)) return st;
    if (st == IG_NOT_FOUND) {
        IG_TRY(older_root(u, &old, err));
        st = keep_root(u, old, err);
        ig_doc_free(old);
        return st;
    }
    st = ig_doc_read(IG_TUF_ROOT, NULL, text_of(&text), &old, err);
    ig_buf_fini(&text);
    if (is_machine_fault(st)) return st;
    bool same = old && old->canon.len == u->t->root->canon.len &&
                !memcmp(old->canon.ptr, u->t->root->canon.ptr, old->canon.len);
    ig_doc_free(old);
    return same ? IG_OK
                : ig_fail(err, IG_DENIED, 0,
                          "root metadata: the root file is another version %llu than the one trusted so far. Type: "
                          "--name NAME for another catalogue",
                          (unsigned long long)u->t->root->version);
}

static ig_status next_root(const update *u, const ig_buf *text, bool kept, ig_error *err)
{
    ig_doc *before = u->t->root, *copy;
    /* ig_tuf_next_root lets the old one go, which is needed for the comparison. */
    IG_TRY(ig_doc_read(IG_TUF_ROOT, NULL, text_of(&before->text), &copy, err));
    ig_status st = ig_tuf_next_root(u->t, text_of(text), err);
    if (st == IG_OK && !kept) st = keep_root(u, copy, err);
    ig_doc_free(copy);
    return st;
}

static ig_status update_roots(const update *u, ig_error *err)
{
    char name[IG_TUF_ROLE_NAME_MAX + 48], file[48];
    ig_buf text;
    IG_TRY(begin(u, err));
    bool local = true;
    for (unsigned steps = 0; steps < IG_TUF_ROOT_STEPS_MAX;) {
        uint64_t next = u->t->root->version + 1;
        root_file(next, file);
        ig_tuf_file("root", next, true, name);
        ig_status st = local ? load(u, file, IG_TUF_ROOT_BYTES_MAX, &text, err)
                             : u->from->fetch(u->from->ctx, name, IG_TUF_ROOT_BYTES_MAX, &text, err);
        if (local && st == IG_NOT_FOUND) {
            local = false;
            continue;
        }
        if (st == IG_NOT_FOUND || (!local && st == IG_DENIED))
            break; /* 403: some servers say so of what is not there */
        IG_TRY(st);
        st = next_root(u, &text, local, err);
        ig_buf_fini(&text);
        if (local && st != IG_OK && !is_machine_fault(st)) {
            local = false; /* damaged here; the source has it */
            continue;
        }
        IG_TRY(st);
        steps += !local;
    }
    return ig_tuf_end_roots(u->t, err);
}

/* ------------------------------------------------------------------------------------------------ the others */

static ig_status update_timestamp(const update *u, ig_error *err)
{
    char name[IG_TUF_ROLE_NAME_MAX + 48];
    ig_buf text;
    bool same;
    ig_status st = load(u, "timestamp.json", IG_TUF_TIMESTAMP_BYTES_MAX, &text, err);
    if (is_machine_fault(st)) return st;
    if (st == IG_OK) {
        st = ig_tuf_add_timestamp(u->t, text_of(&text), true, &same, err);
        ig_buf_fini(&text);
        if (is_machine_fault(st)) return st;
    }
    ig_tuf_file("timestamp", 0, true, name);
    IG_TRY(u->from->fetch(u->from->ctx, name, IG_TUF_TIMESTAMP_BYTES_MAX, &text, err));
    st = ig_tuf_add_timestamp(u->t, text_of(&text), false, &same, err);
    if (st == IG_OK && !same) st = keep(u, "timestamp.json", &text, err);
    ig_buf_fini(&text);
    return st == IG_OK ? ig_tuf_end_timestamp(u->t, err) : st;
}

/* Fetches what an entry of meta names, not a byte more than it says. */
static ig_status fetch_meta(const update *u, const json_t *meta, const char *role, size_t bytes_max, ig_buf *text,
                            ig_error *err)
{
    char name[IG_TUF_ROLE_NAME_MAX + 48];
    uint64_t version = 0, length;
    const json_t *consistent = json_object_get(u->t->root->signed_, "consistent_snapshot");
    (void)ig_json_size(meta, "version", &version);
    if (ig_json_size(meta, "length", &length)) {
        if (length > bytes_max)
            return ig_fail(err, IG_TOO_LARGE, 0, "%s metadata: it is said to have %llu bytes, expected at most %zu",
                           role, (unsigned long long)length, bytes_max);
        bytes_max = (size_t)length;
    }
    ig_tuf_file(role, version, json_is_true(consistent), name);
    ig_status st = u->from->fetch(u->from->ctx, name, bytes_max, text, err);
    if (st == IG_TOO_LARGE)
        return ig_fail(err, st, 0, "%s metadata: it has more bytes than the expected %zu", role, bytes_max);
    if (st == IG_NOT_FOUND)
        return ig_fail(err, st, 0, "%s metadata: version %llu is not there, which was announced", role,
                       (unsigned long long)version);
    return st;
}

static ig_status update_snapshot(const update *u, ig_error *err)
{
    ig_buf text;
    ig_status st = load(u, "snapshot.json", IG_TUF_SNAPSHOT_BYTES_MAX, &text, err);
    if (is_machine_fault(st)) return st;
    if (st == IG_OK) {
        st = ig_tuf_add_snapshot(u->t, text_of(&text), err);
        if (st != IG_OK) ig_tuf_old_snapshot(u->t, text_of(&text));
        ig_buf_fini(&text);
        if (st == IG_OK || is_machine_fault(st)) return st;
    }
    IG_TRY(fetch_meta(u, ig_doc_meta(u->t->timestamp, "snapshot"), "snapshot", IG_TUF_SNAPSHOT_BYTES_MAX, &text, err));
    st = ig_tuf_add_snapshot(u->t, text_of(&text), err);
    if (st == IG_OK) st = keep(u, "snapshot.json", &text, err);
    ig_buf_fini(&text);
    return st;
}

static ig_status provide(void *ctx, ig_tuf *t, const char *role, const ig_doc *by, ig_error *err)
{
    const update *u = ctx;
    char file[IG_TUF_ROLE_NAME_MAX + 16];
    ig_buf text;
    const json_t *meta = ig_doc_meta(t->snapshot, role);
    (void)snprintf(file, sizeof file, "%s%s.json", by == t->root ? "" : "d.", role);
    ig_status st = load(u, file, IG_TUF_TARGETS_BYTES_MAX, &text, err);
    if (is_machine_fault(st)) return st;
    if (st == IG_OK) {
        st = ig_tuf_add_targets(t, role, by, text_of(&text), err);
        ig_buf_fini(&text);
        if (st == IG_OK || is_machine_fault(st)) return st;
    }
    if (!meta)
        return ig_fail(err, IG_DENIED, 0, "%s metadata: snapshot version %llu does not name it, expected it there",
                       role, (unsigned long long)t->snapshot->version);
    IG_TRY(fetch_meta(u, meta, role, IG_TUF_TARGETS_BYTES_MAX, &text, err));
    st = ig_tuf_add_targets(t, role, by, text_of(&text), err);
    if (st == IG_OK) st = keep(u, file, &text, err);
    ig_buf_fini(&text);
    return st;
}

ig_status ig_tuf_update(ig_tuf *t, int dir, const ig_origin *from, ig_str pinned, int64_t now_s, ig_error *err)
{
    update u = {t, dir, from};
    ig_error own;
    if (!err) err = &own;
    IG_TRY(ig_tuf_begin(t, pinned, now_s, err));
    IG_TRY(update_roots(&u, err));
    IG_TRY(update_timestamp(&u, err));
    IG_TRY(update_snapshot(&u, err));
    return ig_tuf_walk(t, provide, &u, err);
}
