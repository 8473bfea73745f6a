/* The draft: every verb that edits the catalogue before it is signed. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "author.h"
#include "base/disk.h"
#include "base/os.h"

static ig_status no_memory(ig_error *err) { return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the catalogue"); }

/* ------------------------------------------------------------------------------------------------ folder */

ig_status ig_author_read(const ig_author *a, const char *file, size_t bytes_max, ig_buf *out, ig_error *err)
{
    ig_buf_init(out, bytes_max);
    int fd = ig_disk_open_regular(a->fd, file, O_RDONLY, NULL);
    if (fd < 0)
        return ig_fail_errno(err, errno == ENOENT || errno == ENOTDIR ? IG_NOT_FOUND : IG_IO, errno,
                             "cannot open %.200s of the catalogue %.200s", file, a->dir);
    ig_status st = ig_fd_read_all(fd, file, out, err);
    close(fd);
    if (st != IG_OK) ig_buf_fini(out);
    return st;
}

static int add_piece(const char *p, size_t n, void *ctx) { return ig_buf_add(ctx, p, n) ? 0 : -1; }

ig_status ig_author_save(ig_author *a, ig_error *err)
{
    ig_buf text;
    if (a->dry_run) return IG_OK;
    ig_buf_init(&text, IG_DRAFT_BYTES_MAX);
    bool ok = json_dump_callback(a->draft, add_piece, &text, JSON_INDENT(1) | JSON_SORT_KEYS) == 0 &&
              ig_buf_add(&text, "\n", 1);
    ig_status st = ok ? IG_OK : no_memory(err);
    if (ok && !ig_disk_write_whole(a->fd, "draft.json", text.ptr, text.len, 0600))
        st = ig_fail_errno(err, IG_IO, errno, "cannot write the draft in %.300s", a->dir);
    ig_buf_fini(&text);
    return st;
}

static char *copy(const char *text)
{
    size_t n = strlen(text) + 1;
    char *p = ig_alloc(n);
    if (p) memcpy(p, text, n);
    return p;
}

static ig_status attach(const char *dir, const ig_author_options *o, ig_author **out, ig_error *err)
{
    ig_author *a = ig_calloc(1, sizeof *a);
    char keys[4096];
    *out = NULL;
    if (!a) return no_memory(err);
    a->fd = a->lock = -1;
    (void)snprintf(keys, sizeof keys, "%s.keys", dir);
    for (size_t n = strlen(dir); n > 1 && dir[n - 1] == '/'; n--)
        (void)snprintf(keys, sizeof keys, "%.*s.keys", (int)n - 1, dir);
    a->dir = copy(dir);
    a->keys = copy(o && o->keys ? o->keys : keys);
    a->passphrase = o && o->passphrase ? copy(o->passphrase) : NULL;
    a->dry_run = o && o->dry_run;
    a->insecure = o && o->insecure;
    a->now_s = o && o->now_s ? o->now_s : ig_clock_s();
    ig_status st = a->dir && a->keys && (a->passphrase || !o || !o->passphrase) ? IG_OK : no_memory(err);
    if (st == IG_OK) {
        a->fd = ig_disk_open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
        if (a->fd < 0)
            st = ig_fail_errno(err, errno == ENOENT ? IG_NOT_FOUND : IG_IO, errno,
                               "cannot open the folder of the catalogue %.300s", dir);
    }
    if (st == IG_OK) {
        a->lock = ig_disk_open(a->fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
        if (a->lock < 0 || !ig_disk_lock(a->lock, true, true))
            st = ig_fail_errno(err, IG_IO, errno, "cannot lock the catalogue %.300s", dir);
    }
    if (st == IG_OK)
        *out = a;
    else
        ig_author_close(a);
    return st;
}

void ig_author_close(ig_author *a)
{
    if (!a) return;
    if (a->lock >= 0) close(a->lock);
    if (a->fd >= 0) close(a->fd);
    if (a->passphrase) OPENSSL_cleanse(a->passphrase, strlen(a->passphrase));
    ig_free(a->passphrase);
    ig_free(a->dir);
    ig_free(a->keys);
    json_decref(a->draft);
    ig_free(a);
}

ig_status ig_author_open(const char *dir, const ig_author_options *options, ig_author **out, ig_error *err)
{
    ig_author *a;
    ig_buf text;
    uint64_t version = 0;
    *out = NULL;
    IG_TRY(attach(dir, options, &a, err));
    ig_status st = ig_author_read(a, "draft.json", IG_DRAFT_BYTES_MAX, &text, err);
    if (st == IG_NOT_FOUND)
        ig_fail(err, st, 0, "%.300s holds no catalogue. Type: ingle catalogue init %.100s", dir, dir);
    if (st == IG_OK) {
        st = ig_store_json("the draft of the catalogue", (ig_str){text.ptr ? text.ptr : "", text.len},
                           IG_TUF_VALUES_MAX, &a->draft, err);
        ig_buf_fini(&text);
    }
    if (st == IG_OK && (!ig_json_size(a->draft, "ingle_draft", &version) || version != 1))
        st = ig_fail(err, IG_UNSUPPORTED, 0, "the draft in %.300s has version %llu, expected 1", dir,
                     (unsigned long long)version);
    if (st == IG_OK)
        *out = a;
    else
        ig_author_close(a);
    return st;
}

/* A text of the draft, which somebody may have edited. */
static bool is(const json_t *j, const char *text)
{
    const char *own = json_string_value(j);
    return own && !strcmp(own, text);
}

/* ------------------------------------------------------------------------------------------------ keys */

json_t *ig_draft_role(const ig_author *a, const char *role)
{
    json_t *r = json_object_get(json_object_get(a->draft, "roles"), role),
           *list = json_object_get(a->draft, "delegations");
    for (size_t i = 0; !r && i < json_array_size(list); i++) {
        json_t *d = json_array_get(list, i);
        const char *name = ig_json_text(d, "name");
        if (name && !strcmp(name, role)) r = d;
    }
    return r;
}

static ig_status keep_key(ig_author *a, const ig_tuf_key *k, json_t *ids, ig_error *err)
{
    for (size_t i = 0; i < json_array_size(ids); i++)
        if (is(json_array_get(ids, i), k->id))
            return ig_fail(err, IG_BAD_INPUT, 0, "the key %.12s was given twice", k->id);
    json_t *j = ig_key_json(k);
    if (!j || json_object_set_new(json_object_get(a->draft, "keys"), k->id, j) < 0 ||
        json_array_append_new(ids, json_string(k->id)) < 0)
        return no_memory(err);
    return IG_OK;
}

/* A new key in the keys' folder, as ROLE-ID.pem. */
static ig_status make_key(ig_author *a, const char *role, json_t *ids, ig_error *err)
{
    char path[4096];
    ig_tuf_key k;
    if (!a->dry_run && !ig_disk_make_folder(AT_FDCWD, a->keys, 0700, true))
        return ig_fail_errno(err, IG_IO, errno, "cannot make the folder of keys %.300s", a->keys);
    IG_TRY(ig_key_generate(&k, err));
    (void)snprintf(path, sizeof path, "%s/%s-%.8s.pem", a->keys, role, k.id);
    ig_status st = a->dry_run ? IG_OK : ig_key_save(&k, path, a->passphrase, err);
    if (st == IG_OK) st = keep_key(a, &k, ids, err);
    ig_key_fini(&k);
    return st;
}

/* Keys for a role: from files, or n_new new ones. */
static ig_status choose_keys(ig_author *a, const char *role, ig_words files, size_t n_new, json_t *ids, ig_error *err)
{
    ig_tuf_key k;
    for (size_t i = 0; i < files.n; i++) {
        IG_TRY(ig_key_load(files.list[i], a->passphrase, &k, err));
        ig_status st = keep_key(a, &k, ids, err);
        ig_key_fini(&k);
        IG_TRY(st);
    }
    for (size_t i = 0; files.n == 0 && i < n_new; i++) IG_TRY(make_key(a, role, ids, err));
    return IG_OK;
}

typedef struct key_walk {
    const ig_author *a;
    ig_tuf_key *keys;
    size_t n;
    ig_status st;
    ig_error *err;
} key_walk;

static bool load_key(void *ctx, int dir, const char *entry)
{
    key_walk *w = ctx;
    char path[4400];
    ig_tuf_key k;
    size_t n = strlen(entry);
    (void)dir;
    if (n < 5 || strcmp(entry + n - 4, ".pem") != 0 || entry[0] == '.') return true;
    (void)snprintf(path, sizeof path, "%s/%s", w->a->keys, entry);
    w->st = w->n == IG_AUTHOR_KEYS_MAX ? ig_fail(w->err, IG_TOO_LARGE, 0, "%.300s holds more than %d keys", w->a->keys,
                                                 (int)IG_AUTHOR_KEYS_MAX)
                                       : ig_key_load(path, w->a->passphrase, &k, w->err);
    if (w->st != IG_OK) return false;
    if (k.private)
        w->keys[w->n++] = k;
    else
        ig_key_fini(&k);
    return true;
}

ig_status ig_author_keys(const ig_author *a, ig_tuf_key keys[IG_AUTHOR_KEYS_MAX], size_t *n, ig_error *err)
{
    key_walk w = {.a = a, .keys = keys, .err = err};
    ig_status st = ig_folder_walk(AT_FDCWD, a->keys, load_key, &w, err);
    if (st == IG_OK) st = w.st;
    for (size_t i = 0; st != IG_OK && i < w.n; i++) ig_key_fini(&keys[i]);
    *n = st == IG_OK ? w.n : 0;
    return st;
}

/* Keys that no role has any more. */
static void forget_unused(ig_author *a)
{
    json_t *keys = json_object_get(a->draft, "keys"), *key;
    const char *id, *role;
    void *tmp;
    json_object_foreach_safe(keys, tmp, id, key)
    {
        bool used = false;
        json_t *r, *roles = json_object_get(a->draft, "roles"), *more = json_object_get(a->draft, "delegations");
        size_t i;
        json_object_foreach(roles, role, r)
        {
            json_t *ids = json_object_get(r, "keyids");
            for (i = 0; i < json_array_size(ids); i++) used |= is(json_array_get(ids, i), id);
        }
        for (size_t k = 0; k < json_array_size(more); k++) {
            json_t *ids = json_object_get(json_array_get(more, k), "keyids");
            for (i = 0; i < json_array_size(ids); i++) used |= is(json_array_get(ids, i), id);
        }
        if (!used) (void)json_object_del(keys, id);
    }
}

static ig_status set_keys(json_t *role, json_t *ids, unsigned threshold, ig_error *err)
{
    size_t n = json_array_size(ids);
    if (threshold == 0 || threshold > n)
        return ig_fail(err, IG_BAD_INPUT, 0, "a threshold of %u cannot be met by %zu keys, expected 1 to %zu",
                       threshold, n, n);
    if (json_object_set(role, "keyids", ids) < 0 || json_object_set_new(role, "threshold", json_integer(threshold)) < 0)
        return no_memory(err);
    return IG_OK;
}

ig_status ig_author_rotate(ig_author *a, const char *role, ig_words keys, unsigned threshold, ig_error *err)
{
    json_t *r = ig_draft_role(a, role), *ids = json_array();
    uint64_t old = 1;
    size_t n_old = json_array_size(json_object_get(r, "keyids"));
    if (!r) {
        json_decref(ids);
        return ig_fail(
            err, IG_NOT_FOUND, 0,
            "the catalogue has no role %.64s, expected root, targets, snapshot, timestamp or a delegated one", role);
    }
    (void)ig_json_size(r, "threshold", &old);
    ig_status st = ids ? choose_keys(a, role, keys, n_old ? n_old : 1, ids, err) : no_memory(err);
    if (st == IG_OK && threshold == 0) threshold = (unsigned)(old < json_array_size(ids) ? old : json_array_size(ids));
    if (st == IG_OK) st = set_keys(r, ids, threshold, err);
    json_decref(ids);
    if (st == IG_OK) forget_unused(a);
    return st == IG_OK ? ig_author_save(a, err) : st;
}

ig_status ig_author_delegate(ig_author *a, const char *role, ig_words paths, bool terminating, ig_words keys,
                             unsigned threshold, bool *changed, ig_error *err)
{
    bool top = false;
    for (size_t i = 0; i < IG_TUF_TYPES; i++) top |= !strcmp(role, ig_tuf_names[i]);
    if (top || !ig_tuf_role_name_valid(role))
        return ig_fail(err, IG_BAD_INPUT, 0, "\"%.64s\" cannot be the name of a delegated role", role);
    if (paths.n == 0) return ig_fail(err, IG_BAD_INPUT, 0, "a role needs paths. Type: --path 'team/*'");
    json_t *list = json_object_get(a->draft, "delegations"), *old = ig_draft_role(a, role), *ids = json_array();
    json_t *d = json_pack("{s:s, s:b, s:[], s:[], s:i}", "name", role, "terminating", terminating, "paths", "keyids",
                          "threshold", 1);
    ig_status st = d && ids ? IG_OK : no_memory(err);
    for (size_t i = 0; st == IG_OK && i < paths.n; i++)
        if (json_array_append_new(json_object_get(d, "paths"), json_string(paths.list[i])) < 0) st = no_memory(err);
    if (st == IG_OK && old && keys.n == 0) { /* its paths alone change */
        (void)json_object_set(d, "keyids", json_object_get(old, "keyids"));
        (void)json_object_set_new(d, "threshold",
                                  threshold ? json_integer(threshold) : json_incref(json_object_get(old, "threshold")));
    } else if (st == IG_OK) {
        st = choose_keys(a, role, keys, threshold ? threshold : 1, ids, err);
        if (st == IG_OK) st = set_keys(d, ids, threshold ? threshold : 1, err);
    }
    *changed = st == IG_OK && !(old && json_equal(old, d));
    if (st == IG_OK && *changed && (old ? json_object_update(old, d) : json_array_append(list, d)) < 0)
        st = no_memory(err);
    json_decref(d);
    json_decref(ids);
    return st == IG_OK && *changed ? ig_author_save(a, err) : st;
}

/* ------------------------------------------------------------------------------------------------ init */

static bool see_any(void *ctx, int dir, const char *entry)
{
    (void)dir;
    if (!strcmp(entry, "lock")) return true;
    *(bool *)ctx = false;
    return false;
}

ig_status ig_author_init(const char *dir, const ig_author_options *options, bool deny_by_default, ig_error *err)
{
    ig_author *a;
    bool empty = true;
    if (!ig_disk_make_folder(AT_FDCWD, dir, 0755, true))
        return ig_fail_errno(err, IG_IO, errno, "cannot make the folder %.300s", dir);
    IG_TRY(attach(dir, options, &a, err));
    ig_status st = ig_folder_walk(a->fd, ".", see_any, &empty, err);
    if (st == IG_OK && !empty)
        st = ig_fail(err, IG_BAD_INPUT, 0, "%.300s is not empty, expected a new folder for the catalogue", dir);
    if (st == IG_OK) {
        a->draft = json_pack("{s:i, s:{s:i, s:i, s:i, s:i}, s:{}, s:{}, s:[], s:{s:i, s:s, s:[]}, s:{s:{}}}",
                             "ingle_draft", 1, "days", "root", 365, "targets", 180, "snapshot", 60, "timestamp", 30,
                             "keys", "roles", "delegations", "settings", "version", 1, "default",
                             deny_by_default ? "denied" : "available", "rules", "targets", "targets");
        if (!a->draft) st = no_memory(err);
    }
    for (size_t i = 0; st == IG_OK && i < IG_TUF_TYPES; i++) {
        json_t *ids = json_array();
        json_t *role = json_pack("{s:O, s:i}", "keyids", ids, "threshold", 1);
        st = role && json_object_set_new(json_object_get(a->draft, "roles"), ig_tuf_names[i], role) == 0
                 ? make_key(a, ig_tuf_names[i], ids, err)
                 : no_memory(err);
        json_decref(ids);
    }
    if (st == IG_OK) st = ig_author_save(a, err);
    ig_author_close(a);
    return st;
}

/* ------------------------------------------------------------------------------------------------ models */

static json_t *words_json(ig_words w)
{
    json_t *list = json_array();
    for (size_t i = 0; i < w.n; i++) (void)json_array_append_new(list, json_string(w.list[i]));
    return list;
}

static void set_text(json_t *j, const char *key, const char *text)
{
    if (text) (void)json_object_set_new(j, key, json_string(text));
}

static void set_words(json_t *j, const char *key, ig_words w)
{
    if (w.n) (void)json_object_set_new(j, key, words_json(w));
}

static void set_count(json_t *j, const char *key, uint64_t n)
{
    if (n) (void)json_object_set_new(j, key, json_integer((json_int_t)n));
}

ig_status ig_content_file(const ig_catalogue_target *t, char **text, ig_digest *digest, ig_error *err)
{
    ig_arena arena = {0};
    ig_manifest m;
    char *whole = NULL;
    json_t *j = NULL;
    *text = NULL;
    ig_status st = ig_content_manifest(t, &arena, &m, err);
    if (st == IG_OK) st = ig_manifest_write(&m, digest, &whole, err);
    if (st == IG_OK) st = ig_store_json("a model", ig_str_from(whole), IG_TUF_VALUES_MAX, &j, err);
    if (st == IG_OK && !(*text = ig_json_dump(json_object_get(j, "model")))) st = no_memory(err);
    json_decref(j);
    ig_free(whole);
    ig_arena_fini(&arena);
    return st;
}

static json_t *custom_json(const ig_catalogue_target *t, const char *hex)
{
    char digest[80];
    json_t *j = json_object(), *files = json_array(), *limits = json_object();
    (void)snprintf(digest, sizeof digest, "sha256:%s", hex);
    (void)json_object_set_new(j, "ingle", json_integer(1));
    const struct {
        const char *key, *text;
    } texts[] = {{"name", t->name},         {"format", t->format},       {"license", t->licence},
                 {"base_model", t->base},   {"publisher", t->publisher}, {"parameters", t->parameters},
                 {"messages", t->messages}, {"template", t->template},   {"system", t->system},
                 {"digest", digest}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) set_text(j, texts[i].key, texts[i].text);
    uint64_t size = 0;
    for (size_t i = 0; i < t->n_files; i++) {
        const ig_catalogue_file *f = &t->files[i];
        (void)snprintf(digest, sizeof digest, "sha256:%s", f->digest);
        size += f->size;
        (void)json_array_append_new(files, json_pack("{s:s, s:s, s:s, s:I}", "role", f->role, "name", f->name, "digest",
                                                     digest, "size", (json_int_t)f->size));
    }
    (void)json_object_set_new(j, "files", files);
    set_count(j, "size", size);
    set_words(j, "origins", t->origins);
    set_words(j, "labels", t->labels);
    set_words(j, "adapters", t->adapters);
    set_count(limits, "context", t->context_max);
    set_count(limits, "output", t->output_max);
    set_count(limits, "tokens_per_day", t->day_tokens_max);
    if (json_object_size(limits)) (void)json_object_set(j, "limits", limits);
    json_decref(limits);
    return j;
}

/* The targets of the role that has the model; NULL. */
static json_t *home_of(const ig_author *a, const char *path)
{
    const char *role;
    json_t *targets;
    json_object_foreach(json_object_get(a->draft, "targets"), role,
                        targets) if (json_object_get(targets, path)) return targets;
    return NULL;
}

static json_t *role_targets(ig_author *a, const char *role)
{
    json_t *all = json_object_get(a->draft, "targets"), *own = json_object_get(all, role);
    if (own) return own;
    (void)json_object_set_new(all, role, json_object());
    return json_object_get(all, role);
}

static ig_status check_role_path(const ig_author *a, const char *role, const char *path, ig_error *err)
{
    const json_t *d = strcmp(role, "targets") != 0 ? ig_draft_role(a, role) : NULL;
    if (!strcmp(role, "targets")) return IG_OK;
    if (!d || !json_object_get(d, "paths"))
        return ig_fail(err, IG_NOT_FOUND, 0, "there is no delegated role %.64s. Type: ingle catalogue delegate", role);
    if (!ig_tuf_delegates(d, path))
        return ig_fail(err, IG_DENIED, 0, "role %.64s may not answer for %.150s: none of its paths fits", role, path);
    return IG_OK;
}

ig_status ig_author_add(ig_author *a, const ig_catalogue_target *t, const char *role, bool *changed, ig_error *err)
{
    ig_name name;
    char path[IG_NAME_MAX + 8], *text;
    ig_digest digest;
    ig_catalogue_target own = *t;
    if (!role) role = "targets";
    IG_TRY(ig_name_parse(t->name, &name, err));
    ig_content_path(&name, path);
    own.name = name.text;
    IG_TRY(check_role_path(a, role, path, err));
    IG_TRY(ig_content_file(&own, &text, &digest, err));
    json_t *custom = custom_json(&own, digest.hex), *old = home_of(a, path);
    json_t *rules = json_object_get(json_object_get(json_object_get(old, path), "custom"), "rules");
    if (rules) (void)json_object_set(custom, "rules", rules);
    json_t *entry = json_pack("{s:I, s:{s:s}, s:o}", "length", (json_int_t)strlen(text), "hashes", "sha256", digest.hex,
                              "custom", custom);
    ig_free(text);
    ig_status st = entry ? ig_content_check(path, entry, err) : no_memory(err);
    json_t *into = st == IG_OK ? role_targets(a, role) : NULL;
    *changed = st == IG_OK && !(old == into && json_equal(json_object_get(old, path), entry));
    if (*changed) {
        if (json_object_set(into, path, entry) < 0) st = no_memory(err);
        if (old && old != into) (void)json_object_del(old, path);
        if (st == IG_OK) st = ig_author_save(a, err);
    }
    json_decref(entry);
    return st;
}

static ig_status find_model(const ig_author *a, const char *text, json_t **home, char path[IG_NAME_MAX + 8],
                            ig_error *err)
{
    ig_name name;
    IG_TRY(ig_name_parse(text, &name, err));
    ig_content_path(&name, path);
    *home = home_of(a, path);
    return *home ? IG_OK
                 : ig_fail(err, IG_NOT_FOUND, 0, "model %.120s is not in the catalogue. Type: ingle catalogue add",
                           name.text);
}

ig_status ig_author_drop(ig_author *a, const char *name, bool *changed, ig_error *err)
{
    json_t *home;
    char path[IG_NAME_MAX + 8];
    *changed = false;
    ig_status st = find_model(a, name, &home, path, err);
    if (st == IG_NOT_FOUND) return IG_OK; /* as wanted */
    IG_TRY(st);
    *changed = json_object_del(home, path) == 0;
    return ig_author_save(a, err);
}

/* ------------------------------------------------------------------------------------------------ rules */

static json_t *rule_json(const ig_catalogue_rule *r)
{
    json_t *j = json_pack("{s:s}", "state", ig_assigned_name(r->state));
    set_text(j, "id", r->id);
    set_words(j, "users", r->users);
    set_words(j, "groups", r->groups);
    set_words(j, "machines", r->machines);
    set_words(j, "models", r->models);
    set_words(j, "licenses", r->licences);
    set_words(j, "publishers", r->publishers);
    return j;
}

/* The same but for its id? */
static bool same_rule(const json_t *a, const json_t *b)
{
    json_t *x = json_copy((json_t *)(uintptr_t)a), *y = json_copy((json_t *)(uintptr_t)b);
    (void)json_object_del(x, "id");
    (void)json_object_del(y, "id");
    bool same = json_equal(x, y);
    json_decref(x);
    json_decref(y);
    return same;
}

static size_t rule_at(const json_t *rules, const char *id)
{
    size_t i = 0;
    for (; i < json_array_size(rules); i++) {
        const char *own = ig_json_text(json_array_get(rules, i), "id");
        if (own && !strcmp(own, id)) break;
    }
    return i;
}

/* An id that is not in use: of the model's name and a number. */
static void new_id(const json_t *rules, const char *name, char *id, size_t n)
{
    for (unsigned k = 1;; k++) {
        (void)snprintf(id, n, "%s#%u", name ? name : "rule", k);
        if (rule_at(rules, id) == json_array_size(rules)) return;
    }
}

static ig_status put_rule(json_t *rules, const char *name, json_t *rule, bool *changed)
{
    char id[IG_NAME_MAX + 32];
    const char *given = ig_json_text(rule, "id");
    size_t at = given ? rule_at(rules, given) : json_array_size(rules);
    for (size_t i = 0; !given && i < json_array_size(rules); i++)
        if (same_rule(json_array_get(rules, i), rule)) return IG_OK;
    if (!given) {
        new_id(rules, name, id, sizeof id);
        set_text(rule, "id", id);
    }
    if (at < json_array_size(rules)) {
        *changed = !json_equal(json_array_get(rules, at), rule);
        return !*changed || json_array_set(rules, at, rule) == 0 ? IG_OK : IG_NO_MEMORY;
    }
    *changed = true;
    return json_array_append(rules, rule) == 0 ? IG_OK : IG_NO_MEMORY;
}

/* Where the rules of a model or of the catalogue are; made where they are missing. owner: the entry to check. */
static ig_status rules_of(ig_author *a, const char *name, json_t **rules, json_t **owner, char path[IG_NAME_MAX + 8],
                          ig_error *err)
{
    json_t *home, *from;
    *owner = NULL;
    if (name) {
        IG_TRY(find_model(a, name, &home, path, err));
        *owner = json_object_get(home, path);
        from = json_object_get(*owner, "custom");
    } else {
        from = json_object_get(a->draft, "settings");
    }
    if (!json_object_get(from, "rules")) (void)json_object_set_new(from, "rules", json_array());
    *rules = json_object_get(from, "rules");
    return *rules ? IG_OK : no_memory(err);
}

static ig_status check_rules(const ig_author *a, const json_t *owner, const char *path, ig_error *err)
{
    return owner ? ig_content_check(path, owner, err)
                 : ig_content_check_rules(json_object_get(a->draft, "settings"), err);
}

ig_status ig_author_rule(ig_author *a, const char *name, const ig_catalogue_rule *rule, bool *changed, ig_error *err)
{
    json_t *rules, *owner;
    char path[IG_NAME_MAX + 8];
    ig_name full;
    *changed = false;
    IG_TRY(rules_of(a, name, &rules, &owner, path, err));
    if (name) IG_TRY(ig_name_parse(name, &full, err));
    json_t *j = rule_json(rule);
    ig_status st = j ? put_rule(rules, name ? full.text : NULL, j, changed) : IG_NO_MEMORY;
    json_decref(j);
    if (st != IG_OK) return no_memory(err);
    IG_TRY(check_rules(a, owner, path, err));
    return *changed ? ig_author_save(a, err) : IG_OK;
}

ig_status ig_author_remove_rule(ig_author *a, const char *name, const char *id, bool *changed, ig_error *err)
{
    json_t *rules, *owner;
    char path[IG_NAME_MAX + 8];
    *changed = false;
    IG_TRY(rules_of(a, name, &rules, &owner, path, err));
    size_t at = rule_at(rules, id);
    if (at == json_array_size(rules)) return ig_fail(err, IG_NOT_FOUND, 0, "there is no rule \"%.100s\"", id);
    *changed = json_array_remove(rules, at) == 0;
    return ig_author_save(a, err);
}

ig_status ig_author_default(ig_author *a, bool deny, bool *changed, ig_error *err)
{
    json_t *settings = json_object_get(a->draft, "settings");
    const char *want = deny ? "denied" : "available", *is = ig_json_text(settings, "default");
    *changed = !is || strcmp(is, want) != 0;
    if (!*changed) return IG_OK;
    if (json_object_set_new(settings, "default", json_string(want)) < 0) return no_memory(err);
    return ig_author_save(a, err);
}

bool ig_licence_known(const char *id) { return ig_spdx_known(id); }
