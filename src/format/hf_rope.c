/* Rotation in config.json: base, rotated part of a head, and the kinds of rope_scaling. Newer files have all of it in
 * one object, rope_parameters, which for models with two kinds of layers holds one object a kind.
 *
 *   default     nothing
 *   linear      rope.scaling.type and factor
 *   yarn        the same, with the original context and the two betas; a given attention_factor replaces 1 + 0.1 ln
 * factor, which the engine multiplies by itself llama3      divisors of the frequencies, written as the tensor
 * rope_freqs.weight longrope    (older: su) two lists of divisors, written as tensors, and a factor on cosine and sine
 */
#include <math.h>
#include <stdio.h>

#include "format/hf.h"

typedef struct rope {
    const json_t *o; /* the scaling object, NULL: none */
    double base, base_windowed;
} rope;

static const char *const common_keys[] = {"rope_type", "type", "rope_theta", "partial_rotary_factor", NULL};

static bool listed(const char *key, const char *const *list)
{
    for (; *list; list++)
        if (!strcmp(key, *list)) return true;
    return false;
}

/* What no kind of scaling reads would be ignored, so it is refused. */
static ig_status refuse_others(const ig_hf *h, const json_t *o, const char *const *known)
{
    const char *key;
    json_t *v;
    char name[128];
    /* The macro wants an object that it could change, which it does not. */
    json_object_foreach((json_t *)(uintptr_t)o, key, v)
    {
        if (json_is_null(v) || listed(key, common_keys) || listed(key, known)) continue;
        (void)snprintf(name, sizeof name, "rope_scaling.%.80s", key);
        return ig_hf_unsupported(h, name, v, "none: it is not known for this kind of scaling");
    }
    return IG_OK;
}

static ig_status need_real(const ig_hf *h, const json_t *o, const char *key, double *out)
{
    if (!ig_hf_value(o, key)) return ig_hf_bad(h, key, NULL, "a number above 0");
    return ig_hf_real(h, o, key, out);
}

static ig_status need_factor(const ig_hf *h, const json_t *o, double *out)
{
    IG_TRY(need_real(h, o, "factor", out));
    return *out >= 1 ? IG_OK : ig_hf_bad(h, "factor", ig_hf_value(o, "factor"), "a number of at least 1");
}

/* Context the model was trained on before scaling: in the object or beside it, else what config.json says now. */
static ig_status original_context(const ig_hf *h, const json_t *o, uint32_t *out)
{
    *out = h->n_ctx;
    IG_TRY(ig_hf_size(h, h->config, "original_max_position_embeddings", out));
    return ig_hf_size(h, o, "original_max_position_embeddings", out);
}

/* ------------------------------------------------------------------------------------------------ kinds */

static ig_status read_default(ig_hf *h, const rope *r)
{
    static const char *const keys[] = {NULL};
    return refuse_others(h, r->o, keys);
}

static ig_status read_linear(ig_hf *h, const rope *r)
{
    static const char *const keys[] = {"factor", NULL};
    double factor = 1;
    IG_TRY(refuse_others(h, r->o, keys));
    IG_TRY(need_factor(h, r->o, &factor));
    ig_hf_put_str(h, true, "rope.scaling.type", IG_STR("linear"));
    ig_hf_put_f32(h, true, "rope.scaling.factor", factor);
    return IG_OK;
}

/* 1 + 0.1 m ln factor */
static double yarn_magnitude(double factor, double m) { return factor > 1 ? 1 + 0.1 * m * log(factor) : 1; }

static ig_status read_yarn(ig_hf *h, const rope *r)
{
    static const char *const keys[] = {"factor",
                                       "original_max_position_embeddings",
                                       "attention_factor",
                                       "beta_fast",
                                       "beta_slow",
                                       "mscale",
                                       "mscale_all_dim",
                                       "truncate",
                                       NULL};
    double factor = 1, fast = 32, slow = 1, m = 0, m_all = 0, attention = 0;
    bool truncate = true;
    uint32_t n_orig;
    IG_TRY(refuse_others(h, r->o, keys));
    IG_TRY(need_factor(h, r->o, &factor));
    IG_TRY(original_context(h, r->o, &n_orig));
    IG_TRY(ig_hf_real(h, r->o, "beta_fast", &fast));
    IG_TRY(ig_hf_real(h, r->o, "beta_slow", &slow));
    IG_TRY(ig_hf_real(h, r->o, "mscale", &m));
    IG_TRY(ig_hf_real(h, r->o, "mscale_all_dim", &m_all));
    IG_TRY(ig_hf_real(h, r->o, "attention_factor", &attention));
    IG_TRY(ig_hf_flag(h, r->o, "truncate", &truncate));
    if (!truncate) return ig_hf_bad(h, "truncate", ig_hf_value(r->o, "truncate"), "true");
    if (attention == 0 && m > 0 && m_all > 0) attention = yarn_magnitude(factor, m) / yarn_magnitude(factor, m_all);
    ig_hf_put_str(h, true, "rope.scaling.type", IG_STR("yarn"));
    ig_hf_put_f32(h, true, "rope.scaling.factor", factor);
    ig_hf_put_u32(h, true, "rope.scaling.original_context_length", n_orig);
    if (fast != 32) ig_hf_put_f32(h, true, "rope.scaling.yarn_beta_fast", fast);
    if (slow != 1) ig_hf_put_f32(h, true, "rope.scaling.yarn_beta_slow", slow);
    if (attention > 0) ig_hf_put_f32(h, true, "rope.scaling.attn_factor", attention / yarn_magnitude(factor, 1));
    return IG_OK;
}

static float *new_factors(ig_hf *h)
{
    float *x = ig_arena_alloc(&h->f->arena, h->n_rot / 2, sizeof *x);
    if (!x) (void)ig_fail(h->err, IG_NO_MEMORY, 0, "%.200s: out of memory for its rope factors", h->path);
    return x;
}

/* Divisor of a frequency: 1 for short waves, `factor` for waves longer than the original context, between them a mean
 * of the two frequencies. */
static ig_status read_llama3(ig_hf *h, const rope *r)
{
    static const char *const keys[] = {"factor", "low_freq_factor", "high_freq_factor",
                                       "original_max_position_embeddings", NULL};
    double factor = 1, low = 1, high = 1;
    uint32_t n_orig;
    IG_TRY(refuse_others(h, r->o, keys));
    IG_TRY(need_factor(h, r->o, &factor));
    IG_TRY(need_real(h, r->o, "low_freq_factor", &low));
    IG_TRY(need_real(h, r->o, "high_freq_factor", &high));
    IG_TRY(original_context(h, r->o, &n_orig));
    if (!(high > low))
        return ig_hf_bad(h, "high_freq_factor", ig_hf_value(r->o, "high_freq_factor"), "low_freq_factor or more");
    h->rope_freqs = new_factors(h);
    if (!h->rope_freqs) return IG_NO_MEMORY;
    for (uint32_t i = 0; i < h->n_rot / 2; i++) {
        double wave = 2 * M_PI * pow(r->base, 2.0 * i / h->n_rot), turns = n_orig / wave;
        double smooth = fmin(1, fmax(0, (turns - low) / (high - low)));
        h->rope_freqs[i] = (float)(1 / ((1 - smooth) / factor + smooth));
    }
    return IG_OK;
}

static ig_status read_factors(ig_hf *h, const json_t *o, const char *key, float **out)
{
    const json_t *list = ig_hf_value(o, key);
    if (!json_is_array(list) || json_array_size(list) != h->n_rot / 2)
        return ig_hf_bad(h, key, list, "an array with one number for each pair of rotated values");
    *out = new_factors(h);
    if (!*out) return IG_NO_MEMORY;
    for (uint32_t i = 0; i < h->n_rot / 2; i++) {
        const json_t *v = json_array_get(list, i);
        (*out)[i] = (float)json_number_value(v);
        if (!((*out)[i] > 0) || !isfinite((*out)[i])) return ig_hf_bad(h, key, v, "numbers above 0");
    }
    return IG_OK;
}

static ig_status read_longrope(ig_hf *h, const rope *r)
{
    static const char *const keys[] = {
        "long_factor", "short_factor", "factor", "attention_factor", "original_max_position_embeddings", NULL};
    double factor = 0, attention = 0;
    uint32_t n_orig;
    IG_TRY(refuse_others(h, r->o, keys));
    IG_TRY(original_context(h, r->o, &n_orig));
    IG_TRY(ig_hf_real(h, r->o, "factor", &factor));
    IG_TRY(ig_hf_real(h, r->o, "attention_factor", &attention));
    IG_TRY(read_factors(h, r->o, "long_factor", &h->rope_long));
    IG_TRY(read_factors(h, r->o, "short_factor", &h->rope_short));
    if (factor == 0 || ig_hf_value(h->config, "original_max_position_embeddings")) factor = (double)h->n_ctx / n_orig;
    if (attention == 0) attention = factor > 1 && n_orig > 1 ? sqrt(1 + log(factor) / log(n_orig)) : 1;
    ig_hf_put_f32(h, true, "rope.scaling.attn_factor", attention);
    return IG_OK;
}

static const struct {
    const char *name;
    uint32_t flag; /* the row must have it; 0: every row does */
    ig_status (*read)(ig_hf *h, const rope *r);
} kinds[] = {
    {"default", 0, read_default},
    {"linear", 0, read_linear},
    {"yarn", 0, read_yarn},
    {"llama3", IG_HF_LLAMA3, read_llama3},
    {"longrope", IG_HF_LONGROPE, read_longrope},
    {"su", IG_HF_LONGROPE, read_longrope},
};

static ig_status read_kind(ig_hf *h, const rope *r)
{
    if (!r->o) return IG_OK;
    const json_t *type = ig_hf_value(r->o, "rope_type");
    if (!type) type = ig_hf_value(r->o, "type");
    const char *name = json_is_string(type) ? json_string_value(type) : type ? "" : "default";
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(name, kinds[i].name) && (kinds[i].flag & ~h->row->flags) == 0) return kinds[i].read(h, r);
    return ig_hf_unsupported(h, "rope_scaling.rope_type", type, "a kind of scaling that this kind of model has here");
}

/* ------------------------------------------------------------------------------------------------ places */

static ig_status as_object(const ig_hf *h, const char *key, const json_t **out)
{
    *out = ig_hf_value(h->config, key);
    return !*out || json_is_object(*out) ? IG_OK : ig_hf_bad(h, key, *out, "an object");
}

/* Layers with windows rotate without scaling. */
static ig_status read_windowed(const ig_hf *h, const json_t *o, double *base)
{
    static const char *const keys[] = {NULL};
    const json_t *type = ig_hf_value(o, "rope_type");
    if (!json_is_object(o)) return ig_hf_bad(h, "rope_parameters.sliding_attention", o, "an object");
    if (type && strcmp(json_is_string(type) ? json_string_value(type) : "", "default") != 0)
        return ig_hf_bad(h, "rope_parameters.sliding_attention.rope_type", type, "default");
    IG_TRY(refuse_others(h, o, keys));
    return ig_hf_real(h, o, "rope_theta", base);
}

static ig_status find_scaling(const ig_hf *h, rope *r)
{
    const json_t *p;
    IG_TRY(as_object(h, "rope_scaling", &r->o));
    IG_TRY(as_object(h, "rope_parameters", &p));
    IG_TRY(ig_hf_real(h, h->config, "rope_theta", &r->base));
    IG_TRY(ig_hf_real(h, h->config, "rope_local_base_freq", &r->base_windowed));
    if (p && json_object_size(p)) r->o = p;
    if (r->o == p && h->row->flags & IG_HF_LOCAL_ROPE && ig_hf_value(p, "full_attention")) {
        static const char *const keys[] = {"full_attention", "sliding_attention", NULL};
        IG_TRY(refuse_others(h, p, keys));
        IG_TRY(read_windowed(h, ig_hf_value(p, "sliding_attention"), &r->base_windowed));
        r->o = ig_hf_value(p, "full_attention");
        if (!json_is_object(r->o)) return ig_hf_bad(h, "rope_parameters.full_attention", r->o, "an object");
    }
    return ig_hf_real(h, r->o, "rope_theta", &r->base);
}

/* How many values of a head are rotated. */
static ig_status read_rotated(ig_hf *h, const rope *r)
{
    double part = 1;
    IG_TRY(ig_hf_real(h, h->config, "partial_rotary_factor", &part));
    IG_TRY(ig_hf_real(h, r->o, "partial_rotary_factor", &part));
    h->n_rot = part <= 1 ? (uint32_t)(h->head_size * part) : 0;
    IG_TRY(ig_hf_size(h, h->config, "rotary_dim", &h->n_rot));
    if (h->n_rot == 0 || h->n_rot % 2 || h->n_rot > h->head_size)
        return ig_fail(h->err, IG_BAD_INPUT, 0,
                       "%.200s: %u of the %u values of a head are rotated (\"rotary_dim\", \"partial_rotary_factor\"), "
                       "expected an even number, at most all of them",
                       h->path, h->n_rot, h->head_size);
    return IG_OK;
}

ig_status ig_hf_rope_read(ig_hf *h)
{
    rope r = {.base = h->row->rope_base, .base_windowed = 10000};
    IG_TRY(find_scaling(h, &r));
    IG_TRY(read_rotated(h, &r));
    ig_hf_put_u32(h, true, "rope.dimension_count", h->n_rot);
    ig_hf_put_f32(h, true, "rope.freq_base", r.base);
    if (h->row->flags & IG_HF_LOCAL_ROPE) ig_hf_put_f32(h, true, "rope.freq_base_swa", r.base_windowed);
    if (h->row->flags & IG_HF_HALF_SPLIT) ig_hf_put_bool(h, false, "ingle.rope.half_split", true);
    if (h->row->flags & IG_HF_LONGROPE) {
        uint32_t n_orig;
        IG_TRY(original_context(h, r.o, &n_orig));
        ig_hf_put_u32(h, true, "rope.scaling.original_context_length", n_orig);
    }
    return read_kind(h, &r);
}
