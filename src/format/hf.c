/* The directory: which files are read, in which order, and what becomes of them.
 *
 *   config.json                     numbers (config.c)
 *   model.safetensors               or, where it is not there,
 *   model.safetensors.index.json    the list of the files that hold the tensors
 *   generation_config.json          may be absent; its token ids go before those of config.json
 *   1_Pooling/config.json           may be absent; of embedding models
 *   tokenizer.json                  may be absent; carried as it is
 *   tokenizer_config.json           may be absent; carried as it is
 *   chat_template.jinja             may be absent; else the chat_template of tokenizer_config.json
 *
 * No other file is opened, and only regular ones; each text has a limit. */
#include "format/hf.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/utf8.h"
#include "format/json.h"

/* ------------------------------------------------------------------------------------------------ files */

static ig_status no_memory(const ig_hf *h)
{
    return ig_fail(h->err, IG_NO_MEMORY, 0, "%.200s: out of memory while opening it", h->f->path);
}

/* Path of a file of the directory, in the arena; NULL without memory. */
static char *join(const ig_hf *h, ig_str name)
{
    size_t n = strlen(h->f->path), slash = n && h->f->path[n - 1] == '/' ? 0 : 1;
    char *path = ig_arena_alloc(&h->f->arena, n + slash + name.len + 1, 1);
    if (!path) return NULL;
    memcpy(path, h->f->path, n);
    if (slash) path[n] = '/';
    memcpy(path + n + slash, name.ptr, name.len);
    return path;
}

static const ig_named_bytes *in_memory(const ig_hf *h, ig_str name)
{
    for (size_t i = 0; i < h->n_memory; i++)
        if (ig_str_is(name, h->memory[i].name)) return &h->memory[i];
    return NULL;
}

/* Mapped, or borrowed from memory. NOT_FOUND names the path. */
static ig_status map_file(const ig_hf *h, const char *path, ig_str name, ig_file *out)
{
    if (!h->memory) return ig_file_map(path, out, h->err);
    const ig_named_bytes *file = in_memory(h, name);
    if (!file) return ig_fail(h->err, IG_NOT_FOUND, 0, "%.200s is not there", path);
    *out = (ig_file){file->data, file->size};
    return IG_OK;
}

typedef struct text_file { /* zero-initialised is closed and valid */
    ig_file file;
    char *path; /* in the arena */
    ig_str text;
    bool found;
} text_file;

/* A text file of at most max_bytes, which only a regular file can be; not finding it is no failure. The caller closes
 * it in any case. */
static ig_status open_text(const ig_hf *h, const char *name, uint64_t max_bytes, text_file *t)
{
    *t = (text_file){.path = join(h, ig_str_from(name))};
    if (!t->path) return no_memory(h);
    ig_status st = map_file(h, t->path, ig_str_from(name), &t->file);
    if (st == IG_NOT_FOUND) return IG_OK;
    if (st != IG_OK) return st;
    t->found = true;
    t->text = (ig_str){(const char *)t->file.data, (size_t)t->file.size};
    if (t->file.size <= max_bytes) return IG_OK;
    return ig_fail(h->err, IG_TOO_LARGE, 0, "%.200s has %" PRIu64 " bytes, the limit is %" PRIu64, t->path,
                   t->file.size, max_bytes);
}

static void close_text(const ig_hf *h, text_file *t)
{
    if (!h->memory) ig_file_unmap(&t->file);
}

/* Failures other than that nothing is there are failures. */
static ig_status is_there(const ig_hf *h, const char *name, bool *found)
{
    ig_file file = {0};
    char *path = join(h, ig_str_from(name));
    *found = false;
    if (!path) return no_memory(h);
    ig_status st = map_file(h, path, ig_str_from(name), &file);
    if (st == IG_NOT_FOUND) return IG_OK;
    *found = st == IG_OK;
    if (!h->memory) ig_file_unmap(&file);
    return st;
}

/* ------------------------------------------------------------------------------------------------ weights */

typedef struct weights {
    ig_hf *h;
    ig_str names[IG_GGUF_PARTS_MAX]; /* in the directory; borrowed from the index */
    uint32_t n;
    ig_file files[IG_GGUF_PARTS_MAX]; /* where the files lie in memory: borrowed */
    ig_str *listed;                   /* owned [n_listed]: tensors of the index, empty without one */
    uint32_t *listed_file;            /* owned */
    size_t n_listed;
    ig_map by_name; /* file name -> index in names */
    text_file index;
    ig_arena arena;
} weights;

/* S07: a plain name in this directory. */
static bool is_plain(ig_str name)
{
    static const char end[] = ".safetensors";
    size_t n = sizeof end - 1;
    if (name.len <= n || name.len > 255 || memcmp(name.ptr + name.len - n, end, n) != 0 || name.ptr[0] == '.')
        return false;
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.ptr[i];
        if (c < 0x21 || c == 0x7f || c == '/' || c == '\\') return false;
        if (c == '.' && name.ptr[i + 1] == '.') return false; /* the last byte is an s */
    }
    return true;
}

/* Index of a file among those named so far. */
static ig_status file_index(weights *w, ig_json *j, ig_str name, uint32_t *out)
{
    if (!is_plain(name))
        return ig_fail(j->err, IG_BAD_INPUT, ig_json_offset(j),
                       "%.200s: \"%.*s\" before offset %" PRIu64
                       " is no plain name of a .safetensors file in the directory",
                       j->path, IG_STR_ARG(name), ig_json_offset(j));
    if (ig_map_get(&w->by_name, name, out)) return IG_OK;
    if (w->n == IG_GGUF_PARTS_MAX)
        return ig_fail(j->err, IG_TOO_LARGE, ig_json_offset(j), "%.200s names more than %u files", j->path,
                       IG_GGUF_PARTS_MAX);
    *out = w->n;
    if (!ig_map_add(&w->by_name, name, w->n, NULL)) return no_memory(w->h);
    w->names[w->n++] = name;
    return IG_OK;
}

static ig_status read_weight_map(weights *w, ig_json *j)
{
    bool more;
    ig_str name, file;
    ig_json count = *j;
    uint64_t n_values = 0;
    IG_TRY(ig_json_skip(&count, &n_values));
    if (n_values > 2 * (uint64_t)IG_ST_TENSORS_MAX + 1)
        return ig_fail(j->err, IG_TOO_LARGE, ig_json_offset(j), "%.200s names more than %u tensors", j->path,
                       IG_ST_TENSORS_MAX);
    w->listed = ig_calloc((size_t)n_values, sizeof *w->listed);
    w->listed_file = ig_calloc((size_t)n_values, sizeof *w->listed_file);
    if (!w->listed || !w->listed_file) return no_memory(w->h);
    IG_TRY(ig_json_open(j, '{'));
    for (size_t n = 0;;) {
        IG_TRY(ig_json_member(j, &n, &more, IG_ST_NAME_BYTES_MAX, &w->arena, &name));
        if (!more) return IG_OK;
        IG_TRY(ig_json_string(j, IG_ST_NAME_BYTES_MAX, &w->arena, &file));
        if (w->n_listed == n_values) return ig_json_expected(j, "fewer tensors");
        w->listed[w->n_listed] = name;
        IG_TRY(file_index(w, j, file, &w->listed_file[w->n_listed++]));
    }
}

static ig_status read_index(weights *w)
{
    const char *path = w->index.path;
    ig_json j;
    size_t n = 0;
    bool more, found = false;
    ig_str key;
    if (!ig_map_init(&w->by_name, IG_GGUF_PARTS_MAX)) return no_memory(w->h);
    IG_TRY(ig_json_init(&j, path, w->index.text, 0, w->h->err));
    IG_TRY(ig_json_open(&j, '{'));
    for (;;) {
        IG_TRY(ig_json_member(&j, &n, &more, IG_ST_NAME_BYTES_MAX, &w->arena, &key));
        if (!more) break;
        if (!ig_str_is(key, "weight_map")) {
            IG_TRY(ig_json_skip(&j, NULL));
            continue;
        }
        if (found) return ig_json_expected(&j, "\"weight_map\" only once");
        found = true;
        IG_TRY(read_weight_map(w, &j));
    }
    IG_TRY(ig_json_end(&j));
    return w->n ? IG_OK
                : ig_fail(w->h->err, IG_BAD_INPUT, 0, "%.200s names no files of weights in \"weight_map\"", path);
}

static ig_status no_weights(const ig_hf *h)
{
    static const char *const pickled[] = {"pytorch_model.bin", "pytorch_model.bin.index.json"};
    for (size_t i = 0; i < sizeof pickled / sizeof *pickled; i++) {
        bool found;
        IG_TRY(is_there(h, pickled[i], &found));
        if (found)
            return ig_fail(h->err, IG_UNSUPPORTED, 0,
                           "%.200s holds %s, which is never opened because such files can run code; convert it to "
                           "model.safetensors",
                           h->f->path, pickled[i]);
    }
    return ig_fail(
        h->err, IG_BAD_INPUT, 0,
        "%.200s has neither model.safetensors nor model.safetensors.index.json, expected a model's directory",
        h->f->path);
}

/* Names of the files. */
static ig_status list_files(weights *w)
{
    bool found;
    IG_TRY(is_there(w->h, "model.safetensors", &found));
    if (found) {
        w->names[w->n++] = IG_STR("model.safetensors");
        return IG_OK;
    }
    IG_TRY(open_text(w->h, "model.safetensors.index.json", IG_HF_INDEX_BYTES_MAX, &w->index));
    return w->index.found ? read_index(w) : no_weights(w->h);
}

static ig_status map_files(weights *w)
{
    ig_hf *h = w->h;
    h->file_names = ig_arena_alloc(&h->f->arena, w->n, sizeof *h->file_names);
    if (!h->memory) h->f->files = ig_calloc(w->n, sizeof *h->f->files);
    if (!h->file_names || (!h->memory && !h->f->files)) return no_memory(h);
    h->f->n_parts = w->n;
    for (uint32_t i = 0; i < w->n; i++) {
        char *path = join(h, w->names[i]);
        if (!path) return no_memory(h);
        h->file_names[i] = path;
        ig_status st = map_file(h, path, w->names[i], &w->files[i]);
        if (st == IG_NOT_FOUND)
            return ig_fail(h->err, st, 0, "%.200s: file %u of %u that model.safetensors.index.json names is missing",
                           path, i + 1, w->n);
        if (st != IG_OK) return st;
        if (h->f->files) h->f->files[i] = w->files[i];
    }
    return IG_OK;
}

/* S07: the index and the files name the same tensors, each in the same file. */
static ig_status compare_index(const weights *w)
{
    const ig_st_list *list = &w->h->tensors;
    if (!w->listed) return IG_OK;
    for (size_t i = 0; i < w->n_listed; i++) {
        const ig_st_tensor *t = ig_st_find(list, w->listed[i]);
        if (!t || t->file != w->listed_file[i])
            return ig_fail(w->h->err, IG_BAD_INPUT, 0,
                           "%.200s has no tensor \"%.*s\", expected by model.safetensors.index.json",
                           w->h->file_names[w->listed_file[i]], IG_STR_ARG(w->listed[i]));
    }
    if (list->n == w->n_listed) return IG_OK;
    return ig_fail(w->h->err, IG_BAD_INPUT, 0,
                   "%.200s: the files hold %zu tensors, expected the %zu of model.safetensors.index.json",
                   w->h->f->path, list->n, w->n_listed);
}

static ig_status read_weights(weights *w)
{
    ig_hf *h = w->h;
    size_t n_all = 0;
    IG_TRY(list_files(w));
    IG_TRY(map_files(w));
    for (uint32_t i = 0; i < w->n; i++) {
        size_t n;
        IG_TRY(ig_st_count(h->file_names[i], w->files[i].data, w->files[i].size, &n, h->err));
        n_all += n;
    }
    if (n_all > IG_ST_TENSORS_MAX)
        return ig_fail(h->err, IG_TOO_LARGE, 0, "%.200s: the files hold %zu tensors, the limit is %u", h->f->path,
                       n_all, IG_ST_TENSORS_MAX);
    IG_TRY(ig_st_list_init(&h->tensors, n_all, h->err));
    for (uint32_t i = 0; i < w->n; i++)
        IG_TRY(ig_st_read(h->file_names[i], w->files[i].data, w->files[i].size, i, &h->tensors, h->err));
    return compare_index(w);
}

static ig_status open_weights(ig_hf *h)
{
    weights *w = ig_calloc(1, sizeof *w);
    if (!w) return no_memory(h);
    w->h = h;
    ig_status st = read_weights(w);
    ig_free(w->listed);
    ig_free(w->listed_file);
    ig_map_fini(&w->by_name);
    close_text(h, &w->index);
    ig_arena_fini(&w->arena);
    ig_free(w);
    return st;
}

/* ------------------------------------------------------------------------------------------------ tokens and text */

/* general.file_type as GGUF numbers it, by the dtype that most bytes have. */
static void put_file_type(ig_hf *h)
{
    static const struct {
        int32_t type;
        uint32_t id;
    } ids[] = {{IG_F32, 0}, {IG_F16, 1}, {IG_BF16, 32}};
    uint64_t bytes[3] = {0}, best = 0;
    for (size_t i = 0; i < h->tensors.n; i++)
        for (size_t k = 0; k < 3; k++)
            if (h->tensors.tensors[i].dtype->type == ids[k].type) bytes[k] += h->tensors.tensors[i].n_bytes;
    for (size_t k = 1; k < 3; k++)
        if (bytes[k] > bytes[best]) best = k;
    ig_hf_put_u32(h, false, "general.file_type", ids[best].id);
}

/* The last part of a path, without slashes behind it; empty for "." and "..". */
static ig_str last_part(const char *path)
{
    size_t n = strlen(path);
    while (n && path[n - 1] == '/') n--;
    size_t start = n;
    while (start && path[start - 1] != '/') start--;
    ig_str part = {path + start, n - start};
    return ig_str_is(part, ".") || ig_str_is(part, "..") ? IG_STR("") : part;
}

static void put_name(ig_hf *h)
{
    ig_str name = last_part(h->f->path);
    const json_t *given = ig_hf_value(h->root, "_name_or_path");
    if (!name.len && json_is_string(given)) name = last_part(json_string_value(given));
    if (name.len && ig_utf8_valid(name.ptr, name.len)) ig_hf_put_str(h, false, "general.name", name);
}

/* One id; numbers below 0 mean none, as an id of padding outside the vocabulary does (some models have it). */
static ig_status read_id(const ig_hf *h, const char *key, const json_t *v, int32_t *out)
{
    json_int_t id = json_is_integer(v) ? json_integer_value(v) : INT64_MAX;
    bool outside = id >= h->n_vocab;
    *out = id < 0 ? -1 : (int32_t)id;
    if (!outside) return IG_OK;
    *out = -1;
    if (json_is_integer(v) && !strcmp(key, "pad_token_id")) return IG_OK;
    return ig_hf_bad(h, key, v, "an id below vocab_size");
}

static ig_status put_ids(ig_hf *h, const char *key, const char *to, const json_t *v)
{
    enum { IDS_MAX = 64 };
    int32_t ids[IDS_MAX];
    size_t n = json_is_array(v) ? json_array_size(v) : 1, kept = 0;
    char name[64];
    if (n > IDS_MAX) return ig_hf_bad(h, key, v, "at most 64 ids");
    for (size_t i = 0; i < n; i++) {
        IG_TRY(read_id(h, key, json_is_array(v) ? json_array_get(v, i) : v, &ids[kept]));
        kept += ids[kept] >= 0;
    }
    if (!kept) return IG_OK;
    (void)snprintf(name, sizeof name, "tokenizer.ggml.%s_token_id", to);
    ig_hf_put_u32(h, false, name, (uint32_t)ids[0]);
    if (kept > 1 && !strcmp(to, "eos"))
        ig_hf_put_array(h, false, "tokenizer.ggml.eog_token_ids", IG_META_I32, ids, kept);
    return IG_OK;
}

static ig_status put_token_ids(ig_hf *h, const json_t *generation)
{
    static const struct {
        const char *from, *to;
    } ids[] = {
        {"bos_token_id", "bos"}, {"eos_token_id", "eos"}, {"pad_token_id", "padding"}, {"unk_token_id", "unknown"}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        const json_t *v = ig_hf_value(generation, ids[i].from);
        if (!v) v = ig_hf_value(h->root, ids[i].from);
        if (!v) v = ig_hf_value(h->config, ids[i].from);
        if (v) IG_TRY(put_ids(h, ids[i].from, ids[i].to, v));
    }
    return IG_OK;
}

/* A small JSON file as a tree; *out NULL where it is not there. The caller owns it. */
static ig_status read_tree(const ig_hf *h, const char *name, json_t **out)
{
    text_file t;
    *out = NULL;
    ig_status st = open_text(h, name, IG_HF_CONFIG_BYTES_MAX, &t);
    if (st == IG_OK && t.found) st = ig_json_tree(t.path, t.text, IG_HF_CONFIG_VALUES_MAX, out, h->err);
    close_text(h, &t);
    return st;
}

static ig_status read_generation(ig_hf *h)
{
    json_t *generation;
    ig_status st = read_tree(h, "generation_config.json", &generation);
    if (st == IG_OK) st = put_token_ids(h, generation);
    json_decref(generation);
    return st;
}

/* How the vectors of tokens become one, as embedding models say beside their weights; the numbers are GGUF's. */
static ig_status read_pooling(ig_hf *h)
{
    static const struct {
        const char *key;
        uint32_t id;
    } modes[] = {{"pooling_mode_mean_tokens", 1}, {"pooling_mode_cls_token", 2}, {"pooling_mode_lasttoken", 3}};
    enum { RANK = 4 };
    json_t *pooling;
    uint32_t id = 0, n = 0;
    if (h->judges) {
        ig_hf_put_u32(h, true, "pooling_type", RANK);
        return IG_OK;
    }
    ig_status st = read_tree(h, "1_Pooling/config.json", &pooling);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (json_is_true(json_object_get(pooling, modes[i].key))) {
            id = modes[i].id;
            n++;
        }
    if (n == 1) ig_hf_put_u32(h, true, "pooling_type", id);
    json_decref(pooling);
    return st;
}

/* One entry of a list of templates: {"name": ..., "template": ...}; the one called "default" is the model's own. */
static ig_status read_named_template(ig_json *j, ig_arena *arena, ig_str *out)
{
    size_t n = 0;
    bool more;
    ig_str key, name = IG_STR(""), text = IG_STR("");
    IG_TRY(ig_json_open(j, '{'));
    for (;;) {
        IG_TRY(ig_json_member(j, &n, &more, 64, arena, &key));
        if (!more) break;
        if (ig_str_is(key, "name"))
            IG_TRY(ig_json_string(j, 256, arena, &name));
        else if (ig_str_is(key, "template"))
            IG_TRY(ig_json_string(j, IG_HF_TEMPLATE_BYTES_MAX, arena, &text));
        else
            IG_TRY(ig_json_skip(j, NULL));
    }
    if (ig_str_is(name, "default")) *out = text;
    return IG_OK;
}

/* chat_template is a text, or a list of named ones. */
static ig_status read_template(ig_json *j, ig_arena *arena, ig_str *out)
{
    size_t n = 0;
    bool more;
    char c = j->at < j->text.len ? j->text.ptr[j->at] : 0;
    if (c == '"') return ig_json_string(j, IG_HF_TEMPLATE_BYTES_MAX, arena, out);
    if (c != '[') return ig_json_skip(j, NULL); /* null */
    IG_TRY(ig_json_open(j, '['));
    for (;;) {
        IG_TRY(ig_json_element(j, &n, &more));
        if (!more) return IG_OK;
        IG_TRY(read_named_template(j, arena, out));
    }
}

static ig_status find_template(const ig_hf *h, const char *path, ig_str text, ig_arena *arena, ig_str *out)
{
    ig_json j;
    size_t n = 0;
    bool more, found = false;
    ig_str key;
    IG_TRY(ig_json_init(&j, path, text, 0, h->err));
    IG_TRY(ig_json_open(&j, '{'));
    for (;;) {
        IG_TRY(ig_json_member(&j, &n, &more, 4096, arena, &key));
        if (!more) return ig_json_end(&j);
        if (!ig_str_is(key, "chat_template")) {
            IG_TRY(ig_json_skip(&j, NULL));
            continue;
        }
        if (found) return ig_json_expected(&j, "\"chat_template\" only once");
        found = true;
        IG_TRY(read_template(&j, arena, out));
    }
}

static ig_status read_chat_template(ig_hf *h, const text_file *config)
{
    text_file t;
    ig_str out = IG_STR("");
    ig_arena arena = {.max_bytes = (size_t)4 * IG_HF_TEMPLATE_BYTES_MAX};
    ig_status st = open_text(h, "chat_template.jinja", IG_HF_TEMPLATE_BYTES_MAX, &t);
    if (t.found)
        out = t.text;
    else if (st == IG_OK && config->found)
        st = find_template(h, config->path, config->text, &arena, &out);
    if (st == IG_OK && out.len) ig_hf_put_str(h, false, "tokenizer.chat_template", out);
    ig_arena_fini(&arena);
    close_text(h, &t);
    return st;
}

static ig_status read_tokenizer(ig_hf *h)
{
    text_file config, tokenizer = {0};
    ig_status st = open_text(h, "tokenizer_config.json", IG_HF_TOKENIZER_BYTES_MAX, &config);
    if (st == IG_OK) st = read_chat_template(h, &config);
    if (st == IG_OK) st = open_text(h, "tokenizer.json", IG_HF_TOKENIZER_BYTES_MAX, &tokenizer);
    if (st == IG_OK && config.found) ig_hf_put_str(h, false, "ingle.tokenizer.config", config.text);
    if (st == IG_OK && tokenizer.found) ig_hf_put_str(h, false, "ingle.tokenizer.json", tokenizer.text);
    close_text(h, &config);
    close_text(h, &tokenizer);
    return st;
}

/* ------------------------------------------------------------------------------------------------ all of it */

static ig_status read_config(ig_hf *h)
{
    text_file t;
    ig_status st = open_text(h, "config.json", IG_HF_CONFIG_BYTES_MAX, &t);
    h->path = t.path;
    if (st == IG_OK && !t.found)
        st = ig_fail(h->err, IG_BAD_INPUT, 0,
                     "%.200s has no config.json, expected a GGUF file or the directory of a Hugging Face model",
                     h->f->path);
    if (st == IG_OK) st = ig_json_tree(h->path, t.text, IG_HF_CONFIG_VALUES_MAX, &h->root, h->err);
    close_text(h, &t);
    return st == IG_OK ? ig_hf_config_read(h) : st;
}

/* Magic, version, no tensors, and the number of keys, which is only known at the end. */
static void begin_header(ig_hf *h)
{
    uint32_t version = 3;
    uint64_t counts[2] = {0};
    ig_buf_init(&h->meta, (size_t)256 << 20);
    (void)ig_buf_add(&h->meta, "GGUF", 4);
    (void)ig_buf_add(&h->meta, &version, sizeof version);
    (void)ig_buf_add(&h->meta, counts, sizeof counts);
}

/* The header goes the way of every GGUF header: what it may not hold is refused there. */
static ig_status end_header(ig_hf *h)
{
    ig_format *f = h->f;
    if (h->meta.failed) return no_memory(h);
    memcpy(h->meta.ptr + 16, &h->n_keys, sizeof h->n_keys);
    f->header = h->meta.ptr;
    h->meta.ptr = NULL;
    IG_TRY(ig_gguf_read(h->path, (const uint8_t *)f->header, h->meta.len, &f->gguf, h->err));
    f->gguf.version = 0;
    f->gguf.trailing_bytes = 0;
    return IG_OK;
}

static ig_status open_all(ig_hf *h)
{
    begin_header(h);
    IG_TRY(read_config(h));
    put_name(h);
    IG_TRY(open_weights(h));
    put_file_type(h);
    IG_TRY(read_generation(h));
    IG_TRY(read_pooling(h));
    IG_TRY(read_tokenizer(h));
    IG_TRY(end_header(h));
    return ig_hf_tensors_map(h);
}

ig_status ig_hf_open(ig_format *f, const ig_named_bytes *memory, size_t n_memory, ig_error *err)
{
    ig_hf h = {.f = f, .memory = memory, .n_memory = n_memory, .err = err};
    ig_status st = open_all(&h);
    json_decref(h.root);
    ig_buf_fini(&h.meta);
    ig_st_list_fini(&h.tensors);
    return st;
}

static ig_str base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return ig_str_from(slash ? slash + 1 : path);
}

bool ig_hf_is_weights(const char *path) { return is_plain(base_name(path)); }

size_t ig_hf_directory_of(const char *path)
{
    ig_str name = base_name(path);
    size_t n = (size_t)(name.ptr - path);
    if (!ig_str_is(name, "config.json") && !ig_str_is(name, "model.safetensors.index.json") &&
        !(ig_str_starts(name, IG_STR("model")) && is_plain(name)))
        return SIZE_MAX;
    return n > 1 ? n - 1 : n;
}
