/* Names and shapes: every tensor of the safetensors files finds its pattern in the row's lists and becomes a tensor
 * with GGUF's name, its axes in GGUF's order (fastest first). Bytes stay where they are; only norm weights that need a
 * 1 added, and rope factors, are new. A name that no pattern fits is an error. */
#include <inttypes.h>
#include <stdio.h>

#include "format/hf.h"

typedef struct matched {
    const ig_hf_name *rule;
    uint32_t layer, expert;
} matched;

static ig_status bad_tensor(const ig_hf *h, const ig_st_tensor *t, const char *why)
{
    return ig_fail(h->err, IG_BAD_INPUT, 0, "%.200s: tensor \"%.*s\" %s", h->file_names[t->file], IG_STR_ARG(t->name),
                   why);
}

/* ------------------------------------------------------------------------------------------------ names */

/* A number as names have it: no leading zeros, at most 6 digits. */
static bool take_number(ig_str *s, uint32_t *out)
{
    size_t n = 0;
    for (*out = 0; n < s->len && n < 7 && s->ptr[n] >= '0' && s->ptr[n] <= '9'; n++)
        *out = *out * 10 + (uint32_t)(s->ptr[n] - '0');
    if (n == 0 || n > 6 || (n > 1 && s->ptr[0] == '0')) return false;
    s->ptr += n;
    s->len -= n;
    return true;
}

static bool fits(const char *pattern, ig_str name, matched *m)
{
    for (; *pattern; pattern++) {
        if (*pattern == '*') return true;
        if (*pattern == '#' || *pattern == '@') {
            if (!take_number(&name, *pattern == '#' ? &m->layer : &m->expert)) return false;
            continue;
        }
        if (name.len == 0 || *name.ptr != *pattern) return false;
        name.ptr++;
        name.len--;
    }
    return name.len == 0;
}

static bool find_rule(const ig_hf_row *row, ig_str name, matched *m)
{
    for (size_t l = 0; l < sizeof row->names / sizeof *row->names && row->names[l]; l++)
        for (const ig_hf_name *rule = row->names[l]; rule->from; rule++) {
            *m = (matched){.rule = rule};
            if (fits(rule->from, name, m)) return true;
        }
    return false;
}

static ig_status match(const ig_hf *h, const ig_st_tensor *t, matched *m)
{
    bool found = false;
    for (size_t i = 0; i < sizeof h->row->prefixes / sizeof *h->row->prefixes && !found; i++) {
        const char *prefix = h->row->prefixes[i];
        if (!prefix) break;
        size_t n = strlen(prefix);
        if (ig_str_starts(t->name, ig_str_from(prefix)))
            found = find_rule(h->row, (ig_str){t->name.ptr + n, t->name.len - n}, m);
    }
    if (!found)
        return ig_fail(h->err, IG_BAD_INPUT, 0, "%.200s: tensor \"%.*s\" does not belong to a model of the type %s",
                       h->file_names[t->file], IG_STR_ARG(t->name), h->row->model_type);
    if (strchr(m->rule->from, '#') && m->layer >= h->n_layers)
        return ig_fail(h->err, IG_BAD_INPUT, 0,
                       "%.200s: tensor \"%.*s\" lies in layer %u, expected one of the first %u", h->file_names[t->file],
                       IG_STR_ARG(t->name), m->layer, h->n_layers);
    if (m->rule->change == IG_HF_EXPERT && m->expert >= h->n_experts)
        return ig_fail(h->err, IG_BAD_INPUT, 0,
                       "%.200s: tensor \"%.*s\" belongs to expert %u, expected one of the first %u",
                       h->file_names[t->file], IG_STR_ARG(t->name), m->expert, h->n_experts);
    return IG_OK;
}

static void target_name(const matched *m, char out[64])
{
    const char *hash = strchr(m->rule->to, '#');
    if (hash)
        (void)snprintf(out, 64, "%.*s%u%s", (int)(hash - m->rule->to), m->rule->to, m->layer, hash + 1);
    else
        (void)snprintf(out, 64, "%s", m->rule->to);
}

/* ------------------------------------------------------------------------------------------------ shapes and values */

static ig_status take_shape(const ig_hf *h, const ig_st_tensor *s, ig_tensor *t)
{
    uint32_t n = s->n_dims;
    if (s->dtype->type < 0)
        return ig_fail(h->err, IG_UNSUPPORTED, 0, "%.200s: tensor \"%.*s\" has the dtype %s, expected F32, F16 or BF16",
                       h->file_names[s->file], IG_STR_ARG(s->name), s->dtype->name);
    if (n > 4) return bad_tensor(h, s, "has more than 4 dimensions");
    t->type = (uint32_t)s->dtype->type;
    t->n_dims = n ? n : 1;
    for (uint32_t i = 0; i < 4; i++) {
        t->ne[i] = i < n ? s->dims[n - 1 - i] : 1;
        if (t->ne[i] == 0 || t->ne[i] > IG_GGUF_DIM_MAX)
            return bad_tensor(h, s, "has a dimension that is 0 or too large");
    }
    t->data = s->data;
    t->n_bytes = s->n_bytes;
    return ig_dtype_row_bytes(t->type, t->ne[0], &t->row_bytes) ? IG_OK : bad_tensor(h, s, "is too large");
}

static float bf16_to_f32(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float out;
    memcpy(&out, &bits, 4);
    return out;
}

/* Exact: a small number (exponent 0) counts units of 2^-24. */
static float f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31u, fraction = half & 0x3ffu;
    uint32_t bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13;
    float out;
    memcpy(&out, &bits, 4);
    if (exponent) return out;
    out = (float)fraction * 0x1p-24f;
    return sign ? -out : out;
}

static float element(const ig_tensor *t, uint64_t i)
{
    float single;
    uint16_t half;
    if (t->type == IG_F32) {
        memcpy(&single, t->data + 4 * i, 4);
        return single;
    }
    memcpy(&half, t->data + 2 * i, 2);
    return t->type == IG_F16 ? f16_to_f32(half) : bf16_to_f32(half);
}

/* 1 + weight as the model has it; a vector, so the copy is small. */
static ig_status add_one(const ig_hf *h, const ig_st_tensor *s, ig_tensor *t)
{
    if (t->n_dims != 1) return bad_tensor(h, s, "has more than one dimension, expected a vector");
    float *copy = ig_arena_alloc(&h->f->arena, (size_t)t->ne[0], sizeof *copy);
    if (!copy) return ig_fail(h->err, IG_NO_MEMORY, 0, "%.200s: out of memory for its norms", h->path);
    for (uint64_t i = 0; i < t->ne[0]; i++) copy[i] = 1 + element(t, i);
    t->data = (const uint8_t *)copy;
    t->type = IG_F32;
    t->row_bytes = t->n_bytes = t->ne[0] * sizeof *copy;
    return IG_OK;
}

static ig_status split_halves(const ig_hf *h, const ig_st_tensor *s, uint32_t n_heads, ig_tensor *t)
{
    uint64_t rows = t->ne[t->n_dims - 1];
    if (rows != (uint64_t)n_heads * h->head_size || h->head_size % 2)
        return ig_fail(h->err, IG_BAD_INPUT, 0,
                       "%.200s: tensor \"%.*s\" has %" PRIu64 " rows, expected %u heads of %u rows, an even number",
                       h->file_names[s->file], IG_STR_ARG(s->name), rows, n_heads, h->head_size);
    t->half_split_heads = n_heads;
    return IG_OK;
}

static ig_status change(const ig_hf *h, const matched *m, const ig_st_tensor *s, ig_tensor *t)
{
    uint32_t flags = h->row->flags;
    switch (m->rule->change) {
    case IG_HF_NORM: return flags & IG_HF_NORM_ONE ? add_one(h, s, t) : IG_OK;
    case IG_HF_Q: return flags & IG_HF_HALF_SPLIT ? split_halves(h, s, h->n_heads, t) : IG_OK;
    case IG_HF_K: return flags & IG_HF_HALF_SPLIT ? split_halves(h, s, h->n_heads_kv, t) : IG_OK;
    default: return IG_OK;
    }
}

/* ------------------------------------------------------------------------------------------------ directory */

/* Room for a tensor of this name; NULL with *st set. Its index is added to the names. */
static ig_tensor *append(const ig_hf *h, const char *name, ig_status *st)
{
    ig_gguf *g = &h->f->gguf;
    ig_tensor *t = &g->tensors[g->n_tensors];
    size_t n = strlen(name);
    const char *copy = ig_arena_copy(&h->f->arena, name, n);
    *st = IG_NO_MEMORY;
    if (!copy) {
        (void)ig_fail(h->err, IG_NO_MEMORY, 0, "%.200s: out of memory for the names of its tensors", h->path);
        return NULL;
    }
    *t = (ig_tensor){.name = {copy, n}};
    *st = IG_BAD_INPUT;
    if (!ig_map_add(&g->names, t->name, (uint32_t)g->n_tensors, NULL)) {
        (void)ig_fail(h->err, IG_BAD_INPUT, 0, "%.200s: two tensors of the files are %s, expected one", h->path, name);
        return NULL;
    }
    g->n_tensors++;
    *st = IG_OK;
    return t;
}

static bool same_shape(const ig_tensor *a, const ig_tensor *b)
{
    return a->type == b->type && a->ne[0] == b->ne[0] && a->ne[1] == b->ne[1];
}

/* The stacked tensor that an expert's matrix belongs to: made for the first of them that is seen. */
static ig_status stack_of(const ig_hf *h, const char *name, const ig_tensor *one, size_t *n_open, ig_tensor **out)
{
    uint32_t idx;
    ig_status st;
    *out = NULL;
    if (ig_map_get(&h->f->gguf.names, ig_str_from(name), &idx)) {
        *out = &h->f->gguf.tensors[idx];
        return IG_OK;
    }
    /* Addresses for more experts than there are tensors are not even made. */
    *n_open += h->n_experts;
    if (*n_open > h->tensors.n)
        return ig_fail(h->err, IG_BAD_INPUT, 0, "%.200s: the files lack experts of %s, expected %u of each layer",
                       h->path, name, h->n_experts);
    const uint8_t **parts = ig_arena_alloc(&h->f->arena, h->n_experts, sizeof *parts);
    if (!parts) return ig_fail(h->err, IG_NO_MEMORY, 0, "%.200s: out of memory for its experts", h->path);
    ig_tensor *t = append(h, name, &st);
    if (!t) return st;
    t->type = one->type;
    t->n_dims = 3;
    memcpy(t->ne, one->ne, sizeof t->ne);
    t->ne[2] = h->n_experts;
    t->row_bytes = one->row_bytes;
    t->parts = parts;
    *out = t;
    return ig_mul_u64(one->n_bytes, h->n_experts, &t->n_bytes)
               ? IG_OK
               : ig_fail(h->err, IG_BAD_INPUT, 0, "%.200s: %s has too many bytes", h->path, name);
}

static ig_status add_expert(const ig_hf *h, const matched *m, const ig_st_tensor *s, size_t *n_open)
{
    char name[64];
    ig_tensor one = {0}, *all;
    target_name(m, name);
    IG_TRY(take_shape(h, s, &one));
    if (one.n_dims != 2) return bad_tensor(h, s, "is no matrix");
    IG_TRY(stack_of(h, name, &one, n_open, &all));
    if (!same_shape(all, &one)) return bad_tensor(h, s, "has another shape or dtype than the layer's other experts");
    /* The addresses were made here a moment ago, as ones that may be written. */
    const uint8_t **part = (const uint8_t **)(uintptr_t)&all->parts[m->expert];
    if (*part) return bad_tensor(h, s, "is there twice");
    *part = s->data;
    return IG_OK;
}

static ig_status add_tensor(const ig_hf *h, const matched *m, const ig_st_tensor *s)
{
    char name[64];
    ig_status st;
    ig_tensor made = {0};
    target_name(m, name);
    IG_TRY(take_shape(h, s, &made));
    IG_TRY(change(h, m, s, &made));
    ig_tensor *t = append(h, name, &st);
    if (!t) return st;
    made.name = t->name;
    *t = made;
    return IG_OK;
}

static ig_status check_stacks(const ig_hf *h)
{
    for (size_t i = 0; i < h->f->gguf.n_tensors; i++) {
        const ig_tensor *t = &h->f->gguf.tensors[i];
        for (uint64_t e = 0; t->parts && e < t->ne[2]; e++)
            if (!t->parts[e])
                return ig_fail(h->err, IG_BAD_INPUT, 0,
                               "%.200s: the files lack expert %" PRIu64 " of %.*s, expected %u", h->path, e,
                               IG_STR_ARG(t->name), h->n_experts);
    }
    return IG_OK;
}

static ig_status add_factors(const ig_hf *h, const char *name, const float *values)
{
    ig_status st;
    if (!values) return IG_OK;
    ig_tensor *t = append(h, name, &st);
    if (!t) return st;
    uint64_t n = h->n_rot / 2;
    *t = (ig_tensor){.name = t->name,
                     .type = IG_F32,
                     .n_dims = 1,
                     .ne = {n, 1, 1, 1},
                     .row_bytes = n * 4,
                     .n_bytes = n * 4,
                     .data = (const uint8_t *)values};
    return IG_OK;
}

static ig_status check_head(const ig_hf *h)
{
    uint32_t idx;
    if (h->tied || h->headless || ig_map_get(&h->f->gguf.names, IG_STR("output.weight"), &idx)) return IG_OK;
    return ig_fail(
        h->err, IG_BAD_INPUT, 0,
        "%.200s: the files have no \"lm_head.weight\", expected one where \"tie_word_embeddings\" is not true",
        h->path);
}

static bool is_left_out(const ig_hf *h, ig_hf_change kind)
{
    return kind == IG_HF_DROP || (kind == IG_HF_HEAD && h->tied) || (kind == IG_HF_JUDGE && !h->judges);
}

ig_status ig_hf_tensors_map(ig_hf *h)
{
    ig_gguf *g = &h->f->gguf;
    matched m;
    size_t n_max = h->tensors.n + 3, n_open = 0;
    g->tensors = ig_calloc(n_max, sizeof *g->tensors);
    if (!g->tensors || !ig_map_init(&g->names, n_max))
        return ig_fail(h->err, IG_NO_MEMORY, 0, "%.200s: out of memory for %zu tensors", h->path, n_max);
    for (size_t i = 0; i < h->tensors.n; i++) {
        const ig_st_tensor *s = &h->tensors.tensors[i];
        IG_TRY(match(h, s, &m));
        if (is_left_out(h, m.rule->change)) continue;
        IG_TRY(m.rule->change == IG_HF_EXPERT ? add_expert(h, &m, s, &n_open) : add_tensor(h, &m, s));
    }
    IG_TRY(add_factors(h, "rope_freqs.weight", h->rope_freqs));
    IG_TRY(add_factors(h, "rope_factors_long.weight", h->rope_long));
    IG_TRY(add_factors(h, "rope_factors_short.weight", h->rope_short));
    IG_TRY(check_head(h));
    return check_stacks(h);
}
