/* Documents: bytes to a tree whose shape has been checked whole, so that whoever reads it later need not ask again. */
#include <stdio.h>
#include <string.h>

#include "tuf.h"

const char *const ig_tuf_names[IG_TUF_TYPES] = {"root", "timestamp", "snapshot", "targets"};
const size_t ig_tuf_bytes_max[IG_TUF_TYPES] = {IG_TUF_ROOT_BYTES_MAX, IG_TUF_TIMESTAMP_BYTES_MAX,
                                               IG_TUF_SNAPSHOT_BYTES_MAX, IG_TUF_TARGETS_BYTES_MAX};

static ig_status wrong(const ig_doc *d, ig_error *err, const char *what, const char *expected)
{
    return ig_fail(err, IG_BAD_INPUT, 0, "%s metadata: %.150s is wrong or missing, expected %.150s", d->role, what,
                   expected);
}

bool ig_tuf_role_name_valid(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > IG_TUF_ROLE_NAME_MAX || name[0] == '.' || name[0] == '-') return false;
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("._-", c))))
            return false;
    }
    return true;
}

bool ig_tuf_path_valid(const char *path) { return ig_file_name_valid(path) && path[0] != '-'; }

/* ------------------------------------------------------------------------------------------------ shapes */

static bool whole(const json_t *object, const char *key, uint64_t least, uint64_t *out)
{
    return ig_json_size(object, key, out) && *out >= least && *out <= IG_TUF_VERSION_MAX;
}

static ig_status check_head(ig_doc *d, ig_error *err)
{
    const char *type = ig_json_text(d->signed_, "_type"), *spec = ig_json_text(d->signed_, "spec_version");
    const char *expires = ig_json_text(d->signed_, "expires");
    if (!type || strcmp(type, ig_tuf_names[d->type]) != 0)
        return ig_fail(err, IG_BAD_INPUT, 0, "%s metadata: it is of type \"%.40s\", expected \"%s\"", d->role,
                       type ? type : "", ig_tuf_names[d->type]);
    if (!spec) return wrong(d, err, "spec_version", "1.0");
    if (strncmp(spec, "1.", 2) != 0)
        return ig_fail(err, IG_UNSUPPORTED, 0, "%s metadata: it has specification version %.20s, expected 1.0", d->role,
                       spec);
    if (!whole(d->signed_, "version", 1, &d->version)) return wrong(d, err, "version", "a whole number from 1 to 2^53");
    if (!expires || !ig_time_read(expires, &d->expires_s))
        return wrong(d, err, "expires", "a time such as 2026-11-21T10:20:04Z");
    return IG_OK;
}

static ig_status check_signatures(const ig_doc *d, ig_error *err)
{
    const json_t *list = json_object_get(d->all, "signatures"), *s;
    size_t i;
    if (!json_is_array(list)) return wrong(d, err, "signatures", "a list");
    if (json_array_size(list) > IG_TUF_SIGNATURES_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "%s metadata: it has %zu signatures, expected at most %d", d->role,
                       json_array_size(list), (int)IG_TUF_SIGNATURES_MAX);
    json_array_foreach(list, i, s) if (!ig_json_text(s, "keyid") ||
                                       !ig_json_text(s, "sig")) return wrong(d, err, "a signature", "keyid and sig");
    return IG_OK;
}

/* Keys of other types are left standing: they verify nothing. */
static ig_status check_keys(const ig_doc *d, const json_t *keys, ig_error *err)
{
    const char *id;
    json_t *k;
    if (!json_is_object(keys)) return wrong(d, err, "keys", "an object");
    if (json_object_size(keys) > IG_TUF_KEYS_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "%s metadata: it has %zu keys, expected at most %d", d->role,
                       json_object_size(keys), (int)IG_TUF_KEYS_MAX);
    json_object_foreach((json_t *)(uintptr_t)keys, id, k)
    {
        const json_t *value = json_object_get(k, "keyval");
        if (!ig_json_text(k, "keytype") || !ig_json_text(k, "scheme") || !ig_json_text(value, "public"))
            return wrong(d, err, "a key", "keytype, scheme and keyval with public");
    }
    return IG_OK;
}

static ig_status check_role(const ig_doc *d, const json_t *role, const char *name, ig_error *err)
{
    const json_t *ids = json_object_get(role, "keyids");
    uint64_t threshold;
    char what[IG_TUF_ROLE_NAME_MAX + 32];
    (void)snprintf(what, sizeof what, "the role %s", name);
    if (!json_is_array(ids) || json_array_size(ids) > IG_TUF_KEYS_MAX || !whole(role, "threshold", 1, &threshold))
        return wrong(d, err, what, "keyids and a threshold from 1");
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const char *id = json_string_value(json_array_get(ids, i));
        if (!id) return wrong(d, err, what, "keyids that are texts");
        for (size_t k = 0; k < i; k++)
            if (!strcmp(id, json_string_value(json_array_get(ids, k)))) return wrong(d, err, what, "each keyid once");
    }
    return IG_OK;
}

static ig_status check_root(const ig_doc *d, ig_error *err)
{
    const json_t *consistent = json_object_get(d->signed_, "consistent_snapshot");
    if (consistent && !json_is_boolean(consistent)) return wrong(d, err, "consistent_snapshot", "true or false");
    IG_TRY(check_keys(d, json_object_get(d->signed_, "keys"), err));
    for (size_t i = 0; i < IG_TUF_TYPES; i++)
        IG_TRY(check_role(d, ig_doc_role(d, ig_tuf_names[i]), ig_tuf_names[i], err));
    return IG_OK;
}

static ig_status check_hashes(const ig_doc *d, const json_t *entry, bool needed, ig_error *err)
{
    const json_t *hashes = json_object_get(entry, "hashes");
    const char *sha = ig_json_text(hashes, "sha256");
    ig_digest digest;
    if (!hashes && !needed) return IG_OK;
    if (!sha || strlen(sha) != IG_HEX_LEN || ig_digest_parse(sha, &digest, NULL) != IG_OK)
        return wrong(d, err, "hashes", "sha256 with 64 hexadecimal digits");
    return IG_OK;
}

/* "NAME.json": the role's name into out. */
static bool role_of_file(const char *file, char out[IG_TUF_ROLE_NAME_MAX + 1])
{
    size_t n = strlen(file);
    if (n <= 5 || n - 5 > IG_TUF_ROLE_NAME_MAX || strcmp(file + n - 5, ".json") != 0) return false;
    memcpy(out, file, n - 5);
    out[n - 5] = 0;
    return ig_tuf_role_name_valid(out);
}

static ig_status check_meta(const ig_doc *d, const char *needed, size_t most, ig_error *err)
{
    const json_t *meta = json_object_get(d->signed_, "meta");
    char role[IG_TUF_ROLE_NAME_MAX + 1];
    const char *file;
    json_t *entry;
    uint64_t n;
    if (!json_is_object(meta) || !ig_doc_meta(d, needed)) return wrong(d, err, "meta", "an entry for the next role");
    if (json_object_size(meta) > most)
        return ig_fail(err, IG_TOO_LARGE, 0, "%s metadata: it names %zu files, expected at most %zu", d->role,
                       json_object_size(meta), most);
    json_object_foreach((json_t *)(uintptr_t)meta, file, entry)
    {
        if (!role_of_file(file, role)) return wrong(d, err, "a file name in meta", "NAME.json");
        if (!whole(entry, "version", 1, &n)) return wrong(d, err, file, "a version");
        if (json_object_get(entry, "length") && !whole(entry, "length", 1, &n)) return wrong(d, err, file, "a length");
        IG_TRY(check_hashes(d, entry, false, err));
    }
    return IG_OK;
}

static ig_status check_texts(const ig_doc *d, const json_t *list, const char *what, ig_error *err)
{
    size_t i;
    json_t *text;
    if (!json_is_array(list) || json_array_size(list) > IG_TUF_PATHS_MAX) return wrong(d, err, what, "a list of texts");
    json_array_foreach(list, i, text)
    {
        const char *p = json_string_value(text);
        if (!p || !*p || strlen(p) > IG_TUF_PATH_MAX) return wrong(d, err, what, "texts of at most 255 bytes");
        if (strpbrk(p, "[]\\"))
            return ig_fail(err, IG_UNSUPPORTED, 0,
                           "%s metadata: the pattern \"%.80s\" has brackets, expected '*' and '?' alone", d->role, p);
    }
    return IG_OK;
}

static ig_status check_delegation(const ig_doc *d, const json_t *roles, size_t i, ig_error *err)
{
    const json_t *r = json_array_get(roles, i), *paths = json_object_get(r, "paths");
    const json_t *prefixes = json_object_get(r, "path_hash_prefixes"), *end = json_object_get(r, "terminating");
    const char *name = ig_json_text(r, "name");
    if (!name || !ig_tuf_role_name_valid(name))
        return wrong(d, err, "the name of a delegated role", "letters and digits");
    for (size_t k = 0; k < IG_TUF_TYPES; k++)
        if (!strcmp(name, ig_tuf_names[k]))
            return wrong(d, err, "the name of a delegated role", "another than a top role's");
    for (size_t k = 0; k < i; k++)
        if (!strcmp(name, ig_json_text(json_array_get(roles, k), "name")))
            return wrong(d, err, "the name of a delegated role", "each once");
    if (!json_is_boolean(end)) return wrong(d, err, "terminating", "true or false");
    if (!paths == !prefixes) return wrong(d, err, "paths", "one of paths and path_hash_prefixes");
    IG_TRY(check_texts(d, paths ? paths : prefixes, "paths", err));
    return check_role(d, r, name, err);
}

static ig_status check_delegations(const ig_doc *d, ig_error *err)
{
    const json_t *all = json_object_get(d->signed_, "delegations"), *roles = json_object_get(all, "roles");
    if (!all) return IG_OK;
    if (json_object_get(all, "succinct_roles"))
        return ig_fail(err, IG_UNSUPPORTED, 0, "%s metadata: succinct_roles are not supported, expected roles",
                       d->role);
    if (!json_is_array(roles)) return wrong(d, err, "delegations", "keys and roles");
    if (json_array_size(roles) > IG_TUF_ROLES_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "%s metadata: it delegates to %zu roles, expected at most %d", d->role,
                       json_array_size(roles), (int)IG_TUF_ROLES_MAX);
    IG_TRY(check_keys(d, json_object_get(all, "keys"), err));
    for (size_t i = 0; i < json_array_size(roles); i++) IG_TRY(check_delegation(d, roles, i, err));
    return IG_OK;
}

static ig_status check_targets(const ig_doc *d, ig_error *err)
{
    const json_t *targets = json_object_get(d->signed_, "targets");
    const char *path;
    json_t *entry;
    uint64_t n;
    if (!json_is_object(targets)) return wrong(d, err, "targets", "an object");
    if (json_object_size(targets) > IG_TUF_TARGETS_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "%s metadata: it has %zu targets, expected at most %d", d->role,
                       json_object_size(targets), (int)IG_TUF_TARGETS_MAX);
    json_object_foreach((json_t *)(uintptr_t)targets, path, entry)
    {
        if (!ig_tuf_path_valid(path)) return wrong(d, err, "the path of a target", "a relative one of plain parts");
        if (!whole(entry, "length", 0, &n)) return wrong(d, err, path, "a length");
        IG_TRY(check_hashes(d, entry, true, err));
        if (json_object_get(entry, "custom") && !json_is_object(json_object_get(entry, "custom")))
            return wrong(d, err, path, "a custom that is an object");
    }
    return check_delegations(d, err);
}

static ig_status check(ig_doc *d, ig_error *err)
{
    d->signed_ = json_object_get(d->all, "signed");
    if (!json_is_object(d->signed_)) return wrong(d, err, "signed", "an object");
    IG_TRY(check_head(d, err));
    IG_TRY(check_signatures(d, err));
    switch (d->type) {
    case IG_TUF_ROOT: return check_root(d, err);
    case IG_TUF_TIMESTAMP: return check_meta(d, "snapshot", 1, err);
    case IG_TUF_SNAPSHOT: return check_meta(d, "targets", 4 * IG_TUF_ROLES_MAX, err);
    default: return check_targets(d, err);
    }
}

ig_status ig_doc_read(ig_tuf_type type, const char *role, ig_str text, ig_doc **out, ig_error *err)
{
    char what[IG_TUF_ROLE_NAME_MAX + 16];
    ig_doc *d = ig_calloc(1, sizeof *d);
    *out = NULL;
    if (!d) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for metadata");
    d->type = type;
    (void)snprintf(d->role, sizeof d->role, "%s", role ? role : ig_tuf_names[type]);
    (void)snprintf(what, sizeof what, "%s metadata", d->role);
    ig_buf_init(&d->text, ig_tuf_bytes_max[type]);
    ig_status st = IG_OK;
    if (text.len > ig_tuf_bytes_max[type])
        st = ig_fail(err, IG_TOO_LARGE, 0, "%s has %zu bytes, expected at most %zu", what, text.len,
                     ig_tuf_bytes_max[type]);
    else if (!ig_buf_add(&d->text, text.ptr, text.len))
        st = ig_fail(err, IG_NO_MEMORY, 0, "out of memory for %s", what);
    if (st == IG_OK) st = ig_store_json(what, text, IG_TUF_VALUES_MAX, &d->all, err);
    if (st == IG_OK) st = check(d, err);
    if (st == IG_OK) st = ig_canon_write(what, d->signed_, &d->canon, err);
    if (st == IG_OK)
        *out = d;
    else
        ig_doc_free(d);
    return st;
}

void ig_doc_free(ig_doc *d)
{
    if (!d) return;
    json_decref(d->all);
    ig_buf_fini(&d->text);
    ig_buf_fini(&d->canon);
    ig_free(d);
}

/* ------------------------------------------------------------------------------------------------ access */

const json_t *ig_doc_meta(const ig_doc *d, const char *role)
{
    char file[IG_TUF_ROLE_NAME_MAX + 8];
    (void)snprintf(file, sizeof file, "%s.json", role);
    return json_object_get(json_object_get(d->signed_, "meta"), file);
}

const json_t *ig_doc_delegation(const ig_doc *d, const char *role)
{
    const json_t *roles = json_object_get(json_object_get(d->signed_, "delegations"), "roles");
    for (size_t i = 0; i < json_array_size(roles); i++) {
        const json_t *r = json_array_get(roles, i);
        const char *name = ig_json_text(r, "name");
        if (name && !strcmp(name, role)) return r;
    }
    return NULL;
}

const json_t *ig_doc_role(const ig_doc *by, const char *role)
{
    return by->type == IG_TUF_ROOT ? json_object_get(json_object_get(by->signed_, "roles"), role)
                                   : ig_doc_delegation(by, role);
}

static const json_t *keys_of(const ig_doc *by)
{
    const json_t *from = by->type == IG_TUF_ROOT ? by->signed_ : json_object_get(by->signed_, "delegations");
    return json_object_get(from, "keys");
}

/* The bytes of an Ed25519 key; false for one of another type. */
static bool key_bytes(const ig_doc *by, const char *id, unsigned char out[IG_KEY_BYTES])
{
    const json_t *k = json_object_get(keys_of(by), id);
    const char *type = ig_json_text(k, "keytype"), *scheme = ig_json_text(k, "scheme");
    const char *hex = ig_json_text(json_object_get(k, "keyval"), "public");
    return type && scheme && hex && !strcmp(type, "ed25519") && !strcmp(scheme, "ed25519") &&
           ig_hex_read(hex, out, IG_KEY_BYTES);
}

static const char *signature_of(const ig_doc *d, const char *id, size_t *at)
{
    const json_t *list = json_object_get(d->all, "signatures");
    for (; *at < json_array_size(list); ++*at) {
        const json_t *s = json_array_get(list, *at);
        if (!strcmp(ig_json_text(s, "keyid"), id)) return ig_json_text(json_array_get(list, (*at)++), "sig");
    }
    return NULL;
}

/* One of the signatures under that id holds. The specification has one; a broken one in front of it does no harm. */
static bool signed_by(const ig_doc *d, const char *id, const unsigned char key[IG_KEY_BYTES])
{
    unsigned char signature[IG_SIGNATURE_BYTES];
    const char *hex;
    for (size_t at = 0, tries = 0; tries < 4 && (hex = signature_of(d, id, &at)); tries++)
        if (ig_hex_read(hex, signature, sizeof signature) && ig_key_verify(key, d->canon.ptr, d->canon.len, signature))
            return true;
    return false;
}

unsigned ig_doc_count(const ig_doc *by, const char *role, const ig_doc *d, uint64_t enough)
{
    unsigned char used[IG_TUF_KEYS_MAX][IG_KEY_BYTES];
    const json_t *ids = json_object_get(ig_doc_role(by, role), "keyids");
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(ids) && n < IG_TUF_KEYS_MAX && n < enough; i++) {
        const char *id = json_string_value(json_array_get(ids, i));
        bool again = !key_bytes(by, id, used[n]);
        for (size_t k = 0; k < n; k++) again |= !memcmp(used[k], used[n], IG_KEY_BYTES);
        if (!again && signed_by(d, id, used[n])) n++;
    }
    return (unsigned)n;
}

ig_status ig_doc_verify(const ig_doc *by, const char *role, const ig_doc *d, const char *as, ig_error *err)
{
    const json_t *r = ig_doc_role(by, role);
    uint64_t threshold = UINT64_MAX;
    if (!r)
        return ig_fail(err, IG_DENIED, 0, "%s metadata: %s names no keys for it, expected a role of that name", d->role,
                       by->role);
    (void)ig_json_size(r, "threshold", &threshold);
    unsigned n = ig_doc_count(by, role, d, threshold);
    if (n >= threshold) return IG_OK;
    return ig_fail(err, IG_DENIED, 0,
                   "%s metadata, version %llu: signed by %u of the keys that %s version %llu names%s, expected %llu",
                   d->role, (unsigned long long)d->version, n, by->role, (unsigned long long)by->version, as,
                   (unsigned long long)threshold);
}

static bool has_key(const ig_doc *d, const char *role, const unsigned char key[IG_KEY_BYTES])
{
    unsigned char own[IG_KEY_BYTES];
    const json_t *ids = json_object_get(ig_doc_role(d, role), "keyids");
    for (size_t i = 0; i < json_array_size(ids); i++)
        if (key_bytes(d, json_string_value(json_array_get(ids, i)), own) && !memcmp(own, key, IG_KEY_BYTES))
            return true;
    return false;
}

static bool has_all_keys(const ig_doc *a, const ig_doc *b, const char *role)
{
    unsigned char key[IG_KEY_BYTES];
    const json_t *ids = json_object_get(ig_doc_role(a, role), "keyids");
    for (size_t i = 0; i < json_array_size(ids); i++)
        if (key_bytes(a, json_string_value(json_array_get(ids, i)), key) && !has_key(b, role, key)) return false;
    return true;
}

bool ig_doc_same_keys(const ig_doc *a, const ig_doc *b, const char *role)
{
    return has_all_keys(a, b, role) && has_all_keys(b, a, role);
}

/* ------------------------------------------------------------------------------------------------ paths */

/* One part of a path against one part of a pattern: the last '*' is the only one that is ever gone back to. */
static bool part_fits(const char *p, size_t n_p, const char *s, size_t n_s)
{
    size_t i = 0, k = 0, star = SIZE_MAX, mark = 0;
    while (k < n_s) {
        if (i < n_p && p[i] == '*') {
            star = i++;
            mark = k;
        } else if (i < n_p && (p[i] == '?' || p[i] == s[k])) {
            i++;
            k++;
        } else if (star != SIZE_MAX) {
            i = star + 1;
            k = ++mark;
        } else {
            return false;
        }
    }
    while (i < n_p && p[i] == '*') i++;
    return i == n_p;
}

bool ig_tuf_path_fits(const char *pattern, const char *path)
{
    for (;;) {
        size_t n_p = strcspn(pattern, "/"), n_s = strcspn(path, "/");
        if (!part_fits(pattern, n_p, path, n_s) || pattern[n_p] != path[n_s]) return false;
        if (!pattern[n_p]) return true;
        pattern += n_p + 1;
        path += n_s + 1;
    }
}

bool ig_tuf_delegates(const json_t *delegation, const char *path)
{
    const json_t *paths = json_object_get(delegation, "paths");
    const json_t *prefixes = json_object_get(delegation, "path_hash_prefixes");
    ig_digest hash = {""};
    for (size_t i = 0; i < json_array_size(paths); i++)
        if (ig_tuf_path_fits(json_string_value(json_array_get(paths, i)), path)) return true;
    if (!prefixes || !ig_sha_text(path, strlen(path), &hash)) return false;
    for (size_t i = 0; i < json_array_size(prefixes); i++) {
        const char *p = json_string_value(json_array_get(prefixes, i));
        if (!strncmp(hash.hex, p, strlen(p))) return true;
    }
    return false;
}
