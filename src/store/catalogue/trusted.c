/* The trusted set: which document may follow which. Sections of the TUF specification stand beside each rule. A pure
 * function of bytes and one fixed time; on any failure the set is as it was. */
#include <string.h>

#include "tuf.h"

typedef unsigned long long ull;

void ig_tuf_fini(ig_tuf *t)
{
    ig_doc_free(t->root);
    ig_doc_free(t->timestamp);
    ig_doc_free(t->snapshot);
    ig_doc_free(t->targets);
    ig_doc_free(t->old_snapshot);
    for (size_t i = 0; i < t->n_delegated; i++) ig_doc_free(t->delegated[i]);
    *t = (ig_tuf){0};
}

static void replace(ig_doc **at, ig_doc *with)
{
    ig_doc_free(*at);
    *at = with;
}

/* 5.3.10, 5.4.4, 5.5.6, 5.6.5 */
static ig_status check_expiry(const ig_tuf *t, const ig_doc *d, ig_error *err)
{
    char then[24], now[24];
    if (t->now_s == INT64_MIN || t->now_s < d->expires_s) return IG_OK;
    ig_time_write(d->expires_s, then);
    ig_time_write(t->now_s, now);
    return ig_fail(
        err, IG_DENIED, 0,
        "%s metadata, version %llu: it expired at %s and now it is %s, expected a newer one or another clock", d->role,
        (ull)d->version, then, now);
}

static ig_status check_version(const ig_doc *d, const char *who, uint64_t expected, bool or_later, ig_error *err)
{
    if (d->version == expected || (or_later && d->version > expected)) return IG_OK;
    return ig_fail(err, IG_DENIED, 0, "%s metadata: it has version %llu, expected %llu%s, which %s", d->role,
                   (ull)d->version, (ull)expected, or_later ? " or later" : "", who);
}

/* 5.5.2, 5.6.2: length and hashes where the referring document has them */
static ig_status check_bytes(const json_t *meta, const ig_doc *d, const char *by, ig_error *err)
{
    const char *sha = ig_json_text(json_object_get(meta, "hashes"), "sha256");
    uint64_t length;
    ig_digest found;
    if (ig_json_size(meta, "length", &length) && length != d->text.len)
        return ig_fail(err, IG_DENIED, 0, "%s metadata: it has %zu bytes, expected %llu as %s says", d->role,
                       d->text.len, (ull)length, by);
    if (!sha) return IG_OK;
    if (!ig_sha_text(d->text.ptr, d->text.len, &found))
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for hashing");
    return strcmp(found.hex, sha)
               ? ig_fail(err, IG_DENIED, 0, "%s metadata: its SHA-256 is %.16s..., expected %.16s... as %s says",
                         d->role, found.hex, sha, by)
               : IG_OK;
}

/* ------------------------------------------------------------------------------------------------ root */

ig_status ig_tuf_begin(ig_tuf *t, ig_str root, int64_t now_s, ig_error *err)
{
    ig_doc *d;
    *t = (ig_tuf){.now_s = now_s};
    IG_TRY(ig_doc_read(IG_TUF_ROOT, NULL, root, &d, err));
    ig_status st = ig_doc_verify(d, "root", d, "", err);
    if (st == IG_OK)
        t->root = d;
    else
        ig_doc_free(d);
    return st;
}

ig_status ig_tuf_next_root(ig_tuf *t, ig_str text, ig_error *err)
{
    ig_doc *d;
    if (t->root->version >= IG_TUF_VERSION_MAX)
        return ig_fail(err, IG_DENIED, 0, "root metadata: version %llu has no successor", (ull)t->root->version);
    IG_TRY(ig_doc_read(IG_TUF_ROOT, NULL, text, &d, err));
    ig_status st = ig_doc_verify(t->root, "root", d, " (the trusted root)", err);                         /* 5.3.4 */
    if (st == IG_OK) st = ig_doc_verify(d, "root", d, " (the new root itself)", err);                     /* 5.3.4 */
    if (st == IG_OK) st = check_version(d, "follows the trusted root", t->root->version + 1, false, err); /* 5.3.5 */
    if (st == IG_OK)
        replace(&t->root, d);
    else
        ig_doc_free(d);
    return st;
}

ig_status ig_tuf_end_roots(ig_tuf *t, ig_error *err) { return check_expiry(t, t->root, err); }

/* ------------------------------------------------------------------------------------------------ timestamp */

static ig_status judge_timestamp(const ig_tuf *t, const ig_doc *d, bool *same, ig_error *err)
{
    uint64_t old = 0, new = 0;
    IG_TRY(ig_doc_verify(t->root, "timestamp", d, "", err)); /* 5.4.2 */
    if (!t->timestamp) return IG_OK;
    IG_TRY(check_version(d, "is trusted already", t->timestamp->version, true, err)); /* 5.4.3.1 */
    *same = d->version == t->timestamp->version;
    (void)ig_json_size(ig_doc_meta(t->timestamp, "snapshot"), "version", &old);
    (void)ig_json_size(ig_doc_meta(d, "snapshot"), "version", &new);
    if (!*same && new < old) /* 5.4.3.2 */
        return ig_fail(err, IG_DENIED, 0,
                       "timestamp metadata, version %llu: it names snapshot version %llu, expected %llu or later",
                       (ull)d->version, (ull) new, (ull)old);
    return IG_OK;
}

ig_status ig_tuf_add_timestamp(ig_tuf *t, ig_str text, bool local, bool *same, ig_error *err)
{
    ig_doc *d;
    *same = false;
    IG_TRY(ig_doc_read(IG_TUF_TIMESTAMP, NULL, text, &d, err));
    ig_status st = judge_timestamp(t, d, same, err);
    if (st == IG_OK && !local && !*same) st = check_expiry(t, d, err); /* 5.4.4 */
    if (st == IG_OK && !*same)
        replace(&t->timestamp, d);
    else
        ig_doc_free(d);
    return st;
}

/* The trusted one may be of the last time, and have expired since: then the source is frozen. */
ig_status ig_tuf_end_timestamp(ig_tuf *t, ig_error *err) { return check_expiry(t, t->timestamp, err); }

/* ------------------------------------------------------------------------------------------------ snapshot */

/* 5.5.5: no file may vanish or become older */
static ig_status check_no_rollback(const ig_doc *old, const ig_doc *d, ig_error *err)
{
    const char *file;
    json_t *entry;
    json_object_foreach(json_object_get(old->signed_, "meta"), file, entry)
    {
        const json_t *now = json_object_get(json_object_get(d->signed_, "meta"), file);
        uint64_t was = 0, is = 0;
        (void)ig_json_size(entry, "version", &was);
        (void)ig_json_size(now, "version", &is);
        if (is < was)
            return ig_fail(err, IG_DENIED, 0,
                           "snapshot metadata, version %llu: it names %.70s with version %llu, expected %llu or later",
                           (ull)d->version, file, (ull)is, (ull)was);
    }
    return IG_OK;
}

static ig_status judge_snapshot(const ig_tuf *t, const ig_doc *d, ig_error *err)
{
    const json_t *meta = ig_doc_meta(t->timestamp, "snapshot");
    uint64_t version = 0;
    (void)ig_json_size(meta, "version", &version);
    IG_TRY(check_bytes(meta, d, "timestamp", err));                          /* 5.5.2 */
    IG_TRY(ig_doc_verify(t->root, "snapshot", d, "", err));                  /* 5.5.3 */
    IG_TRY(check_version(d, "timestamp names", version, false, err));        /* 5.5.4 */
    if (t->old_snapshot) IG_TRY(check_no_rollback(t->old_snapshot, d, err)); /* 5.5.5 */
    return check_expiry(t, d, err);                                          /* 5.5.6 */
}

ig_status ig_tuf_add_snapshot(ig_tuf *t, ig_str text, ig_error *err)
{
    ig_doc *d;
    IG_TRY(ig_doc_read(IG_TUF_SNAPSHOT, NULL, text, &d, err));
    ig_status st = judge_snapshot(t, d, err);
    if (st == IG_OK)
        replace(&t->snapshot, d);
    else
        ig_doc_free(d);
    return st;
}

void ig_tuf_old_snapshot(ig_tuf *t, ig_str text)
{
    ig_doc *d;
    if (ig_doc_read(IG_TUF_SNAPSHOT, NULL, text, &d, NULL) != IG_OK) return;
    if (ig_doc_verify(t->root, "snapshot", d, "", NULL) == IG_OK)
        replace(&t->old_snapshot, d);
    else
        ig_doc_free(d);
}

/* ------------------------------------------------------------------------------------------------ targets */

static ig_status judge_targets(const ig_tuf *t, const char *role, const ig_doc *by, const ig_doc *d, ig_error *err)
{
    const json_t *meta = ig_doc_meta(t->snapshot, role);
    uint64_t version = 0;
    if (!meta)
        return ig_fail(err, IG_DENIED, 0, "%s metadata: snapshot version %llu does not name it", role,
                       (ull)t->snapshot->version);
    (void)ig_json_size(meta, "version", &version);
    IG_TRY(check_bytes(meta, d, "snapshot", err));                   /* 5.6.2 */
    IG_TRY(ig_doc_verify(by, role, d, "", err));                     /* 5.6.3 */
    IG_TRY(check_version(d, "snapshot names", version, false, err)); /* 5.6.4 */
    return check_expiry(t, d, err);                                  /* 5.6.5 */
}

ig_status ig_tuf_add_targets(ig_tuf *t, const char *role, const ig_doc *by, ig_str text, ig_error *err)
{
    ig_doc *d;
    bool top = by == t->root;
    if (!top && t->n_delegated == IG_TUF_ROLES_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "%s metadata: more than %d roles are delegated to", role,
                       (int)IG_TUF_ROLES_MAX);
    IG_TRY(ig_doc_read(IG_TUF_TARGETS, role, text, &d, err));
    ig_status st = judge_targets(t, role, by, d, err);
    if (st != IG_OK)
        ig_doc_free(d);
    else if (top)
        replace(&t->targets, d);
    else
        t->delegated[t->n_delegated++] = d;
    return st;
}

const ig_doc *ig_tuf_document(const ig_tuf *t, const char *role)
{
    if (t->targets && !strcmp(role, t->targets->role)) return t->targets;
    for (size_t i = 0; i < t->n_delegated; i++)
        if (!strcmp(role, t->delegated[i]->role)) return t->delegated[i];
    return NULL;
}

/* The roles that one document delegates to. */
static ig_status walk_from(ig_tuf *t, const ig_doc *by, ig_tuf_provide provide, void *ctx, size_t *n_all, ig_error *err)
{
    const json_t *roles = json_object_get(json_object_get(by->signed_, "delegations"), "roles");
    for (size_t i = 0; i < json_array_size(roles); i++) {
        const char *role = ig_json_text(json_array_get(roles, i), "name");
        const ig_doc *d = ig_tuf_document(t, role);
        if (++*n_all > IG_TUF_DELEGATIONS_MAX)
            return ig_fail(err, IG_TOO_LARGE, 0, "%s metadata: more than %d delegations in all roles", by->role,
                           (int)IG_TUF_DELEGATIONS_MAX);
        if (d)
            IG_TRY(ig_doc_verify(by, role, d, "", err));
        else
            IG_TRY(provide(ctx, t, role, by, err));
    }
    return IG_OK;
}

static size_t n_patterns(const ig_doc *d)
{
    const json_t *roles = json_object_get(json_object_get(d->signed_, "delegations"), "roles");
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(roles); i++)
        n += json_array_size(json_object_get(json_array_get(roles, i), "paths")) +
             json_array_size(json_object_get(json_array_get(roles, i), "path_hash_prefixes"));
    return n;
}

/* Every target is compared with every pattern: a delegated role must not be able to make that endless. */
static ig_status check_work(const ig_tuf *t, ig_error *err)
{
    size_t targets = json_object_size(json_object_get(t->targets->signed_, "targets")),
           patterns = n_patterns(t->targets);
    for (size_t i = 0; i < t->n_delegated; i++) {
        targets += json_object_size(json_object_get(t->delegated[i]->signed_, "targets"));
        patterns += n_patterns(t->delegated[i]);
    }
    if (targets * patterns <= IG_TUF_COMPARISONS_MAX) return IG_OK;
    return ig_fail(err, IG_TOO_LARGE, 0,
                   "targets metadata: %zu targets and %zu path patterns in all roles, expected a product of at most %d",
                   targets, patterns, (int)IG_TUF_COMPARISONS_MAX);
}

ig_status ig_tuf_walk(ig_tuf *t, ig_tuf_provide provide, void *ctx, ig_error *err)
{
    size_t n_all = 0, bytes;
    IG_TRY(provide(ctx, t, "targets", t->root, err));
    IG_TRY(walk_from(t, t->targets, provide, ctx, &n_all, err));
    bytes = t->targets->text.len;
    for (size_t i = 0; i < t->n_delegated; i++) {
        bytes += t->delegated[i]->text.len;
        if (bytes > IG_TUF_ALL_BYTES_MAX)
            return ig_fail(err, IG_TOO_LARGE, 0, "%s metadata: all roles together have more than %d bytes",
                           t->delegated[i]->role, (int)IG_TUF_ALL_BYTES_MAX);
        IG_TRY(walk_from(t, t->delegated[i], provide, ctx, &n_all, err));
    }
    return check_work(t, err);
}

/* Puts the roles that the document trusts with the path on the stack, the first on top. True: it ends the search. */
static bool push_delegations(const ig_tuf *t, const ig_doc *d, const char *path, const ig_doc **stack, size_t *n)
{
    const json_t *roles = json_object_get(json_object_get(d->signed_, "delegations"), "roles");
    size_t end = 0, n_roles = json_array_size(roles);
    bool terminating = false;
    for (; end < n_roles && !terminating; end++) {
        const json_t *r = json_array_get(roles, end);
        terminating = ig_tuf_delegates(r, path) && json_is_true(json_object_get(r, "terminating"));
    }
    if (terminating) *n = 0; /* 5.6.7.2.1: what was to be looked at later is not */
    while (end--) {
        const json_t *r = json_array_get(roles, end);
        const ig_doc *next = ig_tuf_delegates(r, path) ? ig_tuf_document(t, ig_json_text(r, "name")) : NULL;
        if (next && *n <= IG_TUF_DELEGATIONS_MAX) stack[(*n)++] = next;
    }
    return terminating;
}

const ig_doc *ig_tuf_find(const ig_tuf *t, const char *path, const json_t **target)
{
    const ig_doc *stack[IG_TUF_DELEGATIONS_MAX + 1], *seen[IG_TUF_ROLES_MAX + 1];
    size_t n = 0, n_seen = 0;
    stack[n++] = t->targets;
    while (n) {
        const ig_doc *d = stack[--n];
        bool again = false;
        for (size_t i = 0; i < n_seen; i++) again |= seen[i] == d;
        if (again || n_seen == IG_TUF_ROLES_MAX + 1) continue;
        seen[n_seen++] = d;
        *target = json_object_get(json_object_get(d->signed_, "targets"), path);
        if (*target) return d;
        (void)push_delegations(t, d, path, stack, &n);
    }
    return NULL;
}
