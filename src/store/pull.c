/* Carrying out a plan: every file is fetched into parts/, resumed where an earlier try stopped, verified as a whole,
 * and published; then the model is checked and becomes visible. The part file is locked by who fetches it; whoever else
 * wants the same waits for it, so that two pulls of one blob are one download (M10, M11). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/os.h"
#include "store/source/source.h"

enum { SYNC_BYTES = 64 << 20, TELL_MS = 100, TRIES = 6, WAIT_MS = 500, WAIT_MAX_MS = 30000, STATE_BYTES_MAX = 4096 };

ig_status ig_asker_http(ig_asker *a, ig_error *err) { return a->http ? IG_OK : ig_http_new(&a->http, err); }

bool ig_asker_note(ig_asker *a, ig_pull_phase phase, const char *what, const char *note)
{
    ig_pull_progress p = {.phase = phase, .what = what, .note = note};
    return !a->o->progress || a->o->progress(a->o->ctx, &p);
}

typedef struct fetch {
    ig_asker *a;
    ig_store *s;
    const ig_plan *plan;
    const ig_item *item;
    ig_totals *totals;
    char part[96], state[96];
    int fd;
    uint64_t have, synced, size; /* bytes written; bytes known to be on the disk; of the whole file */
    bool has_size, resumed, waited;
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

static bool on_tick(void *ctx)
{
    fetch *f = ctx;
    return tell(f, f->have, NULL);
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
        if (!tell(f, f->have, NULL)) return false;
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------ state */

/* digest: of a file that is complete, for those who waited for it; or NULL. Failing to write it costs a resumption. */
static void save_state(fetch *f, const char *digest)
{
    json_t *j =
        json_pack("{s:s, s:I, s:I, s:s, s:s*}", "etag", f->etag, "size", (json_int_t)(f->has_size ? f->size : 0),
                  "synced", (json_int_t)f->synced, "boot", f->boot, "digest", digest);
    char *text = j ? ig_json_dump(j) : NULL;
    if (text) (void)ig_disk_write_whole(f->s->parts_fd, f->state, text, strlen(text), 0600);
    ig_free(text);
    json_decref(j);
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

/* What was written may be trusted up to the end while the machine runs, and up to the last sync after a restart. */
static void load_state(fetch *f)
{
    struct stat sb;
    json_t *j = read_state(f);
    const char *etag = ig_json_text(j, "etag"), *boot = ig_json_text(j, "boot");
    uint64_t synced = 0, size = 0;
    ig_boot_id(f->boot);
    f->have = f->synced = 0;
    if (j && etag && boot && strlen(etag) < sizeof f->etag && ig_json_size(j, "synced", &synced) &&
        ig_json_size(j, "size", &size) && !json_object_get(j, "digest") && fstat(f->fd, &sb) == 0) {
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
    bool ok = digest && ig_digest_parse(digest, d, NULL) == IG_OK && ig_blob_there(f->s, d, NULL);
    json_decref(j);
    return ok;
}

/* *there: the blob is in the store already, as *d. Else the part is open and locked. */
static ig_status open_part(fetch *f, bool *there, ig_digest *d, ig_error *err)
{
    for (;;) {
        bool busy;
        IG_TRY(try_part(f, &busy, err));
        *there = f->item->has_digest && ig_blob_there(f->s, &f->item->digest, NULL);
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

static ig_status restart(fetch *f, ig_error *err)
{
    f->have = f->synced = f->began_have = 0;
    f->began_ns = ig_now_ns();
    if (ftruncate(f->fd, 0) < 0) return ig_disk_failed(f->s, errno, "empty the file", f->part, err);
    return IG_OK;
}

static ig_status on_head(void *ctx, const ig_http_reply *reply, ig_error *err)
{
    fetch *f = ctx;
    uint64_t total = 0;
    bool partial = reply->status == 206;
    if (partial && (f->have == 0 || reply->range_from != f->have))
        return ig_fail(err, IG_BAD_INPUT, 0, "the server sends another range of %.200s than asked for", f->item->name);
    if (!partial) IG_TRY(restart(f, err));
    bool knows = partial || reply->has_length;
    total = partial ? reply->range_total : reply->length;
    if (knows && f->has_size && total != f->size)
        return ig_fail(err, IG_BAD_INPUT, 0, "the server has %llu bytes of %.200s, expected %llu",
                       (unsigned long long)total, f->item->name, (unsigned long long)f->size);
    if (knows && total > INT64_MAX) return ig_fail(err, IG_TOO_LARGE, 0, "%.200s is too large", f->item->name);
    if (knows) f->has_size = true, f->size = total;
    (void)snprintf(f->etag, sizeof f->etag, "%s", reply->etag);
    if (f->has_size) IG_TRY(ig_part_room(f->s, f->fd, f->size, err));
    save_state(f, NULL);
    return IG_OK;
}

static ig_status sync_part(fetch *f, ig_error *err)
{
    if (!ig_disk_sync(f->fd)) return ig_disk_failed(f->s, errno, "sync the file", f->part, err);
    f->synced = f->have;
    save_state(f, NULL);
    if (!f->has_size && ig_disk_free(f->fd) < f->s->reserve_bytes)
        return ig_fail_errno(err, IG_IO, ENOSPC, "the rest of %.200s does not fit on the disk of %.200s", f->item->name,
                             f->s->root);
    return IG_OK;
}

static ig_status on_body(void *ctx, const void *p, size_t n, ig_error *err)
{
    fetch *f = ctx;
    if (f->has_size && n > f->size - f->have)
        return ig_fail(err, IG_BAD_INPUT, 0, "the server sends more than the %llu bytes of %.200s",
                       (unsigned long long)f->size, f->item->name);
    if (!ig_disk_write_at(f->fd, p, n, f->have)) return ig_disk_failed(f->s, errno, "write", f->item->name, err);
    f->have += n;
    return f->have - f->synced >= SYNC_BYTES ? sync_part(f, err) : IG_OK;
}

static ig_status request(fetch *f, ig_http_reply *reply, bool *again, ig_error *err)
{
    ig_http_request r = {.url = f->item->url,
                         .bearer = f->plan->bearer,
                         .from = f->have,
                         .bytes_per_s_max = f->a->o->bytes_per_s_max,
                         .insecure = f->a->o->insecure,
                         .head = on_head,
                         .body = on_body,
                         .tick = on_tick,
                         .ctx = f};
    *again = false;
    *reply = (ig_http_reply){0};
    if (f->has_size && f->have == f->size && f->size) return IG_OK;
    if (f->etag[0] && f->etag[0] != 'W') r.if_range = f->etag;
    f->phase = IG_PULL_FETCHING;
    f->began_ns = ig_now_ns();
    f->began_have = f->have;
    ig_status st = ig_http_run(f->a->http, &r, reply, again, err);
    if (reply->status == 416 && f->have) { /* what is here does not belong to what is there */
        *again = true;
        IG_TRY(restart(f, err));
        return ig_fail(err, IG_IO, 0, "%.200s was changed at its source", f->item->name);
    }
    if (st == IG_OK && f->has_size && f->have < f->size) {
        *again = true;
        return ig_fail(err, IG_IO, 0, "the server sent %llu of %llu bytes of %.200s", (unsigned long long)f->have,
                       (unsigned long long)f->size, f->item->name);
    }
    return st;
}

/* Tries again after failures of the network, longer each time; a try that brought something starts the count anew. */
static ig_status download(fetch *f, ig_error *err)
{
    unsigned tries = f->a->o->tries ? f->a->o->tries : TRIES,
             first = f->a->o->first_wait_ms ? f->a->o->first_wait_ms : WAIT_MS;
    unsigned wait_ms = first;
    IG_TRY(ig_asker_http(f->a, err));
    for (unsigned i = 1;; i++) {
        ig_http_reply reply;
        bool again;
        char note[600];
        uint16_t jitter;
        uint64_t before = f->have;
        ig_status st = request(f, &reply, &again, err);
        if (st == IG_OK || !again) return st;
        if (f->have > before) i = 1, wait_ms = first;
        if (i >= tries) return st;
        ig_random(&jitter, sizeof jitter);
        unsigned ms = wait_ms / 2 + (unsigned)((uint64_t)wait_ms * jitter / 65536);
        if (reply.retry_after_s && reply.retry_after_s * 1000ull > ms)
            ms = reply.retry_after_s * 1000ull > WAIT_MAX_MS ? WAIT_MAX_MS : reply.retry_after_s * 1000;
        (void)snprintf(note, sizeof note, "try %u of %u in %u ms: %.400s", i + 1, tries, ms, err->text);
        if (!tell(f, f->have, note) || !pause_ms(f, ms)) return cancelled(err);
        f->resumed |= f->have > 0;
        wait_ms = wait_ms * 2 > WAIT_MAX_MS ? WAIT_MAX_MS : wait_ms * 2;
    }
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
    IG_TRY(ig_blob_publish(f->s, f->fd, f->part, d, err));
    if (f->item->has_digest)
        (void)unlinkat(f->s->parts_fd, f->state, 0);
    else
        save_state(f, d->hex);
    (void)ig_disk_lock(f->fd, false, false); /* others may read it from now on */
    out->digest = *d;
    out->how = IG_TOOK_COPY;
    return ig_store_blob_open(f->s, d, &out->lease, &out->size, err);
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
    if (st == IG_OK) st = publish(f, &d, out, err);
    /* Content that is wrong is of no use; a full disk stays usable. The rest waits for the next try. */
    if (st == IG_BAD_INPUT || st == IG_TOO_LARGE || st == IG_NOT_FOUND || st == IG_DENIED ||
        (st == IG_IO && (err->sys_errno == ENOSPC || err->sys_errno == EDQUOT)))
        forget(f);
    else if (st == IG_CANCELLED && ig_disk_sync(f->fd))
        f->synced = f->have, save_state(f, NULL);
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
    if (item->has_digest && ig_blob_there(a->store, &item->digest, NULL)) {
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
    if (!item->local) return ig_http_get(a, item->url, NULL, plan->bearer, IG_TEXT_BYTES_MAX, buf, &reply, err);
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

/* files, leases [plan->n]; *n of them filled. */
static ig_status fetch_all(ig_asker *a, ig_plan *plan, ig_import_result *counts, ig_store_file *files, int *leases,
                           size_t *n, ig_error *err)
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
        files[(*n)++] = (ig_store_file){item->role, item->name, taken.digest, taken.size};
        totals.done += taken.size;
        if (counts) add_count(counts, &taken);
    }
    return IG_OK;
}

/* What was copied from this machine for a model that is refused. What was loaded over the network stays until garbage
 * collection, in case it is asked for again. */
static void drop_copies(ig_asker *a, const ig_plan *plan)
{
    int lock;
    uint64_t freed;
    if (plan->n == 0 || plan->items[0].url || ig_store_lock(a->store, true, &lock, NULL) != IG_OK) return;
    (void)ig_collect_files(a->store, plan->m.files, plan->m.n_files, &freed, NULL);
    close(lock);
}

ig_status ig_plan_run(ig_asker *a, ig_plan *plan, ig_import_result *counts, ig_manifest **out, ig_error *err)
{
    size_t n = 0;
    ig_store_file *files = ig_arena_alloc(&plan->arena, plan->n + 1, sizeof *files);
    int *leases = ig_arena_alloc(&plan->arena, plan->n + 1, sizeof *leases);
    if (out) *out = NULL;
    if (!files || !leases) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the files of the model");
    ig_status st = fetch_all(a, plan, counts, files, leases, &n, err);
    plan->m.files = files;
    plan->m.n_files = n;
    if (st == IG_OK && !ig_asker_note(a, IG_PULL_CHECKING, plan->m.name.text, NULL)) st = cancelled(err);
    if (st == IG_OK) st = ig_store_add(a->store, &plan->m, &a->o->check, out, err);
    for (size_t i = 0; i < n; i++) close(leases[i]);
    if (st != IG_OK) drop_copies(a, plan);
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
    IG_TRY(ig_store_writable(s, err));
    if (a.o->name) IG_TRY(ig_name_parse(a.o->name, &name, err));
    const ig_source *from = ig_source_find(source);
    if (!from)
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "\"%.150s\" is no source: expected a path, https://..., hf://ORG/REPO, or a "
                       "NAME:TAG of the Ollama registry",
                       source);
    ig_status st = from->plan(&a, source, &plan, err);
    if (st == IG_OK && a.o->name) plan.m.name = name;
    if (st == IG_OK) st = set_source(&plan, source, err);
    if (st == IG_OK) st = ig_plan_run(&a, &plan, NULL, out, err);
    ig_http_free(a.http);
    ig_arena_fini(&plan.arena);
    return st;
}
