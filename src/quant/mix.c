/* Mixtures: a base type for all matrices, and rules that give some tensors more bits, in the way files of these names
 * are usually made. First come the rules that hold for every mixture of quantised types, then the mixture's own; of the
 * own rules the first that fits decides. */
#include "quant/mix.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

typedef enum part { ATTN_V, ATTN_K, ATTN_OUTPUT, FFN_DOWN, NO_PART } part;

/* A part is known by a piece of the tensor's name; the first that fits counts. Matrices that hold the values and more
 * are treated as the values. */
static const struct {
    const char *piece;
    part part;
} part_names[] = {
    {"attn_v.weight", ATTN_V}, {"attn_qkv.weight", ATTN_V},         {"attn_kv_b.weight", ATTN_V},
    {"attn_k.weight", ATTN_K}, {"attn_output.weight", ATTN_OUTPUT}, {"ffn_down", FFN_DOWN},
};

typedef struct place { /* of a tensor in the model */
    const ig_mix_model *model;
    uint32_t i, n; /* layer i of n; for values among the layers that have them */
} place;

static bool always(place p) { return p.n > 0; }
static bool first_2(place p) { return p.i < 2; }
static bool first_4(place p) { return p.i < 4; }
static bool first_8th(place p) { return p.i < p.n / 8; }
static bool first_16th(place p) { return p.i < p.n / 16; }
/* The first eighth, the last eighth, and every third between. */
static bool spread(place p) { return p.i < p.n / 8 || p.i >= 7 * (uint64_t)p.n / 8 || (p.i - p.n / 8) % 3 == 2; }
static bool grouped_4(place p) { return p.model->n_heads_kv && p.model->n_heads / p.model->n_heads_kv >= 4; }
static bool eight_experts(place p) { return p.model->n_experts == 8; }
static bool not_eight(place p) { return p.model->n_experts != 8; }
static bool guided_8th(place p) { return p.model->has_importance && first_8th(p); }
static bool blind_8th(place p) { return !p.model->has_importance && first_8th(p); }

typedef struct rule {
    part part;
    bool (*when)(place p);
    uint32_t type;
} rule;

enum { RULES_MAX = 6 };
struct ig_mix {
    const char *name;
    uint32_t file_type, base;
    rule rules[RULES_MAX]; /* up to the first without `when` */
};

static const ig_mix mixes[] = {
    {"F32", 0, IG_F32, {{0}}},
    {"F16", 1, IG_F16, {{0}}},
    {"BF16", 32, IG_BF16, {{0}}},
    {"Q4_0", 2, IG_Q4_0, {{FFN_DOWN, guided_8th, IG_Q4_1}}},
    {"Q4_1", 3, IG_Q4_1, {{0}}},
    {"Q5_0", 8, IG_Q5_0, {{FFN_DOWN, guided_8th, IG_Q5_1}}},
    {"Q5_1", 9, IG_Q5_1, {{0}}},
    {"Q8_0", 7, IG_Q8_0, {{0}}},
    {"Q2_K",
     10,
     IG_Q2_K,
     {{ATTN_V, grouped_4, IG_Q4_K},
      {ATTN_V, always, IG_Q3_K},
      {FFN_DOWN, always, IG_Q3_K},
      {ATTN_OUTPUT, eight_experts, IG_Q5_K},
      {ATTN_OUTPUT, always, IG_Q3_K}}},
    {"Q3_K_S", 11, IG_Q3_K, {{ATTN_OUTPUT, eight_experts, IG_Q5_K}}},
    {"Q3_K_M",
     12,
     IG_Q3_K,
     {{ATTN_V, first_2, IG_Q5_K},
      {ATTN_V, always, IG_Q4_K},
      {FFN_DOWN, first_16th, IG_Q5_K},
      {FFN_DOWN, always, IG_Q4_K},
      {ATTN_OUTPUT, eight_experts, IG_Q5_K},
      {ATTN_OUTPUT, always, IG_Q4_K}}},
    {"Q3_K_L",
     13,
     IG_Q3_K,
     {{ATTN_V, always, IG_Q5_K}, {FFN_DOWN, always, IG_Q5_K}, {ATTN_OUTPUT, not_eight, IG_Q5_K}}},
    {"Q4_K_S",
     14,
     IG_Q4_K,
     {{ATTN_V, first_4, IG_Q5_K}, {FFN_DOWN, first_8th, IG_Q5_K}, {ATTN_OUTPUT, eight_experts, IG_Q5_K}}},
    {"Q4_K_M",
     15,
     IG_Q4_K,
     {{ATTN_V, spread, IG_Q6_K}, {FFN_DOWN, spread, IG_Q6_K}, {ATTN_OUTPUT, eight_experts, IG_Q5_K}}},
    {"Q5_K_S", 16, IG_Q5_K, {{0}}},
    {"Q5_K_M", 17, IG_Q5_K, {{ATTN_V, spread, IG_Q6_K}, {FFN_DOWN, spread, IG_Q6_K}}},
    {"Q6_K", 18, IG_Q6_K, {{0}}},
    {"IQ4_NL",
     25,
     IG_IQ4_NL,
     {{ATTN_V, grouped_4, IG_Q5_K}, {FFN_DOWN, blind_8th, IG_Q5_K}, {ATTN_OUTPUT, eight_experts, IG_Q5_K}}},
    {"IQ4_XS",
     30,
     IG_IQ4_XS,
     {{ATTN_V, grouped_4, IG_Q5_K}, {FFN_DOWN, blind_8th, IG_Q5_K}, {ATTN_OUTPUT, eight_experts, IG_Q5_K}}},
    {"MXFP4_MOE", 38, IG_MXFP4, {{0}}},
};
enum { N_MIXES = sizeof mixes / sizeof *mixes };

/* Where a row is no multiple of the block: the type of blocks of 32 with about as many bits. */
static const uint32_t smaller[IG_DTYPE_MAX] = {
    [IG_Q2_K] = IG_Q4_0, [IG_Q3_K] = IG_Q4_0, [IG_Q4_K] = IG_Q5_0,
    [IG_Q5_K] = IG_Q5_1, [IG_Q6_K] = IG_Q8_0, [IG_IQ4_XS] = IG_IQ4_NL,
};

/* Matrices that are small or touchy and stay as they are: pieces of names. */
static const char *const kept[] = {
    "_norm.weight",
    "ffn_gate_inp.weight", /* routers */
    "altup",               /* 4 x 4 and the like */
    "laurel",
    "per_layer_model_proj",
    "position_embd.weight",
    "token_types.weight",
    "ssm_conv1d", /* short convolutions */
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "attn_rel_b.weight",     /* relative positions */
    "time_mix_first.weight", /* recurrent mixers' small matrices */
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
};

/* ------------------------------------------------------------------------------------------------ names */

static bool same_name(const char *a, const char *b)
{
    while (*a && toupper((unsigned char)*a) == toupper((unsigned char)*b)) a++, b++;
    return !*a && !*b;
}

const ig_mix *ig_mix_find(const char *name)
{
    for (size_t i = 0; i < N_MIXES; i++)
        if (same_name(mixes[i].name, name)) return &mixes[i];
    return NULL;
}

const char *ig_mix_name(const ig_mix *mix) { return mix->name; }
uint32_t ig_mix_file_type(const ig_mix *mix) { return mix->file_type; }

void ig_mix_names(char *out, size_t n)
{
    size_t at = 0;
    out[0] = 0;
    for (size_t i = 0; i < N_MIXES && at < n; i++)
        at += (size_t)snprintf(out + at, n - at, "%s%s", i ? " " : "", mixes[i].name);
}

/* True where `piece` occurs in name. */
static bool has(ig_str name, const char *piece)
{
    size_t n = strlen(piece);
    for (size_t i = 0; i + n <= name.len; i++)
        if (!memcmp(name.ptr + i, piece, n)) return true;
    return false;
}

static part part_of(ig_str name)
{
    for (size_t i = 0; i < sizeof part_names / sizeof *part_names; i++)
        if (has(name, part_names[i].piece)) return part_names[i].part;
    return NO_PART;
}

/* The number in "blk.N."; false for tensors of no layer. */
static bool layer_of(ig_str name, uint32_t *layer)
{
    uint32_t v = 0;
    size_t i = 4;
    if (!ig_str_starts(name, IG_STR("blk."))) return false;
    for (; i < name.len && i < 10 && isdigit((unsigned char)name.ptr[i]); i++)
        v = 10 * v + (uint32_t)(name.ptr[i] - '0');
    *layer = v;
    return i > 4 && i < name.len && name.ptr[i] == '.';
}

/* ------------------------------------------------------------------------------------------------ the model */

/* First number of an architecture's key that may be one number or one a layer. */
static ig_status number(const ig_format *f, ig_str arch, const char *key, uint32_t *out, ig_error *err)
{
    char name[192];
    (void)snprintf(name, sizeof name, "%.*s.%s", IG_STR_ARG(arch), key);
    const ig_meta *m = ig_format_meta(f, name);
    if (!m || m->type != IG_META_ARRAY) return ig_format_u32(f, name, false, out, err);
    if (m->n == 0 || m->elem == IG_META_STRING || m->elem == IG_META_F32 || m->elem == IG_META_F64) return IG_OK;
    int64_t v = ig_meta_int(m, 0);
    if (v >= 0 && v <= UINT32_MAX) *out = (uint32_t)v;
    return IG_OK;
}

enum { LAYERS_MAX = 100000 };

/* v_rank: how many layers below i have a tensor attn_v */
static ig_status rank_layers(ig_mix_model *m, const ig_format *f, ig_error *err)
{
    m->v_rank = ig_calloc((size_t)m->n_layers + 1, sizeof *m->v_rank);
    if (!m->v_rank) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for %u layers", m->n_layers);
    for (size_t i = 0; i < ig_format_n_tensors(f); i++) {
        const ig_tensor *t = ig_format_tensor_at(f, i);
        uint32_t layer;
        if (part_of(t->name) == ATTN_V && layer_of(t->name, &layer) && layer < m->n_layers) m->v_rank[layer + 1]++;
    }
    for (uint32_t i = 0; i < m->n_layers; i++) m->v_rank[i + 1] += m->v_rank[i];
    return IG_OK;
}

ig_status ig_mix_model_init(ig_mix_model *m, const ig_format *f, bool has_importance, ig_error *err)
{
    ig_str arch = {0};
    *m = (ig_mix_model){.has_importance = has_importance, .has_output = ig_format_tensor(f, "output.weight") != NULL};
    IG_TRY(ig_format_str(f, "general.architecture", false, &arch, err));
    IG_TRY(number(f, arch, "block_count", &m->n_layers, err));
    IG_TRY(number(f, arch, "attention.head_count", &m->n_heads, err));
    m->n_heads_kv = m->n_heads;
    IG_TRY(number(f, arch, "attention.head_count_kv", &m->n_heads_kv, err));
    IG_TRY(number(f, arch, "expert_count", &m->n_experts, err));
    if (m->n_layers > LAYERS_MAX)
        return ig_fail(err, IG_BAD_INPUT, 0, "%.200s: block_count is %u, expected at most %d", ig_format_path(f),
                       m->n_layers, LAYERS_MAX);
    return rank_layers(m, f, err);
}

void ig_mix_model_fini(ig_mix_model *m)
{
    ig_free(m->v_rank);
    m->v_rank = NULL;
}

/* ------------------------------------------------------------------------------------------------ types */

bool ig_mix_covers(const ig_tensor *t)
{
    static const ig_str suffix = {"weight", 6};
    if (t->ne[1] * t->ne[2] * t->ne[3] == 1 || t->name.len < suffix.len) return false;
    if (memcmp(t->name.ptr + t->name.len - suffix.len, suffix.ptr, suffix.len) != 0) return false;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (has(t->name, kept[i])) return false;
    return true;
}

static bool is_output(const ig_mix_model *m, const ig_tensor *t)
{
    if (m->has_output) return ig_str_is(t->name, "output.weight");
    return ig_str_is(t->name, "token_embd.weight") || ig_str_is(t->name, "per_layer_token_embd.weight");
}

static uint32_t by_rules(const ig_mix *mix, const ig_mix_model *m, const ig_tensor *t)
{
    place p = {.model = m, .n = m->n_layers};
    const part which = part_of(t->name);
    if (which == NO_PART || !layer_of(t->name, &p.i) || p.i >= m->n_layers) return mix->base;
    if (eight_experts(p) && (which == ATTN_V || which == ATTN_K)) return IG_Q8_0;
    if (which == ATTN_V) {
        p.i = m->v_rank[p.i];
        p.n = m->v_rank[m->n_layers];
    }
    uint32_t type = mix->base;
    for (const rule *r = mix->rules; r < mix->rules + RULES_MAX && r->when; r++) {
        if (r->part != which || !r->when(p)) continue;
        type = r->type;
        break;
    }
    /* 80 layers whose values eight heads share: a small matrix that is worth more bits */
    bool shared = m->n_layers == 80 && m->n_heads_kv && m->n_heads / m->n_heads_kv == 8;
    return which == ATTN_V && shared && (type == IG_Q3_K || type == IG_Q4_K) ? (uint32_t)IG_Q5_K : type;
}

static uint32_t wanted(const ig_mix *mix, const ig_mix_model *m, const ig_tensor *t)
{
    const ig_dtype_info *base = ig_dtype_row(mix->base);
    if (base->block_elems == 1) return mix->base;
    if (mix->base == IG_MXFP4) return !is_output(m, t) && t->ne[2] > 1 ? (uint32_t)IG_MXFP4 : (uint32_t)IG_Q8_0;
    if (is_output(m, t)) {
        bool whole = t->ne[0] % base->block_elems == 0 && mix->base != IG_Q8_0;
        return whole ? (uint32_t)IG_Q6_K : (uint32_t)IG_Q8_0;
    }
    return by_rules(mix, m, t);
}

uint32_t ig_mix_type(const ig_mix *mix, const ig_mix_model *m, const ig_tensor *t, uint32_t *fallback)
{
    uint32_t type = wanted(mix, m, t);
    *fallback = type;
    if (t->ne[0] % ig_dtype_row(type)->block_elems != 0 && smaller[type]) type = smaller[type];
    if (t->ne[0] % ig_dtype_row(type)->block_elems != 0) type = IG_F16;
    return type;
}
