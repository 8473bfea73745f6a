/* Hyper-parameters from metadata. Every number is range-checked here (rule G16), so that later code may multiply and
 * divide without fear: all are at most 2^24 and the products used stay far below 2^63. */
#include "model/hparams.h"

#include <math.h>
#include <stdio.h>

const char *ig_arch_key(const ig_arch *arch, const char *name, char out[128])
{
    (void)snprintf(out, 128, "%s.%s", arch->name, name);
    return out;
}

bool ig_key_given(const ig_reader *r, const char *name)
{
    char key[128];
    return ig_format_meta(r->f, ig_arch_key(r->arch, name, key)) != NULL;
}

ig_status ig_key_size(const ig_reader *r, const char *name, bool required, uint32_t min, uint32_t max, uint32_t *out)
{
    char key[128];
    ig_arch_key(r->arch, name, key);
    IG_TRY(ig_format_u32(r->f, key, required, out, r->err));
    if ((!required && !ig_format_meta(r->f, key)) || (*out >= min && *out <= max)) return IG_OK;
    return ig_fail(r->err, IG_BAD_INPUT, 0, "%s: %s is %u, expected %u to %u", ig_format_path(r->f), key, *out, min,
                   max);
}

ig_status ig_key_float(const ig_reader *r, const char *name, bool required, bool positive, float *out)
{
    char key[128];
    ig_arch_key(r->arch, name, key);
    IG_TRY(ig_format_f32(r->f, key, required, out, r->err));
    if (!positive || !ig_format_meta(r->f, key) || *out > 0) return IG_OK;
    return ig_fail(r->err, IG_BAD_INPUT, 0, "%s: %s is %g, expected a number above 0", ig_format_path(r->f), key,
                   (double)*out);
}

ig_status ig_key_bool(const ig_reader *r, const char *name, bool *out)
{
    char key[128];
    return ig_format_bool(r->f, ig_arch_key(r->arch, name, key), false, out, r->err);
}

/* Sizes that are plain keys: one row each. */
typedef struct size_row {
    const char *key;
    size_t field;
    uint32_t min, max;
} size_row;
#define FIELD(name) offsetof(ig_hparams, name)
static const size_row sizes[] = {
    {"attention.q_lora_rank", FIELD(q_lora), 0, IG_EMBD_MAX},
    {"attention.kv_lora_rank", FIELD(kv_lora), 1, IG_HEAD_SIZE_MAX},
    {"ssm.conv_kernel", FIELD(d_conv), 1, IG_CONV_MAX},
    {"shortconv.l_cache", FIELD(d_conv), 1, IG_CONV_MAX},
    {"ssm.inner_size", FIELD(d_inner), 1, IG_EMBD_MAX},
    {"ssm.state_size", FIELD(d_state), 1, IG_HEAD_SIZE_MAX},
    {"kda.head_dim", FIELD(d_state), 1, IG_HEAD_SIZE_MAX},
    {"wkv.head_size", FIELD(d_state), 1, IG_HEAD_SIZE_MAX},
    {"ssm.time_step_rank", FIELD(dt_rank), 1, IG_EMBD_MAX},
    {"ssm.group_count", FIELD(n_group), 0, IG_HEADS_MAX},
    {"attention.decay_lora_rank", FIELD(lora_decay), 1, IG_EMBD_MAX},
    {"attention.iclr_lora_rank", FIELD(lora_iclr), 1, IG_EMBD_MAX},
    {"attention.value_residual_mix_lora_rank", FIELD(lora_value), 1, IG_EMBD_MAX},
    {"attention.gate_lora_rank", FIELD(lora_gate), 1, IG_EMBD_MAX},
    {"attention.indexer.head_count", FIELD(idx_heads), 1, 1024},
    {"attention.indexer.key_length", FIELD(idx_head), 2, IG_HEAD_SIZE_MAX},
    {"attention.indexer.top_k", FIELD(idx_top_k), 1, IG_CTX_MAX},
    {"attention.indexer.block_size", FIELD(idx_block), 1, IG_CTX_MAX},
    {"attention.indexer.local_blocks", FIELD(idx_local), 0, IG_CTX_MAX},
    {"attention.relative_buckets_count", FIELD(n_buckets), 2, 4096},
    {"decoder_block_count", FIELD(n_layers_dec), 1, IG_LAYERS_MAX},
    {"embedding_length_per_layer_input", FIELD(n_embd_layer), 0, IG_EMBD_MAX},
};
#undef FIELD

static ig_status read_sizes(const ig_reader *r, ig_hparams *hp)
{
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        IG_TRY(ig_key_size(r, sizes[i].key, false, sizes[i].min, sizes[i].max,
                           (uint32_t *)(void *)((char *)hp + sizes[i].field)));
    return IG_OK;
}

static ig_status read_experts(const ig_reader *r, ig_hparams *hp)
{
    char key[128];
    uint32_t gating = 0, shared = 0;
    IG_TRY(ig_format_u32(r->f, ig_arch_key(r->arch, "expert_count", key), false, &hp->n_experts, r->err));
    IG_TRY(ig_format_u32(r->f, ig_arch_key(r->arch, "expert_used_count", key), false, &hp->n_experts_used, r->err));
    IG_TRY(ig_key_size(r, "expert_feed_forward_length", false, 1, IG_FF_MAX, &hp->n_ff_expert));
    IG_TRY(ig_key_size(r, "expert_shared_count", false, 0, 4096, &shared));
    if (shared) hp->n_ff_shared = shared;
    hp->expert_scale = 1;
    IG_TRY(ig_key_float(r, "expert_weights_scale", false, false, &hp->expert_scale));
    if (hp->expert_scale == 0) hp->expert_scale = 1;
    IG_TRY(ig_key_size(r, "expert_gating_func", false, 0, IG_GATING_SQRT_SOFTPLUS, &gating));
    hp->gating = gating ? (ig_gating)gating : r->arch->gating ? r->arch->gating : IG_GATING_SOFTMAX;
    hp->renorm = r->arch->renorm == IG_RENORM_YES;
    if (r->arch->renorm == IG_RENORM_KEY) IG_TRY(ig_key_bool(r, "expert_weights_norm", &hp->renorm));
    if (hp->n_experts == 0 && hp->n_experts_used == 0) return IG_OK;
    if (hp->n_experts > IG_EXPERTS_MAX || hp->n_experts_used < 1 || hp->n_experts_used > hp->n_experts)
        return ig_fail(r->err, IG_BAD_INPUT, 0,
                       "%s: %s uses %u of %u experts, expected at least 1 used, at most all of them, and at most %d",
                       ig_format_path(r->f), r->arch->name, hp->n_experts_used, hp->n_experts, IG_EXPERTS_MAX);
    IG_TRY(ig_key_size(r, "expert_group_count", false, 0, 512, &hp->expert_groups));
    IG_TRY(ig_key_size(r, "expert_group_used_count", false, 0, IG_EXPERTS_MAX, &hp->expert_groups_used));
    if (hp->expert_groups <= 1 || hp->expert_groups_used >= hp->expert_groups) hp->expert_groups = 0;
    if (hp->expert_groups == 0) return IG_OK;
    uint32_t per = hp->n_experts / hp->expert_groups;
    if (hp->n_experts % hp->expert_groups || per < 2 || hp->expert_groups_used == 0 ||
        (uint64_t)hp->expert_groups_used * per < hp->n_experts_used)
        return ig_fail(r->err, IG_BAD_INPUT, 0,
                       "%s: %s chooses %u experts from %u of %u groups of %u experts, which does not work out",
                       ig_format_path(r->f), r->arch->name, hp->n_experts_used, hp->expert_groups_used,
                       hp->expert_groups, hp->n_experts);
    return IG_OK;
}

static ig_status read_temperature(const ig_reader *r, ig_hparams *hp)
{
    bool unroped = (r->arch->parts & IG_PART_TEMPER_UNROPED) != 0;
    if (!unroped && !(r->arch->parts & IG_PART_TEMPERATURE)) return IG_OK;
    if (unroped) {
        hp->temp_scale = 0.1f;
        hp->temp_len = 8192;
        hp->temp_offset = 1;
    }
    IG_TRY(ig_key_float(r, "attention.temperature_scale", false, false, &hp->temp_scale));
    if (hp->temp_scale == 0) return IG_OK;
    IG_TRY(ig_key_size(r, "attention.temperature_length", false, 1, IG_CTX_MAX, &hp->temp_len));
    if (hp->temp_len) return IG_OK;
    return ig_key_size(r, "rope.scaling.original_context_length", true, 1, IG_CTX_MAX, &hp->temp_len);
}

static ig_status read_scales(const ig_reader *r, ig_hparams *hp)
{
    ig_scales kind = r->arch->scales;
    float logit = 1;
    hp->embd_scale = hp->residual_scale = hp->value_scale = 1;
    if (kind == IG_SCALES_MINICPM || kind == IG_SCALES_MINICPM3) {
        hp->embd_scale = 12;
        hp->residual_scale = (float)(1.4 / sqrt((double)hp->n_layers));
        logit = (float)(256.0 / hp->n_embd);
    }
    if (kind == IG_SCALES_KEYS || kind == IG_SCALES_MINICPM) {
        IG_TRY(ig_key_float(r, "embedding_scale", false, false, &hp->embd_scale));
        IG_TRY(ig_key_float(r, "residual_scale", false, false, &hp->residual_scale));
    }
    if (kind != IG_SCALES_NONE && kind != IG_SCALES_MINICPM3)
        IG_TRY(ig_key_float(r, "logit_scale", false, true, &logit));
    hp->logit_scale = kind == IG_SCALES_KEYS || kind == IG_SCALES_MINICPM ? 1 / logit : logit;
    if (r->arch->parts & IG_PART_EMBED_SQRT) hp->embd_scale = (float)sqrt((double)hp->n_embd);
    if (r->arch->parts & IG_PART_VALUE_SCALE) IG_TRY(ig_key_float(r, "attention.value_scale", false, true, &hp->value_scale));
    if (hp->embd_scale == 0) hp->embd_scale = 1; /* written as 0 for "none" */
    if (hp->residual_scale == 0) hp->residual_scale = 1;
    return IG_OK;
}

static ig_status read_caps(const ig_reader *r, ig_hparams *hp)
{
    if (r->arch->parts & IG_PART_SOFTCAPS) {
        hp->attn_softcap = 50;
        hp->final_softcap = 30;
    }
    if (r->arch->special == IG_SPECIAL_GEMMA3N) hp->final_softcap = 30;
    IG_TRY(ig_key_float(r, "attn_logit_softcapping", false, false, &hp->attn_softcap));
    IG_TRY(ig_key_float(r, "final_logit_softcapping", false, false, &hp->final_softcap));
    if (r->arch->parts & IG_PART_ALIBI) hp->alibi_max = 8;
    if (r->arch->parts & IG_PART_ALIBI) IG_TRY(ig_key_float(r, "attention.max_alibi_bias", false, false, &hp->alibi_max));
    if (r->arch->parts & IG_PART_CLAMP_KQV) IG_TRY(ig_key_float(r, "attention.clamp_kqv", false, false, &hp->clamp_kqv));
    if (hp->attn_softcap < 0 || hp->final_softcap < 0 || hp->alibi_max < 0 || hp->clamp_kqv < 0)
        return ig_fail(r->err, IG_BAD_INPUT, 0,
                       "%s: a soft cap, clamp or bias of %s is negative, expected a number from 0 up",
                       ig_format_path(r->f), r->arch->name);
    return IG_OK;
}

static ig_status read_eps(const ig_reader *r, ig_hparams *hp)
{
    hp->layer_norm = r->arch->norm == IG_NORM_LAYER ||
                     (r->arch->norm == IG_NORM_BY_KEY && !ig_key_given(r, "attention.layer_norm_rms_epsilon"));
    return ig_key_float(r, hp->layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", true,
                        true, &hp->norm_eps);
}

/* Converters wrote no pooling_type into the files of many reranking models; their classifier tells. */
static uint32_t default_pooling(const ig_reader *r)
{
    if (ig_format_tensor(r->f, "cls.output.weight")) return IG_POOLING_RANK;
    return r->arch->parts & IG_PART_ENCODER ? IG_POOLING_MEAN : IG_POOLING_LAST;
}

static ig_status read_output(const ig_reader *r, ig_hparams *hp)
{
    bool encoder = (r->arch->parts & IG_PART_ENCODER) != 0;
    uint32_t pooling = default_pooling(r);
    hp->causal = !encoder;
    hp->has_logits = !encoder;
    IG_TRY(ig_key_bool(r, "attention.causal", &hp->causal));
    IG_TRY(ig_key_size(r, "pooling_type", false, 0, IG_POOLING_RANK, &pooling));
    hp->pooling = (ig_pooling)pooling;
    hp->n_embd_out = hp->n_embd;
    hp->parallel = r->arch->block == IG_BLOCK_PARALLEL;
    if (r->arch->parallel != IG_PARALLEL_BY_KEY) return IG_OK;
    hp->parallel = true;
    return ig_key_bool(r, "use_parallel_residual", &hp->parallel);
}

/* Is layer l one that drafts tokens ahead? Of some families files exist that count the key's layers and lack them. */
static bool drafts(const ig_model *m, uint32_t l)
{
    return ig_has_tensor(m, l, "nextn.eh_proj.weight") || ig_has_tensor(m, l, "nextn.enorm.weight") ||
           ig_has_tensor(m, l, "nextn.hnorm.weight");
}

ig_status ig_hparams_read(const ig_format *f, ig_model *m, ig_error *err)
{
    const ig_reader r = {f, m->arch, err};
    ig_hparams *hp = &m->hp;
    uint32_t draft = 0;
    *hp = (ig_hparams){0};
    IG_TRY(ig_key_size(&r, "context_length", true, 1, IG_CTX_MAX, &hp->n_ctx_train));
    IG_TRY(ig_key_size(&r, "embedding_length", true, 1, IG_EMBD_MAX, &hp->n_embd));
    IG_TRY(ig_key_size(&r, "block_count", true, 1, IG_LAYERS_MAX, &hp->n_layers_file));
    if (m->arch->parts & IG_PART_NEXTN || drafts(m, hp->n_layers_file - 1))
        IG_TRY(ig_key_size(&r, "nextn_predict_layers", false, 0, IG_LAYERS_MAX, &draft));
    if (draft >= hp->n_layers_file)
        return ig_fail(err, IG_BAD_INPUT, 0, "%s: %s.nextn_predict_layers is %u, expected less than the %u layers",
                       ig_format_path(f), m->arch->name, draft, hp->n_layers_file);
    hp->n_layers = hp->n_layers_file - draft;
    hp->n_draft = draft && m->arch->draft && drafts(m, hp->n_layers); /* of several the first alone */
    IG_TRY(read_eps(&r, hp));
    IG_TRY(read_sizes(&r, hp));
    IG_TRY(read_experts(&r, hp));
    IG_TRY(read_temperature(&r, hp));
    IG_TRY(read_scales(&r, hp));
    IG_TRY(read_caps(&r, hp));
    IG_TRY(read_output(&r, hp));
    if (m->arch->special == IG_SPECIAL_GEMMA3N) hp->n_embd_layer = 256;
    if (m->arch->special == IG_SPECIAL_T5) {
        hp->has_encoder = true;
        if (hp->n_layers_dec == 0) hp->n_layers_dec = hp->n_layers;
        IG_TRY(ig_key_size(&r, "attention.relative_buckets_count", true, 2, 4096, &hp->n_buckets));
        IG_TRY(ig_key_size(&r, "decoder_start_token_id", false, 0, 1u << 24, &hp->decoder_start));
    }
    ig_str activation = IG_STR("");
    m->act = m->arch->act;
    IG_TRY(ig_format_str(f, "ingle.activation", false, &activation, err));
    if (ig_str_is(activation, "gelu_erf")) m->act = IG_ACT_GELU_ERF;
    return ig_format_bool(f, "ingle.rope.half_split", false, &m->half_split, err);
}
