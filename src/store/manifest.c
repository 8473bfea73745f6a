/* Manifests as text. The part called "model" decides the digest: it is written in one canonical form (sorted keys, no
 * blanks), so that the same files, texts and parameters have the same digest on every machine.
 *
 *   {"ingle_manifest": 1, "name": "qwen3:8b", "digest": "sha256:...", "added": 1763700000, "source": "hf://...",
 *    "about": {...}, "model": {"format": "gguf", "files": [{"role": "weights", "name": "...", "digest": "sha256:...",
 *    "size": 123}], "parameters": {...}, "messages": [...], "template": "...", "system": "...", "license": "...",
 *    "base": "..."}} */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/os.h"
#include "base/utf8.h"
#include "inner.h"

enum { VALUES_MAX = 100000 };

static const char *const role_names[IG_ROLES] = {"weights", "projector", "adapter", "config", "other"};

/* The texts of a model by key. */
static const struct {
    const char *key;
    size_t at;
    bool json;
} texts[] = {
    {"format", offsetof(ig_manifest, format), false},    {"parameters", offsetof(ig_manifest, parameters), true},
    {"messages", offsetof(ig_manifest, messages), true}, {"template", offsetof(ig_manifest, template), false},
    {"system", offsetof(ig_manifest, system), false},    {"license", offsetof(ig_manifest, licence), false},
    {"base", offsetof(ig_manifest, base), false},
};
#define LEN(a)        (sizeof(a) / sizeof *(a))
#define TEXT_OF(m, i) (*(const char **)(void *)((char *)(uintptr_t)(m) + texts[i].at))

const char *ig_role_name(ig_role role) { return role < IG_ROLES ? role_names[role] : "other"; }

uint64_t ig_manifest_bytes(const ig_manifest *m)
{
    uint64_t n = 0;
    for (size_t i = 0; i < m->n_files; i++)
        if (!ig_add_u64(n, m->files[i].size, &n)) return UINT64_MAX;
    return n;
}

/* Of Go's language: a tag that begins with a dot, a dollar or one of its words. In Jinja none of these can be. */
static bool is_go_tag(const char *p)
{
    static const char *const words[] = {"if ",   "if(",   "range ",  "with ",  "end ",      "end}",  "else ",
                                        "else}", "end-}", "define ", "block ", "template ", "end -", "else -"};
    if (*p == '-') p++;
    p += strspn(p, " \t\n");
    if (*p == '.' || *p == '$' || !strncmp(p, "/*", 2)) return true;
    for (size_t i = 0; i < LEN(words); i++)
        if (!strncmp(p, words[i], strlen(words[i]))) return true;
    return false;
}

const char *ig_manifest_template(const ig_manifest *m)
{
    if (!m->template || strstr(m->template, "{%")) return m->template;
    for (const char *p = m->template; (p = strstr(p, "{{")); p += 2)
        if (is_go_tag(p + 2)) return NULL;
    return m->template;
}

ig_status ig_manifest_usable(const ig_manifest *m, ig_error *err)
{
    for (size_t i = 0; i < m->n_files; i++)
        if (m->files[i].role == IG_ROLE_ADAPTER)
            return ig_fail(err, IG_UNSUPPORTED, 0,
                           "model %s has an adapter (%.100s), which this version cannot apply, and is not used without "
                           "it; expected a model without adapters",
                           m->name.text, m->files[i].name);
    return IG_OK;
}

void ig_manifest_free(ig_manifest *m)
{
    if (!m) return;
    ig_arena_fini(&m->arena);
    ig_free(m);
}

/* ------------------------------------------------------------------------------------------------ checking */

static ig_status check_json(const char *what, const char *text, bool array, ig_error *err)
{
    json_t *j;
    if (!text) return IG_OK;
    IG_TRY(ig_store_json(what, ig_str_from(text), VALUES_MAX, &j, err));
    bool ok = array ? json_is_array(j) : json_is_object(j);
    json_decref(j);
    return ok ? IG_OK
              : ig_fail(err, IG_BAD_INPUT, 0, "the %s of a model must be a JSON %s", what, array ? "array" : "object");
}

static ig_status check_text(const char *what, const char *text, ig_error *err)
{
    size_t n = text ? strlen(text) : 0;
    if (n > IG_TEXT_BYTES_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "the %s of a model has %zu bytes, at most %d are allowed", what, n,
                       (int)IG_TEXT_BYTES_MAX);
    if (text && !ig_utf8_valid(text, n))
        return ig_fail(err, IG_BAD_INPUT, 0, "the %s of a model is no valid UTF-8", what);
    return IG_OK;
}

static ig_status check_file(const ig_manifest *m, size_t i, ig_error *err)
{
    const ig_store_file *f = &m->files[i];
    ig_digest d;
    if (f->role >= IG_ROLES || !f->name || !ig_file_name_valid(f->name))
        return ig_fail(err, IG_BAD_INPUT, i, "file %zu of model %.100s has no usable name", i + 1, m->name.text);
    IG_TRY(ig_digest_parse(f->digest.hex, &d, err));
    for (size_t k = 0; k < i; k++)
        if (!strcmp(m->files[k].name, f->name))
            return ig_fail(err, IG_BAD_INPUT, i, "model %.100s has two files called %.100s", m->name.text, f->name);
    return IG_OK;
}

ig_status ig_manifest_check(const ig_manifest *m, ig_error *err)
{
    ig_name name;
    IG_TRY(ig_name_parse(m->name.text, &name, err));
    if (m->n_files == 0 || m->n_files > IG_FILES_MAX)
        return ig_fail(err, IG_BAD_INPUT, 0, "model %.100s has %zu files, expected 1 to %d", m->name.text, m->n_files,
                       (int)IG_FILES_MAX);
    for (size_t i = 0; i < m->n_files; i++) IG_TRY(check_file(m, i, err));
    if (ig_manifest_bytes(m) > INT64_MAX)
        return ig_fail(err, IG_BAD_INPUT, 0, "the sizes of the files of model %.100s are too large", m->name.text);
    for (size_t i = 0; i < LEN(texts); i++) IG_TRY(check_text(texts[i].key, TEXT_OF(m, i), err));
    IG_TRY(check_text("source", m->source, err));
    IG_TRY(check_json("parameters", m->parameters, false, err));
    IG_TRY(check_json("messages", m->messages, true, err));
    return check_json("about", m->about, false, err);
}

/* ------------------------------------------------------------------------------------------------ writing */

static json_t *file_json(const ig_store_file *f)
{
    char digest[8 + IG_HEX_LEN];
    (void)snprintf(digest, sizeof digest, "sha256:%s", f->digest.hex);
    return json_pack("{s:s, s:s, s:s, s:I}", "role", ig_role_name(f->role), "name", f->name, "digest", digest, "size",
                     (json_int_t)f->size);
}

static json_t *model_json(const ig_manifest *m)
{
    json_t *model = json_object(), *files = json_array();
    int bad = json_object_set_new(model, "files", files);
    for (size_t i = 0; i < m->n_files; i++) bad |= json_array_append_new(files, file_json(&m->files[i]));
    for (size_t i = 0; i < LEN(texts); i++) {
        const char *text = TEXT_OF(m, i);
        if (!text) continue;
        bad |= json_object_set_new(model, texts[i].key,
                                   texts[i].json ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : json_string(text));
    }
    if (!bad) return model;
    json_decref(model);
    return NULL;
}

ig_status ig_model_digest(const char *format, const ig_store_file *files, size_t n, ig_digest *out, ig_error *err)
{
    const ig_manifest m = {.format = format, .files = files, .n_files = n};
    json_t *model = model_json(&m);
    char *canonical = model ? ig_json_dump(model) : NULL;
    bool good = canonical && ig_sha_text(canonical, strlen(canonical), out);
    json_decref(model);
    ig_free(canonical);
    return good ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the digest of a model");
}

ig_status ig_manifest_write(const ig_manifest *m, ig_digest *digest, char **text, ig_error *err)
{
    char named[8 + IG_HEX_LEN];
    IG_TRY(ig_manifest_check(m, err));
    json_t *model = model_json(m), *all = NULL;
    char *canonical = model ? ig_json_dump(model) : NULL;
    *text = NULL;
    if (canonical && ig_sha_text(canonical, strlen(canonical), digest)) {
        (void)snprintf(named, sizeof named, "sha256:%s", digest->hex);
        all = json_pack("{s:i, s:s, s:s, s:I, s:s*, s:o*, s:O}", "ingle_manifest", IG_STORE_VERSION, "name",
                        m->name.text, "digest", named, "added", (json_int_t)m->added_s, "source", m->source, "about",
                        m->about ? json_loads(m->about, JSON_REJECT_DUPLICATES, NULL) : NULL, "model", model);
        if (all) *text = ig_json_dump(all);
    }
    json_decref(all);
    json_decref(model);
    ig_free(canonical);
    return *text ? IG_OK
                 : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the manifest of %.100s, or it is above %d bytes",
                           m->name.text, (int)IG_MANIFEST_BYTES_MAX);
}

/* ------------------------------------------------------------------------------------------------ reading */

typedef struct reader {
    const char *what;
    ig_manifest *m;
    ig_error *err;
} reader;

static ig_status wrong(const reader *r, const char *why)
{
    return ig_fail(r->err, IG_BAD_INPUT, 0, "manifest %.120s is damaged: %s", r->what, why);
}

static const char *keep(reader *r, const char *text) { return ig_arena_copy(&r->m->arena, text, strlen(text)); }

static ig_status read_file(reader *r, const json_t *j, ig_store_file *f)
{
    const char *role = ig_json_text(j, "role"), *name = ig_json_text(j, "name"), *digest = ig_json_text(j, "digest");
    if (!role || !name || !digest || !ig_json_size(j, "size", &f->size)) return wrong(r, "a file lacks an entry");
    f->role = IG_ROLE_OTHER;
    for (size_t i = 0; i < IG_ROLES; i++)
        if (!strcmp(role, role_names[i])) f->role = (ig_role)i;
    if (ig_digest_parse(digest, &f->digest, NULL) != IG_OK) return wrong(r, "a file has no valid digest");
    f->name = keep(r, name);
    return f->name ? IG_OK : ig_fail(r->err, IG_NO_MEMORY, 0, "out of memory for manifest %.120s", r->what);
}

static ig_status read_files(reader *r, const json_t *model)
{
    const json_t *list = json_object_get(model, "files");
    size_t n = json_array_size(list);
    if (n == 0 || n > IG_FILES_MAX) return wrong(r, "it names no files, or too many");
    ig_store_file *files = ig_arena_alloc(&r->m->arena, n, sizeof *files);
    if (!files) return ig_fail(r->err, IG_NO_MEMORY, 0, "out of memory for manifest %.120s", r->what);
    r->m->files = files;
    r->m->n_files = n;
    for (size_t i = 0; i < n; i++) IG_TRY(read_file(r, json_array_get(list, i), &files[i]));
    return IG_OK;
}

static ig_status read_value(reader *r, const json_t *j, bool json, const char **out)
{
    char *dump = NULL;
    if (!j) return IG_OK;
    if (json ? !json_is_object(j) && !json_is_array(j) : !json_is_string(j)) return wrong(r, "a text is none");
    if (json) dump = ig_json_dump(j);
    const char *text = json ? dump : json_string_value(j);
    *out = text ? keep(r, text) : NULL;
    ig_free(dump);
    return *out ? IG_OK : ig_fail(r->err, IG_NO_MEMORY, 0, "out of memory for manifest %.120s", r->what);
}

static ig_status read_digest(reader *r, const json_t *all, const json_t *model)
{
    ig_digest found = {0};
    const char *text = ig_json_text(all, "digest");
    char *canonical = ig_json_dump(model);
    bool hashed = canonical && ig_sha_text(canonical, strlen(canonical), &found);
    ig_free(canonical);
    if (!hashed) return ig_fail(r->err, IG_NO_MEMORY, 0, "out of memory for manifest %.120s", r->what);
    bool ok = text && ig_digest_parse(text, &r->m->digest, NULL) == IG_OK && !strcmp(found.hex, r->m->digest.hex);
    return ok ? IG_OK : wrong(r, "its digest does not fit what it says");
}

static ig_status read_all(reader *r, const json_t *all)
{
    const json_t *model = json_object_get(all, "model");
    const char *name = ig_json_text(all, "name");
    uint64_t version, added;
    if (!ig_json_size(all, "ingle_manifest", &version) || !json_is_object(model)) return wrong(r, "it is no manifest");
    if (version > IG_STORE_VERSION)
        return ig_fail(r->err, IG_UNSUPPORTED, 0, "manifest %.120s has version %llu, this ingle knows version %d",
                       r->what, (unsigned long long)version, (int)IG_STORE_VERSION);
    if (!name || ig_name_parse(name, &r->m->name, NULL) != IG_OK) return wrong(r, "it has no valid name");
    r->m->added_s = ig_json_size(all, "added", &added) && added <= INT64_MAX ? (int64_t)added : 0;
    IG_TRY(read_files(r, model));
    for (size_t i = 0; i < LEN(texts); i++)
        IG_TRY(read_value(r, json_object_get(model, texts[i].key), texts[i].json, &TEXT_OF(r->m, i)));
    IG_TRY(read_value(r, json_object_get(all, "source"), false, &r->m->source));
    IG_TRY(read_value(r, json_object_get(all, "about"), true, &r->m->about));
    IG_TRY(read_digest(r, all, model));
    return ig_manifest_check(r->m, r->err);
}

ig_status ig_manifest_read(const char *what, ig_str text, ig_manifest **out, ig_error *err)
{
    json_t *j = NULL;
    *out = NULL;
    IG_TRY(ig_store_json(what, text, VALUES_MAX, &j, err));
    reader r = {.what = what, .m = ig_calloc(1, sizeof *r.m), .err = err};
    ig_status st = r.m ? read_all(&r, j) : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for manifest %.120s", what);
    json_decref(j);
    if (st == IG_OK)
        *out = r.m;
    else
        ig_manifest_free(r.m);
    return st;
}

ig_status ig_manifest_load(ig_store *s, const char *file, ig_manifest **out, ig_error *err)
{
    ig_buf buf;
    *out = NULL;
    int fd = ig_disk_open_regular(s->names_fd, file, O_RDONLY, NULL);
    if (fd < 0)
        return ig_fail_errno(err,
                             errno == ENOENT   ? IG_NOT_FOUND
                             : errno == EACCES ? IG_DENIED
                                               : IG_IO,
                             errno, "cannot open the manifest %.200s", file);
    ig_buf_init(&buf, IG_MANIFEST_BYTES_MAX);
    ig_status st = ig_fd_read_all(fd, file, &buf, err);
    close(fd);
    if (st == IG_OK) st = ig_manifest_read(file, (ig_str){buf.ptr ? buf.ptr : "", buf.len}, out, err);
    ig_buf_fini(&buf);
    return st;
}
