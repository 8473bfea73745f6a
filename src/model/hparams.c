/* Hyper-parameters from metadata. Every number is range-checked here (rule G16), so that later code may multiply and
 * divide without fear: all are at most 2^24 and the products used stay far below 2^63. */
#include <math.h>
#include <stdio.h>

#include "model/plan.h"

enum {
    LAYERS_MAX = 1024,
    EMBD_MAX = 1 << 20,
    FF_MAX = 1 << 22,
    HEADS_MAX = 4096,
    HEAD_SIZE_MAX = 1024,
    EXPERTS_MAX = 4096,
    CTX_MAX = 1 << 24
};

const char *ig_arch_key(const ig_arch *arch, const char *name, char out[128])
{
    (void)snprintf(out, 128, "%s.%s", arch->name, name);
    return out;
}

typedef struct reader {
    const ig_format *f;
    const ig_arch *arch;
    ig_error *err;
} reader;

/* Number under `name` in 1..max (0 is a mistake for every size read here). */
static ig_status size_key(const reader *r, const char *name, bool required, uint32_t max, uint32_t *out)
{
    char key[128];
    ig_arch_key(r->arch, name, key);
    IG_TRY(ig_format_u32(r->f, key, required, out, r->err));
    if ((!required && !ig_format_meta(r->f, key)) || (*out >= 1 && *out <= max)) return IG_OK;
    return ig_fail(r->err, IG_BAD_INPUT, 0, "%s: %s is %u, expected 1 to %u", ig_format_path(r->f), key, *out, max);
}

static ig_status float_key(const reader *r, const char *name, bool required, bool positive, float *out)
{
    char key[128];
    ig_arch_key(r->arch, name, key);
    IG_TRY(ig_format_f32(r->f, key, required, out, r->err));
    if (!positive || !ig_format_meta(r->f, key) || *out > 0) return IG_OK;
    return ig_fail(r->err, IG_BAD_INPUT, 0, "%s: %s is %g, expected a number above 0", ig_format_path(r->f), key,
                   (double)*out);
}

static ig_status read_heads(const reader *r, ig_hparams *hp)
{
    const char *path = ig_format_path(r->f), *a = r->arch->name;
    IG_TRY(size_key(r, "attention.head_count", true, HEADS_MAX, &hp->n_heads));
    hp->n_heads_kv = hp->n_heads;
    IG_TRY(size_key(r, "attention.head_count_kv", false, HEADS_MAX, &hp->n_heads_kv));
    if (hp->n_heads % hp->n_heads_kv)
        return ig_fail(r->err, IG_BAD_INPUT, 0,
                       "%s: %s.attention.head_count_kv is %u, expected a divisor of attention.head_count %u", path, a,
                       hp->n_heads_kv, hp->n_heads);
    char key[128];
    bool given = ig_format_meta(r->f, ig_arch_key(r->arch, "attention.key_length", key)) != NULL;
    if (!given && hp->n_embd % hp->n_heads)
        return ig_fail(r->err, IG_BAD_INPUT, 0,
                       "%s: %s.attention.head_count is %u, expected a divisor of embedding_length %u", path, a,
                       hp->n_heads, hp->n_embd);
    hp->head_k = hp->head_v = hp->n_embd / hp->n_heads;
    IG_TRY(size_key(r, "attention.key_length", false, HEAD_SIZE_MAX, &hp->head_k));
    IG_TRY(size_key(r, "attention.value_length", false, HEAD_SIZE_MAX, &hp->head_v));
    if (hp->head_k == 0 || hp->head_v == 0 || hp->head_k > HEAD_SIZE_MAX || hp->head_v > HEAD_SIZE_MAX)
        return ig_fail(r->err, IG_BAD_INPUT, 0, "%s: heads of %s have %u and %u values, expected 1 to %d", path, a,
                       hp->head_k, hp->head_v, HEAD_SIZE_MAX);
    hp->n_rot = hp->head_k;
    IG_TRY(size_key(r, "rope.dimension_count", false, HEAD_SIZE_MAX, &hp->n_rot));
    if (hp->n_rot % 2 || hp->n_rot > hp->head_k || (r->arch->full_rope && hp->n_rot != hp->head_k))
        return ig_fail(r->err, IG_BAD_INPUT, 0, "%s: %s.rope.dimension_count is %u, expected %s %u", path, a, hp->n_rot,
                       r->arch->full_rope ? "the even head size" : "an even number of at most", hp->head_k);
    return IG_OK;
}

static ig_status read_experts(const reader *r, ig_hparams *hp)
{
    char key[128];
    IG_TRY(ig_format_u32(r->f, ig_arch_key(r->arch, "expert_count", key), false, &hp->n_experts, r->err));
    IG_TRY(ig_format_u32(r->f, ig_arch_key(r->arch, "expert_used_count", key), false, &hp->n_experts_used, r->err));
    hp->n_ff_expert = hp->n_ff;
    IG_TRY(size_key(r, "expert_feed_forward_length", false, FF_MAX, &hp->n_ff_expert));
    hp->expert_scale = 1;
    IG_TRY(float_key(r, "expert_weights_scale", false, false, &hp->expert_scale));
    if (hp->expert_scale == 0) hp->expert_scale = 1;
    if (hp->n_experts == 0 && hp->n_experts_used == 0) return IG_OK;
    if (hp->n_experts > EXPERTS_MAX || hp->n_experts_used < 1 || hp->n_experts_used > hp->n_experts)
        return ig_fail(r->err, IG_BAD_INPUT, 0,
                       "%s: %s uses %u of %u experts, expected at least 1 used, at most all of them, and at most %d",
                       ig_format_path(r->f), r->arch->name, hp->n_experts_used, hp->n_experts, EXPERTS_MAX);
    return IG_OK;
}

static ig_status read_temperature(const reader *r, ig_hparams *hp)
{
    if (!r->arch->attn_temperature) return IG_OK;
    IG_TRY(float_key(r, "attention.temperature_scale", false, false, &hp->temp_scale));
    if (hp->temp_scale == 0) return IG_OK;
    return size_key(r, "rope.scaling.original_context_length", true, CTX_MAX, &hp->temp_len);
}

ig_status ig_hparams_read(const ig_format *f, const ig_arch *arch, ig_hparams *hp, ig_error *err)
{
    const reader r = {f, arch, err};
    *hp = (ig_hparams){0};
    IG_TRY(size_key(&r, "context_length", true, CTX_MAX, &hp->n_ctx_train));
    IG_TRY(size_key(&r, "embedding_length", true, EMBD_MAX, &hp->n_embd));
    IG_TRY(size_key(&r, "block_count", true, LAYERS_MAX, &hp->n_layers));
    IG_TRY(size_key(&r, "feed_forward_length", true, FF_MAX, &hp->n_ff));
    IG_TRY(float_key(&r, "attention.layer_norm_rms_epsilon", true, true, &hp->norm_eps));
    IG_TRY(read_heads(&r, hp));
    hp->attn_scale = 0;
    IG_TRY(float_key(&r, "attention.scale", false, false, &hp->attn_scale));
    if (hp->attn_scale == 0) hp->attn_scale = (float)(1.0 / sqrt((double)hp->head_k));
    IG_TRY(read_experts(&r, hp));
    return read_temperature(&r, hp);
}
