/* Binding: names of tensors to fields, with the shape each must have (rule G15). Nothing is copied but vectors that are
 * not stored as F32. A tensor of the file that no row below names is refused, unless it is listed as ignorable. */
#include <stdio.h>
#include <stdlib.h>

#include "model/plan.h"

typedef enum dim { D_NONE, D_EMBD, D_Q, D_K, D_V, D_O, D_FF, D_FFX, D_EXPERTS, D_VOCAB, D_PAIRS } dim;
typedef enum when { ALWAYS, OPTIONAL, DENSE, DENSE_OPTIONAL, EXPERTS, EXPERTS_OPTIONAL } when;
typedef enum kind { VEC, MAT, BIAS } kind; /* BIAS: vector that belongs to the matrix at `field` */

typedef struct binding {
    const char *name; /* inside "blk.N." for layers */
    kind kind;
    size_t field;
    dim ne[3]; /* fastest first */
    when when;
} binding;

#define LAYER(field) offsetof(ig_layer, field)
static const binding layer_rows[] = {
    {"attn_norm.weight", VEC, LAYER(attn_norm), {D_EMBD}, ALWAYS},
    {"attn_q.weight", MAT, LAYER(q), {D_EMBD, D_Q}, ALWAYS},
    {"attn_q.bias", BIAS, LAYER(q), {D_Q}, OPTIONAL},
    {"attn_k.weight", MAT, LAYER(k), {D_EMBD, D_K}, ALWAYS},
    {"attn_k.bias", BIAS, LAYER(k), {D_K}, OPTIONAL},
    {"attn_v.weight", MAT, LAYER(v), {D_EMBD, D_V}, ALWAYS},
    {"attn_v.bias", BIAS, LAYER(v), {D_V}, OPTIONAL},
    {"attn_output.weight", MAT, LAYER(o), {D_O, D_EMBD}, ALWAYS},
    {"attn_output.bias", BIAS, LAYER(o), {D_EMBD}, OPTIONAL},
    {"ffn_norm.weight", VEC, LAYER(ffn_norm), {D_EMBD}, ALWAYS},
    {"ffn_gate.weight", MAT, LAYER(gate), {D_EMBD, D_FF}, DENSE},
    {"ffn_gate.bias", BIAS, LAYER(gate), {D_FF}, DENSE_OPTIONAL},
    {"ffn_up.weight", MAT, LAYER(up), {D_EMBD, D_FF}, DENSE},
    {"ffn_up.bias", BIAS, LAYER(up), {D_FF}, DENSE_OPTIONAL},
    {"ffn_down.weight", MAT, LAYER(down), {D_FF, D_EMBD}, DENSE},
    {"ffn_down.bias", BIAS, LAYER(down), {D_EMBD}, DENSE_OPTIONAL},
    {"ffn_gate_inp.weight", MAT, LAYER(router), {D_EMBD, D_EXPERTS}, EXPERTS},
    {"ffn_gate_exps.weight", MAT, LAYER(gate_exps), {D_EMBD, D_FFX, D_EXPERTS}, EXPERTS_OPTIONAL},
    {"ffn_up_exps.weight", MAT, LAYER(up_exps), {D_EMBD, D_FFX, D_EXPERTS}, EXPERTS},
    {"ffn_down_exps.weight", MAT, LAYER(down_exps), {D_FFX, D_EMBD, D_EXPERTS}, EXPERTS},
};
#undef LAYER

#define MODEL(field) offsetof(ig_model, field)
static const binding model_rows[] = {
    {"token_embd.weight", MAT, MODEL(embed), {D_EMBD, D_VOCAB}, ALWAYS},
    {"output_norm.weight", VEC, MODEL(output_norm), {D_EMBD}, ALWAYS},
    {"output.weight", MAT, MODEL(output), {D_EMBD, D_VOCAB}, OPTIONAL},
    {"rope_freqs.weight", VEC, MODEL(rope_factors), {D_PAIRS}, OPTIONAL},
};
#undef MODEL

/* Tensors that old converters wrote and nobody reads; the name behind "blk.N." or a whole name. */
static const char *const ignorable[] = {"attn_rot_embd", "attn.rot_embd", "rope.freqs"};

static uint64_t dim_size(const ig_hparams *hp, dim d)
{
    switch (d) {
    case D_NONE: return 1;
    case D_EMBD: return hp->n_embd;
    case D_Q: return (uint64_t)hp->n_heads * hp->head_k;
    case D_K: return (uint64_t)hp->n_heads_kv * hp->head_k;
    case D_V: return (uint64_t)hp->n_heads_kv * hp->head_v;
    case D_O: return (uint64_t)hp->n_heads * hp->head_v;
    case D_FF: return hp->n_ff;
    case D_FFX: return hp->n_ff_expert;
    case D_EXPERTS: return hp->n_experts;
    case D_VOCAB: return hp->n_vocab;
    case D_PAIRS: return hp->n_rot / 2;
    }
    return 0;
}

static void shape_text(const uint64_t ne[3], char out[80])
{
    int n = snprintf(out, 80, "[%llu", (unsigned long long)ne[0]);
    for (int i = 1; i < 3; i++)
        if (ne[i] != 1 || (i == 1 && ne[2] != 1))
            n += snprintf(out + n, 80 - (size_t)n, ", %llu", (unsigned long long)ne[i]);
    (void)snprintf(out + n, 80 - (size_t)n, "]");
}

static ig_status check_shape(const ig_model *m, const ig_tensor *t, const dim ne[3], ig_error *err)
{
    uint64_t want[3], have[3] = {t->ne[0], t->ne[1], t->ne[2]};
    bool same = t->ne[3] == 1;
    for (int i = 0; i < 3; i++) {
        want[i] = dim_size(&m->hp, ne[i]);
        same = same && want[i] == have[i];
    }
    if (same) return IG_OK;
    char a[80], b[80];
    shape_text(have, a);
    shape_text(want, b);
    return ig_fail(err, IG_BAD_INPUT, 0, "%s: tensor %.*s has the shape %s, expected %s", ig_format_path(m->file),
                   IG_STR_ARG(t->name), a, b);
}

/* A vector as floats: the mapped bytes where they are F32, a decoded copy otherwise. */
static ig_status bind_vec(ig_model *m, const ig_tensor *t, const float **out, ig_error *err)
{
    if (t->type == IG_F32 && (uintptr_t)t->data % sizeof(float) == 0) {
        *out = (const float *)(const void *)t->data;
        return IG_OK;
    }
    void (*to_f32)(const void *, float *, size_t) = m->kernels->type[t->type].to_f32;
    if (!to_f32)
        return ig_fail(err, IG_UNSUPPORTED, 0, "%s: tensor %.*s has the type %s, expected F32", ig_format_path(m->file),
                       IG_STR_ARG(t->name), ig_dtype_row(t->type)->name);
    float *copy = ig_arena_alloc(&m->arena, (size_t)t->ne[0], sizeof *copy);
    if (!copy) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for tensor %.*s", IG_STR_ARG(t->name));
    to_f32(t->data, copy, (size_t)t->ne[0]);
    *out = copy;
    return IG_OK;
}

static ig_status bind_mat(ig_model *m, const ig_tensor *t, ig_mat *out, ig_error *err)
{
    if (t->type >= IG_DTYPE_MAX || !m->kernels->type[t->type].mul)
        return ig_fail(err, IG_UNSUPPORTED, 0,
                       "%s: tensor %.*s has the type %s, which this version cannot compute with",
                       ig_format_path(m->file), IG_STR_ARG(t->name), ig_dtype_row(t->type)->name);
    const float *bias = out->bias;
    *out = (ig_mat){.data = t->data,
                    .row_bytes = (size_t)t->row_bytes,
                    .n_in = (uint32_t)t->ne[0],
                    .n_out = (uint32_t)t->ne[1],
                    .n_mats = (uint32_t)t->ne[2],
                    .type = t->type,
                    .bias = bias};
    return IG_OK;
}

static bool applies(const ig_model *m, when w)
{
    bool moe = m->hp.n_experts > 0;
    if (w == DENSE || w == DENSE_OPTIONAL) return !moe;
    if (w == EXPERTS || w == EXPERTS_OPTIONAL) return moe;
    return true;
}

static ig_status bind_row(ig_model *m, const binding *b, const char *name, char *base, size_t *n_bound, ig_error *err)
{
    if (!applies(m, b->when)) return IG_OK;
    const ig_tensor *t = ig_format_tensor(m->file, name);
    if (!t) {
        if (b->when == OPTIONAL || b->when == DENSE_OPTIONAL || b->when == EXPERTS_OPTIONAL) return IG_OK;
        return ig_fail(err, IG_BAD_INPUT, 0, "%s: tensor %s is missing, expected by the architecture %s",
                       ig_format_path(m->file), name, m->arch->name);
    }
    (*n_bound)++;
    m->n_params += t->ne[0] * t->ne[1] * t->ne[2];
    m->weight_bytes += t->n_bytes;
    IG_TRY(check_shape(m, t, b->ne, err));
    void *field = base + b->field;
    switch (b->kind) {
    case VEC: return bind_vec(m, t, field, err);
    case MAT: return bind_mat(m, t, field, err);
    case BIAS: return bind_vec(m, t, &((ig_mat *)field)->bias, err);
    }
    return IG_OK;
}

static bool listed(const ig_model *m, const ig_tensor *t)
{
    char name[128];
    for (size_t i = 0; i < sizeof model_rows / sizeof *model_rows; i++)
        if (ig_str_is(t->name, model_rows[i].name)) return true;
    (void)snprintf(name, sizeof name, "%.*s", (int)(t->name.len < 127 ? t->name.len : 127), t->name.ptr);
    const char *rest = name;
    if (!strncmp(name, "blk.", 4)) {
        char *end;
        unsigned long long layer = strtoull(name + 4, &end, 10);
        if (end == name + 4 || *end != '.' || layer >= m->hp.n_layers) return false;
        rest = end + 1;
        for (size_t i = 0; i < sizeof layer_rows / sizeof *layer_rows; i++)
            if (applies(m, layer_rows[i].when) && !strcmp(rest, layer_rows[i].name)) return true;
    }
    for (size_t i = 0; i < sizeof ignorable / sizeof *ignorable; i++)
        if (ig_str_starts(ig_str_from(rest), ig_str_from(ignorable[i]))) return true;
    return false;
}

static ig_status refuse_extra(const ig_model *m, ig_error *err)
{
    for (size_t i = 0; i < ig_format_n_tensors(m->file); i++) {
        const ig_tensor *t = ig_format_tensor_at(m->file, i);
        if (!listed(m, t))
            return ig_fail(err, IG_BAD_INPUT, 0,
                           "%s: tensor %.*s does not belong to the architecture %s with %u layers",
                           ig_format_path(m->file), IG_STR_ARG(t->name), m->arch->name, m->hp.n_layers);
    }
    return IG_OK;
}

/* The rows of the embedding are the vocabulary; the tokenizer and vocab_size must agree with them (rule G18). */
static ig_status read_vocab_size(ig_model *m, size_t n_vocab_min, ig_error *err)
{
    const ig_tensor *t = ig_format_tensor(m->file, "token_embd.weight");
    const char *path = ig_format_path(m->file);
    if (!t)
        return ig_fail(err, IG_BAD_INPUT, 0, "%s: tensor token_embd.weight is missing, expected by the architecture %s",
                       path, m->arch->name);
    if (t->ne[1] > 1u << 24)
        return ig_fail(err, IG_BAD_INPUT, 0, "%s: tensor token_embd.weight has %llu rows, expected at most %u", path,
                       (unsigned long long)t->ne[1], 1u << 24);
    m->hp.n_vocab = (uint32_t)t->ne[1];
    if (n_vocab_min > m->hp.n_vocab)
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "%s: tensor token_embd.weight has %u rows, expected one for each of %zu tokens", path,
                       m->hp.n_vocab, n_vocab_min);
    char key[128];
    uint32_t declared = m->hp.n_vocab;
    IG_TRY(ig_format_u32(m->file, ig_arch_key(m->arch, "vocab_size", key), false, &declared, err));
    if (declared != m->hp.n_vocab)
        return ig_fail(err, IG_BAD_INPUT, 0, "%s: %s is %u, expected the %u rows of token_embd.weight", path, key,
                       declared, m->hp.n_vocab);
    return IG_OK;
}

ig_status ig_weights_bind(ig_model *m, size_t n_vocab_min, ig_error *err)
{
    size_t n_bound = 0;
    IG_TRY(read_vocab_size(m, n_vocab_min, err));
    for (size_t i = 0; i < sizeof model_rows / sizeof *model_rows; i++)
        IG_TRY(bind_row(m, &model_rows[i], model_rows[i].name, (char *)m, &n_bound, err));
    if (!m->output.data) m->output = m->embed;
    m->layers = ig_arena_alloc(&m->arena, m->hp.n_layers, sizeof *m->layers);
    if (!m->layers) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for %u layers", m->hp.n_layers);
    for (uint32_t l = 0; l < m->hp.n_layers; l++) {
        for (size_t i = 0; i < sizeof layer_rows / sizeof *layer_rows; i++) {
            char name[128];
            (void)snprintf(name, sizeof name, "blk.%u.%s", l, layer_rows[i].name);
            IG_TRY(bind_row(m, &layer_rows[i], name, (char *)&m->layers[l], &n_bound, err));
        }
    }
    return n_bound == ig_format_n_tensors(m->file) ? IG_OK : refuse_extra(m, err);
}
