/* Opened model files: lookups by hash and typed getters. The bytes were validated by gguf.c; here is decided only
 * whether a value has the type and range that the caller asks for. */
#include "format/format.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "format/gguf.h"
#include "format/hf.h"

static ig_status new_format(const char *path, ig_format **out, ig_error *err)
{
    size_t n = strlen(path) + 1;
    ig_format *f = ig_calloc(1, sizeof *f);
    if (f) f->path = ig_alloc(n);
    if (!f || !f->path) {
        ig_format_close(f);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory while opening %.200s", path);
    }
    memcpy(f->path, path, n);
    f->n_parts = 1;
    *out = f;
    return IG_OK;
}

static ig_status open_parts(ig_format *f, ig_error *err)
{
    size_t n = ig_hf_directory_of(f->path);
    if (n == 0) f->path[n++] = '.'; /* there is room: the name of a file stood here */
    if (n != SIZE_MAX) f->path[n] = 0;
    if (n != SIZE_MAX || ig_is_directory(f->path)) return ig_hf_open(f, NULL, 0, err);
    if (ig_hf_is_weights(f->path))
        return ig_fail(
            err, IG_UNSUPPORTED, 0,
            "%.200s holds tensors without the numbers of a model, expected the directory with its config.json",
            f->path);
    f->files = ig_calloc(1, sizeof *f->files);
    if (!f->files) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory while opening %.200s", f->path);
    IG_TRY(ig_file_map(f->path, &f->files[0], err));
    IG_TRY(ig_gguf_read(f->path, f->files[0].data, f->files[0].size, &f->gguf, err));
    return ig_split_open(f, err);
}

static ig_status close_failed(ig_format *f, ig_status st)
{
    ig_format_close(f);
    return st;
}

ig_status ig_format_open(const char *path, ig_format **out, ig_error *err)
{
    ig_format *f;
    *out = NULL;
    IG_TRY(new_format(path, &f, err));
    ig_status st = open_parts(f, err);
    if (st != IG_OK) return close_failed(f, st);
    *out = f;
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ descriptors */

ig_status ig_format_map_file(const ig_format *f, const char *path, ig_file *out, ig_error *err)
{
    if (!f->maps) return ig_file_map(path, out, err);
    for (size_t i = 0; i < f->n_maps; i++) {
        if (strcmp(f->map_names[i], path) != 0) continue;
        *out = f->maps[i];
        return IG_OK;
    }
    return ig_fail(err, IG_NOT_FOUND, 0, "%.200s was not given", path);
}

static ig_status map_fds(ig_format *f, const char *const *names, const int *fds, size_t n, ig_error *err)
{
    f->maps = ig_calloc(n, sizeof *f->maps);
    f->map_names = ig_arena_alloc(&f->arena, n, sizeof *f->map_names);
    bool ok = f->maps && f->map_names;
    for (size_t i = 0; ok && i < n; i++) ok = (f->map_names[i] = ig_arena_copy(&f->arena, names[i], strlen(names[i])));
    if (!ok) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory while opening %.200s", f->path);
    for (; f->n_maps < n; f->n_maps++) IG_TRY(ig_file_map_fd(fds[f->n_maps], names[f->n_maps], &f->maps[f->n_maps], err));
    return IG_OK;
}

static ig_status open_mapped_hf(ig_format *f, ig_error *err)
{
    ig_named_bytes *files = ig_arena_alloc(&f->arena, f->n_maps, sizeof *files);
    if (!files) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory while opening %.200s", f->path);
    for (size_t i = 0; i < f->n_maps; i++)
        files[i] = (ig_named_bytes){f->map_names[i], f->maps[i].data, f->maps[i].size};
    return ig_hf_open(f, files, f->n_maps, err);
}

static ig_status open_mapped_gguf(ig_format *f, ig_error *err)
{
    f->files = ig_calloc(1, sizeof *f->files);
    if (!f->files) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory while opening %.200s", f->path);
    IG_TRY(ig_format_map_file(f, f->path, &f->files[0], err));
    IG_TRY(ig_gguf_read(f->path, f->files[0].data, f->files[0].size, &f->gguf, err));
    return ig_split_open(f, err);
}

/* The file to begin with: config.json of a directory, the first part of a split model, or the only one. */
static const char *first_name(const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(names[i], "config.json") || strstr(names[i], "-00001-of-")) return names[i];
    return names[0];
}

ig_status ig_format_open_fds(const char *const *names, const int *fds, size_t n, ig_format **out, ig_error *err)
{
    ig_format *f;
    *out = NULL;
    if (n == 0) return ig_fail(err, IG_BAD_INPUT, 0, "no file of a model was given, expected at least one");
    const char *first = first_name(names, n);
    bool hf = !strcmp(first, "config.json");
    IG_TRY(new_format(hf ? "." : first, &f, err));
    ig_status st = map_fds(f, names, fds, n, err);
    if (st == IG_OK) st = hf ? open_mapped_hf(f, err) : open_mapped_gguf(f, err);
    if (st != IG_OK) return close_failed(f, st);
    *out = f;
    return IG_OK;
}

bool ig_format_map(const ig_format *f, size_t i, const uint8_t **data, uint64_t *size)
{
    const ig_file *files = f->maps ? f->maps : f->files;
    if (!files || i >= (f->maps ? f->n_maps : f->n_parts)) return false;
    *data = files[i].data;
    *size = files[i].size;
    return true;
}

ig_status ig_format_open_memory(const char *name, const uint8_t *data, uint64_t size, ig_format **out, ig_error *err)
{
    ig_format *f;
    *out = NULL;
    IG_TRY(new_format(name, &f, err));
    ig_status st = ig_gguf_read(name, data, size, &f->gguf, err);
    if (st == IG_OK) st = ig_split_open(f, err);
    if (st != IG_OK) return close_failed(f, st);
    *out = f;
    return IG_OK;
}

ig_status ig_format_open_hf_memory(const char *name, const ig_named_bytes *files, size_t n_files, ig_format **out,
                                   ig_error *err)
{
    ig_format *f;
    *out = NULL;
    IG_TRY(new_format(name, &f, err));
    ig_status st = ig_hf_open(f, files, n_files, err);
    if (st != IG_OK) return close_failed(f, st);
    *out = f;
    return IG_OK;
}

void ig_format_close(ig_format *f)
{
    if (!f) return;
    ig_gguf_fini(&f->gguf);
    for (uint32_t i = 0; f->files && !f->maps && i < f->n_parts; i++) ig_file_unmap(&f->files[i]);
    for (size_t i = 0; i < f->n_maps; i++) ig_file_unmap(&f->maps[i]);
    ig_free(f->files);
    ig_free(f->maps);
    ig_free(f->header);
    ig_arena_fini(&f->arena);
    ig_free(f->path);
    ig_free(f);
}

const char *ig_format_path(const ig_format *f) { return f->path; }
uint32_t ig_format_version(const ig_format *f) { return f->gguf.version; }
uint32_t ig_format_parts(const ig_format *f) { return f->n_parts; }
uint64_t ig_format_trailing_bytes(const ig_format *f) { return f->gguf.trailing_bytes; }

/* ------------------------------------------------------------------------------------------------ lookups */

size_t ig_format_n_meta(const ig_format *f) { return f->gguf.n_meta; }
const ig_meta *ig_format_meta_at(const ig_format *f, size_t i) { return i < f->gguf.n_meta ? &f->gguf.meta[i] : NULL; }

const ig_meta *ig_format_meta(const ig_format *f, const char *key)
{
    uint32_t idx;
    return ig_map_get(&f->gguf.keys, ig_str_from(key), &idx) ? &f->gguf.meta[idx] : NULL;
}

size_t ig_format_n_tensors(const ig_format *f) { return f->gguf.n_tensors; }
const ig_tensor *ig_format_tensor_at(const ig_format *f, size_t i)
{
    return i < f->gguf.n_tensors ? &f->gguf.tensors[i] : NULL;
}

const ig_tensor *ig_format_tensor(const ig_format *f, const char *name)
{
    uint32_t idx;
    return ig_map_get(&f->gguf.names, ig_str_from(name), &idx) ? &f->gguf.tensors[idx] : NULL;
}

/* ------------------------------------------------------------------------------------------------ elements */

static uint64_t load(const uint8_t *p, uint32_t bytes)
{
    uint64_t v = 0;
    memcpy(&v, p, bytes);
    return v;
}

static bool is_int(ig_meta_type t)
{
    return t != IG_META_F32 && t != IG_META_F64 && t != IG_META_BOOL && t != IG_META_STRING && t != IG_META_ARRAY;
}

int64_t ig_meta_int(const ig_meta *m, uint64_t i)
{
    uint32_t bytes = ig_meta_elem_bytes(m->elem);
    uint64_t v = load(m->data + i * bytes, bytes);
    switch (m->elem) {
    case IG_META_I8: return (int8_t)v;
    case IG_META_I16: return (int16_t)v;
    case IG_META_I32: return (int32_t)v;
    case IG_META_U64: return v > INT64_MAX ? INT64_MAX : (int64_t)v;
    default: return (int64_t)v;
    }
}

double ig_meta_float(const ig_meta *m, uint64_t i)
{
    if (m->elem == IG_META_F64) {
        double d;
        memcpy(&d, m->data + i * 8, 8);
        return d;
    }
    float v;
    memcpy(&v, m->data + i * 4, 4);
    return (double)v;
}

void ig_meta_strings(const ig_meta *m, ig_str *out)
{
    const uint8_t *p = m->data;
    for (uint64_t i = 0; i < m->n; i++) {
        size_t n = (size_t)load(p, 8);
        out[i] = (ig_str){(const char *)p + 8, n};
        p += 8 + n;
    }
}

/* ------------------------------------------------------------------------------------------------ getters */

/* Offset of a value in its file: metadata always belongs to part 1. What was made from config.json has none. */
static uint64_t offset_of(const ig_format *f, const ig_meta *m)
{
    return f->files && !f->header ? (uint64_t)(m->data - f->files[0].data) : 0;
}

static ig_status wrong_type(const ig_format *f, const ig_meta *m, const char *expected, ig_error *err)
{
    bool array = m->type == IG_META_ARRAY;
    return ig_fail(err, IG_BAD_INPUT, offset_of(f, m), "%.200s: key \"%.*s\" has type %s%s, expected %s", f->path,
                   IG_STR_ARG(m->key), array ? "array of " : "", ig_meta_type_name(m->elem), expected);
}

/* Finds the key; *out NULL when it is absent and may be. */
static ig_status find(const ig_format *f, const char *key, bool required, const ig_meta **out, ig_error *err)
{
    *out = ig_format_meta(f, key);
    if (*out || !required) return IG_OK;
    return ig_fail(err, IG_BAD_INPUT, 0, "%.200s: key \"%.128s\" is missing", f->path, key);
}

static ig_status u32_at(const ig_format *f, const ig_meta *m, uint64_t i, uint32_t *out, ig_error *err)
{
    int64_t v = ig_meta_int(m, i);
    if (v < 0 || v > UINT32_MAX)
        return ig_fail(err, IG_BAD_INPUT, offset_of(f, m),
                       "%.200s: key \"%.*s\" has the value %" PRId64 ", expected 0 to 4294967295", f->path,
                       IG_STR_ARG(m->key), v);
    *out = (uint32_t)v;
    return IG_OK;
}

ig_status ig_format_u32(const ig_format *f, const char *key, bool required, uint32_t *out, ig_error *err)
{
    const ig_meta *m;
    IG_TRY(find(f, key, required, &m, err));
    if (!m) return IG_OK;
    if (!is_int(m->type)) return wrong_type(f, m, "an integer", err);
    return u32_at(f, m, 0, out, err);
}

ig_status ig_format_f32(const ig_format *f, const char *key, bool required, float *out, ig_error *err)
{
    const ig_meta *m;
    IG_TRY(find(f, key, required, &m, err));
    if (!m) return IG_OK;
    if (m->type != IG_META_F32 && m->type != IG_META_F64) return wrong_type(f, m, "f32 or f64", err);
    float v = (float)ig_meta_float(m, 0);
    if (!isfinite(v))
        return ig_fail(err, IG_BAD_INPUT, offset_of(f, m), "%.200s: key \"%.*s\" is no finite number in 32 bits",
                       f->path, IG_STR_ARG(m->key));
    *out = v;
    return IG_OK;
}

ig_status ig_format_bool(const ig_format *f, const char *key, bool required, bool *out, ig_error *err)
{
    const ig_meta *m;
    IG_TRY(find(f, key, required, &m, err));
    if (!m) return IG_OK;
    if (m->type != IG_META_BOOL) return wrong_type(f, m, "bool", err);
    *out = m->data[0] == 1;
    return IG_OK;
}

ig_status ig_format_str(const ig_format *f, const char *key, bool required, ig_str *out, ig_error *err)
{
    const ig_meta *m;
    ig_str s;
    IG_TRY(find(f, key, required, &m, err));
    if (!m) return IG_OK;
    if (m->type != IG_META_STRING) return wrong_type(f, m, "string", err);
    ig_meta_strings(m, &s);
    if (!ig_utf8_valid(s.ptr, s.len))
        return ig_fail(err, IG_BAD_INPUT, offset_of(f, m),
                       "%.200s: key \"%.*s\" at offset %" PRIu64 " is no valid UTF-8 text", f->path, IG_STR_ARG(m->key),
                       offset_of(f, m));
    *out = s;
    return IG_OK;
}

ig_status ig_format_array(const ig_format *f, const char *key, bool required, ig_meta_type elem, const ig_meta **out,
                          ig_error *err)
{
    const ig_meta *m;
    *out = NULL;
    IG_TRY(find(f, key, required, &m, err));
    if (!m) return IG_OK;
    bool ints = is_int(elem);
    if (m->type != IG_META_ARRAY || (ints ? !is_int(m->elem) : m->elem != elem)) {
        char expected[32] = "array of integers";
        if (!ints) (void)snprintf(expected, sizeof expected, "array of %s", ig_meta_type_name(elem));
        return wrong_type(f, m, expected, err);
    }
    *out = m;
    return IG_OK;
}

ig_status ig_format_u32s(const ig_format *f, const char *key, bool required, uint32_t *out, size_t n, ig_error *err)
{
    const ig_meta *m;
    IG_TRY(find(f, key, required, &m, err));
    if (!m) return IG_OK;
    if (!is_int(m->elem)) return wrong_type(f, m, "an integer or an array of integers", err);
    if (m->type == IG_META_ARRAY && m->n != n)
        return ig_fail(err, IG_BAD_INPUT, offset_of(f, m),
                       "%.200s: key \"%.*s\" has %" PRIu64 " elements, expected %zu", f->path, IG_STR_ARG(m->key), m->n,
                       n);
    for (size_t i = 0; i < n; i++) IG_TRY(u32_at(f, m, m->type == IG_META_ARRAY ? i : 0, &out[i], err));
    return IG_OK;
}
