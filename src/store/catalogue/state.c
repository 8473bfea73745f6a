/* The catalogue on this machine: ROOT/catalogues/NAME/ of the store.
 *
 *   lock                            one update at a time
 *   3.root.json ... d.ROLE.json     what is trusted so far (update.c)
 *   pinned.json                     the root that the administrator gave
 *   active.json                     the last good state, whole: every document as it came. It is what is in force, and
 *                                   it changes in one step, after all of the new one was verified and understood.
 *
 * The clock may jump. Forward: an update fails as expired, and nothing changes. Back: time is never taken to be before
 * the last good update, so what had expired then stays expired. That time is at most the expiry of what was signed
 * then, so a wrong clock cannot push it beyond the next good update. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/os.h"
#include "tuf.h"

enum { ACTIVE_BYTES_MAX = 160 << 20, DAY_S = 86400 };

typedef struct state {
    int dir, lock;
    json_t *active; /* NULL: none */
} state;

static void state_close(state *s)
{
    if (s->lock >= 0) close(s->lock);
    if (s->dir >= 0) close(s->dir);
    json_decref(s->active);
    *s = (state){.dir = -1, .lock = -1};
}

/* With make its entry is on the disk, whoever made it. */
static int folder_at(int dir, const char *name, bool make)
{
    if (make && mkdirat(dir, name, 0700) < 0 && errno != EEXIST) return -1;
    if (make && !ig_disk_sync(dir)) return -1;
    return ig_disk_open(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

static ig_status state_open(ig_store *store, const char *name, bool make, state *s, ig_error *err)
{
    *s = (state){.dir = -1, .lock = -1};
    if (!name) name = "default";
    if (!ig_tuf_role_name_valid(name))
        return ig_fail(err, IG_BAD_INPUT, 0, "\"%.80s\" is no name of a catalogue, expected letters and digits", name);
    int all = folder_at(store->root_fd, "catalogues", make);
    if (all >= 0) s->dir = folder_at(all, name, make);
    int e = errno;
    if (all >= 0) close(all);
    if (s->dir < 0 && e == ENOENT)
        return ig_fail(err, IG_NOT_FOUND, 0,
                       "there is no catalogue \"%.64s\" here yet. Type: ingle catalogue sync URL --root root.json",
                       name);
    if (s->dir < 0) return ig_fail_errno(err, IG_IO, e, "cannot open the folder of the catalogue \"%.64s\"", name);
    return IG_OK;
}

static ig_status read_file(int dir, const char *file, size_t bytes_max, ig_buf *out, ig_error *err)
{
    ig_buf_init(out, bytes_max);
    int fd = ig_disk_open_regular(dir, file, O_RDONLY, NULL);
    if (fd < 0)
        return ig_fail_errno(err, errno == ENOENT || errno == ENOTDIR ? IG_NOT_FOUND : IG_IO, errno,
                             "cannot open %.300s", file);
    ig_status st = ig_fd_read_all(fd, file, out, err);
    close(fd);
    if (st != IG_OK) ig_buf_fini(out);
    return st;
}

/* ------------------------------------------------------------------------------------------------ active.json */

static ig_status load_active(state *s, ig_error *err)
{
    ig_buf text;
    IG_TRY(read_file(s->dir, "active.json", ACTIVE_BYTES_MAX, &text, err));
    ig_status st = ig_store_json("the state of the catalogue", (ig_str){text.ptr ? text.ptr : "", text.len}, 10000,
                                 &s->active, err);
    ig_buf_fini(&text);
    return st;
}

static ig_str member(const json_t *j, const char *key)
{
    const char *text = ig_json_text(j, key);
    return ig_str_from(text ? text : "");
}

static ig_status provide_active(void *ctx, ig_tuf *t, const char *role, const ig_doc *by, ig_error *err)
{
    return ig_tuf_add_targets(t, role, by, member(json_object_get(ctx, "targets"), role), err);
}

/* Every signature is verified again: what lies on the disk may be damaged. */
static ig_status read_active(json_t *active, ig_catalogue **out, ig_error *err)
{
    ig_tuf t;
    bool same;
    const char *source = ig_json_text(active, "source");
    uint64_t synced = 0;
    (void)ig_json_size(active, "synced", &synced);
    ig_status st = ig_tuf_begin(&t, member(active, "root"), INT64_MIN, err);
    if (st == IG_OK) st = ig_tuf_add_timestamp(&t, member(active, "timestamp"), true, &same, err);
    if (st == IG_OK) st = ig_tuf_add_snapshot(&t, member(active, "snapshot"), err);
    if (st == IG_OK) st = ig_tuf_walk(&t, provide_active, active, err);
    if (st == IG_OK) st = ig_content_read(&t, source ? source : "", (int64_t)synced, out, err);
    ig_tuf_fini(&t);
    return st;
}

static json_t *text_json(const ig_doc *d) { return json_stringn(d->text.ptr ? d->text.ptr : "", d->text.len); }

static int add_piece(const char *p, size_t n, void *ctx) { return ig_buf_add(ctx, p, n) ? 0 : -1; }

static json_t *active_json(const ig_tuf *t, const char *source, int64_t synced_s)
{
    json_t *targets = json_object();
    int bad = json_object_set_new(targets, "targets", text_json(t->targets));
    for (size_t i = 0; i < t->n_delegated; i++)
        bad |= json_object_set_new(targets, t->delegated[i]->role, text_json(t->delegated[i]));
    json_t *j = json_pack("{s:i, s:s, s:I, s:o, s:o, s:o, s:o}", "ingle_catalogue_state", 1, "source", source, "synced",
                          (json_int_t)synced_s, "root", text_json(t->root), "timestamp", text_json(t->timestamp),
                          "snapshot", text_json(t->snapshot), "targets", targets);
    if (!bad) return j;
    json_decref(j);
    return NULL;
}

static ig_status save_active(const state *s, const ig_tuf *t, const char *source, int64_t synced_s, ig_error *err)
{
    ig_buf text;
    json_t *j = active_json(t, source, synced_s);
    ig_buf_init(&text, ACTIVE_BYTES_MAX);
    bool ok = j && json_dump_callback(j, add_piece, &text, JSON_COMPACT) == 0;
    json_decref(j);
    ig_status st = ok ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the state of the catalogue");
    if (ok && !ig_disk_write_whole(s->dir, "active.json", text.ptr, text.len, 0600))
        st = ig_fail_errno(err, IG_IO, errno, "cannot write active.json, the state of the catalogue");
    ig_buf_fini(&text);
    return st;
}

/* ------------------------------------------------------------------------------------------------ sync */

typedef struct syncing {
    ig_catalogue_sync_options o;
    state s;
    ig_catalogue *old; /* what is in force; NULL */
    ig_buf pinned;
    char source[2048];
    int64_t now_s;
    ig_catalogue_sync_result *result;
} syncing;

static void note(syncing *y, const char *text, const char *more)
{
    ig_error clean;
    ig_fail(&clean, IG_OK, 0, "%s%.150s", text, more);
    (void)snprintf(y->result->note, sizeof y->result->note, "%s", clean.text);
}

static ig_status prepare(syncing *y, ig_error *err)
{
    ig_error why;
    ig_status st = load_active(&y->s, &why);
    if (st == IG_OK) st = read_active(y->s.active, &y->old, &why);
    if (st == IG_NO_MEMORY || st == IG_IO) return ig_fail(err, st, 0, "%s", why.text);
    if (st != IG_OK && st != IG_NOT_FOUND)
        note(y, "the state of the catalogue was damaged and is made anew: ", why.text);
    const char *source = y->o.source ? y->o.source : y->old ? y->old->source : NULL;
    if (!source || strlen(source) >= sizeof y->source)
        return ig_fail(err, IG_BAD_INPUT, 0, "where the catalogue is, is not known. Type: ingle catalogue sync URL");
    char *whole = strstr(source, "://") ? NULL : realpath(source, NULL); /* it is remembered, and read from elsewhere */
    (void)snprintf(y->source, sizeof y->source, "%s", whole && strlen(whole) < sizeof y->source ? whole : source);
    free(whole);
    y->o.source = y->source;
    st = y->o.root_file ? read_file(AT_FDCWD, y->o.root_file, IG_TUF_ROOT_BYTES_MAX, &y->pinned, err)
                        : read_file(y->s.dir, "pinned.json", IG_TUF_ROOT_BYTES_MAX, &y->pinned, err);
    if (st == IG_NOT_FOUND && !y->o.root_file)
        return ig_fail(err, st, 0, "no root is trusted yet. Type: ingle catalogue sync URL --root root.json");
    IG_TRY(st);
    int64_t clock = y->o.now_s ? y->o.now_s : ig_clock_s(), floor = y->old ? y->old->synced_s : 0;
    y->now_s = clock > floor ? clock : floor;
    if (floor > clock + DAY_S) note(y, "the clock of this machine is more than a day behind the last update", "");
    return IG_OK;
}

/* In force from here on. */
static ig_status activate(syncing *y, const ig_tuf *t, ig_catalogue **new, ig_error *err)
{
    IG_TRY(ig_content_read(t, y->source, y->now_s, new, err));
    const ig_catalogue *o = y->old, *n = *new;
    y->result->changed = !o || o->version != n->version || o->root != n->root || o->snapshot != n->snapshot;
    if (y->o.root_file && !ig_disk_write_whole(y->s.dir, "pinned.json", y->pinned.ptr, y->pinned.len, 0600))
        return ig_fail_errno(err, IG_IO, errno, "cannot write pinned.json, the trusted root");
    return save_active(&y->s, t, y->source, y->now_s, err);
}

static ig_status run(syncing *y, ig_catalogue **new, ig_error *err)
{
    ig_tuf t = {0};
    ig_origin from;
    ig_draft_clean(y->s.dir, NULL);
    IG_TRY(prepare(y, err));
    IG_TRY(ig_origin_open(&y->o, &from, err));
    ig_str pinned = {y->pinned.ptr ? y->pinned.ptr : "", y->pinned.len};
    ig_status st = ig_tuf_update(&t, y->s.dir, &from, pinned, y->now_s, err);
    if (st == IG_OK) st = activate(y, &t, new, err);
    ig_origin_close(&from);
    ig_tuf_fini(&t);
    return st;
}

ig_status ig_catalogue_sync(ig_store *store, const ig_catalogue_sync_options *options, ig_catalogue_sync_result *result,
                            ig_catalogue **out, ig_error *err)
{
    ig_catalogue_sync_result own;
    ig_catalogue *new = NULL;
    ig_error why = {0};
    syncing y = {.o = *options, .result = result ? result : &own};
    *y.result = (ig_catalogue_sync_result){0};
    if (out) *out = NULL;
    IG_TRY(ig_store_writable(store, err));
    IG_TRY(state_open(store, options->name, true, &y.s, err));
    y.s.lock = ig_disk_open(y.s.dir, "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    ig_status st = y.s.lock >= 0 && ig_disk_lock(y.s.lock, true, true)
                       ? run(&y, &new, &why)
                       : ig_fail_errno(&why, IG_IO, errno, "cannot lock the catalogue");
    if (st != IG_OK) {
        bool stays = y.old != NULL;
        ig_fail(err, st, 0, "%.420s%s", why.text, stays ? "; the last good state stays in force" : "");
        ig_catalogue_free(new);
        new = NULL;
    }
    ig_catalogue_free(y.old);
    ig_buf_fini(&y.pinned);
    state_close(&y.s);
    if (out)
        *out = new;
    else
        ig_catalogue_free(new);
    return st;
}

ig_status ig_catalogue_open(ig_store *store, const char *name, ig_catalogue **out, ig_error *err)
{
    state s;
    *out = NULL;
    IG_TRY(state_open(store, name, false, &s, err));
    ig_status st = load_active(&s, err);
    if (st == IG_NOT_FOUND)
        ig_fail(err, st, 0, "the catalogue was never synced. Type: ingle catalogue sync URL --root root.json");
    if (st == IG_OK) st = read_active(s.active, out, err);
    state_close(&s);
    return st;
}

/* ------------------------------------------------------------------------------------------------ verify */

ig_status ig_catalogue_verify(const ig_catalogue_sync_options *options, ig_catalogue **out, ig_error *err)
{
    ig_origin from;
    ig_buf pinned;
    ig_tuf t = {0};
    char first[IG_TUF_ROLE_NAME_MAX + 48];
    *out = NULL;
    ig_tuf_file("root", 1, true, first);
    IG_TRY(ig_origin_open(options, &from, err));
    ig_status st = options->root_file ? read_file(AT_FDCWD, options->root_file, IG_TUF_ROOT_BYTES_MAX, &pinned, err)
                                      : from.fetch(from.ctx, first, IG_TUF_ROOT_BYTES_MAX, &pinned, err);
    if (st == IG_OK) {
        int64_t now = options->now_s ? options->now_s : ig_clock_s();
        st = ig_tuf_update(&t, -1, &from, (ig_str){pinned.ptr ? pinned.ptr : "", pinned.len}, now, err);
        if (st == IG_OK) st = ig_content_read(&t, options->source, now, out, err);
        ig_tuf_fini(&t);
        ig_buf_fini(&pinned);
    }
    ig_origin_close(&from);
    return st;
}
