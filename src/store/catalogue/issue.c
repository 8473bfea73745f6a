/* Signing and publishing. A document is made anew when what it says has changed, when two thirds of its life are over,
 * or when the keys that must sign it have; else the published one stays, so that doing it again changes nothing.
 *
 * Root, targets and delegated roles are signed apart (`sign`, perhaps by several people at several machines, who pass
 * the staged files on); snapshot and timestamp belong to whoever publishes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "author.h"
#include "base/disk.h"
#include "base/os.h"

#define SPEC_VERSION "1.0.31"
enum { DAY_S = 86400, ROLES_ALL_MAX = IG_TUF_ROLES_MAX + 2 };

static ig_status no_memory(ig_error *err) { return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the catalogue"); }
static ig_str text_of(const ig_buf *b) { return (ig_str){b->ptr ? b->ptr : "", b->len}; }

static ig_tuf_type type_of(const char *role)
{
    for (size_t i = 0; i < IG_TUF_TYPES; i++)
        if (!strcmp(role, ig_tuf_names[i])) return (ig_tuf_type)i;
    return IG_TUF_TARGETS;
}

/* ------------------------------------------------------------------------------------------------ documents */

typedef struct newest {
    const char *role;
    uint64_t version;
} newest;

static bool see_version(void *ctx, int dir, const char *entry)
{
    newest *n = ctx;
    char want[IG_TUF_ROLE_NAME_MAX + 48];
    uint64_t v = strtoull(entry, NULL, 10);
    (void)dir;
    (void)snprintf(want, sizeof want, "%llu.%s.json", (unsigned long long)v, n->role);
    if (v > n->version && v <= IG_TUF_VERSION_MAX && !strcmp(want, entry)) n->version = v;
    return true;
}

/* The newest document of a role in published/; *out NULL: none. */
static ig_status latest(const ig_author *a, const char *role, ig_doc **out, ig_error *err)
{
    newest n = {role, 0};
    char file[IG_TUF_ROLE_NAME_MAX + 48], path[IG_TUF_ROLE_NAME_MAX + 64];
    ig_buf text;
    *out = NULL;
    struct stat sb;
    if (fstatat(a->fd, "published/metadata", &sb, 0) < 0) return IG_OK;
    if (strcmp(role, "timestamp") != 0) {
        IG_TRY(ig_folder_walk(a->fd, "published/metadata", see_version, &n, err));
        if (n.version == 0) return IG_OK;
    }
    ig_tuf_file(role, n.version, true, file);
    (void)snprintf(path, sizeof path, "published/%s", file);
    ig_status st = ig_author_read(a, path, IG_TUF_TARGETS_BYTES_MAX, &text, err);
    if (st == IG_NOT_FOUND) return IG_OK;
    IG_TRY(st);
    ig_tuf_type type = type_of(role);
    st = ig_doc_read(type, type == IG_TUF_TARGETS ? role : NULL, text_of(&text), out, err);
    ig_buf_fini(&text);
    return st;
}

static ig_status staged(const ig_author *a, const char *role, ig_doc **out, ig_error *err)
{
    char path[IG_TUF_ROLE_NAME_MAX + 16];
    ig_buf text;
    *out = NULL;
    (void)snprintf(path, sizeof path, "staged/%s.json", role);
    ig_status st = ig_author_read(a, path, IG_TUF_TARGETS_BYTES_MAX, &text, err);
    if (st == IG_NOT_FOUND) return IG_OK;
    IG_TRY(st);
    ig_tuf_type type = type_of(role);
    st = ig_doc_read(type, type == IG_TUF_TARGETS ? role : NULL, text_of(&text), out, err);
    ig_buf_fini(&text);
    return st;
}

/* The keys that these roles name. */
static json_t *keys_for(const ig_author *a, const json_t *roles)
{
    json_t *out = json_object(), *keys = json_object_get(a->draft, "keys");
    const char *name;
    json_t *r;
    size_t i;
    json_object_foreach((json_t *)(uintptr_t)roles, name, r)
    {
        json_t *ids = json_object_get(r, "keyids"), *id;
        json_array_foreach(ids, i, id)(void)
            json_object_set(out, json_string_value(id), json_object_get(keys, json_string_value(id)));
    }
    return out;
}

static void fill_targets(const ig_author *a, const char *role, json_t *j)
{
    json_t *targets = json_object_get(json_object_get(a->draft, "targets"), role);
    json_t *delegations = json_object_get(a->draft, "delegations"), *d;
    size_t i;
    (void)json_object_set_new(j, "targets", targets ? json_deep_copy(targets) : json_object());
    if (strcmp(role, "targets") != 0) return;
    (void)json_object_set_new(j, "ingle_catalogue", json_deep_copy(json_object_get(a->draft, "settings")));
    if (json_array_size(delegations) == 0) return;
    json_t *by_name = json_object();
    json_array_foreach(delegations, i, d)(void) json_object_set(by_name, ig_json_text(d, "name"), d);
    (void)json_object_set_new(
        j, "delegations", json_pack("{s:o, s:o}", "keys", keys_for(a, by_name), "roles", json_deep_copy(delegations)));
    json_decref(by_name);
}

static json_t *file_meta(const ig_doc *d)
{
    ig_digest h = {""};
    (void)ig_sha_text(d->text.ptr, d->text.len, &h);
    return json_pack("{s:I, s:I, s:{s:s}}", "version", (json_int_t)d->version, "length", (json_int_t)d->text.len,
                     "hashes", "sha256", h.hex);
}

/* The signed part of a role's document. below [n]: what snapshot and timestamp name. */
static json_t *build(const ig_author *a, const char *role, uint64_t version, int64_t expires_s, ig_doc *const *below,
                     size_t n)
{
    char expires[24], file[IG_TUF_ROLE_NAME_MAX + 8];
    ig_tuf_type type = type_of(role);
    ig_time_write(expires_s, expires);
    json_t *j = json_pack("{s:s, s:s, s:I, s:s}", "_type", ig_tuf_names[type], "spec_version", SPEC_VERSION, "version",
                          (json_int_t)version, "expires", expires);
    if (type == IG_TUF_ROOT) {
        json_t *roles = json_object_get(a->draft, "roles");
        (void)json_object_set_new(j, "consistent_snapshot", json_true());
        (void)json_object_set_new(j, "keys", keys_for(a, roles));
        (void)json_object_set_new(j, "roles", json_deep_copy(roles));
    } else if (type == IG_TUF_TARGETS) {
        fill_targets(a, role, j);
    } else {
        json_t *meta = json_object();
        for (size_t i = 0; i < n; i++) {
            (void)snprintf(file, sizeof file, "%s.json", below[i]->role);
            (void)json_object_set_new(meta, file, file_meta(below[i]));
        }
        (void)json_object_set_new(j, "meta", meta);
    }
    return j;
}

static int64_t life_s(const ig_author *a, const char *role)
{
    uint64_t days = 30;
    ig_tuf_type type = type_of(role);
    (void)ig_json_size(json_object_get(a->draft, "days"), ig_tuf_names[type], &days);
    if (days < 1) days = 1;
    if (days > 36500) days = 36500;
    return (int64_t)days * DAY_S;
}

static bool same_content(const ig_author *a, const ig_doc *d, ig_doc *const *below, size_t n)
{
    json_t *j = build(a, d->role, d->version, d->expires_s, below, n);
    bool same = j && json_equal(j, d->signed_);
    json_decref(j);
    return same;
}

/* The document of a signed part and its signatures, as text: sorted and compact, but with the escapes of JSON, which
 * the canonical form does without. */
static ig_status make_doc(const char *role, json_t *signed_, json_t *signatures, ig_doc **out, ig_error *err)
{
    json_t *all = json_pack("{s:O, s:O}", "signed", signed_, "signatures", signatures);
    ig_tuf_type type = type_of(role);
    char *text = all ? json_dumps(all, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    *out = NULL;
    ig_status st =
        text ? ig_doc_read(type, type == IG_TUF_TARGETS ? role : NULL, ig_str_from(text), out, err) : no_memory(err);
    free(text);
    json_decref(all);
    return st;
}

/* ------------------------------------------------------------------------------------------------ signing */

static bool names_key(const ig_doc *by, const char *role, const char *id)
{
    const json_t *ids = by ? json_object_get(ig_doc_role(by, role), "keyids") : NULL;
    for (size_t i = 0; i < json_array_size(ids); i++)
        if (!strcmp(json_string_value(json_array_get(ids, i)), id)) return true;
    return false;
}

static ig_status add_signature(const ig_doc *d, const ig_tuf_key *k, json_t *list, bool *fresh, ig_error *err)
{
    unsigned char raw[IG_SIGNATURE_BYTES];
    char hex[2 * IG_SIGNATURE_BYTES + 1];
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *id = ig_json_text(json_array_get(list, i), "keyid");
        if (id && !strcmp(id, k->id)) return IG_OK;
    }
    IG_TRY(ig_key_sign(k, d->canon.ptr, d->canon.len, raw, err));
    ig_hex_write(raw, sizeof raw, hex);
    if (json_array_append_new(list, json_pack("{s:s, s:s}", "keyid", k->id, "sig", hex)) < 0) return no_memory(err);
    *fresh = true;
    return IG_OK;
}

/* Signs with every key at hand that one of the two documents names for the role; *d is replaced by the signed one. */
static ig_status sign_with(ig_doc **d, const ig_doc *by, const ig_doc *also, const ig_tuf_key *keys, size_t n,
                           bool *fresh, ig_error *err)
{
    const char *role = (*d)->role;
    ig_status st = IG_OK;
    ig_doc *out = NULL;
    bool added = false;
    json_t *list = json_deep_copy(json_object_get((*d)->all, "signatures"));
    for (size_t i = 0; st == IG_OK && i < n; i++)
        if (names_key(by, role, keys[i].id) || names_key(also, role, keys[i].id))
            st = add_signature(*d, &keys[i], list, &added, err);
    if (st == IG_OK && added) st = make_doc(role, (json_t *)(uintptr_t)(*d)->signed_, list, &out, err);
    json_decref(list);
    if (st == IG_OK && added) {
        ig_doc_free(*d);
        *d = out;
        *fresh = true;
    }
    return st;
}

/* The next version of a role, unsigned. */
static ig_status next_version(const ig_author *a, const char *role, const ig_doc *old, ig_doc *const *below, size_t n,
                              ig_doc **out, ig_error *err)
{
    if (old && old->version >= IG_TUF_VERSION_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "%s metadata: version %llu has no successor", role,
                       (unsigned long long)old->version);
    json_t *j = build(a, role, old ? old->version + 1 : 1, a->now_s + life_s(a, role), below, n), *none = json_array();
    ig_status st = j && none ? make_doc(role, j, none, out, err) : no_memory(err);
    json_decref(j);
    json_decref(none);
    return st;
}

static bool stays(const ig_author *a, const ig_doc *d, const ig_doc *by, ig_doc *const *below, size_t n)
{
    return d && same_content(a, d, below, n) && d->expires_s - a->now_s > life_s(a, d->role) / 3 &&
           ig_doc_verify(by ? by : d, d->role, d, "", NULL) == IG_OK;
}

static ig_status keep_staged(const ig_author *a, const ig_doc *d, ig_error *err)
{
    char file[IG_TUF_ROLE_NAME_MAX + 8];
    if (a->dry_run) return IG_OK;
    (void)snprintf(file, sizeof file, "%s.json", d->role);
    if (!ig_disk_make_folder(a->fd, "staged", 0755, true))
        return ig_fail_errno(err, IG_IO, errno, "cannot make the folder %.300s/staged", a->dir);
    int dir = ig_disk_open(a->fd, "staged", O_RDONLY | O_DIRECTORY, 0);
    bool ok = dir >= 0 && ig_disk_write_whole(dir, file, d->text.ptr, d->text.len, 0644);
    int e = errno;
    if (dir >= 0) close(dir);
    return ok ? IG_OK : ig_fail_errno(err, IG_IO, e, "cannot write %.300s/staged/%s", a->dir, file);
}

static void drop_staged(const ig_author *a, const char *role)
{
    char file[IG_TUF_ROLE_NAME_MAX + 16];
    if (a->dry_run) return;
    (void)snprintf(file, sizeof file, "staged/%s.json", role);
    (void)unlinkat(a->fd, file, 0);
}

static void report(const ig_doc *by, const ig_doc *d, bool fresh, ig_author_each each, void *ctx)
{
    uint64_t threshold = 0;
    (void)ig_json_size(ig_doc_role(by, d->role), "threshold", &threshold);
    ig_author_report r = {d->role, d->version, ig_doc_count(by, d->role, d, UINT64_MAX), (unsigned)threshold, fresh};
    if (each) each(ctx, &r);
}

/* Signs what is staged and keeps it where something was added. */
static ig_status sign_one(const ig_author *a, const ig_doc *by, const ig_doc *also, const ig_tuf_key *keys,
                          size_t n_keys, bool fresh, ig_author_each each, void *ctx, ig_doc **out, ig_error *err)
{
    bool own = by == *out; /* a root is signed by what it names itself */
    IG_TRY(sign_with(out, by, also, keys, n_keys, &fresh, err));
    if (own) by = *out;
    report(by, *out, fresh, each, ctx);
    return fresh ? keep_staged(a, *out, err) : IG_OK;
}

/* Good as it is, though it may be due for renewal. */
static bool still_good(const ig_author *a, const ig_doc *d, const ig_doc *by)
{
    return d && same_content(a, d, NULL, 0) && d->expires_s > a->now_s &&
           ig_doc_verify(by ? by : d, d->role, d, "", NULL) == IG_OK;
}

static bool is_signed(const ig_doc *d, const ig_doc *by, const ig_doc *old)
{
    return ig_doc_verify(by ? by : d, d->role, d, "", NULL) == IG_OK &&
           (by || !old || ig_doc_verify(old, d->role, d, "", NULL) == IG_OK);
}

typedef struct signer {
    const ig_tuf_key *keys;
    size_t n;
    bool publish; /* takes what is signed, makes and signs nothing */
    ig_author_each each;
    void *ctx;
} signer;

/* What of a published and a staged document (either may be NULL) goes on; the other one is freed. NULL: a new one is
 * needed. */
static ig_doc *choose(const ig_author *a, const ig_doc *by, const signer *k, ig_doc *old, ig_doc *next)
{
    bool usable = next && next->version > (old ? old->version : 0) && same_content(a, next, NULL, 0) &&
                  next->expires_s - a->now_s > life_s(a, next->role) / 3;
    if (next && !usable && !k->publish) drop_staged(a, next->role);
    if (usable && k->publish && !is_signed(next, by, old) && still_good(a, old, by)) usable = false;
    if (usable) return next;
    return stays(a, old, by, NULL, 0) || (k->publish && still_good(a, old, by)) ? old : NULL;
}

/* Brings one role up to date; *out is what is to be published. by NULL: root. */
static ig_status settle(const ig_author *a, const char *role, const ig_doc *by, const signer *k, ig_doc **out,
                        ig_error *err)
{
    ig_doc *old, *next = NULL, *chosen = NULL;
    bool fresh = false;
    *out = NULL;
    IG_TRY(latest(a, role, &old, err));
    ig_status st = staged(a, role, &next, err);
    if (st == IG_OK) chosen = choose(a, by, k, old, next);
    if (next && next != chosen) ig_doc_free(next);
    if (st == IG_OK && !chosen) {
        st = next_version(a, role, old, NULL, 0, &chosen, err);
        fresh = true;
    }
    if (st == IG_OK && (chosen == old || k->publish))
        report(by ? by : chosen, chosen, false, k->each, k->ctx);
    else if (st == IG_OK)
        st = sign_one(a, by ? by : chosen, by ? NULL : old, k->keys, k->n, fresh, k->each, k->ctx, &chosen, err);
    if (old != chosen) ig_doc_free(old);
    if (st == IG_OK)
        *out = chosen;
    else
        ig_doc_free(chosen);
    return st;
}

typedef struct set {
    ig_doc *docs[ROLES_ALL_MAX]; /* root, targets, delegated */
    size_t n;
} set;

static void set_free(set *s)
{
    for (size_t i = 0; i < s->n; i++) ig_doc_free(s->docs[i]);
    s->n = 0;
}

static ig_status settle_all(const ig_author *a, const signer *k, set *s, ig_error *err)
{
    const json_t *list = json_object_get(a->draft, "delegations");
    s->n = 0;
    IG_TRY(settle(a, "root", NULL, k, &s->docs[0], err));
    s->n++;
    IG_TRY(settle(a, "targets", s->docs[0], k, &s->docs[1], err));
    s->n++;
    for (size_t i = 0; i < json_array_size(list) && i < IG_TUF_ROLES_MAX; i++) {
        const char *role = ig_json_text(json_array_get(list, i), "name");
        IG_TRY(settle(a, role ? role : "", s->docs[1], k, &s->docs[s->n], err));
        s->n++;
    }
    return IG_OK;
}

ig_status ig_author_sign(ig_author *a, ig_author_each each, void *ctx, ig_error *err)
{
    ig_tuf_key keys[IG_AUTHOR_KEYS_MAX];
    size_t n;
    set s = {0};
    IG_TRY(ig_author_keys(a, keys, &n, err));
    signer k = {keys, n, false, each, ctx};
    ig_status st = settle_all(a, &k, &s, err);
    set_free(&s);
    for (size_t i = 0; i < n; i++) ig_key_fini(&keys[i]);
    return st;
}

/* ------------------------------------------------------------------------------------------------ publishing */

/* Everything signed by enough, as a client will ask. */
static ig_status check_signed(const ig_author *a, const set *s, ig_error *err)
{
    ig_doc *old;
    ig_error why;
    IG_TRY(latest(a, "root", &old, err));
    ig_status st = ig_doc_verify(s->docs[0], "root", s->docs[0], "", &why);
    if (st == IG_OK && old) st = ig_doc_verify(old, "root", s->docs[0], "", &why);
    ig_doc_free(old);
    for (size_t i = 1; st == IG_OK && i < s->n; i++)
        st = ig_doc_verify(s->docs[i == 1 ? 0 : 1], s->docs[i]->role, s->docs[i], "", &why);
    return st == IG_OK ? st : ig_fail(err, st, 0, "%.400s. Type: ingle catalogue sign", why.text);
}

/* Snapshot and timestamp: their keys are at hand, or it fails. */
static ig_status seal(const ig_author *a, const char *role, const ig_doc *root, const ig_tuf_key *keys, size_t n_keys,
                      ig_doc *const *below, size_t n, ig_author_each each, void *ctx, ig_doc **out, ig_error *err)
{
    ig_doc *old;
    bool fresh = false;
    *out = NULL;
    IG_TRY(latest(a, role, &old, err));
    if (stays(a, old, root, below, n)) {
        *out = old;
        report(root, old, false, each, ctx);
        return IG_OK;
    }
    ig_status st = next_version(a, role, old, below, n, out, err);
    ig_doc_free(old);
    if (st == IG_OK) st = sign_with(out, root, NULL, keys, n_keys, &fresh, err);
    if (st == IG_OK) st = ig_doc_verify(root, role, *out, "", err);
    if (st == IG_OK) report(root, *out, true, each, ctx);
    if (st != IG_OK) {
        ig_doc_free(*out);
        *out = NULL;
    }
    return st;
}

/* The file with exactly this content. */
static bool is_there(int dir, const char *path, const void *p, size_t n)
{
    ig_buf text;
    int fd = ig_disk_open_regular(dir, path, O_RDONLY, NULL);
    if (fd < 0) return false;
    ig_buf_init(&text, n + 1);
    bool same =
        ig_fd_read_all(fd, path, &text, NULL) == IG_OK && text.len == n && !memcmp(text.ptr ? text.ptr : "", p, n);
    close(fd);
    ig_buf_fini(&text);
    return same;
}

/* Makes the folders of a relative path, not its last part, and writes the file where it is not there already. */
static ig_status put_file(int dir, const char *path, const void *p, size_t n, bool replace, ig_error *err)
{
    char part[512];
    const char *slash = strrchr(path, '/');
    if (!replace && is_there(dir, path, p, n)) return IG_OK;
    for (const char *q = strchr(path, '/'); q; q = strchr(q + 1, '/')) {
        (void)snprintf(part, sizeof part, "%.*s", (int)(q - path), path);
        if (!ig_disk_make_folder(dir, part, 0755, false))
            return ig_fail_errno(err, IG_IO, errno, "cannot make the folder %.200s", part);
    }
    (void)snprintf(part, sizeof part, "%.*s", (int)(slash ? slash - path : 1), slash ? path : ".");
    int fd = ig_disk_open(dir, part, O_RDONLY | O_DIRECTORY, 0);
    bool ok = fd >= 0 && ig_disk_write_whole(fd, slash ? slash + 1 : path, p, n, 0644);
    int e = errno;
    if (fd >= 0) close(fd);
    return ok ? IG_OK : ig_fail_errno(err, IG_IO, e, "cannot write %.300s", path);
}

static ig_status put_doc(int dir, const ig_doc *d, ig_error *err)
{
    char file[IG_TUF_ROLE_NAME_MAX + 48];
    ig_tuf_file(d->role, d->version, true, file);
    return put_file(dir, file, d->text.ptr, d->text.len, d->type == IG_TUF_TIMESTAMP, err);
}

static ig_status put_models(int dir, const ig_catalogue *c, ig_error *err)
{
    for (size_t i = 0; i < c->n_targets; i++) {
        const ig_catalogue_target *t = &c->targets[i];
        const char *slash = strrchr(t->path, '/'), *base = slash ? slash + 1 : t->path;
        char path[512], *text;
        ig_digest d;
        (void)snprintf(path, sizeof path, "targets/%.*s%s.%s", (int)(base - t->path), t->path, t->digest, base);
        IG_TRY(ig_content_file(t, &text, &d, err));
        ig_status st = put_file(dir, path, text, strlen(text), false, err);
        ig_free(text);
        IG_TRY(st);
    }
    return IG_OK;
}

/* What a client would see: published/, but with this timestamp. */
typedef struct preview {
    const ig_author *a;
    const ig_doc *timestamp;
} preview;

static ig_status fetch_preview(void *ctx, const char *name, size_t bytes_max, ig_buf *out, ig_error *err)
{
    const preview *p = ctx;
    char path[IG_TUF_ROLE_NAME_MAX + 64];
    if (!strcmp(name, "metadata/timestamp.json")) {
        ig_buf_init(out, bytes_max);
        return ig_buf_add(out, p->timestamp->text.ptr, p->timestamp->text.len) ? IG_OK : no_memory(err);
    }
    (void)snprintf(path, sizeof path, "published/%s", name);
    return ig_author_read(p->a, path, bytes_max, out, err);
}

static ig_status verify_preview(const ig_author *a, const ig_doc *timestamp, ig_catalogue **out, ig_error *err)
{
    preview p = {a, timestamp};
    ig_origin from = {fetch_preview, &p};
    ig_tuf t = {0};
    ig_buf pinned;
    *out = NULL;
    IG_TRY(ig_author_read(a, "published/metadata/1.root.json", IG_TUF_ROOT_BYTES_MAX, &pinned, err));
    ig_status st = ig_tuf_update(&t, -1, &from, text_of(&pinned), a->now_s, err);
    if (st == IG_OK) st = ig_content_read(&t, a->dir, a->now_s, out, err);
    ig_tuf_fini(&t);
    ig_buf_fini(&pinned);
    return st;
}

/* A staged document of a later version still waits for signatures. */
static void drop_published(const ig_author *a, const ig_doc *d)
{
    ig_doc *waiting = NULL;
    if (staged(a, d->role, &waiting, NULL) == IG_OK && waiting && waiting->version <= d->version)
        drop_staged(a, d->role);
    ig_doc_free(waiting);
}

/* Snapshot and timestamp over a set that is signed, and everything to published/. */
static ig_status write_published(const ig_author *a, const set *s, const ig_tuf_key *keys, size_t n_keys,
                                 ig_author_each each, void *ctx, ig_catalogue **out, ig_error *err)
{
    ig_doc *snapshot = NULL, *timestamp = NULL;
    if (!ig_disk_make_folder(a->fd, "published", 0755, true))
        return ig_fail_errno(err, IG_IO, errno, "cannot make the folder %.300s/published", a->dir);
    int dir = ig_disk_open(a->fd, "published", O_RDONLY | O_DIRECTORY, 0);
    if (dir < 0) return ig_fail_errno(err, IG_IO, errno, "cannot open the folder %.300s/published", a->dir);
    ig_status st = seal(a, "snapshot", s->docs[0], keys, n_keys, s->docs + 1, s->n - 1, each, ctx, &snapshot, err);
    if (st == IG_OK) st = seal(a, "timestamp", s->docs[0], keys, n_keys, &snapshot, 1, each, ctx, &timestamp, err);
    for (size_t i = 0; st == IG_OK && i < s->n; i++) st = put_doc(dir, s->docs[i], err);
    if (st == IG_OK) st = put_doc(dir, snapshot, err);
    if (st == IG_OK) st = verify_preview(a, timestamp, out, err);
    if (st == IG_OK) st = put_models(dir, *out, err);
    if (st == IG_OK) st = put_doc(dir, timestamp, err);
    for (size_t i = 0; st == IG_OK && i < s->n; i++) drop_published(a, s->docs[i]);
    close(dir);
    ig_doc_free(snapshot);
    ig_doc_free(timestamp);
    return st;
}

/* ---- copies */

typedef struct copier {
    int from, to;
    const char *folder;
    unsigned depth;
    ig_status st;
    ig_error *err;
} copier;

static bool copy_entry(void *ctx, int dir, const char *entry)
{
    copier *c = ctx;
    char path[1024];
    struct stat sb;
    ig_buf text;
    size_t n = strlen(entry);
    (void)snprintf(path, sizeof path, "%s/%s", c->folder, entry);
    if (fstatat(dir, entry, &sb, AT_SYMLINK_NOFOLLOW) < 0) return true;
    if (S_ISDIR(sb.st_mode) && c->depth < 8) {
        copier below = {c->from, c->to, path, c->depth + 1, IG_OK, c->err};
        c->st = ig_folder_walk(c->from, path, copy_entry, &below, c->err);
        if (c->st == IG_OK) c->st = below.st;
        return c->st == IG_OK;
    }
    if (!S_ISREG(sb.st_mode) || n < 5 || strcmp(entry + n - 5, ".json") != 0 || !strcmp(entry, "timestamp.json"))
        return true;
    int fd = ig_disk_open_regular(dir, entry, O_RDONLY, NULL);
    if (fd < 0) {
        c->st = ig_fail_errno(c->err, IG_IO, errno, "cannot open %.300s", path);
        return false;
    }
    ig_buf_init(&text, IG_TUF_TARGETS_BYTES_MAX);
    c->st = ig_fd_read_all(fd, path, &text, c->err);
    close(fd);
    if (c->st == IG_OK) c->st = put_file(c->to, path, text.ptr, text.len, false, c->err);
    ig_buf_fini(&text);
    return c->st == IG_OK;
}

typedef struct ours {
    const char *out;
    ig_buf stamp;
} ours;

/* Clients that have seen a later timestamp there would refuse ours from then on. */
static ig_status judge_theirs(void *ctx, const ig_buf *text, ig_error *err)
{
    const ours *o = ctx;
    const char *out = o->out;
    ig_doc *theirs = NULL, *own = NULL;
    ig_status st = ig_doc_read(IG_TUF_TIMESTAMP, NULL, text_of(text), &theirs, NULL);
    if (st == IG_OK) st = ig_doc_read(IG_TUF_TIMESTAMP, NULL, text_of(&o->stamp), &own, NULL);
    if (st == IG_OK && theirs->version > own->version)
        st = ig_fail(err, IG_DENIED, 0,
                     "%.200s has timestamp version %llu and this folder %llu, expected none later: is it an old copy?",
                     out, (unsigned long long)theirs->version, (unsigned long long)own->version);
    else
        st = IG_OK; /* what is no timestamp is replaced */
    ig_doc_free(theirs);
    ig_doc_free(own);
    return st;
}

static ig_status check_not_older(int to, ours *o, ig_error *err)
{
    ig_buf text;
    int fd = ig_disk_open_regular(to, "metadata/timestamp.json", O_RDONLY, NULL);
    if (fd < 0) return IG_OK;
    ig_buf_init(&text, IG_TUF_TIMESTAMP_BYTES_MAX);
    ig_status st = ig_fd_read_all(fd, "timestamp.json", &text, NULL);
    close(fd);
    st = st == IG_OK ? judge_theirs(o, &text, err) : IG_OK;
    ig_buf_fini(&text);
    return st;
}

static ig_status copy_folders(int from, int to, ig_error *err)
{
    static const char *const folders[] = {"targets", "metadata"};
    struct stat sb;
    for (size_t i = 0; i < 2; i++) {
        copier c = {from, to, folders[i], 0, IG_OK, err};
        if (fstatat(from, folders[i], &sb, 0) < 0) continue; /* a catalogue without models */
        IG_TRY(ig_folder_walk(from, folders[i], copy_entry, &c, err));
        IG_TRY(c.st);
    }
    return IG_OK;
}

static ig_status copy_to_folder(int from, ours *o, ig_error *err)
{
    if (!ig_disk_make_folder(AT_FDCWD, o->out, 0755, true))
        return ig_fail_errno(err, IG_IO, errno, "cannot make the folder %.300s", o->out);
    int to = ig_disk_open(AT_FDCWD, o->out, O_RDONLY | O_DIRECTORY, 0);
    if (to < 0) return ig_fail_errno(err, IG_IO, errno, "cannot open the folder %.300s", o->out);
    ig_status st = check_not_older(to, o, err);
    if (st == IG_OK) st = copy_folders(from, to, err);
    if (st == IG_OK) st = put_file(to, "metadata/timestamp.json", o->stamp.ptr, o->stamp.len, true, err);
    close(to);
    return st;
}

static ig_status copy_out(const ig_author *a, const char *out, ig_error *err)
{
    ours o = {.out = out};
    int from = ig_disk_open(a->fd, "published", O_RDONLY | O_DIRECTORY, 0);
    if (from < 0) return ig_fail_errno(err, IG_IO, errno, "cannot open the folder %.300s/published", a->dir);
    ig_status st = ig_author_read(a, "published/metadata/timestamp.json", IG_TUF_TIMESTAMP_BYTES_MAX, &o.stamp, err);
    if (st == IG_OK) {
        st = ig_outlet_fits(out) ? ig_outlet_put(out, from, a->insecure, judge_theirs, &o, err)
                                 : copy_to_folder(from, &o, err);
        ig_buf_fini(&o.stamp);
    }
    close(from);
    return st;
}

ig_status ig_author_publish(ig_author *a, const char *out, ig_author_each each, void *ctx, ig_error *err)
{
    ig_tuf_key keys[IG_AUTHOR_KEYS_MAX];
    size_t n;
    set s = {0};
    ig_catalogue *c = NULL;
    IG_TRY(ig_author_keys(a, keys, &n, err));
    signer k = {.publish = true, .each = each, .ctx = ctx};
    ig_status st = settle_all(a, &k, &s, err);
    if (st == IG_OK) st = check_signed(a, &s, err);
    if (st == IG_OK && !a->dry_run) st = write_published(a, &s, keys, n, each, ctx, &c, err);
    if (st == IG_OK && out && !a->dry_run) st = copy_out(a, out, err);
    ig_catalogue_free(c);
    set_free(&s);
    for (size_t i = 0; i < n; i++) ig_key_fini(&keys[i]);
    return st;
}

/* ------------------------------------------------------------------------------------------------ the draft, read */

static ig_status draft_docs(const ig_author *a, ig_tuf *t, ig_error *err)
{
    const json_t *list = json_object_get(a->draft, "delegations");
    IG_TRY(next_version(a, "root", NULL, NULL, 0, &t->root, err));
    IG_TRY(next_version(a, "targets", NULL, NULL, 0, &t->targets, err));
    for (size_t i = 0; i < json_array_size(list) && i < IG_TUF_ROLES_MAX; i++) {
        IG_TRY(next_version(a, ig_json_text(json_array_get(list, i), "name"), NULL, NULL, 0, &t->delegated[i], err));
        t->n_delegated++;
    }
    IG_TRY(next_version(a, "snapshot", NULL, &t->targets, 1, &t->snapshot, err));
    return next_version(a, "timestamp", NULL, &t->snapshot, 1, &t->timestamp, err);
}

ig_status ig_author_draft(const ig_author *a, ig_catalogue **out, ig_error *err)
{
    ig_tuf t = {.now_s = INT64_MIN};
    *out = NULL;
    ig_status st = draft_docs(a, &t, err);
    if (st == IG_OK) st = ig_content_read(&t, a->dir, 0, out, err);
    ig_tuf_fini(&t);
    return st;
}

ig_status ig_author_root_path(const ig_author *a, char *out, size_t n, ig_error *err)
{
    ig_doc *root;
    char file[IG_TUF_ROLE_NAME_MAX + 48];
    IG_TRY(latest(a, "root", &root, err));
    if (!root)
        return ig_fail(err, IG_NOT_FOUND, 0, "nothing is published yet. Type: ingle catalogue publish %.200s", a->dir);
    ig_tuf_file("root", root->version, true, file);
    ig_doc_free(root);
    (void)snprintf(out, n, "%s/published/%s", a->dir, file);
    return IG_OK;
}
