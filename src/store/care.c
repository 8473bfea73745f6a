/* Garbage collection, verification, and what the store takes. What manifests name is read under the store's lock, and
 * a blob is taken away only by who can lock it alone: neither a running process nor a pull that is about to name it
 * loses one (M12). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/hash.h"
#include "inner.h"

enum { HOUR_S = 3600, TEMPORARY_AGE_S = 600, WEEK_S = 7 * 24 * HOUR_S, CLOCKS_DIFFER_S = 60 };

/* ------------------------------------------------------------------------------------------------ what is named */

typedef struct named {
    ig_store_list list;
    ig_map map; /* digests (borrowed from the list) -> bits */
} named;

static void named_fini(named *n)
{
    ig_map_fini(&n->map);
    ig_store_list_free(&n->list);
}

/* With whole: BAD_INPUT where a manifest cannot be read, since what it names is not known then. */
static ig_status named_init(ig_store *s, bool whole, named *n, ig_error *err)
{
    size_t total = 1;
    *n = (named){0};
    IG_TRY(ig_store_models(s, &n->list, err));
    for (size_t i = 0; i < n->list.n; i++) total += n->list.models[i]->n_files;
    ig_status st = IG_OK;
    if (whole && n->list.n_damaged)
        st = ig_fail(err, IG_BAD_INPUT, 0, "nothing is collected: %.250s. %s", n->list.damaged,
                     n->list.first_damaged == IG_IO || n->list.first_damaged == IG_DENIED
                         ? "What it names is not known until it can be read"
                         : "Remove or repair it first");
    else if (!ig_map_init(&n->map, total))
        st = ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the list of blobs");
    for (size_t i = 0; i < n->list.n && st == IG_OK; i++)
        for (size_t k = 0; k < n->list.models[i]->n_files; k++)
            (void)ig_map_add(&n->map, (ig_str){n->list.models[i]->files[k].digest.hex, IG_HEX_LEN}, 0, NULL);
    if (st != IG_OK) named_fini(n);
    return st;
}

static bool is_named(const named *n, const char *hex)
{
    uint32_t value;
    return ig_map_get(&n->map, (ig_str){hex, IG_HEX_LEN}, &value);
}

/* ------------------------------------------------------------------------------------------------ collecting */

typedef struct collector {
    ig_store *s;
    const named *names;
    ig_gc_options o;
    ig_gc_result *out;
    int64_t now_s;
    ig_status st;
    ig_error *err;
} collector;

typedef enum fate { FATE_KEEP, FATE_IN_USE, FATE_TAKE } fate;

/* A file from the future was made while the clock was wrong, and nobody knows how old it is: its time begins now. */
static void date_anew(const collector *c, int fd)
{
    struct timespec now[2] = {{.tv_sec = (time_t)c->now_s}, {.tv_sec = (time_t)c->now_s}};
    if (!c->o.dry_run) (void)futimens(fd, now);
}

/* Locks the file alone, so that nobody uses it, and takes it away. *bytes: what it took on the disk. */
static fate take_away(collector *c, int dir, const char *entry, int64_t min_age_s, uint64_t *bytes)
{
    struct stat sb;
    int fd = ig_disk_open_regular(dir, entry, O_RDONLY, &sb);
    if (fd < 0) return FATE_KEEP;
    fate f = FATE_TAKE;
    if (min_age_s > 0 && (int64_t)sb.st_mtim.tv_sec > c->now_s + CLOCKS_DIFFER_S) date_anew(c, fd);
    if (min_age_s > 0 && c->now_s - (int64_t)sb.st_mtim.tv_sec < min_age_s)
        f = FATE_KEEP;
    else if (!ig_disk_lock(fd, true, false))
        f = FATE_IN_USE;
    *bytes = (uint64_t)sb.st_size;
    if (f == FATE_TAKE && !c->o.dry_run && unlinkat(dir, entry, 0) < 0) {
        c->st = ig_disk_failed(c->s, errno, "remove", entry, c->err);
        f = FATE_KEEP;
    }
    close(fd);
    return f;
}

static void count(collector *c, fate f, ig_waste kind, const char *what, uint64_t bytes)
{
    c->out->n_in_use += f == FATE_IN_USE;
    if (f != FATE_TAKE) return;
    c->out->n++;
    c->out->bytes += kind == IG_WASTE_REFERENCE ? 0 : bytes;
    if (c->o.each) c->o.each(c->o.ctx, kind, what, bytes);
}

static bool collect_blob(void *ctx, int dir, const char *entry)
{
    collector *c = ctx;
    ig_digest d;
    uint64_t bytes = 0;
    if (ig_digest_parse(entry, &d, NULL) != IG_OK || is_named(c->names, d.hex)) return true;
    fate f = take_away(c, dir, entry, c->o.min_age_s, &bytes);
    count(c, f, IG_WASTE_BLOB, entry, bytes);
    return c->st == IG_OK;
}

static bool collect_folder(void *ctx, int dir, const char *entry)
{
    collector *c = ctx;
    if (strlen(entry) != 2) return true;
    ig_status st = ig_folder_walk(dir, entry, collect_blob, c, c->err);
    if (st != IG_OK) c->st = st;
    return c->st == IG_OK;
}

static bool collect_reference(void *ctx, int dir, const char *entry)
{
    collector *c = ctx;
    uint64_t bytes = 0;
    ig_digest d;
    char hex[IG_HEX_LEN + 1];
    if (strlen(entry) != IG_HEX_LEN + 5) return true;
    memcpy(hex, entry, IG_HEX_LEN);
    hex[IG_HEX_LEN] = 0;
    if (ig_digest_parse(hex, &d, NULL) != IG_OK || is_named(c->names, hex)) return true;
    fate f = take_away(c, dir, entry, c->o.min_age_s, &bytes);
    count(c, f, IG_WASTE_REFERENCE, hex, 0);
    return c->st == IG_OK;
}

/* Whoever still writes such a file has it locked; the age is for files of an older ingle. */
static int64_t temporary_age(const collector *c)
{
    return c->o.min_age_s < TEMPORARY_AGE_S ? c->o.min_age_s : TEMPORARY_AGE_S;
}

static bool ends(const char *text, const char *tail)
{
    size_t n = strlen(text), m = strlen(tail);
    return n >= m && !strcmp(text + n - m, tail);
}

/* The file of the same key with another ending; false when the name is too long. */
static bool sibling(const char *entry, const char *tail, char out[160])
{
    size_t n = strlen(entry) - 5; /* .part and .json have the same length */
    return n < 150 && snprintf(out, 160, "%.*s%s", (int)n, entry, tail) > 0;
}

/* parts/: unfinished downloads, whose state goes with them; blobs whose writer is gone. */
static bool collect_part(void *ctx, int dir, const char *entry)
{
    collector *c = ctx;
    uint64_t bytes = 0;
    char other[160];
    bool part = ends(entry, ".part") && strncmp(entry, "new-", 4) != 0;
    bool temporary = ends(entry, ".tmp") || (ends(entry, ".part") && !part);
    bool state = ends(entry, ".json");
    if (!part && !temporary && !state) return true;
    if (state && sibling(entry, ".part", other) && faccessat(dir, other, F_OK, AT_SYMLINK_NOFOLLOW) == 0) return true;
    fate f = take_away(c, dir, entry, temporary ? temporary_age(c) : c->o.partial_min_age_s, &bytes);
    if (f == FATE_TAKE && part && !c->o.dry_run && sibling(entry, ".json", other)) (void)unlinkat(dir, other, 0);
    count(c, f, part || state ? IG_WASTE_PARTIAL : IG_WASTE_TEMPORARY, entry, bytes);
    return c->st == IG_OK;
}

static bool collect_temporary(void *ctx, int dir, const char *entry)
{
    collector *c = ctx;
    uint64_t bytes = 0;
    if (!ends(entry, ".tmp")) return true;
    fate f = take_away(c, dir, entry, temporary_age(c), &bytes);
    count(c, f, IG_WASTE_TEMPORARY, entry, bytes);
    return c->st == IG_OK;
}

static ig_status collect_all(collector *c)
{
    static const struct {
        size_t at;
        bool (*each)(void *ctx, int dir, const char *entry);
    } folders[] = {{offsetof(ig_store, blobs_fd), collect_folder},
                   {offsetof(ig_store, refs_fd), collect_reference},
                   {offsetof(ig_store, refs_fd), collect_temporary},
                   {offsetof(ig_store, names_fd), collect_temporary},
                   {offsetof(ig_store, parts_fd), collect_part}};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        int fd = *(const int *)(const void *)((const char *)c->s + folders[i].at);
        IG_TRY(ig_folder_walk(fd, ".", folders[i].each, c, c->err));
        IG_TRY(c->st);
    }
    return IG_OK;
}

ig_status ig_store_gc(ig_store *s, const ig_gc_options *options, ig_gc_result *out, ig_error *err)
{
    named names;
    int lock = -1;
    *out = (ig_gc_result){0};
    collector c = {.s = s, .names = &names, .out = out, .now_s = ig_clock_s(), .err = err};
    c.o = options ? *options : (ig_gc_options){.min_age_s = -1, .partial_min_age_s = -1};
    if (c.o.min_age_s < 0) c.o.min_age_s = HOUR_S;
    if (c.o.partial_min_age_s < 0) c.o.partial_min_age_s = WEEK_S;
    if (!c.o.dry_run) IG_TRY(ig_store_writable(s, err));
    if (!s->read_only) IG_TRY(ig_store_lock(s, true, &lock, err));
    ig_status st = named_init(s, true, &names, err);
    if (st == IG_OK) {
        st = collect_all(&c);
        named_fini(&names);
    }
    if (lock >= 0) close(lock);
    return st;
}

ig_status ig_collect_files(ig_store *s, const ig_store_file *files, size_t n, uint64_t *freed, ig_error *err)
{
    named names;
    ig_gc_result result = {0};
    collector c = {.s = s, .names = &names, .out = &result, .err = err};
    if (named_init(s, true, &names, NULL) != IG_OK) return IG_OK; /* gc will say why */
    for (size_t i = 0; i < n && c.st == IG_OK; i++) {
        char place[3 + IG_HEX_LEN + 1], ref[IG_HEX_LEN + 8];
        ig_blob_place(&files[i].digest, place);
        (void)snprintf(ref, sizeof ref, "%s.json", files[i].digest.hex);
        if (is_named(&names, files[i].digest.hex)) continue;
        uint64_t bytes = 0;
        fate f = take_away(&c, s->blobs_fd, place, 0, &bytes);
        count(&c, f, IG_WASTE_BLOB, place, bytes);
        (void)collect_reference(&c, s->refs_fd, ref);
    }
    named_fini(&names);
    *freed = result.bytes;
    return c.st;
}

/* ------------------------------------------------------------------------------------------------ verifying */

typedef struct verifier {
    ig_store *s;
    const ig_verify_options *o;
    ig_verify_result *out;
    ig_map seen;
    const char *what;
} verifier;

static bool tell(void *ctx, uint64_t done, uint64_t total)
{
    verifier *v = ctx;
    return !v->o || !v->o->progress || v->o->progress(v->o->ctx, v->what, done, total);
}

static void move_aside(ig_store *s, const ig_digest *d)
{
    char place[3 + IG_HEX_LEN + 1], to[IG_HEX_LEN + 16], ref[IG_HEX_LEN + 8];
    ig_blob_place(d, place);
    (void)snprintf(to, sizeof to, "damaged/%s", d->hex);
    (void)snprintf(ref, sizeof ref, "%s.json", d->hex);
    (void)ig_disk_make_folder(s->root_fd, "damaged", 0700, false);
    if (ig_disk_rename(s->blobs_fd, place, s->root_fd, to)) (void)ig_disk_sync(s->root_fd);
    (void)unlinkat(s->refs_fd, ref, 0);
}

/* NOT_FOUND, BAD_INPUT: damaged; other failures end the verification. */
static ig_status verify_blob(verifier *v, const ig_store_file *f, ig_error *err)
{
    int fd;
    uint64_t size = 0;
    ig_digest d;
    IG_TRY(ig_store_blob_open(v->s, &f->digest, &fd, &size, err));
    v->what = f->name;
    ig_status st = ig_hash_fd(fd, f->name, tell, v, &d, &size, err);
    close(fd);
    if (st == IG_IO)
        return ig_fail(err, IG_BAD_INPUT, 0, "cannot read file %.200s whole: the disk is damaged", f->name);
    IG_TRY(st);
    v->out->n_blobs++;
    v->out->bytes += size;
    if (size != f->size || strcmp(d.hex, f->digest.hex))
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "file %.200s is damaged: its %llu bytes have the digest %.12s, expected %llu and %.12s", f->name,
                       (unsigned long long)size, d.hex, (unsigned long long)f->size, f->digest.hex);
    return IG_OK;
}

static ig_status verify_model(verifier *v, const ig_manifest *m, ig_error *err)
{
    ig_error e;
    v->out->n_models++;
    for (size_t i = 0; i < m->n_files; i++) {
        if (!ig_map_add(&v->seen, (ig_str){m->files[i].digest.hex, IG_HEX_LEN}, 0, NULL)) continue;
        ig_status st = verify_blob(v, &m->files[i], &e);
        if (st == IG_OK) continue;
        if (st != IG_BAD_INPUT && st != IG_NOT_FOUND) {
            if (err) *err = e;
            return st;
        }
        v->out->n_damaged++;
        if (v->o && v->o->damaged) v->o->damaged(v->o->ctx, m, e.text);
        if (st == IG_BAD_INPUT && v->o && v->o->quarantine && !v->s->read_only) move_aside(v->s, &m->files[i].digest);
    }
    return IG_OK;
}

static ig_status verify_list(verifier *v, ig_manifest *const *models, size_t n, ig_error *err)
{
    size_t total = 1;
    for (size_t i = 0; i < n; i++) total += models[i]->n_files;
    if (!ig_map_init(&v->seen, total)) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the list of blobs");
    ig_status st = IG_OK;
    for (size_t i = 0; i < n && st == IG_OK; i++) st = verify_model(v, models[i], err);
    ig_map_fini(&v->seen);
    return st;
}

ig_status ig_store_verify(ig_store *s, const char *name, const ig_verify_options *options, ig_verify_result *out,
                          ig_error *err)
{
    verifier v = {.s = s, .o = options, .out = out};
    *out = (ig_verify_result){0};
    if (name) {
        ig_manifest *m;
        IG_TRY(ig_store_find(s, name, &m, err));
        ig_status st = verify_list(&v, &m, 1, err);
        ig_manifest_free(m);
        return st;
    }
    ig_store_list list;
    IG_TRY(ig_store_models(s, &list, err));
    out->n_damaged = list.n_damaged;
    if (list.n_damaged && options && options->damaged) options->damaged(options->ctx, NULL, list.damaged);
    ig_status st = verify_list(&v, list.models, list.n, err);
    ig_store_list_free(&list);
    return st;
}

/* ------------------------------------------------------------------------------------------------ what it takes */

typedef struct counter {
    ig_store *s;
    const named *names;
    ig_store_usage *out;
} counter;

static bool count_blob(void *ctx, int dir, const char *entry)
{
    counter *c = ctx;
    struct stat sb;
    if (fstatat(dir, entry, &sb, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(sb.st_mode) || strlen(entry) != IG_HEX_LEN)
        return true;
    c->out->n_blobs++;
    c->out->blob_bytes += (uint64_t)sb.st_size;
    if (!is_named(c->names, entry)) c->out->unused_bytes += (uint64_t)sb.st_size;
    return true;
}

static bool count_folder(void *ctx, int dir, const char *entry)
{
    if (strlen(entry) == 2) (void)ig_folder_walk(dir, entry, count_blob, ctx, NULL);
    return true;
}

static bool count_part(void *ctx, int dir, const char *entry)
{
    counter *c = ctx;
    struct stat sb;
    if (fstatat(dir, entry, &sb, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(sb.st_mode))
        c->out->partial_bytes += (uint64_t)sb.st_blocks * 512;
    return true;
}

static bool count_reference(void *ctx, int dir, const char *entry)
{
    counter *c = ctx;
    ig_digest d;
    char hex[IG_HEX_LEN + 1];
    uint64_t size = 0;
    (void)dir;
    if (strlen(entry) != IG_HEX_LEN + 5) return true;
    memcpy(hex, entry, IG_HEX_LEN);
    hex[IG_HEX_LEN] = 0;
    if (ig_digest_parse(hex, &d, NULL) == IG_OK && ig_store_blob_has(c->s, &d, &size)) c->out->outside_bytes += size;
    return true;
}

ig_status ig_store_df(ig_store *s, ig_store_usage *out, ig_error *err)
{
    named names;
    counter c = {.s = s, .names = &names, .out = out};
    *out = (ig_store_usage){.free_bytes = ig_disk_free(s->root_fd)};
    IG_TRY(named_init(s, false, &names, err));
    out->n_models = names.list.n;
    for (size_t i = 0; i < names.list.n; i++) out->model_bytes += ig_manifest_bytes(names.list.models[i]);
    ig_status st = ig_folder_walk(s->blobs_fd, ".", count_folder, &c, err);
    if (st == IG_OK) st = ig_folder_walk(s->parts_fd, ".", count_part, &c, err);
    if (st == IG_OK) st = ig_folder_walk(s->refs_fd, ".", count_reference, &c, err);
    named_fini(&names);
    return st;
}
