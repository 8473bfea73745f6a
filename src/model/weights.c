/* Binding: names of tensors to fields, with the shape each must have (rule G15). Nothing is copied but vectors that are
 * not stored as F32. A tensor of the file that no row below names is refused, unless it is listed as ignorable. */
#include <stdio.h>
#include <stdlib.h>

#include "model/plan.h"

typedef enum dim {
    D_NONE,
    D_EMBD,
    D_Q, /* query rows, with the gate where attn_q gives one */
    D_K,
    D_V,
    D_QKV,
    D_O,
    D_HEAD_K,
    D_NORM_Q, /* values under the norm of queries, of keys, and how many weight rows it has */
    D_NORM_K,
    D_NORM_Q_ROWS,
    D_NORM_K_ROWS,
    D_HEADS,
    D_FF,
    D_UP, /* rows of ffn_up: ff, or twice that */
    D_FFX,
    D_FFX2,
    D_SHX,
    D_EXPERTS,
    D_VOCAB,
    D_PAIRS,
    D_CTX,
    D_Q_LORA,
    D_KV_LORA,
    D_KV_A,
    D_Q_MLA,
    D_KV_B,
    D_NOPE,
    D_V_MLA,
    D_IDX_HEAD,
    D_IDX_Q,
    D_IDX_HEADS,
    D_CONV,
    D_INNER,
    D_2EMBD,
    D_3EMBD,
    D_STATE,
    D_RANK,
    D_X,        /* rows of ssm_x */
    D_MIX_IN,   /* rows of ssm_in */
    D_CHANNELS, /* convolved */
    D_MIX_A,    /* values of ssm_a */
    D_GROUPS2,  /* rows of ssm_ba */
    D_DECAY,
    D_ICLR,
    D_VRES,
    D_GATE,
    D_SIX,
    D_PER_LAYER,
    D_ALL_LAYERS, /* per-layer inputs of all layers */
    D_STREAMS,
    D_MORE_STREAMS,
    D_SQUARE,
    D_LAUREL,
    D_MID,
    D_BUCKETS,
    D_ANY
} dim;

typedef enum kind {
    VEC,  /* floats, exactly this shape */
    FLAT, /* floats, this many whatever the shape */
    NORM, /* weight of an ig_norm; its ".bias" beside it */
    MAT,
    TABLE, /* matrix of which single rows are read: no scale beside it */
    BIAS   /* vector that belongs to the matrix at `field` */
} kind;

/* A row holds where its condition does; optional tensors may be absent then. */
typedef struct binding {
    const char *name; /* inside "blk.N." for layers */
    kind kind;
    size_t field;
    dim ne[3]; /* fastest first */
    bool (*when)(const ig_model *m, const ig_layer *w);
    bool optional;
} binding;

static bool yes(const ig_model *m, const ig_layer *w)
{
    (void)m, (void)w;
    return true;
}
static bool block_is(const ig_model *m, ig_block b) { return m->arch->block == b; }
static bool post_norm(const ig_model *m, const ig_layer *w) { return w && block_is(m, IG_BLOCK_POST_NORM); }
static bool plain_norms(const ig_model *m) { return !ig_part_on(m, IG_PART_BARE_NORMS); }
static bool has_attn_norm(const ig_model *m, const ig_layer *w)
{
    if (w->index == 0 && ig_part_on(m, IG_PART_NO_FIRST_NORM)) return false;
    return plain_norms(m) && !block_is(m, IG_BLOCK_POST) && !block_is(m, IG_BLOCK_POST_NORM);
}
static bool has_ffn_norm(const ig_model *m, const ig_layer *w)
{
    return w->ffn != IG_FFN_NONE && plain_norms(m) &&
           (block_is(m, IG_BLOCK_PRE) || block_is(m, IG_BLOCK_SANDWICH)) && !m->arch->ffn_norm &&
           m->arch->parallel != IG_PARALLEL_NO_FFN_NORM;
}
static bool maybe_ffn_norm(const ig_model *m, const ig_layer *w)
{
    return w && m->arch->parallel == IG_PARALLEL_NO_FFN_NORM;
}
static bool ffn_norm_renamed(const ig_model *m, const ig_layer *w) { return w && m->arch->ffn_norm != NULL; }
static bool has_post_norms(const ig_model *m, const ig_layer *w)
{
    return w && (block_is(m, IG_BLOCK_SANDWICH) || block_is(m, IG_BLOCK_POST));
}
static bool parallel_attn(const ig_model *m, const ig_layer *w) { return w->attention && block_is(m, IG_BLOCK_PARALLEL); }
static bool rwkv(const ig_model *m, const ig_layer *w) { return m && w->mixer == IG_MIX_RWKV7; }
static bool rwkv_first(const ig_model *m, const ig_layer *w) { return rwkv(m, w) && w->index == 0; }
static bool rwkv_later(const ig_model *m, const ig_layer *w) { return rwkv(m, w) && w->index > 0; }
static bool plain_attn(const ig_model *m, const ig_layer *w) { return m && w->attention && !w->latent; }
static bool fused_qkv(const ig_model *m, const ig_layer *w)
{
    return plain_attn(m, w) && ig_has_tensor(m, w->index, "attn_qkv.weight");
}
static bool split_qkv(const ig_model *m, const ig_layer *w) { return plain_attn(m, w) && !fused_qkv(m, w); }
static bool owns_kv(const ig_model *m, const ig_layer *w) { return split_qkv(m, w) && w->kv_layer == w->index; }
/* Gemma 4's full layers may use the raw keys as values. A layer that shares keys may still store some of its own. */
static bool value_is_key(const ig_model *m, const ig_layer *w)
{
    return owns_kv(m, w) && m->arch->special == IG_SPECIAL_GEMMA4;
}
static bool owns_v(const ig_model *m, const ig_layer *w) { return owns_kv(m, w) && !value_is_key(m, w); }
static bool unused_kv(const ig_model *m, const ig_layer *w) { return split_qkv(m, w) && w->kv_layer != w->index; }
static bool attends(const ig_model *m, const ig_layer *w) { return m && w->attention; }
static bool qk_normed(const ig_model *m, const ig_layer *w)
{
    ig_qk_norm k = m->arch->qk_norm;
    return plain_attn(m, w) && k != IG_QK_NONE && k != IG_QK_UNIT;
}
static bool may_lack_qk(const ig_model *m) /* files of these rows exist with and without */
{
    return m->arch->qk_norm == IG_QK_HEADS || (m->arch->parts & IG_PART_NEXTN) || m->arch->qk_norm == IG_QK_FULL;
}
static bool q_norm_needed(const ig_model *m, const ig_layer *w) { return qk_normed(m, w) && !may_lack_qk(m); }
static bool q_norm_free(const ig_model *m, const ig_layer *w) { return qk_normed(m, w) && may_lack_qk(m); }
static bool k_norm_needed(const ig_model *m, const ig_layer *w) { return q_norm_needed(m, w) && w->kv_layer == w->index; }
static bool k_norm_unused(const ig_model *m, const ig_layer *w) { return q_norm_needed(m, w) && w->kv_layer != w->index; }
static bool gated_attn(const ig_model *m, const ig_layer *w)
{
    return plain_attn(m, w) && (m->arch->gate == IG_GATE_SIGMOID || m->arch->gate == IG_GATE_SOFTPLUS);
}
static bool latent(const ig_model *m, const ig_layer *w) { return m && w->attention && w->latent; }
static bool q_lora(const ig_model *m, const ig_layer *w)
{
    return latent(m, w) && ig_has_tensor(m, w->index, "attn_q_a.weight");
}
static bool q_direct(const ig_model *m, const ig_layer *w) { return latent(m, w) && !q_lora(m, w); }
static bool absorbed(const ig_model *m, const ig_layer *w) { return latent(m, w) && w->absorbed; }
static bool decompressed(const ig_model *m, const ig_layer *w) { return latent(m, w) && !w->absorbed; }
static bool block_indexer(const ig_model *m, const ig_layer *w)
{
    return w->indexer && ig_part_on(m, IG_PART_BLOCK_INDEXER);
}
static bool token_indexer(const ig_model *m, const ig_layer *w)
{
    return w->indexer && ig_part_on(m, IG_PART_TOKEN_INDEXER);
}
static bool dense(const ig_model *m, const ig_layer *w)
{
    return w->ffn == IG_FFN_DENSE || (w->ffn == IG_FFN_EXPERTS && m->arch->special == IG_SPECIAL_GEMMA4);
}
static bool dense_gate(const ig_model *m, const ig_layer *w)
{
    return dense(m, w) && !ig_part_on(m, IG_PART_PLAIN_FFN) && !ig_part_on(m, IG_PART_FUSED_GATE_UP);
}
static bool experts(const ig_model *m, const ig_layer *w) { return m && w->ffn == IG_FFN_EXPERTS; }
static bool fused_experts(const ig_model *m, const ig_layer *w)
{
    return experts(m, w) && ig_has_tensor(m, w->index, "ffn_gate_up_exps.weight");
}
static bool split_experts(const ig_model *m, const ig_layer *w) { return experts(m, w) && !fused_experts(m, w); }
static bool shared_gate(const ig_model *m, const ig_layer *w) { return experts(m, w) && ig_part_on(m, IG_PART_SHARED_GATE); }
static bool gemma4_experts(const ig_model *m, const ig_layer *w)
{
    return experts(m, w) && m->arch->special == IG_SPECIAL_GEMMA4;
}
static bool gemma4(const ig_model *m, const ig_layer *w)
{
    (void)w;
    return m->arch->special == IG_SPECIAL_GEMMA4;
}
static bool gemma3n(const ig_model *m, const ig_layer *w)
{
    (void)w;
    return m->arch->special == IG_SPECIAL_GEMMA3N;
}
static bool layer_inputs(const ig_model *m, const ig_layer *w)
{
    (void)w;
    return m->hp.n_embd_layer > 0;
}
static bool short_conv(const ig_model *m, const ig_layer *w) { return m && w->mixer == IG_MIX_CONV; }
static bool mamba(const ig_model *m, const ig_layer *w) { return m && w->mixer == IG_MIX_MAMBA; }
static bool mamba_normed(const ig_model *m, const ig_layer *w) { return mamba(m, w) && ig_part_on(m, IG_PART_SSM_RMS); }
static bool mamba2(const ig_model *m, const ig_layer *w) { return m && w->mixer == IG_MIX_MAMBA2; }
static bool mambas(const ig_model *m, const ig_layer *w) { return mamba(m, w) || mamba2(m, w); }
static bool delta(const ig_model *m, const ig_layer *w) { return m && w->mixer == IG_MIX_DELTA; }
static bool delta_fused(const ig_model *m, const ig_layer *w)
{
    return delta(m, w) && ig_has_tensor(m, w->index, "ssm_in.weight");
}
static bool delta_split(const ig_model *m, const ig_layer *w) { return delta(m, w) && !delta_fused(m, w); }
static bool delta_ba(const ig_model *m, const ig_layer *w) { return delta(m, w) && !ig_part_on(m, IG_PART_SPLIT_BETA); }
static bool delta_beta(const ig_model *m, const ig_layer *w) { return delta(m, w) && ig_part_on(m, IG_PART_SPLIT_BETA); }
static bool kda(const ig_model *m, const ig_layer *w) { return m && w->mixer == IG_MIX_KDA; }
static bool drafts(const ig_model *m, const ig_layer *w) { return w->index == m->hp.n_layers; }
static bool embed_normed(const ig_model *m, const ig_layer *w)
{
    (void)w;
    return ig_part_on(m, IG_PART_EMBED_NORM);
}
static bool positions(const ig_model *m, const ig_layer *w)
{
    (void)w;
    return ig_part_on(m, IG_PART_POSITIONS);
}
static bool token_types(const ig_model *m, const ig_layer *w)
{
    (void)w;
    return ig_part_on(m, IG_PART_TOKEN_TYPES);
}
static bool output_normed(const ig_model *m, const ig_layer *w)
{
    (void)w;
    return !block_is(m, IG_BLOCK_POST_NORM) && plain_norms(m) && !m->arch->output_norm;
}
static bool encoder(const ig_model *m, const ig_layer *w)
{
    (void)w;
    return !m->hp.has_logits;
}

static bool after_dense_2(const ig_model *m, const ig_layer *w) { return encoder(m, w) && ig_mat_here(&m->dense_2); }

#define LAYER(field) offsetof(ig_layer, field)
static const binding layer_rows[] = {
    {"attn_norm", NORM, LAYER(attn_norm), {D_EMBD}, has_attn_norm, false},
    {"attn_norm_2", NORM, LAYER(attn_norm_2), {D_EMBD}, parallel_attn, true},
    {"attn_norm_2", NORM, LAYER(attn_norm_2), {D_EMBD}, rwkv, false},
    {"ffn_norm", NORM, LAYER(ffn_norm), {D_EMBD}, has_ffn_norm, false},
    {"ffn_norm", NORM, LAYER(ffn_norm), {D_EMBD}, maybe_ffn_norm, true},
    {"post_attention_norm", NORM, LAYER(ffn_norm), {D_EMBD}, ffn_norm_renamed, false},
    {"post_attention_norm", NORM, LAYER(post_attn), {D_EMBD}, has_post_norms, false},
    {"post_ffw_norm", NORM, LAYER(post_ffn), {D_EMBD}, has_post_norms, false},
    {"attn_output_norm", NORM, LAYER(attn_out_norm), {D_EMBD}, post_norm, false},
    {"layer_output_norm", NORM, LAYER(layer_out_norm), {D_EMBD}, post_norm, false},

    {"attn_qkv.weight", MAT, LAYER(qkv), {D_EMBD, D_QKV}, fused_qkv, false},
    {"attn_qkv.bias", BIAS, LAYER(qkv), {D_QKV}, fused_qkv, true},
    {"attn_q.weight", MAT, LAYER(q), {D_EMBD, D_Q}, split_qkv, false},
    {"attn_q.bias", BIAS, LAYER(q), {D_Q}, split_qkv, true},
    {"attn_k.weight", MAT, LAYER(k), {D_EMBD, D_K}, owns_kv, false},
    {"attn_k.bias", BIAS, LAYER(k), {D_K}, owns_kv, true},
    {"attn_v.weight", MAT, LAYER(v), {D_EMBD, D_V}, owns_v, false},
    {"attn_v.weight", MAT, LAYER(v), {D_EMBD, D_V}, value_is_key, true},
    {"attn_v.bias", BIAS, LAYER(v), {D_V}, owns_kv, true},
    {"attn_k.weight", MAT, LAYER(k), {D_EMBD, D_K}, unused_kv, true},
    {"attn_v.weight", MAT, LAYER(v), {D_EMBD, D_V}, unused_kv, true},
    {"attn_output.weight", MAT, LAYER(o), {D_O, D_EMBD}, attends, false},
    {"attn_output.bias", BIAS, LAYER(o), {D_EMBD}, attends, true},
    {"attn_q_norm", NORM, LAYER(q_norm), {D_NORM_Q, D_NORM_Q_ROWS}, q_norm_needed, false},
    {"attn_q_norm", NORM, LAYER(q_norm), {D_NORM_Q, D_NORM_Q_ROWS}, q_norm_free, true},
    {"attn_k_norm", NORM, LAYER(k_norm), {D_NORM_K, D_NORM_K_ROWS}, k_norm_needed, false},
    {"attn_k_norm", NORM, LAYER(k_norm), {D_NORM_K, D_NORM_K_ROWS}, k_norm_unused, true},
    {"attn_k_norm", NORM, LAYER(k_norm), {D_NORM_K, D_NORM_K_ROWS}, q_norm_free, true},
    {"attn_sinks.weight", VEC, LAYER(sinks), {D_HEADS}, plain_attn, true},
    {"attn_gate.weight", MAT, LAYER(gate_attn), {D_EMBD, D_ANY}, gated_attn, false},

    {"attn_q_a.weight", MAT, LAYER(q_a), {D_EMBD, D_Q_LORA}, q_lora, false},
    {"attn_q_a_norm", NORM, LAYER(q_a_norm), {D_Q_LORA}, q_lora, false},
    {"attn_q_b.weight", MAT, LAYER(q_b), {D_Q_LORA, D_Q_MLA}, q_lora, false},
    {"attn_q.weight", MAT, LAYER(q), {D_EMBD, D_Q_MLA}, q_direct, false},
    {"attn_kv_a_mqa.weight", MAT, LAYER(kv_a), {D_EMBD, D_KV_A}, latent, false},
    {"attn_kv_a_norm", NORM, LAYER(kv_a_norm), {D_KV_LORA}, latent, false},
    {"attn_kv_b.weight", MAT, LAYER(kv_b), {D_KV_LORA, D_KV_B}, decompressed, false},
    {"attn_k_b.weight", MAT, LAYER(k_b), {D_NOPE, D_KV_LORA, D_HEADS}, absorbed, false},
    {"attn_v_b.weight", MAT, LAYER(v_b), {D_KV_LORA, D_V_MLA, D_HEADS}, absorbed, false},
    {"indexer.q_proj.weight", MAT, LAYER(idx_q), {D_EMBD, D_IDX_Q}, block_indexer, false},
    {"indexer.k_proj.weight", MAT, LAYER(idx_k), {D_EMBD, D_IDX_HEAD}, block_indexer, false},
    {"indexer.q_norm", NORM, LAYER(idx_q_norm), {D_IDX_HEAD}, block_indexer, false},
    {"indexer.k_norm", NORM, LAYER(idx_k_norm), {D_IDX_HEAD}, block_indexer, false},
    {"indexer.attn_q_b.weight", MAT, LAYER(idx_q), {D_Q_LORA, D_IDX_Q}, token_indexer, false},
    {"indexer.attn_k.weight", MAT, LAYER(idx_k), {D_EMBD, D_IDX_HEAD}, token_indexer, false},
    {"indexer.k_norm", NORM, LAYER(idx_k_norm), {D_IDX_HEAD}, token_indexer, false},
    {"indexer.proj.weight", MAT, LAYER(idx_w), {D_EMBD, D_IDX_HEADS}, token_indexer, false},

    {"ffn_gate.weight", MAT, LAYER(gate), {D_EMBD, D_FF}, dense_gate, false},
    {"ffn_gate.bias", BIAS, LAYER(gate), {D_FF}, dense_gate, true},
    {"ffn_up.weight", MAT, LAYER(up), {D_EMBD, D_UP}, dense, false},
    {"ffn_up.bias", BIAS, LAYER(up), {D_UP}, dense, true},
    {"ffn_down.weight", MAT, LAYER(down), {D_FF, D_EMBD}, dense, false},
    {"ffn_down.bias", BIAS, LAYER(down), {D_EMBD}, dense, true},
    {"ffn_gate_inp.weight", MAT, LAYER(router), {D_EMBD, D_EXPERTS}, experts, false},
    {"ffn_gate_inp.bias", BIAS, LAYER(router), {D_EXPERTS}, experts, true},
    {"exp_probs_b.bias", VEC, LAYER(select_bias), {D_EXPERTS}, experts, true},
    {"ffn_gate_exps.weight", MAT, LAYER(gate_exps), {D_EMBD, D_FFX, D_EXPERTS}, split_experts, true},
    {"ffn_gate_exps.bias", BIAS, LAYER(gate_exps), {D_FFX, D_EXPERTS}, split_experts, true},
    {"ffn_up_exps.weight", MAT, LAYER(up_exps), {D_EMBD, D_FFX, D_EXPERTS}, split_experts, false},
    {"ffn_up_exps.bias", BIAS, LAYER(up_exps), {D_FFX, D_EXPERTS}, split_experts, true},
    {"ffn_gate_up_exps.weight", MAT, LAYER(up_exps), {D_EMBD, D_FFX2, D_EXPERTS}, fused_experts, false},
    {"ffn_gate_up_exps.bias", BIAS, LAYER(up_exps), {D_FFX2, D_EXPERTS}, fused_experts, true},
    {"ffn_down_exps.weight", MAT, LAYER(down_exps), {D_FFX, D_EMBD, D_EXPERTS}, experts, false},
    {"ffn_down_exps.bias", BIAS, LAYER(down_exps), {D_EMBD, D_EXPERTS}, experts, true},
    {"ffn_gate_shexp.weight", MAT, LAYER(gate_shexp), {D_EMBD, D_SHX}, experts, true},
    {"ffn_up_shexp.weight", MAT, LAYER(up_shexp), {D_EMBD, D_SHX}, experts, true},
    {"ffn_down_shexp.weight", MAT, LAYER(down_shexp), {D_SHX, D_EMBD}, experts, true},
    {"ffn_gate_inp_shexp.weight", FLAT, LAYER(shexp_gate), {D_EMBD}, shared_gate, false},
    {"ffn_gate_inp.scale", VEC, LAYER(router_scale), {D_EMBD}, gemma4_experts, false},
    {"pre_ffw_norm_2", NORM, LAYER(pre_ffn_2), {D_EMBD}, gemma4_experts, false},
    {"post_ffw_norm_1", NORM, LAYER(post_ffn_1), {D_EMBD}, gemma4_experts, false},
    {"post_ffw_norm_2", NORM, LAYER(post_ffn_2), {D_EMBD}, gemma4_experts, false},

    {"shortconv.in_proj.weight", MAT, LAYER(in), {D_EMBD, D_3EMBD}, short_conv, false},
    {"shortconv.conv.weight", VEC, LAYER(conv), {D_CONV, D_EMBD}, short_conv, false},
    {"shortconv.out_proj.weight", MAT, LAYER(out), {D_EMBD, D_EMBD}, short_conv, false},
    {"ssm_in.weight", MAT, LAYER(in), {D_EMBD, D_MIX_IN}, mambas, false},
    {"ssm_conv1d.weight", VEC, LAYER(conv), {D_CONV, D_CHANNELS}, mambas, false},
    {"ssm_conv1d.bias", VEC, LAYER(conv_bias), {D_CHANNELS}, mambas, false},
    {"ssm_x.weight", MAT, LAYER(x), {D_INNER, D_X}, mamba, false},
    {"ssm_dt.weight", MAT, LAYER(dt), {D_RANK, D_INNER}, mamba, false},
    {"ssm_dt.bias", VEC, LAYER(dt_bias), {D_INNER}, mamba, false},
    {"ssm_dt.bias", VEC, LAYER(dt_bias), {D_RANK}, mamba2, false},
    {"ssm_a", FLAT, LAYER(a), {D_MIX_A}, mambas, false},
    {"ssm_d", FLAT, LAYER(d), {D_INNER}, mamba, false},
    {"ssm_d", FLAT, LAYER(d), {D_RANK}, mamba2, false},
    {"ssm_dt_norm", NORM, LAYER(dt_norm), {D_RANK}, mamba_normed, false},
    {"ssm_b_norm", NORM, LAYER(b_norm), {D_STATE}, mamba_normed, false},
    {"ssm_c_norm", NORM, LAYER(c_norm), {D_STATE}, mamba_normed, false},
    {"ssm_norm", NORM, LAYER(ssm_norm), {D_INNER}, mamba2, true},
    {"ssm_out.weight", MAT, LAYER(out), {D_INNER, D_EMBD}, mambas, false},
    {"attn_qkv.weight", MAT, LAYER(in), {D_EMBD, D_CHANNELS}, delta_split, false},
    {"attn_gate.weight", MAT, LAYER(gate_attn), {D_EMBD, D_INNER}, delta_split, false},
    {"ssm_in.weight", MAT, LAYER(in), {D_EMBD, D_MIX_IN}, delta_fused, false},
    {"ssm_conv1d.weight", VEC, LAYER(conv), {D_CONV, D_CHANNELS}, delta, false},
    {"ssm_dt.bias", VEC, LAYER(dt_bias), {D_RANK}, delta, false},
    {"ssm_a", FLAT, LAYER(a), {D_RANK}, delta, false},
    {"ssm_ba.weight", MAT, LAYER(ba), {D_EMBD, D_GROUPS2}, delta_ba, false},
    {"ssm_beta.weight", MAT, LAYER(beta), {D_EMBD, D_RANK}, delta_beta, false},
    {"ssm_alpha.weight", MAT, LAYER(alpha), {D_EMBD, D_RANK}, delta_beta, false},
    {"ssm_norm", NORM, LAYER(ssm_norm), {D_STATE}, delta, false},
    {"ssm_out.weight", MAT, LAYER(out), {D_INNER, D_EMBD}, delta, false},

    {"attn_q.weight", MAT, LAYER(q), {D_EMBD, D_INNER}, kda, false},
    {"attn_k.weight", MAT, LAYER(k), {D_EMBD, D_INNER}, kda, false},
    {"attn_v.weight", MAT, LAYER(v), {D_EMBD, D_INNER}, kda, false},
    {"ssm_conv1d_q.weight", FLAT, LAYER(conv_q), {D_CONV, D_INNER}, kda, false},
    {"ssm_conv1d_k.weight", FLAT, LAYER(conv_k), {D_CONV, D_INNER}, kda, false},
    {"ssm_conv1d_v.weight", FLAT, LAYER(conv_v), {D_CONV, D_INNER}, kda, false},
    {"ssm_a", FLAT, LAYER(a), {D_RANK}, kda, false},
    {"ssm_dt.bias", VEC, LAYER(dt_bias), {D_INNER}, kda, false},
    {"ssm_f_a.weight", MAT, LAYER(f_a), {D_EMBD, D_STATE}, kda, false},
    {"ssm_f_b.weight", MAT, LAYER(f_b), {D_STATE, D_INNER}, kda, false},
    {"ssm_g_a.weight", MAT, LAYER(g_a), {D_EMBD, D_STATE}, kda, false},
    {"ssm_g_b.weight", MAT, LAYER(g_b), {D_STATE, D_INNER}, kda, false},
    {"ssm_beta.weight", MAT, LAYER(beta), {D_EMBD, D_RANK}, kda, false},
    {"ssm_norm", NORM, LAYER(ssm_norm), {D_STATE}, kda, false},
    {"attn_output.weight", MAT, LAYER(o), {D_INNER, D_EMBD}, kda, false},

    {"time_mix_w0.weight", FLAT, LAYER(w0), {D_EMBD}, rwkv, false},
    {"time_mix_w1.weight", MAT, LAYER(w1), {D_EMBD, D_DECAY}, rwkv, false},
    {"time_mix_w2.weight", MAT, LAYER(w2), {D_DECAY, D_EMBD}, rwkv, false},
    {"time_mix_a0.weight", FLAT, LAYER(a0), {D_EMBD}, rwkv, false},
    {"time_mix_a1.weight", MAT, LAYER(a1), {D_EMBD, D_ICLR}, rwkv, false},
    {"time_mix_a2.weight", MAT, LAYER(a2), {D_ICLR, D_EMBD}, rwkv, false},
    {"time_mix_v0.weight", FLAT, LAYER(v0), {D_EMBD}, rwkv, true},
    {"time_mix_v1.weight", MAT, LAYER(v1), {D_EMBD, D_ANY}, rwkv_first, true}, /* stored, not used */
    {"time_mix_v2.weight", MAT, LAYER(v2), {D_ANY, D_EMBD}, rwkv_first, true},
    {"time_mix_v1.weight", MAT, LAYER(v1), {D_EMBD, D_VRES}, rwkv_later, false},
    {"time_mix_v2.weight", MAT, LAYER(v2), {D_VRES, D_EMBD}, rwkv_later, false},
    {"time_mix_g1.weight", MAT, LAYER(g1), {D_EMBD, D_GATE}, rwkv, false},
    {"time_mix_g2.weight", MAT, LAYER(g2), {D_GATE, D_EMBD}, rwkv, false},
    {"time_mix_k_k.weight", FLAT, LAYER(k_k), {D_EMBD}, rwkv, false},
    {"time_mix_k_a.weight", FLAT, LAYER(k_a), {D_EMBD}, rwkv, false},
    {"time_mix_r_k.weight", FLAT, LAYER(r_k), {D_EMBD}, rwkv, false},
    {"time_mix_lerp_fused.weight", FLAT, LAYER(lerp), {D_EMBD, D_SIX}, rwkv, false},
    {"time_mix_key.weight", MAT, LAYER(k), {D_EMBD, D_EMBD}, rwkv, false},
    {"time_mix_value.weight", MAT, LAYER(v), {D_EMBD, D_EMBD}, rwkv, false},
    {"time_mix_receptance.weight", MAT, LAYER(r), {D_EMBD, D_EMBD}, rwkv, false},
    {"time_mix_output.weight", MAT, LAYER(o), {D_EMBD, D_EMBD}, rwkv, false},
    {"time_mix_ln.weight", VEC, LAYER(ln_w), {D_EMBD}, rwkv, false},
    {"time_mix_ln.bias", VEC, LAYER(ln_b), {D_EMBD}, rwkv, false},
    {"channel_mix_lerp_k.weight", FLAT, LAYER(lerp_k), {D_EMBD}, rwkv, false},
    {"channel_mix_key.weight", MAT, LAYER(cm_k), {D_EMBD, D_FF}, rwkv, false},
    {"channel_mix_value.weight", MAT, LAYER(cm_v), {D_FF, D_EMBD}, rwkv, false},

    {"nextn.eh_proj.weight", MAT, LAYER(eh_proj), {D_2EMBD, D_EMBD}, drafts, false},
    {"nextn.enorm", NORM, LAYER(e_norm), {D_EMBD}, drafts, false},
    {"nextn.hnorm", NORM, LAYER(h_norm), {D_EMBD}, drafts, false},
    {"nextn.shared_head_norm", NORM, LAYER(head_norm), {D_EMBD}, drafts, true},
    {"nextn.embed_tokens.weight", TABLE, LAYER(own_embed), {D_EMBD, D_VOCAB}, drafts, true},
    {"nextn.shared_head_head.weight", MAT, LAYER(own_head), {D_EMBD, D_VOCAB}, drafts, true},

    {"inp_gate.weight", MAT, LAYER(inp_gate), {D_EMBD, D_PER_LAYER}, layer_inputs, false},
    {"proj.weight", MAT, LAYER(inp_proj), {D_PER_LAYER, D_EMBD}, layer_inputs, false},
    {"post_norm", NORM, LAYER(inp_norm), {D_EMBD}, layer_inputs, false},
    {"layer_output_scale.weight", FLAT, LAYER(out_scale), {D_NONE}, gemma4, true},
    {"post_attention_norm", NORM, LAYER(post_attn), {D_EMBD}, gemma3n, false},
    {"post_ffw_norm", NORM, LAYER(post_ffn), {D_EMBD}, gemma3n, false},
    {"altup_router.weight", MAT, LAYER(altup_router), {D_EMBD, D_STREAMS}, gemma3n, false},
    {"altup_router_norm", NORM, LAYER(altup_router_norm), {D_EMBD}, gemma3n, false},
    {"altup_predict_coef.weight", MAT, LAYER(altup_predict), {D_STREAMS, D_SQUARE}, gemma3n, false},
    {"altup_correct_coef.weight", MAT, LAYER(altup_correct), {D_STREAMS, D_STREAMS}, gemma3n, false},
    {"altup_correct_scale.weight", VEC, LAYER(altup_correct_scale), {D_EMBD}, gemma3n, false},
    {"laurel_l.weight", MAT, LAYER(laurel_l), {D_EMBD, D_LAUREL}, gemma3n, false},
    {"laurel_r.weight", MAT, LAYER(laurel_r), {D_LAUREL, D_EMBD}, gemma3n, false},
    {"laurel_post_norm", NORM, LAYER(laurel_norm), {D_EMBD}, gemma3n, false},
};

/* The halves of T5 have names of their own: enc.blk.N. and dec.blk.N. */
static bool t5_first(const ig_model *m, const ig_layer *w) { return m && w->index == 0; }
static bool t5_decoder(const ig_model *m, const ig_layer *w) { return w >= m->layers + m->hp.n_layers; }
static bool t5_maybe(const ig_model *m, const ig_layer *w) { return t5_first(m, w) || t5_decoder(m, w) || w; }
static const binding t5_rows[] = {
    {"attn_norm", NORM, LAYER(attn_norm), {D_EMBD}, yes, false},
    {"attn_q.weight", MAT, LAYER(q), {D_EMBD, D_Q}, yes, false},
    {"attn_k.weight", MAT, LAYER(k), {D_EMBD, D_K}, yes, false},
    {"attn_v.weight", MAT, LAYER(v), {D_EMBD, D_V}, yes, false},
    {"attn_o.weight", MAT, LAYER(o), {D_O, D_EMBD}, yes, false},
    {"attn_rel_b.weight", VEC, LAYER(rel_b), {D_HEADS, D_BUCKETS}, t5_maybe, true},
    {"cross_attn_norm", NORM, LAYER(cross_norm), {D_EMBD}, t5_decoder, false},
    {"cross_attn_q.weight", MAT, LAYER(cross_q), {D_EMBD, D_Q}, t5_decoder, false},
    {"cross_attn_k.weight", MAT, LAYER(cross_k), {D_EMBD, D_K}, t5_decoder, false},
    {"cross_attn_v.weight", MAT, LAYER(cross_v), {D_EMBD, D_V}, t5_decoder, false},
    {"cross_attn_o.weight", MAT, LAYER(cross_o), {D_O, D_EMBD}, t5_decoder, false},
    {"cross_attn_rel_b.weight", VEC, LAYER(cross_rel_b), {D_HEADS, D_BUCKETS}, t5_decoder, true}, /* stored, not used */
    {"ffn_norm", NORM, LAYER(ffn_norm), {D_EMBD}, yes, false},
    {"ffn_gate.weight", MAT, LAYER(gate), {D_EMBD, D_FF}, yes, true},
    {"ffn_up.weight", MAT, LAYER(up), {D_EMBD, D_FF}, yes, false},
    {"ffn_down.weight", MAT, LAYER(down), {D_FF, D_EMBD}, yes, false},
};
#undef LAYER

#define MODEL(field) offsetof(ig_model, field)
static bool t5(const ig_model *m, const ig_layer *w)
{
    (void)w;
    return m->arch->special == IG_SPECIAL_T5;
}
static const binding model_rows[] = {
    {"token_embd.weight", TABLE, MODEL(embed), {D_EMBD, D_VOCAB}, yes, true},
    {"token_embd_norm", NORM, MODEL(embed_norm), {D_EMBD}, embed_normed, false},
    {"position_embd.weight", TABLE, MODEL(positions), {D_EMBD, D_CTX}, positions, false},
    {"token_types.weight", TABLE, MODEL(token_types), {D_EMBD, D_ANY}, token_types, false},
    {"output_norm", NORM, MODEL(output_norm), {D_EMBD}, output_normed, false},
    {"enc.output_norm", NORM, MODEL(enc_norm), {D_EMBD}, t5, false},
    {"output.weight", MAT, MODEL(output), {D_EMBD, D_VOCAB}, yes, true},
    {"output.bias", BIAS, MODEL(output), {D_VOCAB}, yes, true},
    {"rope_freqs.weight", VEC, MODEL(rope_factors), {D_PAIRS}, yes, true},
    {"rope_factors_long.weight", VEC, MODEL(factors_long), {D_PAIRS}, yes, true},
    {"rope_factors_short.weight", VEC, MODEL(factors_short), {D_PAIRS}, yes, true},
    {"per_layer_token_embd.weight", TABLE, MODEL(layer_embed), {D_ALL_LAYERS, D_VOCAB}, layer_inputs, false},
    {"per_layer_model_proj.weight", MAT, MODEL(layer_proj), {D_EMBD, D_ALL_LAYERS}, layer_inputs, false},
    {"per_layer_proj_norm", NORM, MODEL(layer_proj_norm), {D_PER_LAYER}, layer_inputs, false},
    {"altup_proj.weight", MAT, MODEL(altup_proj), {D_EMBD, D_EMBD, D_MORE_STREAMS}, gemma3n, false},
    {"altup_unembd_proj.weight", MAT, MODEL(altup_unembd), {D_EMBD, D_EMBD, D_MORE_STREAMS}, gemma3n, false},
    {"dense_2.weight", MAT, MODEL(dense_2), {D_EMBD, D_ANY}, encoder, true},
    {"dense_3.weight", MAT, MODEL(dense_3), {D_MID, D_ANY}, after_dense_2, true},
    {"cls.weight", MAT, MODEL(cls), {D_EMBD, D_EMBD}, yes, true},
    {"cls.bias", BIAS, MODEL(cls), {D_EMBD}, yes, true},
    {"cls.norm", NORM, MODEL(cls_norm), {D_EMBD}, yes, true},
    {"cls.output.weight", MAT, MODEL(cls_out), {D_EMBD, D_ANY}, yes, true},
    {"cls.output.bias", BIAS, MODEL(cls_out), {D_ANY}, yes, true},
};
#undef MODEL

/* Tensors that old converters wrote and nobody reads; the name behind "blk.N." or a whole name. */
static const char *const ignorable[] = {"attn_rot_embd", "attn.rot_embd", "rope.freqs"};

static uint64_t channels(const ig_hparams *hp, ig_mixer mixer)
{
    if (mixer == IG_MIX_MAMBA) return hp->d_inner;
    if (mixer == IG_MIX_MAMBA2) return hp->d_inner + 2ull * hp->n_group * hp->d_state;
    return 2ull * hp->n_group * hp->d_state + hp->d_inner; /* delta: q, k, v */
}

static uint64_t mixer_dim(const ig_hparams *hp, const ig_layer *w, dim d)
{
    bool one = w->mixer == IG_MIX_MAMBA;
    switch (d) {
    case D_X: return hp->dt_rank + 2ull * hp->d_state;
    case D_CHANNELS: return channels(hp, w->mixer);
    case D_MIX_A: return one ? (uint64_t)hp->d_inner * hp->d_state : hp->dt_rank;
    case D_GROUPS2: return 2ull * hp->dt_rank;
    case D_MIX_IN:
        if (one) return 2ull * hp->d_inner;
        return channels(hp, w->mixer) + hp->d_inner + (w->mixer == IG_MIX_MAMBA2 ? hp->dt_rank : 0);
    default: return 0;
    }
}

static uint64_t attention_dim(const ig_model *m, const ig_layer *w, dim d)
{
    const ig_hparams *hp = &m->hp;
    uint64_t h = w->n_heads, g = w->n_heads_kv, gate = m->arch->gate == IG_GATE_FROM_Q ? 2 : 1;
    bool full = m->arch->qk_norm == IG_QK_FULL, heads = m->arch->qk_norm == IG_QK_HEADS;
    switch (d) {
    case D_Q: return h * w->head_k * gate;
    case D_K: return g * w->head_k;
    case D_V: return g * w->head_v;
    case D_QKV: return h * w->head_k * gate + g * (w->head_k + w->head_v);
    case D_O: return w->latent ? h * hp->head_v_mla : h * w->head_v;
    case D_HEAD_K: return w->head_k;
    case D_NORM_Q: return full ? h * w->head_k : w->head_k;
    case D_NORM_K: return full ? g * w->head_k : w->head_k;
    case D_NORM_Q_ROWS: return heads ? h : 1;
    case D_NORM_K_ROWS: return heads ? g : 1;
    case D_HEADS: return h;
    case D_KV_A: return (uint64_t)hp->kv_lora + w->n_rot;
    case D_Q_MLA: return h * hp->head_mla;
    case D_NOPE: return hp->head_mla - w->n_rot;
    case D_KV_B: return h * (hp->head_mla - w->n_rot + hp->head_v_mla);
    case D_V_MLA: return hp->head_v_mla;
    default: return mixer_dim(hp, w, d);
    }
}

static uint64_t dim_size(const ig_model *m, const ig_layer *w, dim d)
{
    const ig_hparams *hp = &m->hp;
    switch (d) {
    case D_NONE: return 1;
    case D_EMBD: return hp->n_embd;
    case D_2EMBD: return 2ull * hp->n_embd;
    case D_3EMBD: return 3ull * hp->n_embd;
    case D_FF: return w->n_ff;
    case D_UP: return (uint64_t)w->n_ff * (ig_part_on(m, IG_PART_FUSED_GATE_UP) ? 2 : 1);
    case D_FFX: return hp->n_ff_expert;
    case D_FFX2: return 2ull * hp->n_ff_expert;
    case D_SHX: return hp->n_ff_shared;
    case D_EXPERTS: return hp->n_experts;
    case D_VOCAB: return hp->n_vocab;
    case D_PAIRS: return m->n_factors;
    case D_CTX: return hp->n_ctx_train;
    case D_Q_LORA: return hp->q_lora;
    case D_KV_LORA: return hp->kv_lora;
    case D_IDX_HEAD: return hp->idx_head;
    case D_IDX_Q: return (uint64_t)hp->idx_heads * hp->idx_head;
    case D_IDX_HEADS: return hp->idx_heads;
    case D_CONV: return hp->d_conv;
    case D_INNER: return hp->d_inner;
    case D_STATE: return hp->d_state;
    case D_RANK: return hp->dt_rank;
    case D_DECAY: return hp->lora_decay;
    case D_ICLR: return hp->lora_iclr;
    case D_VRES: return hp->lora_value;
    case D_GATE: return hp->lora_gate;
    case D_SIX: return 6;
    case D_PER_LAYER: return hp->n_embd_layer;
    case D_ALL_LAYERS: return (uint64_t)hp->n_embd_layer * hp->n_layers;
    case D_STREAMS: return 4;
    case D_MORE_STREAMS: return 3;
    case D_SQUARE: return 16;
    case D_LAUREL: return 64;
    case D_MID: return m->dense_2.n_out;
    case D_BUCKETS: return hp->n_buckets;
    default: return w ? attention_dim(m, w, d) : 0;
    }
}

static void shape_text(const uint64_t ne[3], char out[80])
{
    int n = snprintf(out, 80, "[%llu", (unsigned long long)ne[0]);
    for (int i = 1; i < 3; i++)
        if (ne[i] != 1 || (i == 1 && ne[2] != 1))
            n += snprintf(out + n, 80 - (size_t)n, ", %llu", (unsigned long long)ne[i]);
    (void)snprintf(out + n, 80 - (size_t)n, "]");
}

/* The shape must be ne; for FLAT only the number of values counts; D_ANY takes what the file has. */
static ig_status check_shape(const ig_model *m, const ig_layer *w, const ig_tensor *t, const binding *b, ig_error *err)
{
    uint64_t want[3], have[3] = {t->ne[0], t->ne[1], t->ne[2]}, n_want = 1, n_have = t->ne[3];
    bool same = t->ne[3] == 1;
    for (int i = 0; i < 3; i++) {
        want[i] = b->ne[i] == D_ANY ? have[i] : dim_size(m, w, b->ne[i]);
        same = same && want[i] == have[i];
        n_want *= want[i];
        n_have *= have[i];
    }
    if (same || (b->kind == FLAT && n_want == n_have) || (b->kind == NORM && n_want == n_have && n_want == want[0]))
        return IG_OK;
    if (b->kind == NORM && n_want == n_have && (have[0] == want[0] || have[0] * have[1] == want[0])) return IG_OK;
    char x[80], y[80];
    shape_text(have, x);
    shape_text(want, y);
    return ig_fail(err, IG_BAD_INPUT, 0, "%s: tensor %.*s has the shape %s, expected %s", ig_format_path(m->file),
                   IG_STR_ARG(t->name), x, y);
}

/* A vector as floats: the mapped bytes where they are F32, a decoded copy otherwise. */
static ig_status bind_vec(ig_model *m, const ig_tensor *t, const float **out, ig_error *err)
{
    if (t->type == IG_F32 && (uintptr_t)t->data % sizeof(float) == 0) {
        *out = (const float *)(const void *)t->data;
        return IG_OK;
    }
    size_t n_rows = (size_t)(t->n_bytes / t->row_bytes), n = (size_t)t->ne[0];
    void (*to_f32)(const void *, float *, size_t) = m->kernels->type[t->type].to_f32;
    if (!to_f32)
        return ig_fail(err, IG_UNSUPPORTED, 0, "%s: tensor %.*s has the type %s, expected F32", ig_format_path(m->file),
                       IG_STR_ARG(t->name), ig_dtype_row(t->type)->name);
    float *copy = ig_arena_alloc(&m->arena, n_rows * n, sizeof *copy);
    if (!copy) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for tensor %.*s", IG_STR_ARG(t->name));
    for (size_t r = 0; r < n_rows; r++) to_f32(t->data + r * t->row_bytes, copy + r * n, n);
    *out = copy;
    return IG_OK;
}

static ig_status bind_mat(ig_model *m, const ig_tensor *t, ig_mat *out, ig_error *err)
{
    if (t->type >= IG_DTYPE_MAX || !m->kernels->type[t->type].mul)
        return ig_fail(err, IG_UNSUPPORTED, 0,
                       "%s: tensor %.*s has the type %s, which this version cannot compute with",
                       ig_format_path(m->file), IG_STR_ARG(t->name), ig_dtype_row(t->type)->name);
    *out = (ig_mat){.data = t->data,
                    .parts = t->parts,
                    .row_bytes = (size_t)t->row_bytes,
                    .n_in = (uint32_t)t->ne[0],
                    .n_out = (uint32_t)t->ne[1],
                    .n_mats = (uint32_t)t->ne[2],
                    .type = t->type,
                    .name = ig_arena_copy(&m->arena, t->name.ptr, t->name.len)};
    if (!out->name) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the name of a tensor");
    return IG_OK;
}

/* Marks the tensor as used. */
static const ig_tensor *take(ig_model *m, const char *name)
{
    const ig_tensor *t = ig_format_tensor(m->file, name);
    if (t) m->bound[t - ig_format_tensor_at(m->file, 0)] = true;
    return t;
}

/* What a file may have instead of a tensor. */
static const char *const instead[][2] = {{"attn_q.weight", "attn_qkv.weight or attn_q_a.weight"},
                                         {"attn_k_b.weight", "attn_kv_b.weight"},
                                         {"ffn_up_exps.weight", "ffn_gate_up_exps.weight"},
                                         {"attn_gate.weight", "ssm_in.weight"}};

static ig_status missing(const ig_model *m, const char *name, ig_error *err)
{
    const char *other = NULL;
    for (size_t i = 0; i < sizeof instead / sizeof *instead; i++)
        if (strstr(name, instead[i][0])) other = instead[i][1];
    return ig_fail(err, IG_BAD_INPUT, 0, "%s: tensor %s%s%s%s is missing, expected by the architecture %s",
                   ig_format_path(m->file), name, other ? " (or " : "", other ? other : "", other ? ")" : "",
                   m->arch->name);
}

/* Weight and bias of a norm. A few files leave ".weight" out of the name. */
static ig_status bind_norm(ig_model *m, const ig_layer *w, const binding *b, const char *name, ig_norm *norm, ig_error *err)
{
    char full[160];
    (void)snprintf(full, sizeof full, "%s.weight", name);
    const ig_tensor *t = take(m, full);
    if (!t) t = take(m, name);
    if (!t) return b->optional ? IG_OK : missing(m, full, err);
    IG_TRY(check_shape(m, w, t, b, err));
    IG_TRY(bind_vec(m, t, &norm->w, err));
    norm->here = true;
    (void)snprintf(full, sizeof full, "%s.bias", name);
    if (!(t = take(m, full))) return IG_OK;
    IG_TRY(check_shape(m, w, t, b, err));
    return bind_vec(m, t, &norm->b, err);
}

/* "X.scale" beside the matrix "X.weight": one factor for all its products, or one for each of its matrices (NVFP4 files
 * have them; the reference takes them for any type). "X.input_scale" is for hardware that rounds the activations to
 * four bits, which nothing here does. The router's is a vector of Gemma 4 with a row of its own. */
static ig_status bind_scale(ig_model *m, const char *name, ig_mat *mat, ig_error *err)
{
    static const char *const suffixes[] = {"scale", "input_scale"};
    size_t n = strlen(name), stem = n - strlen("weight");
    if (n < strlen(".weight") || strcmp(name + stem - 1, ".weight") || strstr(name, "ffn_gate_inp.")) return IG_OK;
    for (size_t i = 0; i < 2; i++) {
        char full[160];
        const float *values;
        (void)snprintf(full, sizeof full, "%.*s%s", (int)stem, name, suffixes[i]);
        const ig_tensor *t = take(m, full);
        if (!t) continue;
        if (t->ne[0] != mat->n_mats || t->ne[1] * t->ne[2] * t->ne[3] != 1)
            return ig_fail(
                err, IG_BAD_INPUT, 0, "%s: tensor %s has the shape [%llu, %llu], expected [%u], one factor a matrix",
                ig_format_path(m->file), full, (unsigned long long)t->ne[0], (unsigned long long)t->ne[1], mat->n_mats);
        IG_TRY(bind_vec(m, t, &values, err));
        if (i == 0) mat->scale = values;
    }
    return IG_OK;
}

static ig_status bind_row(ig_model *m, const ig_layer *w, const binding *b, const char *name, char *base, ig_error *err)
{
    if (!b->when(m, w)) return IG_OK;
    void *field = base + b->field;
    if (b->kind == NORM) return bind_norm(m, w, b, name, field, err);
    const ig_tensor *t = take(m, name);
    if (!t) return b->optional ? IG_OK : missing(m, name, err);
    IG_TRY(check_shape(m, w, t, b, err));
    if (b->kind == MAT || b->kind == TABLE) IG_TRY(bind_mat(m, t, field, err));
    if (b->kind == MAT) return bind_scale(m, name, field, err);
    if (b->kind == TABLE) return IG_OK;
    return bind_vec(m, t, b->kind == BIAS ? &((ig_mat *)field)->bias : field, err);
}

bool ig_has_tensor(const ig_model *m, int64_t layer, const char *name)
{
    char full[160];
    if (layer < 0) return ig_format_tensor(m->file, name) != NULL;
    (void)snprintf(full, sizeof full, "blk.%lld.%s", (long long)layer, name);
    return ig_format_tensor(m->file, full) != NULL;
}

static bool may_ignore(const ig_model *m, const ig_tensor *t)
{
    char name[128];
    (void)snprintf(name, sizeof name, "%.*s", (int)(t->name.len < 127 ? t->name.len : 127), t->name.ptr);
    const char *rest = name;
    if (!strncmp(name, "blk.", 4)) {
        char *end;
        unsigned long long layer = strtoull(name + 4, &end, 10);
        if (end == name + 4 || *end != '.' || layer >= m->hp.n_layers_file) return false;
        if (layer >= m->hp.n_layers) return true; /* a draft layer */
        rest = end + 1;
    }
    for (size_t i = 0; i < sizeof ignorable / sizeof *ignorable; i++)
        if (ig_str_starts(ig_str_from(rest), ig_str_from(ignorable[i]))) return true;
    return false;
}

/* Counts what is used and refuses what nobody names. */
static ig_status refuse_extra(ig_model *m, ig_error *err)
{
    for (size_t i = 0; i < ig_format_n_tensors(m->file); i++) {
        const ig_tensor *t = ig_format_tensor_at(m->file, i);
        m->n_params += m->bound[i] ? t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3] : 0;
        m->weight_bytes += m->bound[i] ? t->n_bytes : 0;
        if (!m->bound[i] && !may_ignore(m, t))
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
    if (!t && ig_part_on(m, IG_PART_ONE_MATRIX)) t = ig_format_tensor(m->file, "output.weight");
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

/* Pairs that the rope factors of the file cover: those of a full layer, before step35 halves them. */
static uint32_t count_factors(const ig_model *m)
{
    for (uint32_t l = 0; l < m->hp.n_layers; l++) {
        const ig_layer *w = &m->layers[l];
        if (w->rope == 0 || (w->attention && !w->window))
            return w->n_rot / 2 * (ig_part_on(m, IG_PART_HALF_ROPE_ON_FULL) ? 2 : 1);
    }
    return m->layers[0].n_rot / 2;
}

static ig_status bind_layers(ig_model *m, const char *prefix, ig_layer *layers, uint32_t n, const binding *rows,
                             size_t n_rows, ig_error *err)
{
    for (uint32_t l = 0; l < n; l++) {
        for (size_t i = 0; i < n_rows; i++) {
            char name[128];
            (void)snprintf(name, sizeof name, "%s.%u.%s", prefix, l, rows[i].name);
            IG_TRY(bind_row(m, &layers[l], &rows[i], name, (char *)&layers[l], err));
        }
        if (ig_part_on(m, IG_PART_NO_OUT_BIAS)) layers[l].o.bias = NULL;
    }
    return IG_OK;
}

/* A draft layer of which a file has a part only is no use: it is read past, and the model computes without it. */
static void drop_half_draft(ig_model *m)
{
    const ig_layer *w = &m->layers[m->hp.n_layers];
    for (size_t i = 0; m->hp.n_draft && i < sizeof layer_rows / sizeof *layer_rows; i++) {
        char weight[128];
        const binding *b = &layer_rows[i];
        if (b->optional || !b->when(m, w) || ig_has_tensor(m, w->index, b->name)) continue;
        (void)snprintf(weight, sizeof weight, "%s.weight", b->name);
        if (b->kind != NORM || !ig_has_tensor(m, w->index, weight)) m->hp.n_draft = 0;
    }
    if (!m->hp.n_draft && m->n_kv_layers > m->hp.n_layers) m->n_kv_layers = m->hp.n_layers;
}

/* The final norm may have a name of its own. */
static ig_status bind_output_norm(ig_model *m, ig_error *err)
{
    static const binding row = {"", NORM, 0, {D_EMBD}, yes, false};
    if (!m->arch->output_norm) return IG_OK;
    return bind_norm(m, NULL, &row, m->arch->output_norm, &m->output_norm, err);
}

ig_status ig_weights_bind(ig_model *m, size_t n_vocab_min, ig_error *err)
{
    enum { N_LAYER = sizeof layer_rows / sizeof *layer_rows, N_T5 = sizeof t5_rows / sizeof *t5_rows };
    m->bound = ig_arena_alloc(&m->arena, ig_format_n_tensors(m->file) + 1, sizeof *m->bound);
    if (!m->bound) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the list of tensors");
    IG_TRY(read_vocab_size(m, n_vocab_min, err));
    m->n_factors = count_factors(m);
    for (size_t i = 0; i < sizeof model_rows / sizeof *model_rows; i++)
        IG_TRY(bind_row(m, NULL, &model_rows[i], model_rows[i].name, (char *)m, err));
    IG_TRY(bind_output_norm(m, err));
    if (!ig_mat_here(&m->embed)) m->embed = m->output;
    if (!ig_mat_here(&m->output)) {
        const float *bias = m->output.bias;
        m->output = m->embed;
        m->output.bias = bias;
    }
    if (m->arch->special == IG_SPECIAL_T5) {
        IG_TRY(bind_layers(m, "enc.blk", m->layers, m->hp.n_layers, t5_rows, N_T5, err));
        IG_TRY(bind_layers(m, "dec.blk", m->layers + m->hp.n_layers, m->hp.n_layers_dec, t5_rows, N_T5, err));
    } else {
        if (m->hp.n_draft) drop_half_draft(m);
        IG_TRY(bind_layers(m, "blk", m->layers, m->hp.n_layers + m->hp.n_draft, layer_rows, N_LAYER, err));
    }
    return refuse_extra(m, err);
}
