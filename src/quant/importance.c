/* The older form of a file, little-endian, as llama.cpp wrote it until 2025:
 *
 *     i32 number of entries, then each
 *         i32 bytes of the name, the name, i32 calls, i32 n, n x f32: mean of squares x calls
 *     then, where it goes on: i32 chunks, i32 bytes of a name, the name of the text
 *
 * There n holds the columns of all matrices (experts) of a tensor one after the other. */
#include "quant/importance.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/os.h"

enum { ENTRIES_MAX = 1 << 20, NAME_BYTES_MAX = 4096, MATRICES_MAX = 1 << 16 };
#define WEIGHT_MIN 1e-3 /* of the mean: a column that the text never touched still counts a little */

typedef struct entry {
    ig_str name;           /* in the arena */
    size_t n, n_counts;    /* values and counts; n a multiple of n_counts */
    double *sums, *counts; /* in the arena [n], [n_counts] */
} entry;

struct ig_importance {
    ig_arena arena;
    entry *entries; /* owned [n], in the order they came */
    size_t n, cap;
    ig_map names; /* name -> index; room for cap */
    uint32_t n_chunks;
    ig_str dataset; /* in the arena */
};

static ig_status no_memory(ig_error *err) { return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for importance data"); }

ig_status ig_importance_new(ig_importance **out, ig_error *err)
{
    *out = ig_calloc(1, sizeof **out);
    return *out ? IG_OK : no_memory(err);
}

void ig_importance_free(ig_importance *imp)
{
    if (!imp) return;
    ig_arena_fini(&imp->arena);
    ig_map_fini(&imp->names);
    ig_free(imp->entries);
    ig_free(imp);
}

size_t ig_importance_n(const ig_importance *imp) { return imp->n; }
uint32_t ig_importance_chunks(const ig_importance *imp) { return imp->n_chunks; }
ig_str ig_importance_dataset(const ig_importance *imp) { return imp->dataset; }

static entry *find(const ig_importance *imp, ig_str name)
{
    uint32_t at;
    return ig_map_get(&imp->names, name, &at) ? &imp->entries[at] : NULL;
}

bool ig_importance_has(const ig_importance *imp, ig_str name) { return find(imp, name) != NULL; }

/* Doubles the room for entries and their map. */
static bool grow(ig_importance *imp)
{
    size_t cap = imp->cap ? 2 * imp->cap : 64;
    ig_map names = {0};
    if (imp->n < imp->cap) return true;
    entry *entries = ig_realloc(imp->entries, cap, sizeof *entries);
    if (!entries) return false;
    imp->entries = entries;
    if (!ig_map_init(&names, cap)) return false;
    for (size_t i = 0; i < imp->n; i++) (void)ig_map_add(&names, entries[i].name, (uint32_t)i, NULL);
    ig_map_fini(&imp->names);
    imp->names = names;
    imp->cap = cap;
    return true;
}

/* A new entry of zeros; NULL without memory. The caller has checked that the name is new. */
static entry *add_entry(ig_importance *imp, ig_str name, size_t n, size_t n_counts)
{
    if (!grow(imp)) return NULL;
    entry *e = &imp->entries[imp->n];
    *e = (entry){.n = n, .n_counts = n_counts};
    e->name = (ig_str){ig_arena_copy(&imp->arena, name.ptr, name.len), name.len};
    e->sums = ig_arena_alloc(&imp->arena, n, sizeof *e->sums);
    e->counts = ig_arena_alloc(&imp->arena, n_counts, sizeof *e->counts);
    if (!e->name.ptr || !e->sums || !e->counts) return NULL;
    if (!ig_map_add(&imp->names, e->name, (uint32_t)imp->n, NULL)) return NULL;
    imp->n++;
    return e;
}

static bool finite_row(const float *x, size_t n)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++) sum += 0 * x[i];
    return sum == 0;
}

ig_status ig_importance_add(ig_importance *imp, ig_str name, size_t n, size_t n_matrices, size_t matrix, const float *x,
                            size_t stride, size_t n_rows, ig_error *err)
{
    entry *e = find(imp, name);
    size_t all;
    if (n == 0 || matrix >= n_matrices || !ig_mul_sz(n, n_matrices, &all))
        return ig_fail(err, IG_BAD_INPUT, 0, "importance of \"%.*s\": matrix %zu of %zu with %zu columns",
                       IG_STR_ARG(name), matrix, n_matrices, n);
    if (!e) e = add_entry(imp, name, all, n_matrices);
    if (!e) return no_memory(err);
    if (e->n != all || e->n_counts != n_matrices)
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "importance of \"%.*s\": %zu matrices of %zu columns, expected %zu of %zu as before",
                       IG_STR_ARG(name), n_matrices, n, e->n_counts, e->n / e->n_counts);
    for (size_t r = 0; r < n_rows; r++, x += stride) {
        double *sums = e->sums + matrix * n;
        if (!finite_row(x, n)) continue;
        for (size_t i = 0; i < n; i++) sums[i] += (double)x[i] * (double)x[i];
        e->counts[matrix]++;
    }
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ reading */

static ig_status bad(const char *path, ig_str name, const char *why, ig_error *err)
{
    return ig_fail(err, IG_BAD_INPUT, 0, "%.200s: importance of \"%.*s\" %s", path, IG_STR_ARG(name), why);
}

static bool copy_floats(const uint8_t *from, double *to, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float v;
        memcpy(&v, from + 4 * i, 4);
        if (!(v >= 0 && v <= 3.4e38f)) return false;
        to[i] = (double)v;
    }
    return true;
}

static uint64_t elements(const ig_tensor *t) { return t->n_bytes / 4; }

/* sums and its counts, two tensors of one matrix */
static ig_status take_pair(ig_importance *imp, const char *path, ig_str name, const ig_tensor *sums,
                           const ig_tensor *counts, ig_error *err)
{
    if (!counts) return bad(path, name, "has sums (.in_sum2) but no counts (.counts)", err);
    if (sums->type != IG_F32 || counts->type != IG_F32 || !sums->data || !counts->data)
        return bad(path, name, "has another type than F32", err);
    if (elements(counts) > MATRICES_MAX || elements(sums) % elements(counts) != 0 ||
        elements(counts) != sums->ne[1] * sums->ne[2] * sums->ne[3])
        return bad(path, name, "has counts that do not fit the shape of its sums, expected one a matrix", err);
    entry *e = add_entry(imp, name, (size_t)elements(sums), (size_t)elements(counts));
    if (!e) return no_memory(err);
    if (!copy_floats(sums->data, e->sums, e->n) || !copy_floats(counts->data, e->counts, e->n_counts))
        return bad(path, name, "has a value that is negative or no finite number", err);
    return IG_OK;
}

static ig_status take_metadata(ig_importance *imp, const ig_format *f, ig_error *err)
{
    ig_str type = {0};
    const ig_meta *texts;
    IG_TRY(ig_format_str(f, "general.type", false, &type, err));
    if (!ig_str_is(type, "imatrix"))
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "%.200s holds no importance data: general.type is \"%.*s\", expected \"imatrix\"",
                       ig_format_path(f), IG_STR_ARG(type));
    IG_TRY(ig_format_u32(f, "imatrix.chunk_count", false, &imp->n_chunks, err));
    IG_TRY(ig_format_array(f, "imatrix.datasets", false, IG_META_STRING, &texts, err));
    if (!texts || texts->n == 0) return IG_OK;
    ig_str *all = ig_calloc((size_t)texts->n, sizeof *all);
    if (!all) return no_memory(err);
    ig_meta_strings(texts, all);
    if (all[0].len <= NAME_BYTES_MAX)
        imp->dataset = (ig_str){ig_arena_copy(&imp->arena, all[0].ptr, all[0].len), all[0].len};
    ig_free(all);
    return imp->dataset.len && !imp->dataset.ptr ? no_memory(err) : IG_OK;
}

static ig_status take_gguf(ig_importance *imp, const ig_format *f, ig_error *err)
{
    static const char suffix[] = ".in_sum2";
    const size_t n_suffix = sizeof suffix - 1;
    IG_TRY(take_metadata(imp, f, err));
    for (size_t i = 0; i < ig_format_n_tensors(f); i++) {
        const ig_tensor *t = ig_format_tensor_at(f, i);
        char counts[96];
        if (t->name.len <= n_suffix || memcmp(t->name.ptr + t->name.len - n_suffix, suffix, n_suffix) != 0) continue;
        ig_str name = {t->name.ptr, t->name.len - n_suffix};
        if (name.len + sizeof ".counts" > sizeof counts) return bad(ig_format_path(f), name, "has a long name", err);
        memcpy(counts, name.ptr, name.len);
        memcpy(counts + name.len, ".counts", sizeof ".counts");
        IG_TRY(take_pair(imp, ig_format_path(f), name, t, ig_format_tensor(f, counts), err));
    }
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ the older form */

typedef struct dat_cursor {
    const char *path;
    const uint8_t *data;
    uint64_t size, at;
} dat_cursor;

static bool take_i32(dat_cursor *c, uint64_t max, uint32_t *out)
{
    int32_t v;
    if (c->size - c->at < 4) return false;
    memcpy(&v, c->data + c->at, 4);
    c->at += 4;
    *out = (uint32_t)v;
    return v >= 0 && (uint64_t)v <= max;
}

static bool take_name(dat_cursor *c, ig_str *out)
{
    uint32_t n;
    if (!take_i32(c, NAME_BYTES_MAX, &n) || n > c->size - c->at) return false;
    *out = (ig_str){(const char *)c->data + c->at, n};
    c->at += n;
    return true;
}

static ig_status dat_entry(ig_importance *imp, dat_cursor *c, uint32_t idx, ig_error *err)
{
    ig_str name;
    uint32_t n_calls, n;
    if (!take_name(c, &name) || name.len == 0 || !take_i32(c, INT32_MAX, &n_calls) || !take_i32(c, INT32_MAX, &n) ||
        n == 0 || (c->size - c->at) / 4 < n)
        return ig_fail(err, IG_BAD_INPUT, c->at,
                       "%.200s is neither GGUF nor sound importance data: entry %u at offset %" PRIu64
                       " does not fit the file",
                       c->path, idx, c->at);
    if (find(imp, name)) return bad(c->path, name, "is there twice", err);
    entry *e = add_entry(imp, name, n, 1);
    if (!e) return no_memory(err);
    if (!copy_floats(c->data + c->at, e->sums, n))
        return bad(c->path, name, "has a value that is negative or no finite number", err);
    e->counts[0] = (double)n_calls;
    c->at += 4 * (uint64_t)n;
    return IG_OK;
}

static ig_status take_dat(ig_importance *imp, const char *path, const uint8_t *data, uint64_t size, ig_error *err)
{
    dat_cursor c = {.path = path, .data = data, .size = size};
    uint32_t n_entries;
    ig_str dataset;
    if (!take_i32(&c, ENTRIES_MAX, &n_entries) || n_entries == 0)
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "%.200s holds no importance data, expected a GGUF file with general.type \"imatrix\"", path);
    for (uint32_t i = 0; i < n_entries; i++) IG_TRY(dat_entry(imp, &c, i, err));
    if (c.at == c.size) return IG_OK;
    if (!take_i32(&c, INT32_MAX, &imp->n_chunks) || !take_name(&c, &dataset))
        return ig_fail(err, IG_BAD_INPUT, c.at, "%.200s: the end of the file at offset %" PRIu64 " is damaged", path,
                       c.at);
    imp->dataset = (ig_str){ig_arena_copy(&imp->arena, dataset.ptr, dataset.len), dataset.len};
    return imp->dataset.ptr ? IG_OK : no_memory(err);
}

static ig_status take_any(ig_importance *imp, const char *path, const uint8_t *data, uint64_t size, ig_error *err)
{
    ig_format *f;
    if (size < 4 || memcmp(data, "GGUF", 4) != 0) return take_dat(imp, path, data, size, err);
    IG_TRY(ig_format_open_memory(path, data, size, &f, err));
    ig_status st = take_gguf(imp, f, err);
    ig_format_close(f);
    return st;
}

ig_status ig_importance_read_memory(const char *name, const uint8_t *data, uint64_t size, ig_importance **out,
                                    ig_error *err)
{
    IG_TRY(ig_importance_new(out, err));
    ig_status st = take_any(*out, name, data, size, err);
    if (st == IG_OK && (*out)->n == 0)
        st = ig_fail(err, IG_BAD_INPUT, 0, "%.200s holds no importance data: it has no tensor NAME.in_sum2", name);
    if (st == IG_OK) return st;
    ig_importance_free(*out);
    *out = NULL;
    return st;
}

ig_status ig_importance_read(const char *path, ig_importance **out, ig_error *err)
{
    ig_file file;
    *out = NULL;
    IG_TRY(ig_file_map(path, &file, err));
    ig_status st = ig_importance_read_memory(path, file.data, file.size, out, err);
    ig_file_unmap(&file);
    return st;
}

/* ------------------------------------------------------------------------------------------------ writing */

static ig_str suffixed(const entry *e, const char *suffix, char out[256])
{
    size_t n = strlen(suffix), len = e->name.len + n < 256 ? e->name.len + n : 255; /* the writer refuses long ones */
    memcpy(out, e->name.ptr, len - n);
    memcpy(out + len - n, suffix, n);
    return (ig_str){out, len};
}

static ig_status write_floats(ig_gguf_writer *w, const double *values, size_t n, ig_error *err)
{
    float block[1024];
    for (size_t i = 0; i < n;) {
        size_t k = 0;
        for (; k < 1024 && i + k < n; k++) block[k] = (float)(values[i + k] < 3e38 ? values[i + k] : 3e38);
        IG_TRY(ig_gguf_write_data(w, block, k * sizeof *block, err));
        i += k;
    }
    return IG_OK;
}

static ig_status write_all(const ig_importance *imp, ig_gguf_writer *w, ig_error *err)
{
    char name[256];
    for (size_t i = 0; i < imp->n; i++) {
        const entry *e = &imp->entries[i];
        uint64_t sums[2] = {e->n / e->n_counts, e->n_counts}, counts[2] = {1, e->n_counts};
        ig_gguf_put_tensor(w, suffixed(e, ".in_sum2", name), IG_F32, 2, sums);
        ig_gguf_put_tensor(w, suffixed(e, ".counts", name), IG_F32, 2, counts);
    }
    IG_TRY(ig_gguf_begin_data(w, err));
    for (size_t i = 0; i < imp->n; i++) {
        const entry *e = &imp->entries[i];
        IG_TRY(write_floats(w, e->sums, e->n, err));
        IG_TRY(write_floats(w, e->counts, e->n_counts, err));
    }
    return ig_gguf_commit(w, err);
}

ig_status ig_importance_write(const ig_importance *imp, const char *path, const char *dataset, uint32_t n_chunks,
                              uint32_t chunk_tokens, ig_error *err)
{
    ig_gguf_writer *w;
    ig_str text = ig_str_from(dataset);
    IG_TRY(ig_gguf_writer_new(path, &w, err));
    ig_gguf_put_str(w, "general.type", IG_STR("imatrix"));
    ig_gguf_put_strs(w, "imatrix.datasets", &text, 1);
    ig_gguf_put_u32(w, "imatrix.chunk_count", n_chunks);
    ig_gguf_put_u32(w, "imatrix.chunk_size", chunk_tokens);
    ig_status st = write_all(imp, w, err);
    ig_gguf_writer_free(w);
    return st;
}

/* ------------------------------------------------------------------------------------------------ use */

ig_status ig_importance_prepare(const ig_importance *imp, const ig_tensor *t, uint64_t matrix, float *w, bool *found,
                                ig_error *err)
{
    const entry *e = find(imp, t->name);
    const uint64_t n = t->ne[0], n_matrices = t->ne[2] * t->ne[3];
    *found = e != NULL;
    if (!e) return IG_OK;
    if (e->n != n && (e->n / n != n_matrices || e->n % n != 0))
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "importance of \"%.*s\" has %zu values, expected %" PRIu64
                       " columns as the model has; it was made for another model",
                       IG_STR_ARG(t->name), e->n, n);
    const uint64_t at = e->n == n ? 0 : matrix;
    const double *sums = e->sums + at * n, count = e->counts[e->n_counts == n_matrices ? at : 0];
    double max = 0, all = 0;
    for (uint64_t i = 0; i < n; i++) {
        all += sums[i];
        if (sums[i] > max) max = sums[i];
    }
    const double least = WEIGHT_MIN * all / (double)n;
    for (uint64_t i = 0; i < n; i++) /* the count is the same for a whole row of sums: it cancels */
        w[i] = count > 0 && max > 0 ? (float)((sums[i] > least ? sums[i] : least) / max) : 1;
    return IG_OK;
}
