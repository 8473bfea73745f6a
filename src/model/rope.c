/* Rotary position embedding: the inverse frequencies of every pair with scaling folded in.
 * RoPE: Su et al. 2021 (arXiv 2104.09864). YaRN: Peng et al. 2023 (arXiv 2309.00071). Llama 3's frequency factors come
 * as the tensor rope_freqs.weight. All of it is computed in binary64; only cosine and sine are rounded to binary32. */
#include <math.h>

#include "model/plan.h"

typedef struct scaling {
    ig_str type; /* "none", "linear", "yarn" */
    float factor, attn_factor, beta_fast, beta_slow, log_multiplier;
    uint32_t n_orig;
} scaling;

static ig_status positive(const ig_model *m, const char *key, float v, ig_error *err)
{
    if (v > 0) return IG_OK;
    return ig_fail(err, IG_BAD_INPUT, 0, "%s: %s is %g, expected a number above 0", ig_format_path(m->file), key,
                   (double)v);
}

static ig_status read_scaling(const ig_model *m, scaling *s, ig_error *err)
{
    const ig_format *f = m->file;
    char key[128];
    *s = (scaling){
        .type = IG_STR("linear"), .attn_factor = 1, .beta_fast = 32, .beta_slow = 1, .n_orig = m->hp.n_ctx_train};
    IG_TRY(ig_format_str(f, ig_arch_key(m->arch, "rope.scaling.type", key), false, &s->type, err));
    IG_TRY(ig_format_f32(f, ig_arch_key(m->arch, "rope.scale_linear", key), false, &s->factor, err));
    IG_TRY(ig_format_f32(f, ig_arch_key(m->arch, "rope.scaling.factor", key), false, &s->factor, err));
    if (s->factor == 0) s->factor = 1; /* absent, or written as 0 for "none" */
    IG_TRY(positive(m, ig_arch_key(m->arch, "rope.scaling.factor", key), s->factor, err));
    IG_TRY(ig_format_f32(f, ig_arch_key(m->arch, "rope.scaling.attn_factor", key), false, &s->attn_factor, err));
    IG_TRY(positive(m, key, s->attn_factor, err));
    IG_TRY(ig_format_f32(f, ig_arch_key(m->arch, "rope.scaling.yarn_beta_fast", key), false, &s->beta_fast, err));
    IG_TRY(positive(m, key, s->beta_fast, err));
    IG_TRY(ig_format_f32(f, ig_arch_key(m->arch, "rope.scaling.yarn_beta_slow", key), false, &s->beta_slow, err));
    IG_TRY(positive(m, key, s->beta_slow, err));
    IG_TRY(ig_format_f32(f, ig_arch_key(m->arch, "rope.scaling.yarn_log_multiplier", key), false, &s->log_multiplier,
                         err));
    IG_TRY(ig_format_u32(f, ig_arch_key(m->arch, "rope.scaling.original_context_length", key), false, &s->n_orig, err));
    if (s->n_orig == 0 || s->n_orig > 1u << 24)
        return ig_fail(err, IG_BAD_INPUT, 0, "%s: %s is %u, expected 1 to %u", ig_format_path(f), key, s->n_orig,
                       1u << 24);
    ig_arch_key(m->arch, "rope.scaling.type", key);
    if (ig_str_is(s->type, "none")) s->factor = 1;
    if (ig_str_is(s->type, "none") || ig_str_is(s->type, "linear") || ig_str_is(s->type, "yarn")) return IG_OK;
    return ig_fail(err, IG_UNSUPPORTED, 0, "%s: %s is \"%.*s\", expected none, linear or yarn", ig_format_path(f), key,
                   IG_STR_ARG(s->type));
}

/* Pair index whose wave turns b times over the original context. */
static double correction(const scaling *s, double base, uint32_t n_rot, double b)
{
    return n_rot * log(s->n_orig / (2 * M_PI * b)) / (2 * log(base));
}

static double yarn_ramp(const scaling *s, double base, uint32_t n_rot, uint32_t pair)
{
    double low = fmax(0, floor(correction(s, base, n_rot, s->beta_fast)));
    double high = fmin(n_rot - 1.0, ceil(correction(s, base, n_rot, s->beta_slow)));
    double t = (pair - low) / fmax(0.001, high - low);
    return 1 - fmin(1, fmax(0, t));
}

ig_status ig_rope_init(const ig_format *f, ig_model *m, ig_error *err)
{
    char key[128];
    if (m->arch->rope == IG_ROPE_NONE) return IG_OK;
    float base = 10000;
    IG_TRY(ig_format_f32(f, ig_arch_key(m->arch, "rope.freq_base", key), false, &base, err));
    if (!(base > 1))
        return ig_fail(err, IG_BAD_INPUT, 0, "%s: %s is %g, expected a number above 1", ig_format_path(f), key,
                       (double)base);
    scaling s;
    IG_TRY(read_scaling(m, &s, err));
    uint32_t n_pairs = m->hp.n_rot / 2;
    m->rope.n_pairs = n_pairs;
    m->rope.inv_freq = ig_arena_alloc(&m->arena, n_pairs, sizeof(double));
    if (!m->rope.inv_freq) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for %u rope frequencies", n_pairs);
    bool yarn = ig_str_is(s.type, "yarn");
    for (uint32_t i = 0; i < n_pairs; i++) {
        double ff = m->rope_factors ? (double)m->rope_factors[i] : 1;
        if (!(ff > 0) || isinf(ff))
            return ig_fail(err, IG_BAD_INPUT, 0, "%s: value %u of rope_freqs.weight is %g, expected a number above 0",
                           ig_format_path(f), i, ff);
        double plain = pow(base, -2.0 * i / m->hp.n_rot) / ff, slow = plain / s.factor;
        double ramp = yarn ? yarn_ramp(&s, base, m->hp.n_rot, i) : 0;
        m->rope.inv_freq[i] = slow * (1 - ramp) + plain * ramp;
    }
    double ln = log(s.factor), l = s.log_multiplier;
    m->rope.magnitude = s.attn_factor;
    if (yarn) m->rope.magnitude *= (1 + 0.1 * ln) / (1 + 0.1 * l * ln);
    if (!(m->rope.magnitude > 0) || isinf(m->rope.magnitude))
        return ig_fail(err, IG_BAD_INPUT, 0, "%s: rope scaling gives a magnitude of %g, expected a number above 0",
                       ig_format_path(f), m->rope.magnitude);
    return IG_OK;
}
