/* Which models there are: files named at the start, and those of the store. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "serve/front/fr.h"

static char *copy(const char *z)
{
    size_t n = strlen(z) + 1;
    char *p = ig_alloc(n);
    if (p) memcpy(p, z, n);
    return p;
}

fr_entry *fr_entry_ref(fr_entry *e)
{
    e->refs++;
    return e;
}

void fr_entry_unref(fr_entry *e)
{
    if (!e || --e->refs) return;
    for (size_t i = 0; i < e->n_files; i++) {
        ig_free(e->paths[i]);
        ig_free(e->files[i]);
    }
    ig_free(e->paths);
    ig_free(e->files);
    ig_free(e->name);
    ig_free(e->digest);
    ig_free(e->stamp);
    if (e->spill) close(e->spill - 1);
    ig_manifest_free(e->manifest);
    ig_free(e->template_text);
    json_decref(e->messages);
    ig_free(e->system);
    ig_free(e->license);
    ig_free(e->parent);
    json_decref(e->parameters);
    json_decref(e->engine);
    json_decref(e->facts);
    ig_free(e);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* "folder/qwen3-8b.Q4_K_M.gguf" is called "qwen3-8b.Q4_K_M". */
static char *name_of_file(const char *path)
{
    char *name = copy(base_name(path));
    if (!name) return NULL;
    size_t n = strlen(name);
    while (n && name[n - 1] == '/') name[--n] = 0;
    if (n > 5 && !strcmp(name + n - 5, ".gguf")) name[n - 5] = 0;
    return name;
}

static bool add_file(fr_entry *e, const char *path, const struct stat *st)
{
    char **paths = ig_realloc(e->paths, e->n_files + 1, sizeof *paths);
    if (!paths) return false;
    e->paths = paths;
    char **files = ig_realloc(e->files, e->n_files + 1, sizeof *files);
    if (!files) return false;
    e->files = files;
    paths[e->n_files] = copy(path);
    files[e->n_files] = copy(base_name(path));
    if (!paths[e->n_files] || !files[e->n_files]) {
        ig_free(paths[e->n_files]);
        ig_free(files[e->n_files]);
        return false;
    }
    e->n_files++;
    e->size_bytes += (uint64_t)st->st_size;
    e->modified_ns = (uint64_t)st->st_mtim.tv_sec * FR_NS_PER_S + (uint64_t)st->st_mtim.tv_nsec;
    return true;
}

static ig_status add_path(void *ctx, const char *path, const char *name, ig_error *err)
{
    struct stat st;
    (void)name;
    if (stat(path, &st)) return ig_fail_errno(err, IG_NOT_FOUND, errno, "cannot open the model's file %s", path);
    return add_file(ctx, path, &st) ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the list of models");
}

static ig_status fill_entry(fr_entry *e, const ig_front_file *m, ig_error *err)
{
    struct stat st;
    if (stat(m->path, &st)) return ig_fail_errno(err, IG_NOT_FOUND, errno, "cannot open the model %s", m->path);
    if (!S_ISREG(st.st_mode))
        return ig_fail(
            err, IG_BAD_INPUT, 0,
            "%s is no file; expected a GGUF file. Convert a folder first: ingle quantize FOLDER OUT.gguf F16", m->path);
    e->name = m->name ? copy(m->name) : name_of_file(m->path);
    e->digest = copy("");
    ig_name name;
    IG_TRY(ig_model_files(m->path, &name, add_path, e, err));
    return e->name && e->digest ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the list of models");
}

static ig_status no_memory(ig_error *err)
{
    return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the list of models");
}

/* An empty entry at the end of the list. */
static fr_entry *append(fr_front *f)
{
    fr_entry **last = &f->entries, *e = ig_calloc(1, sizeof *e);
    if (!e) return NULL;
    e->refs = 1;
    while (*last) last = &(*last)->next;
    return *last = e;
}

static json_t *read_object(const char *text)
{
    json_error_t error;
    json_t *value = text ? json_loads(text, JSON_REJECT_DUPLICATES, &error) : NULL;
    if (value && !json_is_object(value)) {
        json_decref(value);
        return NULL;
    }
    return value;
}

/* Texts alone: what else a model of another registry brings cannot be said here. */
static json_t *read_messages(const char *text)
{
    json_error_t error;
    json_t *value = text ? json_loads(text, JSON_REJECT_DUPLICATES, &error) : NULL, *one;
    size_t i;
    bool good = json_array_size(value) > 0;
    json_array_foreach(value, i, one) good =
        good && json_is_string(json_object_get(one, "role")) && json_is_string(json_object_get(one, "content"));
    if (good) return value;
    json_decref(value);
    return NULL;
}

static bool copy_some(char **to, const char *from) { return !from || !*from || (*to = copy(from)); }

/* Takes the manifest over, also on failure. */
static bool add_manifest(fr_front *f, ig_manifest *m)
{
    fr_entry *e = append(f);
    if (!e) {
        ig_manifest_free(m);
        return false;
    }
    e->manifest = m;
    e->size_bytes = ig_manifest_bytes(m);
    e->modified_ns = m->added_s > 0 ? (uint64_t)m->added_s * FR_NS_PER_S : 0;
    e->parameters = read_object(m->parameters);
    e->facts = read_object(m->about);
    e->messages = read_messages(m->messages);
    e->name = copy(m->name.text);
    e->digest = copy(m->digest.hex);
    return e->name && e->digest && copy_some(&e->template_text, m->template) && copy_some(&e->system, m->system) &&
           copy_some(&e->license, m->licence) && copy_some(&e->parent, m->base);
}

static bool same_model(const ig_manifest *m, const fr_entry *e)
{
    return m && e->manifest && !strcmp(m->name.text, e->name) && !strcmp(m->digest.hex, e->digest);
}

/* How old the list may be where a name is not in it, or its model not in memory. */
#define LOOK_AGAIN_NS (20 * FR_NS_PER_MS)

static bool is_listed(const ig_store_list *list, const fr_entry *e)
{
    for (size_t i = 0; i < list->n; i++)
        if (same_model(list->models[i], e)) return true;
    return false;
}

static bool is_known(const fr_front *f, const ig_manifest *m)
{
    for (const fr_entry *e = f->entries; e; e = e->next)
        if (same_model(m, e)) return true;
    return false;
}

void fr_catalog_refresh(fr_front *f, bool force)
{
    uint64_t now = ig_loop_now(f->loop);
    ig_store_list list;
    ig_error err;
    if (!f->store || (!force && now - f->scanned_ns < FR_NS_PER_S)) return;
    f->scanned_ns = now;
    if (ig_store_models(f->store, &list, &err) != IG_OK) {
        fr_say(f, "the store cannot be read: %s", err.text);
        return;
    }
    for (fr_entry **at = &f->entries; *at;) {
        fr_entry *e = *at;
        if (!e->manifest || is_listed(&list, e)) {
            at = &e->next;
            continue;
        }
        *at = e->next;
        e->gone = true;
        fr_entry_unref(e);
    }
    for (size_t i = 0; i < list.n; i++) {
        if (is_known(f, list.models[i])) continue;
        ig_manifest *m = list.models[i];
        list.models[i] = NULL;
        if (!add_manifest(f, m)) fr_say(f, "out of memory for the list of models");
    }
    ig_store_list_free(&list);
}

ig_status fr_catalog_open(fr_front *f, ig_error *err)
{
    for (size_t i = 0; i < f->config->n_models; i++) {
        fr_entry *e = append(f);
        if (!e) return no_memory(err);
        IG_TRY(fill_entry(e, &f->config->models[i], err));
    }
    if (!f->config->store) return IG_OK;
    IG_TRY(ig_store_open(f->config->store, NULL, &f->store, err));
    fr_catalog_refresh(f, true);
    return IG_OK;
}

void fr_catalog_close(fr_front *f)
{
    while (f->entries) {
        fr_entry *e = f->entries;
        f->entries = e->next;
        fr_entry_unref(e);
    }
    if (f->store) ig_store_close(f->store);
}

/* "name" also finds "name:latest", as Ollama's clients expect. */
static bool same_name(const char *have, const char *asked)
{
    size_t n = strlen(have), m = strlen(asked);
    static const char latest[] = ":latest";
    size_t l = sizeof latest - 1;
    if (n > l && !strcmp(have + n - l, latest)) n -= l;
    if (m > l && !strcmp(asked + m - l, latest)) m -= l;
    return n == m && !strncasecmp(have, asked, n);
}

const fr_entry *fr_catalog_look(const fr_front *f, const char *name)
{
    for (const fr_entry *e = f->entries; e; e = e->next)
        if (same_name(e->name, name)) return e;
    return NULL;
}

static fr_entry *default_entry(fr_front *f)
{
    const char *name = f->config->default_model;
    for (fr_entry *e = f->entries; name && e; e = e->next)
        if (same_name(e->name, name)) return e;
    return name || !f->entries || f->entries->next ? NULL : f->entries;
}

static bool can(const fr_entry *e, const char *capability)
{
    const json_t *list = json_object_get(e->facts, "capabilities");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!strcmp(json_string_value(json_array_get(list, i)), capability)) return true;
    return false;
}

fr_entry *fr_catalog_latest(fr_front *f, const char *capability)
{
    const fr_worker *best = NULL;
    for (const fr_worker *w = f->workers; w; w = w->next)
        if (w->state == FR_READY && !w->probe && !w->entry->gone && (!best || w->used_ns > best->used_ns) &&
            (capability ? can(w->entry, capability) : !w->engine) && fr_sees(f, w->entry))
            best = w;
    return best ? best->entry : NULL;
}

static fr_entry *named_entry(fr_front *f, const char *name)
{
    fr_entry *e = f->entries;
    while (e && !same_name(e->name, name)) e = e->next;
    return e;
}

fr_entry *fr_catalog_find(fr_front *f, const char *name, bool any, ig_problem *p)
{
    bool named = name && *name;
    fr_catalog_refresh(f, false);
    fr_entry *e = named ? named_entry(f, name) : NULL;
    if (named && (!e || (e->manifest && !fr_pool_find(f, e)))) { /* another program may just have added or removed it */
        fr_catalog_refresh(f, ig_loop_now(f->loop) - f->scanned_ns > LOOK_AGAIN_NS);
        e = named_entry(f, name);
    }
    if (e) return fr_entry_ref(e);
    e = named && !any ? NULL : default_entry(f);
    if (e) return fr_entry_ref(e);
    if (named)
        ig_problem_set(p, IG_P_NO_MODEL, "model", "model '%.200s' not found; `ingle list` shows what there is", name);
    else
        ig_problem_set(p, IG_P_BAD_REQUEST, "model",
                       "model is missing and there is no default model; name one, or start the service with --default");
    return NULL;
}

/* Files of the store, without those that no worker reads. */
static ig_status open_stored(const fr_front *f, const ig_manifest *m, int *fds, const char **names, size_t *n,
                             ig_error *err)
{
    int all[FR_FILES_MAX];
    if (m->n_files > FR_FILES_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "model %s has %zu files, at most %d can be opened", m->name.text,
                       m->n_files, FR_FILES_MAX);
    IG_TRY(ig_manifest_usable(m, err));
    IG_TRY(ig_store_files_open(f->store, m, all, err));
    for (size_t i = 0; i < m->n_files; i++) {
        if (m->files[i].role == IG_ROLE_WEIGHTS || m->files[i].role == IG_ROLE_CONFIG) {
            fds[*n] = all[i];
            names[(*n)++] = m->files[i].name;
        } else
            close(all[i]);
    }
    return IG_OK;
}

ig_status fr_entry_open(const fr_front *f, const fr_entry *e, int *fds, const char **names, size_t *n, ig_error *err)
{
    *n = 0;
    if (e->manifest) return open_stored(f, e->manifest, fds, names, n, err);
    for (size_t i = 0; i < e->n_files; i++) {
        struct stat st;
        fds[i] = open(e->paths[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        names[i] = e->files[i];
        if (fds[i] >= 0 && !fstat(fds[i], &st) && S_ISREG(st.st_mode)) continue;
        int no = fds[i] < 0 ? errno : EINVAL;
        if (fds[i] >= 0) close(fds[i]);
        while (i--) close(fds[i]);
        return ig_fail_errno(err, IG_NOT_FOUND, no, "cannot open the file of model %s", e->name);
    }
    *n = e->n_files;
    return IG_OK;
}
