/* Carrying out a plan: every file is fetched into parts/, resumed where an earlier try stopped, verified as a whole,
 * and published; then the model is checked and becomes visible. The part file is locked by who fetches it; whoever else
 * wants the same waits for it, so that two pulls of one blob are one download (M10, M11).
 *
 * A large file is cut into spans once its server has shown that it knows ranges: this thread loads the first, helpers
 * the others. What a helper leaves behind, this thread takes over, so that helpers may fail in any way. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/os.h"
#include "store/source/source.h"

enum {
    SYNC_BYTES = 64 << 20,
    BEGIN_SYNC_BYTES = 4 << 20,
    TELL_MS = 100,
    TRIES = 6,
    WAIT_MS = 500,
    STATE_BYTES_MAX = 4096,
    CONNECTIONS = 4,
    CONNECTIONS_MAX = 16,
    PIECE_BYTES = 32 << 20,
    SAVE_BYTES = 16 << 20,
    HELPER_TRIES = 3
};

ig_status ig_asker_http(ig_asker *a, ig_error *err) { return a->http ? IG_OK : ig_http_new(&a->http, err); }

bool ig_asker_note(ig_asker *a, ig_pull_phase phase, const char *what, const char *note)
{
    ig_pull_progress p = {.phase = phase, .what = what, .note = note};
    return !a->o->progress || a->o->progress(a->o->ctx, &p);
}

/* A part of the file that somebody loads: [have, to) is still missing. */
typedef struct span {
    struct fetch *f;
    _Atomic uint64_t have;
    uint64_t to, synced;
    ig_auth auth;
    pthread_t thread;
    bool started;
    _Atomic bool running;
} span;

typedef struct fetch {
    ig_asker *a;
    ig_store *s;
    const ig_plan *plan;
    const ig_item *item;
    ig_totals *totals;
    char part[96], state[96];
    int fd;
    uint64_t have, synced, size; /* bytes written; bytes known to be on the disk; of the whole file */
    uint64_t end;                /* of what this thread loads, where there are spans; else 0 */
    span *spans;                 /* of the helpers */
    size_t n_spans;
    uint64_t sync_done, save_done; /* bytes of all spans at the last sync, and when the state was written last */
    _Atomic bool stop;
    bool has_size, resumed, waited, renewed, span_done;
    bool no_ranges; /* the server was asked for one and sent the whole */
    char etag[160], boot[64];
    uint64_t began_ns, began_have, told_ns;
    ig_pull_phase phase;
} fetch;

/* ------------------------------------------------------------------------------------------------ progress */

static bool tell(fetch *f, uint64_t done, const char *note)
{
    uint64_t now = ig_now_ns();
    ig_pull_progress p = {.phase = f->phase, .what = f->item->name, .note = note, .done = done, .total = f->size};
    if (!f->a->o->progress) return true;
    if (!note && now - f->told_ns < TELL_MS * 1000000ull && f->told_ns) return true;
    f->told_ns = now;
    p.all_done = f->totals->done + done;
    p.all_total = f->totals->total;
    if (f->phase == IG_PULL_FETCHING && now > f->began_ns && done > f->began_have)
        p.bytes_per_s = (double)(done - f->began_have) * 1e9 / (double)(now - f->began_ns);
    if (f->item->has_digest) p.digest = f->item->digest;
    return f->a->o->progress(f->a->o->ctx, &p);
}

/* Bytes that are there, of all spans. */
static uint64_t all_done(const fetch *f)
{
    if (!f->end) return f->have;
    uint64_t missing = f->end - f->have;
    for (size_t i = 0; i < f->n_spans; i++) missing += f->spans[i].to - f->spans[i].have;
    return f->size - missing;
}

static bool on_tick(void *ctx)
{
    fetch *f = ctx;
    return tell(f, all_done(f), NULL);
}

static bool on_hash(void *ctx, uint64_t done, uint64_t total)
{
    (void)total;
    return tell(ctx, done, NULL);
}

static ig_status cancelled(ig_error *err)
{
    return ig_fail(err, IG_CANCELLED, 0, "the download was cancelled; it goes on from here when it is asked for again");
}

/* Waits and stays cancellable. */
static bool pause_ms(fetch *f, unsigned ms)
{
    for (unsigned i = 0; i < ms; i += TELL_MS) {
        ig_sleep_ms(ms - i < TELL_MS ? ms - i : TELL_MS);
        if (!tell(f, all_done(f), NULL)) return false;
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------ state */

/* What is missing, as [from, from what is known to be on the disk, to]. An older ingle finds no "etag" and begins anew.
 */
static json_t *spans_json(const fetch *f)
{
    json_t *list = json_array();
    (void)json_array_append_new(list,
                                json_pack("[I, I, I]", (json_int_t)f->have, (json_int_t)f->synced, (json_int_t)f->end));
    for (size_t i = 0; i < f->n_spans; i++)
        (void)json_array_append_new(list, json_pack("[I, I, I]", (json_int_t)f->spans[i].have,
                                                    (json_int_t)f->spans[i].synced, (json_int_t)f->spans[i].to));
    return json_pack("{s:{s:s, s:I, s:s, s:o}}", "spans", "etag", f->etag, "size", (json_int_t)f->size, "boot", f->boot,
                     "list", list);
}

/* digest: of a file that is complete, for those who waited for it; or NULL. Failing to write it costs a resumption. */
static bool save_state(fetch *f, const char *digest)
{
    json_t *j = f->end ? spans_json(f)
                       : json_pack("{s:s, s:I, s:I, s:s, s:s*}", "etag", f->etag, "size",
                                   (json_int_t)(f->has_size ? f->size : 0), "synced", (json_int_t)f->synced, "boot",
                                   f->boot, "digest", digest);
    char *text = j ? ig_json_dump(j) : NULL;
    bool ok = text && ig_disk_write_whole(f->s->parts_fd, f->state, text, strlen(text), 0600);
    ig_free(text);
    json_decref(j);
    f->save_done = all_done(f);
    return ok;
}

static json_t *read_state(fetch *f)
{
    json_t *j = NULL;
    ig_buf buf;
    int fd = ig_disk_open_regular(f->s->parts_fd, f->state, O_RDONLY, NULL);
    if (fd < 0) return NULL;
    ig_buf_init(&buf, STATE_BYTES_MAX);
    if (ig_fd_read_all(fd, f->state, &buf, NULL) == IG_OK)
        (void)ig_store_json(f->state, (ig_str){buf.ptr ? buf.ptr : "", buf.len}, 100, &j, NULL);
    close(fd);
    ig_buf_fini(&buf);
    return j;
}

static bool spans_new(fetch *f, size_t n)
{
    f->spans = n <= CONNECTIONS_MAX ? ig_calloc(n + 1, sizeof *f->spans) : NULL;
    f->n_spans = f->spans ? n : 0;
    for (size_t i = 0; i < f->n_spans; i++) f->spans[i].f = f;
    return f->spans != NULL;
}

static void spans_free(fetch *f)
{
    ig_free(f->spans);
    f->spans = NULL;
    f->n_spans = 0;
    f->end = 0;
}

/* One row of the list; false: it makes no sense. */
static bool load_span(const json_t *row, bool same_boot, uint64_t size, uint64_t *have, uint64_t *synced, uint64_t *to)
{
    uint64_t v[3];
    for (size_t i = 0; i < 3; i++) {
        const json_t *j = json_array_get(row, i);
        if (!json_is_integer(j) || json_integer_value(j) < 0) return false;
        v[i] = (uint64_t)json_integer_value(j);
    }
    *synced = v[1];
    *have = same_boot ? v[0] : v[1];
    *to = v[2];
    return v[1] <= v[0] && v[0] <= v[2] && v[2] <= size;
}

/* A part that several connections loaded: only what the state says counts, the file's size says nothing. */
static void load_spans(fetch *f, const json_t *j)
{
    const json_t *list = json_object_get(j, "list");
    const char *etag = ig_json_text(j, "etag"), *boot = ig_json_text(j, "boot");
    size_t n = json_array_size(list);
    uint64_t size;
    bool same_boot = boot && f->boot[0] && !strcmp(boot, f->boot);
    if (!etag || strlen(etag) >= sizeof f->etag || n == 0 || n > CONNECTIONS_MAX || !ig_json_size(j, "size", &size) ||
        (f->has_size && size != f->size) || (!f->item->has_digest && (!etag[0] || etag[0] == 'W')) ||
        !spans_new(f, n - 1))
        return;
    bool ok = load_span(json_array_get(list, 0), same_boot, size, &f->have, &f->synced, &f->end) && f->end;
    for (size_t i = 0; ok && i < f->n_spans; i++) {
        uint64_t have = 0;
        span *s = &f->spans[i];
        ok = load_span(json_array_get(list, i + 1), same_boot, size, &have, &s->synced, &s->to);
        s->have = have;
    }
    if (!ok) {
        spans_free(f);
        f->have = f->synced = 0;
        return;
    }
    (void)snprintf(f->etag, sizeof f->etag, "%s", etag);
    f->has_size = true;
    f->size = size;
    f->resumed = all_done(f) > 0;
}

/* What was written may be trusted up to the end while the machine runs, and up to the last sync after a restart. */
static void load_state(fetch *f)
{
    struct stat sb;
    json_t *j = read_state(f);
    spans_free(f);
    if (json_object_get(j, "spans")) {
        ig_boot_id(f->boot);
        f->have = f->synced = 0;
        f->etag[0] = 0;
        f->resumed = false;
        load_spans(f, json_object_get(j, "spans"));
        json_decref(j);
        return;
    }
    const char *etag = ig_json_text(j, "etag"), *boot = ig_json_text(j, "boot");
    uint64_t synced = 0, size = 0;
    ig_boot_id(f->boot);
    f->have = f->synced = 0;
    if (j && etag && boot && strlen(etag) < sizeof f->etag && ig_json_size(j, "synced", &synced) &&
        ig_json_size(j, "size", &size) && fstat(f->fd, &sb) == 0) {
        uint64_t there = (uint64_t)sb.st_size;
        bool same_boot = f->boot[0] && !strcmp(boot, f->boot);
        f->have = same_boot ? there : synced < there ? synced : there;
        f->synced = synced < f->have ? synced : f->have;
        (void)snprintf(f->etag, sizeof f->etag, "%s", etag);
        if (f->has_size && (f->have > f->size || (size && size != f->size))) f->have = f->synced = 0;
        if (!f->has_size && (!f->etag[0] || f->etag[0] == 'W')) f->have = f->synced = 0;
    }
    if (f->have == 0) f->etag[0] = 0;
    f->resumed = f->have > 0;
    json_decref(j);
}

static void forget(fetch *f)
{
    (void)unlinkat(f->s->parts_fd, f->state, 0);
    (void)unlinkat(f->s->parts_fd, f->part, 0);
}

/* ------------------------------------------------------------------------------------------------ the part file */

/* The part as its path shows it, locked by this fetch alone; *busy: another has it. */
static ig_status try_part(fetch *f, bool *busy, ig_error *err)
{
    struct stat own, shown;
    *busy = true;
    f->fd = ig_disk_open(f->s->parts_fd, f->part, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (f->fd < 0) return ig_disk_failed(f->s, errno, "open the file", f->part, err);
    if (ig_disk_lock(f->fd, true, false)) {
        if (fstat(f->fd, &own) == 0 && S_ISREG(own.st_mode) &&
            fstatat(f->s->parts_fd, f->part, &shown, AT_SYMLINK_NOFOLLOW) == 0 && own.st_ino == shown.st_ino) {
            *busy = false;
            return IG_OK;
        }
        close(f->fd); /* it was finished while it was being opened: once more */
        f->fd = -1;
        return IG_OK;
    }
    if (fstat(f->fd, &own) == 0) f->have = (uint64_t)own.st_size;
    close(f->fd);
    f->fd = -1;
    f->waited = true;
    return IG_OK;
}

/* Another's download of the same address, finished while this one waited. */
static bool finished_meanwhile(fetch *f, ig_digest *d)
{
    json_t *j = f->waited ? read_state(f) : NULL;
    const char *digest = ig_json_text(j, "digest");
    bool ok = digest && ig_digest_parse(digest, d, NULL) == IG_OK && ig_store_blob_has(f->s, d, NULL);
    json_decref(j);
    return ok;
}

/* *there: the blob is in the store already, as *d. Else the part is open and locked. */
static ig_status open_part(fetch *f, bool *there, ig_digest *d, ig_error *err)
{
    for (;;) {
        bool busy;
        IG_TRY(try_part(f, &busy, err));
        *there = f->item->has_digest && ig_store_blob_has(f->s, &f->item->digest, NULL);
        if (*there) *d = f->item->digest;
        if (!*there && !busy && !f->item->has_digest) *there = finished_meanwhile(f, d);
        if (*there && !busy) {
            (void)unlinkat(f->s->parts_fd, f->part, 0);
            close(f->fd);
            f->fd = -1;
        }
        if (*there || !busy) return IG_OK;
        f->phase = IG_PULL_WAITING;
        if (!pause_ms(f, TELL_MS)) return cancelled(err);
    }
}

/* ------------------------------------------------------------------------------------------------ one request */

static void stop_helpers(fetch *f)
{
    f->stop = true;
    for (size_t i = 0; i < f->n_spans; i++)
        if (f->spans[i].started) {
            (void)pthread_join(f->spans[i].thread, NULL);
            f->spans[i].started = false;
        }
    f->stop = false;
}

static ig_status restart(fetch *f, ig_error *err)
{
    stop_helpers(f);
    spans_free(f);
    f->have = f->synced = f->began_have = f->sync_done = f->save_done = 0;
    f->began_ns = ig_now_ns();
    if (ftruncate(f->fd, 0) < 0) return ig_disk_failed(f->s, errno, "empty the file", f->part, err);
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ helpers */

static ig_status helper_head(void *ctx, const ig_http_reply *reply, ig_error *err)
{
    const span *s = ctx;
    if (reply->status == 206 && reply->range_from == s->have && reply->range_total == s->f->size &&
        (!reply->etag[0] || !strcmp(reply->etag, s->f->etag)))
        return IG_OK;
    return ig_fail(err, IG_BAD_INPUT, 0, "the server sends something else than the range that was asked for");
}

static ig_status helper_body(void *ctx, const void *p, size_t n, ig_error *err)
{
    span *s = ctx;
    if (n > s->to - s->have) return ig_fail(err, IG_BAD_INPUT, 0, "the server sends more than was asked for");
    if (!ig_disk_write_at(s->f->fd, p, n, s->have))
        return ig_disk_failed(s->f->s, errno, "write", s->f->item->name, err);
    s->have += n;
    return IG_OK;
}

static bool helper_tick(void *ctx) { return !((span *)ctx)->f->stop; }

static void help(span *s, ig_http *h)
{
    const fetch *f = s->f;
    ig_http_request r = {.url = f->item->url,
                         .bearer = f->plan->bearer,
                         .auth = f->plan->auth ? &s->auth : NULL,
                         .insecure = f->a->o->insecure,
                         .guarded = f->a->o->no_files,
                         .head = helper_head,
                         .body = helper_body,
                         .tick = helper_tick,
                         .ctx = s};
    unsigned wait_ms = f->a->o->first_wait_ms ? f->a->o->first_wait_ms : WAIT_MS;
    if (f->etag[0] && f->etag[0] != 'W') r.if_range = f->etag;
    for (unsigned i = 0; i < HELPER_TRIES && s->have < s->to && !f->stop; i++) {
        ig_http_reply reply;
        bool again;
        uint64_t before = s->have;
        r.from = s->have;
        r.to = s->to;
        if (ig_http_run(h, &r, &reply, &again, NULL) != IG_OK && !again) return;
        if (s->have > before) i = 0;
        if (s->have == s->to) return;
        for (unsigned ms = ig_wait_ms(wait_ms, reply.retry_after_s); ms && !f->stop; ms -= ms < TELL_MS ? ms : TELL_MS)
            ig_sleep_ms(ms < TELL_MS ? ms : TELL_MS);
        wait_ms = ig_wait_longer(wait_ms);
    }
}

static void *helper(void *ctx)
{
    span *s = ctx;
    ig_http *h;
    if (ig_http_new(&h, NULL) == IG_OK) {
        help(s, h);
        ig_http_free(h);
    }
    s->running = false;
    return NULL;
}

/* Those that cannot be started leave their span to this thread. */
static void start_helpers(fetch *f)
{
    for (size_t i = 0; i < f->n_spans; i++) {
        span *s = &f->spans[i];
        if (s->started || s->have == s->to) continue;
        if (f->plan->auth) s->auth = *f->plan->auth;
        s->running = true;
        s->started = pthread_create(&s->thread, NULL, helper, s) == 0;
        if (!s->started) s->running = false;
    }
}

/* Cuts what is missing into spans, when that is worth it and can be trusted: the server knows ranges, and all of them
 * are of one content (its tag, or the digest that is known, says so). The state is on the disk before a helper writes.
 */
static void cut(fetch *f, const ig_http_reply *reply)
{
    const ig_pull_options *o = f->a->o;
    uint64_t piece = o->piece_bytes ? o->piece_bytes : PIECE_BYTES, left = f->has_size ? f->size - f->have : 0;
    uint64_t n = o->connections ? o->connections : CONNECTIONS, from = f->have;
    bool one_content = f->item->has_digest || (f->etag[0] && f->etag[0] != 'W');
    if (n > CONNECTIONS_MAX) n = CONNECTIONS_MAX;
    if (n > left / piece) n = left / piece;
    if (f->end || f->no_ranges || n < 2 || o->bytes_per_s_max || !one_content ||
        (!reply->ranges && reply->status != 206) || !spans_new(f, n - 1))
        return;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t to = i + 1 == n ? f->size : from + left / n * (i + 1);
        if (i == 0) {
            f->end = to;
            continue;
        }
        f->spans[i - 1].synced = from + left / n * i;
        f->spans[i - 1].have = f->spans[i - 1].synced;
        f->spans[i - 1].to = to;
    }
    f->sync_done = all_done(f);
    if (!save_state(f, NULL)) spans_free(f);
}

/* ------------------------------------------------------------------------------------------------ this thread */

/* A server may send another range than asked for, or the whole. */
static ig_status judge_range(fetch *f, const ig_http_reply *reply, ig_error *err)
{
    if (reply->status != 206) {
        f->no_ranges |= f->have || f->end;
        return restart(f, err);
    }
    if ((f->have == 0 && !f->end) || reply->range_from != f->have)
        return ig_fail(err, IG_BAD_INPUT, 0, "the server sends another range of %.200s than asked for", f->item->name);
    return IG_OK;
}

static ig_status on_head(void *ctx, const ig_http_reply *reply, ig_error *err)
{
    fetch *f = ctx;
    uint64_t total = 0;
    bool partial = reply->status == 206;
    IG_TRY(judge_range(f, reply, err));
    bool knows = partial || reply->has_length;
    total = partial ? reply->range_total : reply->length;
    if (knows && f->item->has_size && total != f->item->size)
        return ig_fail(err, IG_BAD_INPUT, 0, "the server has %llu bytes of %.200s, expected %llu",
                       (unsigned long long)total, f->item->name, (unsigned long long)f->item->size);
    if (knows && partial && f->has_size && total != f->size)
        return ig_fail(err, IG_BAD_INPUT, 0, "the server has %llu bytes of %.200s, expected %llu",
                       (unsigned long long)total, f->item->name, (unsigned long long)f->size);
    if (knows && total > INT64_MAX) return ig_fail(err, IG_TOO_LARGE, 0, "%.200s is too large", f->item->name);
    if (knows) f->has_size = true, f->size = total;
    (void)snprintf(f->etag, sizeof f->etag, "%s", reply->etag);
    if (f->has_size) IG_TRY(ig_part_room(f->s, f->fd, f->size, err));
    cut(f, reply);
    (void)save_state(f, NULL);
    start_helpers(f);
    return IG_OK;
}

static ig_status sync_part(fetch *f, ig_error *err)
{
    uint64_t have = f->have, at[CONNECTIONS_MAX];
    for (size_t i = 0; i < f->n_spans; i++)
        at[i] = f->spans[i].have; /* before the sync: that much is on the disk then */
    f->sync_done = all_done(f);
    if (!ig_disk_sync(f->fd)) return ig_disk_failed(f->s, errno, "sync the file", f->part, err);
    f->synced = have;
    for (size_t i = 0; i < f->n_spans; i++) f->spans[i].synced = at[i];
    (void)save_state(f, NULL);
    if (!f->has_size && ig_disk_free(f->fd) < f->s->reserve_bytes)
        return ig_fail_errno(err, IG_IO, ENOSPC, "the rest of %.200s does not fit on the disk of %.200s", f->item->name,
                             f->s->root);
    return IG_OK;
}

/* Now and then, while several connections load. */
static ig_status keep_spans(fetch *f, ig_error *err)
{
    uint64_t done = all_done(f);
    if (done - f->sync_done >= SYNC_BYTES) return sync_part(f, err);
    if (done - f->save_done >= SAVE_BYTES) (void)save_state(f, NULL);
    return IG_OK;
}

static ig_status on_body(void *ctx, const void *p, size_t n, ig_error *err)
{
    fetch *f = ctx;
    bool ends = f->end && n >= f->end - f->have;
    if (ends) n = (size_t)(f->end - f->have); /* the rest of this reply is a helper's */
    if (f->has_size && n > f->size - f->have)
        return ig_fail(err, IG_BAD_INPUT, 0, "the server sends more than the %llu bytes of %.200s",
                       (unsigned long long)f->size, f->item->name);
    if (!ig_disk_write_at(f->fd, p, n, f->have)) return ig_disk_failed(f->s, errno, "write", f->item->name, err);
    f->have += n;
    if (ends && f->end < f->size) {
        f->span_done = true;
        return ig_fail(err, IG_CANCELLED, 0, "this part is complete");
    }
    if (f->end) return keep_spans(f, err);
    if (f->have / BEGIN_SYNC_BYTES != (f->have - n) / BEGIN_SYNC_BYTES)
        ig_disk_begin_sync(f->fd, f->synced, f->have - f->synced);
    return f->have - f->synced >= SYNC_BYTES ? sync_part(f, err) : IG_OK;
}

static ig_status short_reply(fetch *f, bool *again, ig_error *err)
{
    uint64_t to = f->end ? f->end : f->size;
    if (!f->has_size || f->have >= to) return IG_OK;
    *again = true;
    return ig_fail(err, IG_IO, 0, "the server sent %llu of %llu bytes of %.200s", (unsigned long long)f->have,
                   (unsigned long long)to, f->item->name);
}

static ig_status request(fetch *f, ig_http_reply *reply, bool *again, ig_error *err)
{
    ig_http_request r = {.url = f->item->url,
                         .bearer = f->plan->bearer,
                         .auth = f->plan->auth,
                         .from = f->have,
                         .to = f->end,
                         .bytes_per_s_max = f->a->o->bytes_per_s_max,
                         .insecure = f->a->o->insecure,
                         .guarded = f->a->o->no_files,
                         .head = on_head,
                         .body = on_body,
                         .tick = on_tick,
                         .ctx = f};
    *again = false;
    *reply = (ig_http_reply){0};
    f->span_done = false;
    if (f->has_size && f->have == (f->end ? f->end : f->size) && f->size) return IG_OK;
    if (f->etag[0] && f->etag[0] != 'W') r.if_range = f->etag;
    f->phase = IG_PULL_FETCHING;
    f->began_ns = ig_now_ns();
    f->began_have = all_done(f);
    ig_status st = ig_http_run(f->a->http, &r, reply, again, err);
    if (f->span_done) return IG_OK;
    if (reply->status == 416 && (f->have || f->end)) { /* what is here does not belong to what is there */
        *again = true;
        IG_TRY(restart(f, err));
        return ig_fail(err, IG_IO, 0, "%.200s was changed at its source", f->item->name);
    }
    if (reply->status == 401 && f->plan->auth && !f->renewed) { /* once, until something comes again */
        f->renewed = true;
        IG_TRY(ig_auth_renew(f->a, f->plan->auth, reply->challenge, err));
        return request(f, reply, again, err);
    }
    return st == IG_OK ? short_reply(f, again, err) : st;
}

/* Tries again after failures of the network, longer each time; a try that brought something starts the count anew. */
static ig_status download_span(fetch *f, ig_error *err)
{
    unsigned tries = f->a->o->tries ? f->a->o->tries : TRIES,
             first = f->a->o->first_wait_ms ? f->a->o->first_wait_ms : WAIT_MS;
    unsigned wait_ms = first;
    for (unsigned i = 1;; i++) {
        ig_http_reply reply;
        bool again;
        char note[600];
        uint64_t before = all_done(f);
        ig_status st = request(f, &reply, &again, err);
        if (st == IG_OK || !again) return st;
        if (all_done(f) > before) i = 1, wait_ms = first, f->renewed = false;
        if (i >= tries) return st;
        unsigned ms = ig_wait_ms(wait_ms, reply.retry_after_s);
        (void)snprintf(note, sizeof note, "try %u of %u in %u ms: %.400s", i + 1, tries, ms, err->text);
        if (!tell(f, all_done(f), note) || !pause_ms(f, ms)) return cancelled(err);
        f->resumed |= all_done(f) > 0;
        wait_ms = ig_wait_longer(wait_ms);
    }
}

/* This thread's span is complete: it takes one that nobody loads any more. False: none is left. */
static ig_status next_span(fetch *f, bool *more, ig_error *err)
{
    for (;;) {
        bool running = false;
        for (size_t i = 0; i < f->n_spans; i++) {
            span *s = &f->spans[i];
            running |= s->running;
            if (s->running || s->have == s->to) continue;
            if (s->started) (void)pthread_join(s->thread, NULL);
            s->started = false;
            uint64_t have = s->have, synced = s->synced, to = s->to;
            s->have = f->have;
            s->synced = f->synced;
            s->to = f->end;
            f->have = have;
            f->synced = synced;
            f->end = to;
            *more = true;
            return IG_OK;
        }
        *more = false;
        if (!running) return IG_OK;
        IG_TRY(keep_spans(f, err));
        if (!pause_ms(f, TELL_MS)) return cancelled(err);
    }
}

static ig_status download(fetch *f, ig_error *err)
{
    bool more = true;
    IG_TRY(ig_asker_http(f->a, err));
    while (more) {
        more = false;
        IG_TRY(download_span(f, err));
        if (f->end) IG_TRY(next_span(f, &more, err));
    }
    if (!f->end) return IG_OK;
    stop_helpers(f);
    spans_free(f);
    f->have = f->size;
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ the whole file */

/* BAD_INPUT: the content is another than it should be. */
static ig_status verify(fetch *f, ig_digest *d, ig_error *err)
{
    uint64_t size;
    char sha1[41];
    f->phase = IG_PULL_VERIFYING;
    f->size = f->have;
    IG_TRY(ig_hash_fd(f->fd, f->item->name, on_hash, f, d, &size, err));
    if (size != f->have) return ig_fail(err, IG_BAD_INPUT, 0, "%.200s changed while it was verified", f->item->name);
    if (f->item->has_digest && strcmp(d->hex, f->item->digest.hex))
        return ig_fail(err, IG_BAD_INPUT, 0, "what was loaded of %.150s has the digest %.12s, expected %.12s",
                       f->item->name, d->hex, f->item->digest.hex);
    if (f->item->sha1[0] && (!ig_sha1_git(f->fd, size, sha1) || strcmp(sha1, f->item->sha1)))
        return ig_fail(err, IG_BAD_INPUT, 0, "what was loaded of %.150s is another file than the listing names",
                       f->item->name);
    return IG_OK;
}

/* What was resumed and turns out wrong is loaded once more from the start. */
static ig_status load_whole(fetch *f, ig_digest *d, ig_error *err)
{
    for (;;) {
        IG_TRY(download(f, err));
        if (f->has_size && f->have > f->size) return ig_fail(err, IG_BAD_INPUT, 0, "%.200s is too long", f->item->name);
        ig_status st = verify(f, d, err);
        if (st != IG_BAD_INPUT || !f->resumed) return st;
        if (!tell(f, 0, "what was loaded before does not fit, once more from the start")) return cancelled(err);
        f->resumed = false;
        f->has_size = f->item->has_size;
        f->size = f->item->size;
        IG_TRY(restart(f, err));
    }
}

static ig_status publish(fetch *f, const ig_digest *d, ig_taken *out, ig_error *err)
{
    /* Before the part loses its name: who waits for it finds a new one at once, and must then see that it is done. */
    if (!f->item->has_digest) (void)save_state(f, d->hex);
    IG_TRY(ig_blob_publish(f->s, f->fd, f->part, d, &out->lease, &out->size, err));
    if (f->item->has_digest) (void)unlinkat(f->s->parts_fd, f->state, 0);
    out->digest = *d;
    out->how = IG_TOOK_COPY;
    return IG_OK;
}

static ig_status fetch_url(fetch *f, ig_taken *out, ig_error *err)
{
    ig_digest d;
    bool there;
    IG_TRY(open_part(f, &there, &d, err));
    if (there) {
        out->digest = d;
        out->how = IG_TOOK_PRESENT;
        return ig_store_blob_open(f->s, &d, &out->lease, &out->size, err);
    }
    load_state(f);
    ig_status st = load_whole(f, &d, err);
    stop_helpers(f);
    if (st == IG_OK) st = publish(f, &d, out, err);
    /* Content that is wrong is of no use; a full disk stays usable. The rest waits for the next try. */
    if (st == IG_BAD_INPUT || st == IG_TOO_LARGE || st == IG_NOT_FOUND || st == IG_DENIED ||
        (st == IG_IO && (err->sys_errno == ENOSPC || err->sys_errno == EDQUOT)))
        forget(f);
    else if (st != IG_OK && (st == IG_CANCELLED || f->end))
        (void)sync_part(f, NULL);
    spans_free(f);
    close(f->fd);
    f->fd = -1;
    return st;
}

static ig_status fetch_local(fetch *f, ig_taken *out, ig_error *err)
{
    char *path = realpath(f->item->local, NULL);
    f->phase = IG_PULL_VERIFYING;
    if (!path)
        return ig_fail_errno(err,
                             errno == ENOENT   ? IG_NOT_FOUND
                             : errno == EACCES ? IG_DENIED
                                               : IG_IO,
                             errno, "cannot open %.300s", f->item->local);
    struct stat sb;
    int fd = ig_disk_open_regular(AT_FDCWD, path, O_RDONLY, &sb);
    ig_status st = IG_OK;
    if (fd < 0) {
        st = ig_fail_errno(err, errno == EACCES ? IG_DENIED : IG_BAD_INPUT, errno, "cannot open %.300s", path);
    } else {
        if (!f->has_size) f->size = (uint64_t)sb.st_size;
        st = ig_take_file(f->s, fd, path, f->item->take, f->item->has_digest ? &f->item->digest : NULL, on_hash, f, out,
                          err);
        close(fd);
    }
    free(path);
    return st;
}

ig_status ig_fetch(ig_asker *a, const ig_plan *plan, const ig_item *item, ig_totals *totals, ig_taken *out,
                   ig_error *err)
{
    fetch f = {.a = a, .s = a->store, .plan = plan, .item = item, .totals = totals, .fd = -1};
    ig_digest key = item->digest;
    ig_error own;
    if (!err) err = &own;
    *err = (ig_error){0};
    *out = (ig_taken){.lease = -1};
    f.has_size = item->has_size;
    f.size = item->size;
    if (!tell(&f, 0, NULL)) return cancelled(err);
    if (item->has_digest && ig_store_blob_has(a->store, &item->digest, NULL)) {
        out->digest = item->digest;
        out->how = IG_TOOK_PRESENT;
        return ig_store_blob_open(a->store, &item->digest, &out->lease, &out->size, err);
    }
    if (item->local) {
        ig_status st = fetch_local(&f, out, err);
        if (st == IG_OK || st == IG_CANCELLED || !item->url) return st;
        if (!tell(&f, 0, err->text)) return cancelled(err);
    }
    if (!item->has_digest && !ig_sha_text(item->url, strlen(item->url), &key))
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a download");
    (void)snprintf(f.part, sizeof f.part, "%s%s.part", item->has_digest ? "" : "url-", key.hex);
    (void)snprintf(f.state, sizeof f.state, "%s%s.json", item->has_digest ? "" : "url-", key.hex);
    f.phase = IG_PULL_FETCHING;
    f.told_ns = 0;
    return fetch_url(&f, out, err);
}

/* ------------------------------------------------------------------------------------------------ texts */

static ig_status read_text(ig_asker *a, const ig_plan *plan, const ig_item *item, ig_buf *buf, ig_error *err)
{
    ig_http_reply reply;
    if (!item->local) {
        ig_http_request r = {.url = item->url, .bearer = plan->bearer, .auth = plan->auth};
        return ig_http_document(a, &r, IG_TEXT_BYTES_MAX, buf, &reply, err);
    }
    ig_buf_init(buf, IG_TEXT_BYTES_MAX);
    int fd = ig_disk_open_regular(AT_FDCWD, item->local, O_RDONLY, NULL);
    if (fd < 0) return ig_fail_errno(err, IG_NOT_FOUND, errno, "cannot open %.300s", item->local);
    ig_status st = ig_fd_read_all(fd, item->local, buf, err);
    close(fd);
    if (st != IG_OK) ig_buf_fini(buf);
    return st;
}

ig_status ig_fetch_text(ig_asker *a, ig_plan *plan, const ig_item *item, const char **text, ig_error *err)
{
    ig_buf buf;
    ig_digest d;
    *text = NULL;
    IG_TRY(read_text(a, plan, item, &buf, err));
    ig_status st = IG_OK;
    if (item->has_digest && (!ig_sha_text(buf.ptr ? buf.ptr : "", buf.len, &d) || strcmp(d.hex, item->digest.hex)))
        st = ig_fail(err, IG_BAD_INPUT, 0, "the model's %.60s is damaged: its digest is not the expected %.12s",
                     item->name, item->digest.hex);
    else if (memchr(buf.ptr ? buf.ptr : "", 0, buf.len))
        st = ig_fail(err, IG_BAD_INPUT, 0, "the model's %.60s is no text", item->name);
    else if (!(*text = ig_arena_copy(&plan->arena, buf.ptr ? buf.ptr : "", buf.len)))
        st = ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the model's %.60s", item->name);
    ig_buf_fini(&buf);
    return st;
}

/* Several texts of one kind stand one below the other. */
static ig_status add_text(ig_asker *a, ig_plan *plan, const ig_item *item, ig_error *err)
{
    const char *text, *old = *item->text;
    IG_TRY(ig_fetch_text(a, plan, item, &text, err));
    *item->text = text;
    if (!old || !*old) return IG_OK;
    size_t n = strlen(old), m = strlen(text);
    char *both = ig_arena_alloc(&plan->arena, n + m + 2, 1);
    if (!both) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the model's %.60s", item->name);
    memcpy(both, old, n);
    both[n] = '\n';
    memcpy(both + n + 1, text, m);
    *item->text = both;
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ the plan */

static void add_count(ig_import_result *counts, const ig_taken *t)
{
    uint64_t *const at[] = {[IG_TOOK_PRESENT] = &counts->present_bytes,
                            [IG_TOOK_CLONE] = &counts->cloned_bytes,
                            [IG_TOOK_LINK] = &counts->linked_bytes,
                            [IG_TOOK_REFERENCE] = &counts->referred_bytes,
                            [IG_TOOK_COPY] = &counts->copied_bytes};
    *at[t->how] += t->size;
}

/* files, leases, new [plan->n]; *n of them filled. */
static ig_status fetch_all(ig_asker *a, ig_plan *plan, ig_import_result *counts, ig_store_file *files, int *leases,
                           bool *new, size_t *n, ig_error *err)
{
    ig_totals totals = {0};
    bool known = true;
    for (size_t i = 0; i < plan->n; i++) {
        known &= plan->items[i].has_size && ig_add_u64(totals.total, plan->items[i].size, &totals.total);
        if (!plan->items[i].local) IG_TRY(ig_asker_http(a, err));
    }
    if (!known) totals.total = 0;
    for (size_t i = 0; i < plan->n; i++) {
        const ig_item *item = &plan->items[i];
        ig_taken taken;
        if (item->text) {
            IG_TRY(add_text(a, plan, item, err));
            totals.done += item->size;
            continue;
        }
        IG_TRY(ig_fetch(a, plan, item, &totals, &taken, err));
        leases[*n] = taken.lease;
        new[*n] = taken.how != IG_TOOK_PRESENT;
        files[(*n)++] = (ig_store_file){item->role, item->name, taken.digest, taken.size};
        totals.done += taken.size;
        if (counts) add_count(counts, &taken);
    }
    return IG_OK;
}

/* What this pull brought for a model that turned out to be of no use: it would be loaded for nothing again, and the
 * same check would refuse it again. Files that were there before stay. */
static void drop_new(ig_asker *a, const ig_store_file *files, const bool *new, size_t n_all)
{
    int lock;
    uint64_t freed;
    if (ig_store_lock(a->store, true, &lock, NULL) != IG_OK) return;
    for (size_t i = 0; i < n_all; i++)
        if (new[i]) (void)ig_collect_files(a->store, &files[i], 1, &freed, NULL);
    close(lock);
}

/* The model itself is at fault, not the network, the disk or the person who cancelled. */
static bool is_refusal(ig_status st) { return st == IG_BAD_INPUT || st == IG_UNSUPPORTED || st == IG_TOO_LARGE; }

static void tell_plan(const ig_asker *a, const ig_plan *plan)
{
    for (size_t i = 0; i < plan->n; i++) {
        const ig_item *item = &plan->items[i];
        ig_would_pull w = {plan->m.name.text, item->text ? "(text)" : item->name, item->size, item->has_size, false};
        w.here = a->store && item->has_digest && !item->text && ig_store_blob_has(a->store, &item->digest, NULL);
        a->o->would(a->o->ctx, &w);
    }
}

ig_status ig_plan_run(ig_asker *a, ig_plan *plan, ig_import_result *counts, ig_manifest **out, ig_error *err)
{
    if (out) *out = NULL;
    if (a->o->would) {
        tell_plan(a, plan);
        return IG_OK;
    }
    size_t n = 0;
    ig_store_file *files = ig_arena_alloc(&plan->arena, plan->n + 1, sizeof *files);
    int *leases = ig_arena_alloc(&plan->arena, plan->n + 1, sizeof *leases);
    bool *new = ig_arena_alloc(&plan->arena, plan->n + 1, sizeof *new);
    if (!files || !leases || !new) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the files of the model");
    ig_status st = fetch_all(a, plan, counts, files, leases, new, &n, err);
    plan->m.files = files;
    plan->m.n_files = n;
    bool whole = st == IG_OK;
    if (st == IG_OK && !ig_asker_note(a, IG_PULL_CHECKING, plan->m.name.text, NULL)) st = cancelled(err);
    if (st == IG_OK) st = ig_store_add(a->store, &plan->m, &a->o->check, out, err);
    for (size_t i = 0; i < n; i++) close(leases[i]);
    bool local = plan->n && !plan->items[0].url;
    if (st != IG_OK && (local || (whole && is_refusal(st)))) drop_new(a, files, new, n);
    return st;
}

/* Where a model came from, without what may be secret in an address. */
static ig_status set_source(ig_plan *plan, const char *source, ig_error *err)
{
    if (plan->m.source) return IG_OK;
    plan->m.source = ig_arena_copy(&plan->arena, source, strcspn(source, "?#"));
    return plan->m.source ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the source");
}

ig_status ig_store_pull(ig_store *s, const char *source, const ig_pull_options *options, ig_manifest **out,
                        ig_error *err)
{
    static const ig_pull_options none = {0};
    ig_asker a = {s, options ? options : &none, NULL};
    ig_plan plan = {.arena = {.max_bytes = 256 << 20}};
    ig_error own;
    ig_name name;
    if (!err) err = &own;
    if (out) *out = NULL;
    if (!a.o->would) IG_TRY(ig_store_writable(s, err));
    if (a.o->name) IG_TRY(ig_name_parse(a.o->name, &name, err));
    const ig_source *from = ig_source_find(source);
    if (!from)
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "\"%.150s\" is no source: expected a path, https://..., hf://ORG/REPO, oci://HOST/REPOSITORY, "
                       "s3://BUCKET/KEY, or a NAME:TAG of the Ollama registry",
                       source);
    ig_status st = from->plan(&a, source, &plan, err);
    if (st == IG_OK && a.o->name) plan.m.name = name;
    if (st == IG_OK) st = set_source(&plan, source, err);
    if (st == IG_OK) st = ig_plan_run(&a, &plan, NULL, out, err);
    ig_http_free(a.http);
    ig_arena_fini(&plan.arena);
    return st;
}
