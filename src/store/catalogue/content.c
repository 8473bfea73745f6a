/* What the metadata says about models: the `custom` of targets and the settings of the catalogue, read into plain
 * structs. A target without our mark is somebody else's and is passed over; one with it must be right in every part,
 * since a rule that is half understood might give what it should refuse. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tuf.h"

enum { WORDS_MAX = 10000, WORD_BYTES_MAX = 1024, RULES_MAX = 1000, CONTENT_BYTES_MAX = 256 << 20 };

static const char *const states[IG_ASSIGNED_STATES] = {"available", "required", "denied"};
const char *ig_assigned_name(ig_assigned state) { return state < IG_ASSIGNED_STATES ? states[state] : "denied"; }

/* The ids that models bear most, and what else is common. Others are allowed; authors are warned. */
static const char *const spdx[] = {
    "0BSD",
    "AFL-3.0",
    "AGPL-3.0",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "Apache-2.0",
    "Artistic-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD-3-Clause-Clear",
    "BSL-1.0",
    "CC-BY-2.0",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-NC-2.0",
    "CC-BY-NC-3.0",
    "CC-BY-NC-4.0",
    "CC-BY-NC-ND-4.0",
    "CC-BY-NC-SA-4.0",
    "CC-BY-ND-4.0",
    "CC-BY-SA-3.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "CDLA-Permissive-1.0",
    "CDLA-Permissive-2.0",
    "CDLA-Sharing-1.0",
    "ECL-2.0",
    "EPL-1.0",
    "EPL-2.0",
    "EUPL-1.1",
    "EUPL-1.2",
    "GFDL-1.3",
    "GPL-2.0",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "ISC",
    "LGPL-2.1-only",
    "LGPL-2.1-or-later",
    "LGPL-3.0",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "LPPL-1.3c",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "MS-PL",
    "MulanPSL-2.0",
    "NCSA",
    "ODbL-1.0",
    "ODC-By-1.0",
    "OFL-1.1",
    "OSL-3.0",
    "PDDL-1.0",
    "PostgreSQL",
    "Unlicense",
    "WTFPL",
    "Zlib",
};

bool ig_spdx_known(const char *id)
{
    if (!strncmp(id, "LicenseRef-", 11) && id[11]) return true;
    for (size_t i = 0; i < sizeof spdx / sizeof *spdx; i++)
        if (!strcasecmp(id, spdx[i])) return true;
    return false;
}

void ig_content_path(const ig_name *name, char out[IG_NAME_MAX + 8])
{
    size_t n = 0;
    for (const char *p = name->text; *p; p++)
        out[n++] = *p == ':' ? '=' : (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
    memcpy(out + n, ".json", 6);
}

/* ------------------------------------------------------------------------------------------------ reading */

typedef struct reader {
    const char *where; /* a target's path, or "the catalogue" */
    ig_arena *arena;
    ig_error *err;
} reader;

static ig_status wrong(const reader *r, const char *what, const char *expected)
{
    return ig_fail(r->err, IG_BAD_INPUT, 0, "targets metadata: %.100s: %.80s is wrong, expected %.120s", r->where, what,
                   expected);
}

static ig_status no_memory(const reader *r)
{
    return ig_fail(r->err, IG_NO_MEMORY, 0, "out of memory for the catalogue, or it is above %d MiB",
                   CONTENT_BYTES_MAX >> 20);
}

static ig_status read_text(const reader *r, const json_t *from, const char *key, const char **out)
{
    const json_t *j = json_object_get(from, key);
    *out = NULL;
    if (!j) return IG_OK;
    const char *text = json_string_value(j);
    if (!text) return wrong(r, key, "a text");
    *out = ig_arena_copy(r->arena, text, strlen(text));
    return *out ? IG_OK : no_memory(r);
}

static ig_status read_count(const reader *r, const json_t *from, const char *key, uint64_t *out)
{
    *out = 0;
    if (!json_object_get(from, key)) return IG_OK;
    return ig_json_size(from, key, out) && *out <= IG_TUF_VERSION_MAX ? IG_OK : wrong(r, key, "a whole number");
}

static ig_status read_words(const reader *r, const json_t *from, const char *key, ig_words *out)
{
    const json_t *list = json_object_get(from, key);
    size_t n = json_array_size(list);
    *out = (ig_words){0};
    if (!list) return IG_OK;
    if (!json_is_array(list) || n > WORDS_MAX) return wrong(r, key, "a list of at most 10000 texts");
    const char **words = ig_arena_alloc(r->arena, n + 1, sizeof *words);
    if (!words) return no_memory(r);
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (!text || !*text || strlen(text) > WORD_BYTES_MAX) return wrong(r, key, "texts of 1 to 1024 bytes");
        words[i] = ig_arena_copy(r->arena, text, strlen(text));
        if (!words[i]) return no_memory(r);
    }
    *out = (ig_words){words, n};
    return IG_OK;
}

/* ---- rules */

static const struct {
    const char *key;
    size_t at;
    bool wide; /* of the catalogue's rules alone */
} selectors[] = {{"users", offsetof(ig_catalogue_rule, users), false},
                 {"groups", offsetof(ig_catalogue_rule, groups), false},
                 {"machines", offsetof(ig_catalogue_rule, machines), false},
                 {"models", offsetof(ig_catalogue_rule, models), true},
                 {"licenses", offsetof(ig_catalogue_rule, licences), true},
                 {"publishers", offsetof(ig_catalogue_rule, publishers), true}};
enum { N_SELECTORS = sizeof selectors / sizeof *selectors };

static bool known_key(const char *key, bool wide)
{
    bool known = !strcmp(key, "id") || !strcmp(key, "state");
    for (size_t i = 0; i < N_SELECTORS; i++) known |= !strcmp(key, selectors[i].key) && (wide || !selectors[i].wide);
    return known;
}

static ig_status read_rule(const reader *r, const json_t *j, bool wide, size_t number, ig_catalogue_rule *out)
{
    const char *state = ig_json_text(j, "state"), *key;
    json_t *value;
    char id[IG_TUF_PATH_MAX + 32];
    if (!json_is_object(j)) return wrong(r, "a rule", "an object");
    json_object_foreach((json_t *)(uintptr_t)j, key,
                        value) if (!known_key(key, wide)) return wrong(r, key, "nothing of that name in a rule");
    out->state = IG_ASSIGNED_STATES;
    for (size_t i = 0; state && i < IG_ASSIGNED_STATES; i++)
        if (!strcmp(state, states[i])) out->state = (ig_assigned)i;
    if (out->state == IG_ASSIGNED_STATES) return wrong(r, "the state of a rule", "required, available or denied");
    IG_TRY(read_text(r, j, "id", &out->id));
    if (!out->id) {
        (void)snprintf(id, sizeof id, "%s#%zu", wide ? "rule" : r->where, number + 1);
        if (!(out->id = ig_arena_copy(r->arena, id, strlen(id)))) return no_memory(r);
    }
    for (size_t i = 0; i < N_SELECTORS; i++) {
        ig_words *words = (void *)((char *)out + selectors[i].at);
        IG_TRY(read_words(r, j, selectors[i].key, words));
        /* An empty list would be for everyone; whoever wrote it meant nobody. */
        if (json_object_get(j, selectors[i].key) && words->n == 0)
            return wrong(r, selectors[i].key, "one text or more");
    }
    return IG_OK;
}

static ig_status read_rules(const reader *r, const json_t *from, bool wide, const ig_catalogue_rule **out, size_t *n)
{
    const json_t *list = json_object_get(from, "rules");
    *out = NULL;
    *n = json_array_size(list);
    if (!list) return IG_OK;
    if (!json_is_array(list) || *n > RULES_MAX) return wrong(r, "rules", "a list of at most 1000");
    ig_catalogue_rule *rules = ig_arena_alloc(r->arena, *n + 1, sizeof *rules);
    if (!rules) return no_memory(r);
    *out = rules;
    for (size_t i = 0; i < *n; i++) IG_TRY(read_rule(r, json_array_get(list, i), wide, i, &rules[i]));
    return IG_OK;
}

/* ---- targets */

static ig_status read_digest(const reader *r, const json_t *from, const char **out)
{
    const char *text = ig_json_text(from, "digest");
    ig_digest d;
    if (!text || ig_digest_parse(text, &d, NULL) != IG_OK) return wrong(r, "digest", "sha256: and 64 digits");
    *out = ig_arena_copy(r->arena, d.hex, IG_HEX_LEN);
    return *out ? IG_OK : no_memory(r);
}

static ig_status read_files(const reader *r, const json_t *custom, ig_catalogue_target *t)
{
    const json_t *list = json_object_get(custom, "files");
    size_t n = json_array_size(list);
    if (n == 0 || n > IG_FILES_MAX) return wrong(r, "files", "1 to 4096 files");
    ig_catalogue_file *files = ig_arena_alloc(r->arena, n, sizeof *files);
    if (!files) return no_memory(r);
    t->files = files;
    t->n_files = n;
    t->size = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *j = json_array_get(list, i);
        IG_TRY(read_text(r, j, "role", &files[i].role));
        IG_TRY(read_text(r, j, "name", &files[i].name));
        IG_TRY(read_digest(r, j, &files[i].digest));
        if (!files[i].role || !files[i].name || !ig_json_size(j, "size", &files[i].size) ||
            !ig_add_u64(t->size, files[i].size, &t->size))
            return wrong(r, "a file", "role, name, digest and size");
    }
    return IG_OK;
}

static ig_status check_name(const reader *r, const char *path, ig_catalogue_target *t)
{
    ig_name name;
    char own[IG_NAME_MAX + 8];
    if (!t->name || ig_name_parse(t->name, &name, NULL) != IG_OK) return wrong(r, "name", "one like qwen3:8b");
    ig_content_path(&name, own);
    if (strcmp(own, path) != 0) return wrong(r, "name", "the one that its path tells");
    t->name = ig_arena_copy(r->arena, name.text, strlen(name.text));
    return t->name ? IG_OK : no_memory(r);
}

ig_status ig_content_manifest(const ig_catalogue_target *t, ig_arena *arena, ig_manifest *out, ig_error *err)
{
    ig_store_file *files = ig_arena_alloc(arena, t->n_files, sizeof *files);
    *out = (ig_manifest){.format = t->format,
                         .parameters = t->parameters,
                         .messages = t->messages,
                         .template = t->template,
                         .system = t->system,
                         .licence = t->licence,
                         .base = t->base,
                         .files = files,
                         .n_files = t->n_files};
    if (!files) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the files of %.100s", t->name);
    IG_TRY(ig_name_parse(t->name, &out->name, err));
    for (size_t i = 0; i < t->n_files; i++) {
        const ig_catalogue_file *f = &t->files[i];
        files[i] = (ig_store_file){.role = IG_ROLE_OTHER, .name = f->name, .size = f->size};
        for (int k = 0; k < IG_ROLES; k++)
            if (!strcmp(f->role, ig_role_name((ig_role)k))) files[i].role = (ig_role)k;
        IG_TRY(ig_digest_parse(f->digest, &files[i].digest, err));
    }
    return IG_OK;
}

/* The digest must be the one that the store would count, and the hash of the target's file. */
static ig_status check_digest(const reader *r, const json_t *target, const ig_catalogue_target *t)
{
    ig_manifest m;
    ig_digest d;
    char *text = NULL;
    ig_error why;
    const char *hash = ig_json_text(json_object_get(target, "hashes"), "sha256");
    ig_status st = ig_content_manifest(t, r->arena, &m, &why);
    if (st == IG_OK) st = ig_manifest_write(&m, &d, &text, &why);
    ig_free(text);
    if (st == IG_NO_MEMORY) return no_memory(r);
    if (st != IG_OK) return wrong(r, "the model", why.text);
    if (strcmp(d.hex, t->digest) != 0 || !hash || strcmp(hash, t->digest) != 0)
        return ig_fail(r->err, IG_DENIED, 0,
                       "targets metadata: %.100s: the model's digest is %.16s..., expected %.16s...", r->where, d.hex,
                       t->digest);
    return IG_OK;
}

static ig_status read_target(const reader *r, const char *path, const json_t *target, ig_catalogue_target *t)
{
    const json_t *custom = json_object_get(target, "custom"), *limits = json_object_get(custom, "limits");
    const struct {
        const char *key;
        const char **at;
    } texts[] = {{"name", &t->name},         {"format", &t->format},       {"license", &t->licence},
                 {"base_model", &t->base},   {"publisher", &t->publisher}, {"parameters", &t->parameters},
                 {"messages", &t->messages}, {"template", &t->template},   {"system", &t->system}};
    t->path = ig_arena_copy(r->arena, path, strlen(path));
    if (!t->path) return no_memory(r);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) IG_TRY(read_text(r, custom, texts[i].key, texts[i].at));
    IG_TRY(check_name(r, path, t));
    IG_TRY(read_digest(r, custom, &t->digest));
    IG_TRY(read_files(r, custom, t));
    IG_TRY(read_words(r, custom, "origins", &t->origins));
    IG_TRY(read_words(r, custom, "labels", &t->labels));
    IG_TRY(read_words(r, custom, "adapters", &t->adapters));
    if (limits && !json_is_object(limits)) return wrong(r, "limits", "an object");
    IG_TRY(read_count(r, limits, "context", &t->context_max));
    IG_TRY(read_count(r, limits, "output", &t->output_max));
    IG_TRY(read_count(r, limits, "tokens_per_day", &t->day_tokens_max));
    reader by_name = {t->name, r->arena, r->err};
    IG_TRY(read_rules(&by_name, custom, false, &t->rules, &t->n_rules));
    return check_digest(r, target, t);
}

/* *ours false: a target of something else. */
static ig_status is_ours(const reader *r, const json_t *target, bool *ours)
{
    uint64_t version;
    *ours = ig_json_size(json_object_get(target, "custom"), "ingle", &version);
    if (*ours && version != 1)
        return ig_fail(r->err, IG_UNSUPPORTED, 0,
                       "targets metadata: %.100s has version %llu, this ingle knows version 1: update it", r->where,
                       (unsigned long long)version);
    return IG_OK;
}

ig_status ig_content_check(const char *path, const json_t *target, ig_error *err)
{
    ig_arena arena = {.max_bytes = CONTENT_BYTES_MAX};
    ig_catalogue_target t = {0};
    reader r = {path, &arena, err};
    bool ours;
    ig_status st = is_ours(&r, target, &ours);
    if (st == IG_OK) st = ours ? read_target(&r, path, target, &t) : wrong(&r, "custom", "\"ingle\": 1");
    ig_arena_fini(&arena);
    return st;
}

/* ---- the catalogue */

static ig_status read_settings(const reader *r, const json_t *settings, ig_catalogue *c)
{
    const char *mode = ig_json_text(settings, "default");
    uint64_t version = 0;
    c->deny_by_default = true; /* what says nothing gives nothing */
    if (!settings) return IG_OK;
    if (!ig_json_size(settings, "version", &version) || version != 1)
        return ig_fail(r->err, IG_UNSUPPORTED, 0,
                       "targets metadata: the catalogue's settings have version %llu, this ingle knows version 1",
                       (unsigned long long)version);
    if (mode && strcmp(mode, "available") != 0 && strcmp(mode, "denied") != 0)
        return wrong(r, "default", "available or denied");
    c->deny_by_default = !mode || !strcmp(mode, "denied");
    return read_rules(r, settings, true, &c->rules, &c->n_rules);
}

ig_status ig_content_check_rules(const json_t *settings, ig_error *err)
{
    ig_catalogue c = {.arena = {.max_bytes = CONTENT_BYTES_MAX}};
    reader r = {"the catalogue", &c.arena, err};
    ig_status st = read_settings(&r, settings, &c);
    ig_arena_fini(&c.arena);
    return st;
}

typedef struct collector {
    const ig_tuf *t;
    ig_catalogue *c;
    ig_catalogue_target *targets;
    size_t n, cap;
    ig_error *err;
} collector;

/* The targets of one document for which it is the one that answers. */
static ig_status collect(collector *k, const ig_doc *d)
{
    const char *path;
    json_t *entry;
    json_object_foreach(json_object_get(d->signed_, "targets"), path, entry)
    {
        const json_t *found = NULL;
        reader r = {path, &k->c->arena, k->err};
        bool ours;
        if (ig_tuf_find(k->t, path, &found) != d) continue;
        IG_TRY(is_ours(&r, entry, &ours));
        if (!ours) continue;
        if (k->n == k->cap)
            return ig_fail(k->err, IG_TOO_LARGE, 0, "%s metadata: the catalogue has more than %d models", d->role,
                           (int)IG_TUF_TARGETS_MAX);
        ig_catalogue_target *t = &k->targets[k->n++];
        t->role = ig_arena_copy(&k->c->arena, d->role, strlen(d->role));
        if (!t->role) return no_memory(&r);
        IG_TRY(read_target(&r, path, entry, t));
    }
    return IG_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcasecmp(((const ig_catalogue_target *)a)->name, ((const ig_catalogue_target *)b)->name);
}

static size_t count_targets(const ig_tuf *t)
{
    size_t n = json_object_size(json_object_get(t->targets->signed_, "targets"));
    for (size_t i = 0; i < t->n_delegated; i++)
        n += json_object_size(json_object_get(t->delegated[i]->signed_, "targets"));
    return n < IG_TUF_TARGETS_MAX ? n : IG_TUF_TARGETS_MAX;
}

static void set_dates(const ig_tuf *t, ig_catalogue *c)
{
    const ig_doc *docs[] = {t->root, t->timestamp, t->snapshot, t->targets};
    c->expires_s = INT64_MAX;
    for (size_t i = 0; i < 4; i++)
        if (docs[i]->expires_s < c->expires_s) c->expires_s = docs[i]->expires_s;
    for (size_t i = 0; i < t->n_delegated; i++)
        if (t->delegated[i]->expires_s < c->expires_s) c->expires_s = t->delegated[i]->expires_s;
    c->root = t->root->version;
    c->timestamp = t->timestamp->version;
    c->snapshot = t->snapshot->version;
    c->version = t->targets->version;
}

static ig_status read_all(const ig_tuf *t, const char *source, ig_catalogue *c, ig_error *err)
{
    reader r = {"the catalogue", &c->arena, err};
    collector k = {.t = t, .c = c, .cap = count_targets(t), .err = err};
    set_dates(t, c);
    c->source = ig_arena_copy(&c->arena, source, strlen(source));
    k.targets = ig_arena_alloc(&c->arena, k.cap + 1, sizeof *k.targets);
    if (!c->source || !k.targets) return no_memory(&r);
    IG_TRY(read_settings(&r, json_object_get(t->targets->signed_, "ingle_catalogue"), c));
    IG_TRY(collect(&k, t->targets));
    for (size_t i = 0; i < t->n_delegated; i++) IG_TRY(collect(&k, t->delegated[i]));
    if (k.n) qsort(k.targets, k.n, sizeof *k.targets, by_name);
    c->targets = k.targets;
    c->n_targets = k.n;
    return IG_OK;
}

ig_status ig_content_read(const ig_tuf *t, const char *source, int64_t synced_s, ig_catalogue **out, ig_error *err)
{
    ig_catalogue *c = ig_calloc(1, sizeof *c);
    *out = NULL;
    if (!c) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the catalogue");
    c->arena.max_bytes = CONTENT_BYTES_MAX;
    c->synced_s = synced_s;
    ig_status st = read_all(t, source, c, err);
    if (st == IG_OK)
        *out = c;
    else
        ig_catalogue_free(c);
    return st;
}

void ig_catalogue_free(ig_catalogue *c)
{
    if (!c) return;
    ig_arena_fini(&c->arena);
    ig_free(c);
}
