/* Safetensors files, read from a mapped file.
 *
 *   offset  bytes
 *        0  8      n: bytes of the header, u64 little-endian
 *        8  n      header: one JSON object, padded with spaces
 *                    "NAME": {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [begin, end]}, ...
 *                    "__metadata__": {"text": "text", ...}, may be absent
 *   8 + n  ...     data: the tensors one behind the other, without gap or overlap, to the end of the file
 *
 * The header is walked twice by the JSON cursor, once to count and once to read; nothing of it is copied but names with
 * escapes. Rule ids (S01 ...) are those of reliability.md. */
#include "format/safetensors.h"

#include <inttypes.h>

#include "base/sort.h"
#include "format/json.h"
#include "tensor/tensor.h"

static const ig_st_dtype dtypes[] = {
    {"F32", 32, IG_F32}, {"F16", 16, IG_F16}, {"BF16", 16, IG_BF16},  {"BOOL", 8, -1},        {"U8", 8, -1},
    {"I8", 8, -1},       {"U16", 16, -1},     {"I16", 16, -1},        {"U32", 32, -1},        {"I32", 32, -1},
    {"U64", 64, -1},     {"I64", 64, -1},     {"F64", 64, -1},        {"C64", 64, -1},        {"F8_E4M3", 8, -1},
    {"F8_E5M2", 8, -1},  {"F8_E8M0", 8, -1},  {"F8_E4M3FNUZ", 8, -1}, {"F8_E5M2FNUZ", 8, -1}, {"F6_E2M3", 6, -1},
    {"F6_E3M2", 6, -1},  {"F4", 4, -1},
};

/* S01: the frame of the header; the cursor stands behind the opening brace. */
static ig_status open_header(const char *path, const uint8_t *data, uint64_t size, ig_json *j, ig_error *err)
{
    uint64_t n;
    if (size < 8)
        return ig_fail(err, IG_BAD_INPUT, 0, "%.200s has %" PRIu64 " bytes, expected a safetensors file", path, size);
    memcpy(&n, data, 8);
    if (n > IG_ST_HEADER_BYTES_MAX || n > size - 8)
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "%.200s: the header at offset 8 has %" PRIu64 " bytes, expected at most %" PRIu64
                       " (is this a safetensors file, and whole?)",
                       path, n, size - 8 < IG_ST_HEADER_BYTES_MAX ? size - 8 : IG_ST_HEADER_BYTES_MAX);
    if (n == 0 || data[8] != '{')
        return ig_fail(err, IG_BAD_INPUT, 8, "%.200s: the header at offset 8 begins with no {, expected a JSON object",
                       path);
    IG_TRY(ig_json_init(j, path, (ig_str){(const char *)data + 8, (size_t)n}, 8, err));
    return ig_json_open(j, '{');
}

ig_status ig_st_count(const char *path, const uint8_t *data, uint64_t size, size_t *n, ig_error *err)
{
    ig_json j;
    bool more;
    ig_str key;
    ig_arena none = {.max_bytes = (size_t)64 << 20};
    *n = 0;
    IG_TRY(open_header(path, data, size, &j, err));
    ig_status st;
    while ((st = ig_json_member(&j, n, &more, IG_ST_NAME_BYTES_MAX, &none, &key)) == IG_OK && more)
        if ((st = ig_json_skip(&j, NULL)) != IG_OK) break;
    ig_arena_fini(&none);
    if (st != IG_OK) return st;
    if (*n <= IG_ST_TENSORS_MAX) return IG_OK;
    return ig_fail(err, IG_TOO_LARGE, 8, "%.200s: the header has %zu entries, the limit is %u", path, *n,
                   IG_ST_TENSORS_MAX);
}

ig_status ig_st_list_init(ig_st_list *list, size_t n, ig_error *err)
{
    *list = (ig_st_list){.cap = n};
    list->tensors = ig_calloc(n ? n : 1, sizeof *list->tensors);
    if (list->tensors && ig_map_init(&list->names, n)) return IG_OK;
    ig_st_list_fini(list);
    return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the names of %zu tensors", n);
}

void ig_st_list_fini(ig_st_list *list)
{
    ig_free(list->tensors);
    ig_map_fini(&list->names);
    ig_arena_fini(&list->arena);
    *list = (ig_st_list){0};
}

const ig_st_tensor *ig_st_find(const ig_st_list *list, ig_str name)
{
    uint32_t idx;
    return ig_map_get(&list->names, name, &idx) ? &list->tensors[idx] : NULL;
}

/* ------------------------------------------------------------------------------------------------ one entry */

typedef struct entry {
    ig_json *j;
    ig_st_list *list;
    ig_st_tensor *t;
    uint64_t begin, end; /* data_offsets */
    uint64_t data_bytes; /* of the file */
    bool has_dtype, has_shape, has_offsets;
} entry;

static ig_status bad_entry(const entry *e, const char *why)
{
    uint64_t at = ig_json_offset(e->j);
    return ig_fail(e->j->err, IG_BAD_INPUT, at, "%.200s: tensor \"%.*s\" before offset %" PRIu64 ": %s", e->j->path,
                   IG_STR_ARG(e->t->name), at, why);
}

/* S03 */
static ig_status read_dtype(entry *e)
{
    ig_str name;
    if (e->has_dtype) return bad_entry(e, "two dtypes, expected one");
    e->has_dtype = true;
    IG_TRY(ig_json_string(e->j, 64, &e->list->arena, &name));
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (ig_str_is(name, dtypes[i].name)) e->t->dtype = &dtypes[i];
    if (e->t->dtype) return IG_OK;
    uint64_t at = ig_json_offset(e->j);
    return ig_fail(e->j->err, IG_BAD_INPUT, at,
                   "%.200s: tensor \"%.*s\" before offset %" PRIu64 " has the dtype \"%.*s\", which is not known",
                   e->j->path, IG_STR_ARG(e->t->name), at, IG_STR_ARG(name));
}

static ig_status read_shape(entry *e)
{
    size_t n = 0;
    bool more;
    if (e->has_shape) return bad_entry(e, "two shapes, expected one");
    e->has_shape = true;
    IG_TRY(ig_json_open(e->j, '['));
    for (;;) {
        IG_TRY(ig_json_element(e->j, &n, &more));
        if (!more) return IG_OK;
        if (n > IG_ST_DIMS_MAX) return bad_entry(e, "more than 6 dimensions");
        IG_TRY(ig_json_uint(e->j, &e->t->dims[n - 1]));
        e->t->n_dims = (uint32_t)n;
    }
}

static ig_status read_offsets(entry *e)
{
    size_t n = 0;
    bool more = true;
    uint64_t v[2] = {0};
    if (e->has_offsets) return bad_entry(e, "two data_offsets, expected one");
    e->has_offsets = true;
    IG_TRY(ig_json_open(e->j, '['));
    while (more) {
        IG_TRY(ig_json_element(e->j, &n, &more));
        if (more && n > 2) return bad_entry(e, "more than two data_offsets, expected [begin, end]");
        if (more) IG_TRY(ig_json_uint(e->j, &v[n - 1]));
    }
    if (n != 2 || v[0] > v[1] || v[1] > e->data_bytes) {
        uint64_t at = ig_json_offset(e->j);
        return ig_fail(e->j->err, IG_BAD_INPUT, at,
                       "%.200s: tensor \"%.*s\" before offset %" PRIu64 " has the data_offsets %" PRIu64 " and %" PRIu64
                       ", expected two that lie in this order in the %" PRIu64 " bytes of data",
                       e->j->path, IG_STR_ARG(e->t->name), at, v[0], v[1], e->data_bytes);
    }
    e->begin = v[0];
    e->end = v[1];
    return IG_OK;
}

/* S03, S04: bytes of the shape, exactly those of the offsets. */
static ig_status check_bytes(entry *e)
{
    uint64_t bits = e->t->dtype->bits;
    bool fits = true;
    for (uint32_t i = 0; i < e->t->n_dims && fits; i++) fits = ig_mul_u64(bits, e->t->dims[i], &bits);
    e->t->n_bytes = e->end - e->begin;
    if (fits && bits % 8 == 0 && bits / 8 == e->t->n_bytes) return IG_OK;
    uint64_t at = ig_json_offset(e->j);
    return ig_fail(e->j->err, IG_BAD_INPUT, at,
                   "%.200s: tensor \"%.*s\" before offset %" PRIu64 " of %u dimensions and dtype %s has %" PRIu64
                   " bytes of data, which its shape does not have",
                   e->j->path, IG_STR_ARG(e->t->name), at, e->t->n_dims, e->t->dtype->name, e->t->n_bytes);
}

static ig_status read_entry(entry *e)
{
    size_t n = 0;
    bool more;
    ig_str key;
    IG_TRY(ig_json_open(e->j, '{'));
    for (;;) {
        IG_TRY(ig_json_member(e->j, &n, &more, 64, &e->list->arena, &key));
        if (!more) break;
        if (ig_str_is(key, "dtype"))
            IG_TRY(read_dtype(e));
        else if (ig_str_is(key, "shape"))
            IG_TRY(read_shape(e));
        else if (ig_str_is(key, "data_offsets"))
            IG_TRY(read_offsets(e));
        else
            return bad_entry(e, "a key that is not known, expected dtype, shape and data_offsets");
    }
    if (!e->has_dtype || !e->has_shape || !e->has_offsets)
        return bad_entry(e, "a key is missing, expected dtype, shape and data_offsets");
    return check_bytes(e);
}

/* S02: text to text only. */
static ig_status read_metadata(ig_json *j, ig_arena *arena)
{
    size_t n = 0;
    bool more;
    ig_str text;
    IG_TRY(ig_json_open(j, '{'));
    for (;;) {
        IG_TRY(ig_json_member(j, &n, &more, IG_ST_METADATA_MAX, arena, &text));
        if (!more) return IG_OK;
        IG_TRY(ig_json_string(j, IG_ST_METADATA_MAX, arena, &text));
    }
}

static ig_status add_entry(ig_json *j, ig_st_list *list, ig_str name, uint32_t file, const uint8_t *data,
                           uint64_t data_bytes)
{
    if (list->n == list->cap) return ig_fail(j->err, IG_BUG, 0, "%.200s: more tensors than were counted", j->path);
    ig_st_tensor *t = &list->tensors[list->n];
    entry e = {.j = j, .list = list, .t = t, .data_bytes = data_bytes};
    *t = (ig_st_tensor){.name = name, .file = file};
    if (name.len == 0 || memchr(name.ptr, 0, name.len)) return bad_entry(&e, "a name that is empty or has a NUL");
    IG_TRY(read_entry(&e));
    t->data = data + e.begin;
    if (!ig_map_add(&list->names, name, (uint32_t)list->n, NULL))
        return bad_entry(&e, "duplicate name, expected each name once in all files");
    list->n++;
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ one file */

static bool by_place(const void *a, const void *b, const void *ctx)
{
    const ig_st_tensor *t = ctx, *x = &t[*(const uint32_t *)a], *y = &t[*(const uint32_t *)b];
    return x->data != y->data ? x->data < y->data : x->n_bytes < y->n_bytes;
}

static ig_status not_covered(const char *path, const ig_st_tensor *t, uint64_t found, uint64_t expected, ig_error *err)
{
    const char *why = found < expected ? "overlap" : "leave a hole";
    if (!t)
        return ig_fail(err, IG_BAD_INPUT, expected,
                       "%.200s: the tensors end at data offset %" PRIu64 ", expected the end of the data, %" PRIu64,
                       path, expected, found);
    return ig_fail(err, IG_BAD_INPUT, expected,
                   "%.200s: tensors %s: \"%.*s\" begins at data offset %" PRIu64 ", expected %" PRIu64, path, why,
                   IG_STR_ARG(t->name), found, expected);
}

/* S05: in the order of their places the tensors cover the data exactly. */
static ig_status check_cover(const char *path, const ig_st_tensor *t, size_t n, const uint8_t *data,
                             uint64_t data_bytes, ig_error *err)
{
    uint64_t at = 0;
    ig_status st = IG_OK;
    uint32_t *order = ig_alloc((n ? n : 1) * sizeof *order);
    if (!order) return ig_fail(err, IG_NO_MEMORY, 0, "%.200s: out of memory to sort %zu tensors", path, n);
    for (size_t i = 0; i < n; i++) order[i] = (uint32_t)i;
    for (size_t i = 1; i < n; i++) {
        if (!by_place(&order[i], &order[i - 1], t)) continue;
        ig_sort(order, n, sizeof *order, by_place, t);
        break;
    }
    for (size_t i = 0; i < n && st == IG_OK; i++) {
        const ig_st_tensor *x = &t[order[i]];
        uint64_t begin = (uint64_t)(x->data - data);
        if (begin != at) st = not_covered(path, x, begin, at, err);
        at = begin + x->n_bytes;
    }
    if (st == IG_OK && at != data_bytes) st = not_covered(path, NULL, data_bytes, at, err);
    ig_free(order);
    return st;
}

ig_status ig_st_read(const char *path, const uint8_t *data, uint64_t size, uint32_t file, ig_st_list *list,
                     ig_error *err)
{
    ig_json j;
    size_t n = 0, first = list->n;
    bool more, has_metadata = false;
    ig_str name;
    IG_TRY(open_header(path, data, size, &j, err));
    const uint8_t *start = data + 8 + j.text.len;
    uint64_t data_bytes = size - 8 - j.text.len;
    for (;;) {
        IG_TRY(ig_json_member(&j, &n, &more, IG_ST_NAME_BYTES_MAX, &list->arena, &name));
        if (!more) break;
        if (!ig_str_is(name, "__metadata__")) {
            IG_TRY(add_entry(&j, list, name, file, start, data_bytes));
            continue;
        }
        if (has_metadata) return ig_json_expected(&j, "\"__metadata__\" only once");
        has_metadata = true;
        IG_TRY(read_metadata(&j, &list->arena));
    }
    IG_TRY(ig_json_end(&j));
    return check_cover(path, list->tensors + first, list->n - first, start, data_bytes, err);
}
