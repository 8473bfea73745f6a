/* GGUF versions 2 and 3, read from a mapped file. All numbers are little-endian and unaligned.
 *
 *   offset  bytes
 *        0  4       magic "GGUF"
 *        4  4       version u32: 2 or 3 (same layout; 1 had 32-bit lengths and is refused)
 *        8  8       n_tensors u64
 *       16  8       n_keys u64
 *       24  ...     n_keys entries:
 *                     8  key length u64, then the key: ASCII, no NUL
 *                     4  value type u32, see ig_meta_type
 *                     .  value: 1, 2, 4 or 8 bytes for numbers; one byte 0 or 1 for bool;
 *                          string: length u64, then bytes
 *                          array: element type u32 (no array), count u64, then the elements as above
 *        .  ...     n_tensors entries:
 *                     8  name length u64, then the name
 *                     4  n_dims u32: 1..4
 *                     8  each dimension u64, fastest axis first
 *                     4  type u32, a row of tensor.c
 *                     8  offset u64 from the start of the data, a multiple of the alignment
 *        .  0..     padding up to a multiple of the alignment (key general.alignment u32, else 32)
 *        .  ...     data: tensor bytes, any order, gaps allowed, no overlap
 *
 * Nothing in the file is trusted: each length is compared with the bytes that remain before anything is allocated or
 * skipped, sums and products are checked, and the work is linear in the size of the header (plus one sort of tensors
 * that are stored out of order). Rule ids (G01 ...) are those of reliability.md, which the hostile-file suite is named
 * after. */
#include "format/gguf.h"

#include <inttypes.h>
#include <math.h>

#include "base/mem.h"
#include "base/sort.h"
#include "base/utf8.h"

/* Bounded cursor. at <= size always holds. */
typedef struct cursor {
    const char *path;
    const uint8_t *data;
    uint64_t size, at;
    ig_error *err;
} cursor;

static const struct {
    const char *name;
    uint32_t bytes;
} meta_types[IG_META_TYPES] = {
    [IG_META_U8] = {"u8", 1},       [IG_META_I8] = {"i8", 1},     [IG_META_U16] = {"u16", 2},
    [IG_META_I16] = {"i16", 2},     [IG_META_U32] = {"u32", 4},   [IG_META_I32] = {"i32", 4},
    [IG_META_F32] = {"f32", 4},     [IG_META_BOOL] = {"bool", 1}, [IG_META_U64] = {"u64", 8},
    [IG_META_I64] = {"i64", 8},     [IG_META_F64] = {"f64", 8},   [IG_META_STRING] = {"string", 0},
    [IG_META_ARRAY] = {"array", 0},
};

const char *ig_meta_type_name(uint32_t type) { return type < IG_META_TYPES ? meta_types[type].name : NULL; }

uint32_t ig_meta_elem_bytes(uint32_t type) { return type < IG_META_TYPES ? meta_types[type].bytes : 0; }

static uint64_t remaining(const cursor *c) { return c->size - c->at; }

static bool take(cursor *c, void *out, size_t n)
{
    if (n > remaining(c)) return false;
    memcpy(out, c->data + c->at, n);
    c->at += n;
    return true;
}

static ig_status ends(const cursor *c, const char *what)
{
    return ig_fail(c->err, IG_BAD_INPUT, c->at, "%.200s: file is truncated: it ends inside %s at offset %" PRIu64,
                   c->path, what, c->at);
}

static ig_status read_magic(cursor *c)
{
    uint8_t magic[4];
    if (c->size == 0) return ig_fail(c->err, IG_BAD_INPUT, 0, "%.200s is empty, expected a GGUF file", c->path);
    if (!take(c, magic, 4)) return ends(c, "the magic \"GGUF\"");
    if (!memcmp(magic, "GGUF", 4)) return IG_OK;
    if (!memcmp(magic, "FUGG", 4))
        return ig_fail(c->err, IG_UNSUPPORTED, 0, "%.200s is a byte-swapped GGUF file, expected little-endian",
                       c->path);
    static const char *const old[] = {"lmgg", "fmgg", "tjgg", "algg"};
    for (size_t i = 0; i < sizeof old / sizeof *old; i++)
        if (!memcmp(magic, old[i], 4))
            return ig_fail(c->err, IG_UNSUPPORTED, 0,
                           "%.200s is a GGML file from before GGUF; convert the original model", c->path);
    return ig_fail(c->err, IG_BAD_INPUT, 0,
                   "%.200s is no GGUF file: magic is %02x %02x %02x %02x, expected 47 47 55 46", c->path, magic[0],
                   magic[1], magic[2], magic[3]);
}

static ig_status read_version(cursor *c, uint32_t *version)
{
    uint64_t at = c->at;
    if (!take(c, version, 4)) return ends(c, "the version");
    if (*version == 2 || *version == 3) return IG_OK;
    if (*version == 1)
        return ig_fail(c->err, IG_UNSUPPORTED, at,
                       "%.200s: GGUF version 1 is not supported, expected 2 or 3; convert again", c->path);
    uint32_t swapped = __builtin_bswap32(*version);
    if (swapped >= 1 && swapped <= 3)
        return ig_fail(c->err, IG_UNSUPPORTED, at,
                       "%.200s is big-endian (byte-swapped version %u), expected little-endian", c->path, swapped);
    return ig_fail(c->err, *version == 0 ? IG_BAD_INPUT : IG_UNSUPPORTED, at,
                   "%.200s: GGUF version %u at offset 4 is unknown, expected 2 or 3", c->path, *version);
}

/* G02: a count is checked against its limit and the bytes that its entries need at least. */
static ig_status read_count(cursor *c, const char *what, uint64_t max, uint64_t entry_bytes_min, size_t *out)
{
    uint64_t n, at = c->at, need;
    if (!take(c, &n, 8)) return ends(c, what);
    if (n > max)
        return ig_fail(c->err, IG_TOO_LARGE, at,
                       "%.200s: %s at offset %" PRIu64 " is %" PRIu64 ", the limit is %" PRIu64, c->path, what, at, n,
                       max);
    if (!ig_mul_u64(n, entry_bytes_min, &need) || need > remaining(c))
        return ig_fail(c->err, IG_BAD_INPUT, at,
                       "%.200s: %s at offset %" PRIu64 " is %" PRIu64 ", but only %" PRIu64
                       " bytes follow, expected %" PRIu64 " or more",
                       c->path, what, at, n, remaining(c), need);
    *out = (size_t)n;
    return IG_OK;
}

/* Takes length and bytes of a name; `what` with its number says which one where the name cannot be shown. */
static ig_status read_name(cursor *c, const char *what, size_t idx, uint64_t max, ig_str *out)
{
    uint64_t n, at = c->at;
    if (!take(c, &n, 8)) return ends(c, what);
    if (n == 0)
        return ig_fail(c->err, IG_BAD_INPUT, at,
                       "%.200s: %s %zu at offset %" PRIu64 " is empty, expected 1 to %" PRIu64 " bytes", c->path, what,
                       idx, at, max);
    if (n > max)
        return ig_fail(c->err, IG_TOO_LARGE, at,
                       "%.200s: %s %zu at offset %" PRIu64 " has %" PRIu64 " bytes, the limit is %" PRIu64, c->path,
                       what, idx, at, n, max);
    if (n > remaining(c))
        return ig_fail(c->err, IG_BAD_INPUT, at,
                       "%.200s: %s %zu at offset %" PRIu64 " has %" PRIu64 " bytes, but only %" PRIu64
                       " remain in the file",
                       c->path, what, idx, at, n, remaining(c));
    *out = (ig_str){(const char *)c->data + c->at, (size_t)n};
    c->at += n;
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ metadata */

static ig_status bad_key(const cursor *c, const ig_meta *m, uint64_t at, const char *why)
{
    return ig_fail(c->err, IG_BAD_INPUT, at, "%.200s: key \"%.*s\" at offset %" PRIu64 ": %s", c->path,
                   IG_STR_ARG(m->key), at, why);
}

static ig_status read_key(cursor *c, size_t idx, ig_str *out)
{
    uint64_t at = c->at;
    IG_TRY(read_name(c, "name of key", idx, IG_GGUF_KEY_NAME_BYTES_MAX, out));
    for (size_t i = 0; i < out->len; i++) {
        unsigned char b = (unsigned char)out->ptr[i];
        if (b < 0x20 || b > 0x7e)
            return ig_fail(c->err, IG_BAD_INPUT, at + 8 + i,
                           "%.200s: name of key %zu has byte 0x%02x at offset %" PRIu64 ", expected printable ASCII",
                           c->path, idx, b, at + 8 + i);
    }
    return IG_OK;
}

/* One string: the length must fit the limit and the file (G03). Its bytes are not looked at: token pieces may be
 * any. */
static ig_status skip_string(cursor *c, const ig_meta *m)
{
    uint64_t n, at = c->at;
    if (!take(c, &n, 8)) return bad_key(c, m, at, "file is truncated: it ends inside the length of a string");
    if (n <= remaining(c) && n <= IG_GGUF_STRING_BYTES_MAX) {
        c->at += n;
        return IG_OK;
    }
    if (n > IG_GGUF_STRING_BYTES_MAX)
        return ig_fail(c->err, IG_TOO_LARGE, at,
                       "%.200s: key \"%.*s\": string at offset %" PRIu64 " has %" PRIu64 " bytes, the limit is %u",
                       c->path, IG_STR_ARG(m->key), at, n, IG_GGUF_STRING_BYTES_MAX);
    return ig_fail(c->err, IG_BAD_INPUT, at,
                   "%.200s: key \"%.*s\": string at offset %" PRIu64 " has %" PRIu64 " bytes, but only %" PRIu64
                   " remain in the file",
                   c->path, IG_STR_ARG(m->key), at, n, remaining(c));
}

static ig_status check_bools(cursor *c, const ig_meta *m)
{
    for (uint64_t i = 0; i < m->n; i++)
        if (m->data[i] > 1)
            return ig_fail(c->err, IG_BAD_INPUT, c->at + i,
                           "%.200s: key \"%.*s\": bool at offset %" PRIu64 " is %u, expected 0 or 1", c->path,
                           IG_STR_ARG(m->key), c->at + i, m->data[i]);
    return IG_OK;
}

static ig_status check_floats(cursor *c, const ig_meta *m)
{
    uint32_t bytes = ig_meta_elem_bytes(m->elem);
    for (uint64_t i = 0; i < m->n; i++)
        if (!isfinite(ig_meta_float(m, i)))
            return ig_fail(c->err, IG_BAD_INPUT, c->at + i * bytes,
                           "%.200s: key \"%.*s\": %s at offset %" PRIu64 " is no finite number", c->path,
                           IG_STR_ARG(m->key), ig_meta_type_name(m->elem), c->at + i * bytes);
    return IG_OK;
}

/* The m->n elements at the cursor, which moves behind them. */
static ig_status read_elements(cursor *c, ig_meta *m)
{
    uint64_t start = c->at, bytes, each = m->elem == IG_META_STRING ? 8 : ig_meta_elem_bytes(m->elem);
    m->data = c->data + start;
    if (!ig_mul_u64(m->n, each, &bytes) || bytes > remaining(c))
        return ig_fail(c->err, IG_BAD_INPUT, start,
                       "%.200s: key \"%.*s\": %" PRIu64 " elements of type %s at offset %" PRIu64
                       " do not fit into the %" PRIu64 " bytes that remain in the file",
                       c->path, IG_STR_ARG(m->key), m->n, ig_meta_type_name(m->elem), start, remaining(c));
    if (m->elem == IG_META_STRING) {
        for (uint64_t i = 0; i < m->n; i++) IG_TRY(skip_string(c, m));
    } else {
        if (m->elem == IG_META_BOOL) IG_TRY(check_bools(c, m));
        if (m->elem == IG_META_F32 || m->elem == IG_META_F64) IG_TRY(check_floats(c, m));
        c->at += bytes;
    }
    m->n_bytes = c->at - start;
    return IG_OK;
}

static ig_status read_type(cursor *c, const ig_meta *m, const char *what, uint32_t *type)
{
    uint64_t at = c->at;
    if (!take(c, type, 4)) return bad_key(c, m, at, "file is truncated: it ends inside the value type");
    if (*type < IG_META_TYPES) return IG_OK;
    return ig_fail(c->err, IG_BAD_INPUT, at,
                   "%.200s: key \"%.*s\": %s type %u at offset %" PRIu64 " is unknown, expected 0 to %d", c->path,
                   IG_STR_ARG(m->key), what, *type, at, IG_META_TYPES - 1);
}

static ig_status read_meta(cursor *c, size_t idx, ig_meta *m)
{
    uint32_t type;
    IG_TRY(read_key(c, idx, &m->key));
    IG_TRY(read_type(c, m, "value", &type));
    m->type = m->elem = (ig_meta_type)type;
    m->n = 1;
    if (m->type != IG_META_ARRAY) return read_elements(c, m);
    uint64_t at = c->at;
    IG_TRY(read_type(c, m, "element", &type));
    if (type == IG_META_ARRAY) return bad_key(c, m, at, "array of arrays, expected an array of numbers or strings");
    m->elem = (ig_meta_type)type;
    if (!take(c, &m->n, 8)) return bad_key(c, m, c->at, "file is truncated: it ends inside the length of an array");
    return read_elements(c, m);
}

static ig_status read_all_meta(cursor *c, ig_gguf *g)
{
    if (g->n_meta == 0) return IG_OK;
    g->meta = ig_calloc(g->n_meta, sizeof *g->meta);
    if (!g->meta || !ig_map_init(&g->keys, g->n_meta))
        return ig_fail(c->err, IG_NO_MEMORY, 0, "%.200s: out of memory for %zu metadata keys", c->path, g->n_meta);
    for (size_t i = 0; i < g->n_meta; i++) {
        uint64_t at = c->at;
        IG_TRY(read_meta(c, i, &g->meta[i]));
        if (!ig_map_add(&g->keys, g->meta[i].key, (uint32_t)i, NULL))
            return bad_key(c, &g->meta[i], at, "duplicate key, expected each key once");
    }
    return IG_OK;
}

/* G12 */
static ig_status read_alignment(cursor *c, ig_gguf *g)
{
    uint32_t idx;
    g->alignment = IG_GGUF_ALIGNMENT_DEFAULT;
    if (!ig_map_get(&g->keys, IG_STR("general.alignment"), &idx)) return IG_OK;
    const ig_meta *m = &g->meta[idx];
    uint64_t at = (uint64_t)(m->data - c->data);
    if (m->type != IG_META_U32)
        return ig_fail(c->err, IG_BAD_INPUT, at,
                       "%.200s: key \"general.alignment\" at offset %" PRIu64 " has type %s, expected u32", c->path, at,
                       ig_meta_type_name(m->type));
    memcpy(&g->alignment, m->data, 4);
    if (g->alignment >= IG_GGUF_ALIGNMENT_MIN && g->alignment <= IG_GGUF_ALIGNMENT_MAX &&
        (g->alignment & (g->alignment - 1)) == 0)
        return IG_OK;
    return ig_fail(c->err, IG_BAD_INPUT, at,
                   "%.200s: key \"general.alignment\" at offset %" PRIu64
                   " is %u, expected a power of two from %u to %u",
                   c->path, at, g->alignment, IG_GGUF_ALIGNMENT_MIN, IG_GGUF_ALIGNMENT_MAX);
}

/* ------------------------------------------------------------------------------------------------ tensors */

static ig_status bad_tensor(const cursor *c, const ig_tensor *t, uint64_t at, const char *why)
{
    return ig_fail(c->err, IG_BAD_INPUT, at, "%.200s: tensor \"%.*s\" at offset %" PRIu64 ": %s", c->path,
                   IG_STR_ARG(t->name), at, why);
}

static ig_status read_dims(cursor *c, ig_tensor *t)
{
    uint64_t at = c->at;
    if (!take(c, &t->n_dims, 4)) return bad_tensor(c, t, at, "file is truncated: it ends inside the dimensions");
    if (t->n_dims < 1 || t->n_dims > 4)
        return ig_fail(c->err, IG_BAD_INPUT, at,
                       "%.200s: tensor \"%.*s\" at offset %" PRIu64 " has %u dimensions, expected 1 to 4", c->path,
                       IG_STR_ARG(t->name), at, t->n_dims);
    for (uint32_t i = 0; i < 4; i++) {
        t->ne[i] = 1;
        at = c->at;
        if (i >= t->n_dims) continue;
        if (!take(c, &t->ne[i], 8)) return bad_tensor(c, t, at, "file is truncated: it ends inside the dimensions");
        if (t->ne[i] == 0 || t->ne[i] > IG_GGUF_DIM_MAX)
            return ig_fail(c->err, IG_BAD_INPUT, at,
                           "%.200s: tensor \"%.*s\": dimension %u at offset %" PRIu64 " is %" PRIu64
                           ", expected 1 to 2^40",
                           c->path, IG_STR_ARG(t->name), i, at, t->ne[i]);
    }
    return IG_OK;
}

/* G11, G14: type known, row a whole number of blocks, bytes without wrapping. */
static ig_status read_tensor_type(cursor *c, ig_tensor *t)
{
    uint64_t at = c->at;
    if (!take(c, &t->type, 4)) return bad_tensor(c, t, at, "file is truncated: it ends inside the type");
    const ig_dtype_info *row = ig_dtype_row(t->type);
    if (!row)
        return ig_fail(c->err, IG_BAD_INPUT, at,
                       "%.200s: tensor \"%.*s\": type %" PRId32 " at offset %" PRIu64
                       " is unknown, removed or for activations only",
                       c->path, IG_STR_ARG(t->name), (int32_t)t->type, at);
    if (t->ne[0] % row->block_elems != 0)
        return ig_fail(c->err, IG_BAD_INPUT, at,
                       "%.200s: tensor \"%.*s\" at offset %" PRIu64 ": row of %" PRIu64
                       " weights, expected a multiple of %u for block type %s",
                       c->path, IG_STR_ARG(t->name), at, t->ne[0], row->block_elems, row->name);
    if (!ig_dtype_row_bytes(t->type, t->ne[0], &t->row_bytes) || !ig_mul_u64(t->row_bytes, t->ne[1], &t->n_bytes) ||
        !ig_mul_u64(t->n_bytes, t->ne[2], &t->n_bytes) || !ig_mul_u64(t->n_bytes, t->ne[3], &t->n_bytes) ||
        t->n_bytes > c->size)
        return ig_fail(c->err, IG_BAD_INPUT, at,
                       "%.200s: tensor \"%.*s\" at offset %" PRIu64 " of shape %" PRIu64 " x %" PRIu64 " x %" PRIu64
                       " x %" PRIu64 " has more bytes than the file (%" PRIu64 ")",
                       c->path, IG_STR_ARG(t->name), at, t->ne[0], t->ne[1], t->ne[2], t->ne[3], c->size);
    return IG_OK;
}

/* Leaves the stored offset, still relative to the data, in *offset. */
static ig_status read_tensor(cursor *c, size_t idx, uint32_t alignment, ig_tensor *t, uint64_t *offset)
{
    uint64_t at = c->at;
    IG_TRY(read_name(c, "name of tensor", idx, IG_GGUF_NAME_BYTES_MAX, &t->name));
    if (!ig_utf8_valid(t->name.ptr, t->name.len) || memchr(t->name.ptr, 0, t->name.len))
        return ig_fail(c->err, IG_BAD_INPUT, at,
                       "%.200s: name of tensor %zu at offset %" PRIu64 " has a NUL or invalid UTF-8", c->path, idx, at);
    IG_TRY(read_dims(c, t));
    IG_TRY(read_tensor_type(c, t));
    at = c->at;
    if (!take(c, offset, 8)) return bad_tensor(c, t, at, "file is truncated: it ends inside the data offset");
    if (*offset % alignment == 0) return IG_OK;
    return ig_fail(c->err, IG_BAD_INPUT, at,
                   "%.200s: tensor \"%.*s\": data offset %" PRIu64 " at offset %" PRIu64
                   " is no multiple of the alignment %u",
                   c->path, IG_STR_ARG(t->name), *offset, at, alignment);
}

static bool by_data(const void *a, const void *b, const void *ctx)
{
    const ig_tensor *t = ctx;
    return t[*(const uint32_t *)a].data < t[*(const uint32_t *)b].data;
}

/* G13: neighbours in the order of their data must not overlap. Most files store tensors in order: no sort then. */
static ig_status check_overlap(const cursor *c, const ig_gguf *g)
{
    uint32_t *order = NULL;
    ig_status st = IG_OK;
    size_t n = g->n_tensors, i = 1;
    while (i < n && g->tensors[i].data >= g->tensors[i - 1].data + g->tensors[i - 1].n_bytes) i++;
    if (i >= n) return IG_OK;
    order = ig_alloc(n * sizeof *order);
    if (!order) return ig_fail(c->err, IG_NO_MEMORY, 0, "%.200s: out of memory to sort %zu tensors", c->path, n);
    for (i = 0; i < n; i++) order[i] = (uint32_t)i;
    ig_sort(order, n, sizeof *order, by_data, g->tensors);
    for (i = 1; i < n; i++) {
        const ig_tensor *a = &g->tensors[order[i - 1]], *b = &g->tensors[order[i]];
        if (b->data >= a->data + a->n_bytes) continue;
        uint64_t at = (uint64_t)(b->data - c->data);
        st = ig_fail(c->err, IG_BAD_INPUT, at, "%.200s: tensors \"%.*s\" and \"%.*s\" overlap at offset %" PRIu64,
                     c->path, IG_STR_ARG(a->name), IG_STR_ARG(b->name), at);
        break;
    }
    ig_free(order);
    return st;
}

/* Turns an offset into a pointer once it is known that the tensor lies inside the file; *end becomes its last byte +
 * 1. */
static ig_status place(const cursor *c, uint64_t data_at, uint64_t offset, ig_tensor *t, uint64_t *end)
{
    uint64_t first;
    if (!ig_add_u64(data_at, offset, &first) || !ig_add_u64(first, t->n_bytes, end) || *end > c->size)
        return ig_fail(c->err, IG_BAD_INPUT, data_at,
                       "%.200s: tensor \"%.*s\" of %" PRIu64 " bytes at data offset %" PRIu64
                       " ends outside the file, expected data start %" PRIu64 " + offset + bytes <= %" PRIu64,
                       c->path, IG_STR_ARG(t->name), t->n_bytes, offset, data_at, c->size);
    t->data = c->data + first;
    return IG_OK;
}

/* Until the data start is known the offsets wait in `offsets`. */
static ig_status read_directory(cursor *c, ig_gguf *g, uint64_t *offsets)
{
    uint64_t data_at, last = 0;
    for (size_t i = 0; i < g->n_tensors; i++) {
        ig_tensor *t = &g->tensors[i];
        uint64_t at = c->at;
        IG_TRY(read_tensor(c, i, g->alignment, t, &offsets[i]));
        if (!ig_map_add(&g->names, t->name, (uint32_t)i, NULL))
            return bad_tensor(c, t, at, "duplicate tensor name, expected each name once");
    }
    if (!ig_round_up(c->at, g->alignment, &data_at)) return ends(c, "the padding");
    last = data_at;
    for (size_t i = 0; i < g->n_tensors; i++) {
        uint64_t end = 0;
        IG_TRY(place(c, data_at, offsets[i], &g->tensors[i], &end));
        if (end > last) last = end;
    }
    if (ig_round_up(last, g->alignment, &last) && last < c->size) g->trailing_bytes = c->size - last;
    return check_overlap(c, g);
}

static ig_status read_all_tensors(cursor *c, ig_gguf *g)
{
    if (g->n_tensors == 0) return read_directory(c, g, NULL);
    g->tensors = ig_calloc(g->n_tensors, sizeof *g->tensors);
    uint64_t *offsets = ig_calloc(g->n_tensors, sizeof *offsets);
    ig_status st;
    if (!g->tensors || !offsets || !ig_map_init(&g->names, g->n_tensors))
        st = ig_fail(c->err, IG_NO_MEMORY, 0, "%.200s: out of memory for %zu tensors", c->path, g->n_tensors);
    else
        st = read_directory(c, g, offsets);
    ig_free(offsets);
    return st;
}

static ig_status read_header(cursor *c, ig_gguf *g)
{
    IG_TRY(read_magic(c));
    IG_TRY(read_version(c, &g->version));
    IG_TRY(read_count(c, "number of tensors", IG_GGUF_TENSORS_MAX, IG_GGUF_TENSOR_BYTES_MIN, &g->n_tensors));
    IG_TRY(read_count(c, "number of keys", IG_GGUF_KEYS_MAX, IG_GGUF_KEY_BYTES_MIN, &g->n_meta));
    IG_TRY(read_all_meta(c, g));
    IG_TRY(read_alignment(c, g));
    return read_all_tensors(c, g);
}

ig_status ig_gguf_read(const char *path, const uint8_t *data, uint64_t size, ig_gguf *out, ig_error *err)
{
    cursor c = {.path = path, .data = data, .size = size, .err = err};
    *out = (ig_gguf){0};
    ig_status st = read_header(&c, out);
    if (st != IG_OK) ig_gguf_fini(out);
    return st;
}

void ig_gguf_fini(ig_gguf *g)
{
    ig_free(g->meta);
    ig_free(g->tensors);
    ig_map_fini(&g->keys);
    ig_map_fini(&g->names);
    *g = (ig_gguf){0};
}
