/* Rotary position embedding: the inverse frequencies of every pair with scaling folded in.
 * RoPE: Su et al. 2021 (arXiv 2104.09864). YaRN: Peng et al. 2023 (arXiv 2309.00071). Llama 3's frequency factors come
 * as the tensor rope_freqs.weight, Phi 3's (LongRoPE, Ding et al. 2024, arXiv 2402.13753) as two. All of it is computed in binary64; only cosine and sine are rounded to binary32. */
#include <math.h>

#include "model/hparams.h"

typedef struct scaling {
    ig_str type; /* "none", "linear", "yarn", "longrope" */
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
    static const char *const known[] = {"none", "linear", "yarn", "longrope"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (ig_str_is(s->type, known[i])) return IG_OK;
    return ig_fail(err, IG_UNSUPPORTED, 0, "%s: %s is \"%.*s\", expected none, linear, yarn or longrope",
                   ig_format_path(f), key, IG_STR_ARG(s->type));
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

/* Axes of multi-axis rotation: for text all but the fourth stand at the token's position, the fourth at 0. */
typedef struct axes {
    uint32_t n[4], sum;
} axes;

static ig_status read_axes(const ig_model *m, axes *a, ig_error *err)
{
    char key[128];
    const ig_meta *list;
    *a = (axes){{0}, 0};
    if (m->arch->rope != IG_ROPE_MROPE && m->arch->rope != IG_ROPE_IMROPE) return IG_OK;
    IG_TRY(ig_format_array(m->file, ig_arch_key(m->arch, "rope.dimension_sections", key), true, IG_META_I32, &list, err));
    for (uint64_t i = 0; i < 4 && i < list->n; i++) {
        int64_t v = ig_meta_int(list, i);
        if (v < 0 || v > IG_HEAD_SIZE_MAX)
            return ig_fail(err, IG_BAD_INPUT, 0, "%s: value %llu of %s is %lld, expected 0 to %d",
                           ig_format_path(m->file), (unsigned long long)i, key, (long long)v, IG_HEAD_SIZE_MAX);
        a->n[i] = (uint32_t)v;
        a->sum += a->n[i];
    }
    if (a->sum) return IG_OK;
    return ig_fail(err, IG_BAD_INPUT, 0, "%s: %s gives no axis any pair", ig_format_path(m->file), key);
}

static bool stands_still(const ig_model *m, const axes *a, uint32_t pair)
{
    if (a->sum == 0) return false;
    uint32_t s = pair % a->sum;
    if (m->arch->rope == IG_ROPE_MROPE) return s >= a->n[0] + a->n[1] + a->n[2];
    return !((s % 3 == 1 && s < 3 * a->n[1]) || (s % 3 == 2 && s < 3 * a->n[2]) || (s % 3 == 0 && s < 3 * a->n[0]));
}

typedef struct table { /* what one set of frequencies is made from */
    double base;
    uint32_t n_rot;
    bool scaled;
    const float *factors;
} table;

static ig_status fill(ig_model *m, const scaling *s, const table *t, const axes *a, double **out, ig_error *err)
{
    bool yarn = t->scaled && ig_str_is(s->type, "yarn");
    double *freq = *out = ig_arena_alloc(&m->arena, t->n_rot / 2, sizeof(double));
    if (!freq) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for %u rope frequencies", t->n_rot / 2);
    for (uint32_t i = 0; i < t->n_rot / 2; i++) {
        double ff = t->factors ? (double)t->factors[i] : 1;
        if (!(ff > 0) || isinf(ff))
            return ig_fail(err, IG_BAD_INPUT, 0, "%s: value %u of the rope factors is %g, expected a number above 0",
                           ig_format_path(m->file), i, ff);
        double plain = pow(t->base, -2.0 * i / t->n_rot) / ff, slow = t->scaled ? plain / s->factor : plain;
        double ramp = yarn ? yarn_ramp(s, t->base, t->n_rot, i) : 0;
        freq[i] = stands_still(m, a, i) ? 0 : slow * (1 - ramp) + plain * ramp;
    }
    return IG_OK;
}

static ig_status magnitude(const ig_model *m, const scaling *s, bool scaled, double *out, ig_error *err)
{
    double ln = log(s->factor), l = s->log_multiplier;
    *out = scaled ? s->attn_factor : 1;
    if (scaled && ig_str_is(s->type, "yarn") && !ig_part_on(m, IG_PART_MLA)) *out *= (1 + 0.1 * ln) / (1 + 0.1 * l * ln);
    if (*out > 0 && !isinf(*out)) return IG_OK;
    return ig_fail(err, IG_BAD_INPUT, 0, "%s: rope scaling gives a magnitude of %g, expected a number above 0",
                   ig_format_path(m->file), *out);
}

static ig_status read_bases(const ig_model *m, uint32_t head_k, float base[2], ig_error *err)
{
    const ig_reader r = {m->file, m->arch, err};
    float alpha = 0;
    base[0] = 10000;
    IG_TRY(ig_key_float(&r, "rope.freq_base", false, true, &base[0]));
    base[1] = m->arch->swa_base > 0 ? m->arch->swa_base : base[0];
    IG_TRY(ig_key_float(&r, "rope.freq_base_swa", false, true, &base[1]));
    if (ig_part_on(m, IG_PART_NTK_ALPHA)) IG_TRY(ig_key_float(&r, "rope.scaling.alpha", false, false, &alpha));
    if (alpha > 0 && head_k > 2) base[0] = (float)((double)base[0] * pow(alpha, (double)head_k / (head_k - 2.0)));
    for (int i = 0; i < 2; i++)
        if (!(base[i] > 1) || isinf(base[i]))
            return ig_fail(err, IG_BAD_INPUT, 0, "%s: %s.rope.freq_base%s is %g, expected a number above 1",
                           ig_format_path(m->file), m->arch->name, i ? "_swa" : "", (double)base[i]);
    return IG_OK;
}

static const ig_layer *first_with(const ig_model *m, int rope)
{
    for (uint32_t l = 0; l < m->hp.n_layers; l++)
        if (m->layers[l].rope == rope) return &m->layers[l];
    return NULL;
}

static ig_status init_table(ig_model *m, int r, const scaling *s, const axes *a, float base, ig_error *err)
{
    const ig_layer *w = first_with(m, r);
    if (!w) return IG_OK;
    ig_rope *rope = &m->ropes[r];
    table t = {.base = base, .n_rot = w->n_rot, .scaled = r == 0 || !ig_part_on(m, IG_PART_UNSCALED_WINDOW)};
    bool factors = r == 0 || !ig_part_on(m, IG_PART_FACTORS_ON_FULL);
    t.factors = !factors ? NULL : m->factors_short ? m->factors_short : m->rope_factors;
    rope->n_pairs = w->n_rot / 2;
    rope->n_orig = s->n_orig;
    IG_TRY(fill(m, s, &t, a, &rope->inv_freq, err));
    IG_TRY(magnitude(m, s, t.scaled, &rope->magnitude, err));
    if (!factors || !m->factors_long) return IG_OK;
    t.factors = m->factors_long;
    return fill(m, s, &t, a, &rope->inv_freq_long, err);
}

/* DeepSeek: with YaRN the scores of latent attention grow by mscale squared. */
static void scale_latent(ig_model *m, const scaling *s)
{
    if (!ig_str_is(s->type, "yarn")) return;
    double mscale = 1 + (double)s->log_multiplier * log(s->factor);
    for (uint32_t l = 0; l < m->hp.n_layers + m->hp.n_draft; l++)
        if (m->layers[l].latent) m->layers[l].attn_scale *= (float)(mscale * mscale);
}

ig_status ig_rope_init(ig_model *m, ig_error *err)
{
    const ig_layer *w = first_with(m, 0) ? first_with(m, 0) : first_with(m, 1);
    float base[2];
    scaling s;
    axes a;
    if (!w) return IG_OK;
    IG_TRY(read_bases(m, w->head_k, base, err));
    IG_TRY(read_scaling(m, &s, err));
    IG_TRY(read_axes(m, &a, err));
    for (int r = 0; r < 2; r++) {
        IG_TRY(init_table(m, r, &s, &a, base[r], err));
        m->ropes[r].at = m->angles_width;
        m->angles_width += 2 * m->ropes[r].n_pairs;
    }
    m->n_ropes = 2;
    scale_latent(m, &s);
    return IG_OK;
}
