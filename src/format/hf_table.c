/* What a model_type of config.json means: its GGUF architecture, its numbers, its tensors. A new one whose parts are
 * all known is a new row. Definitions: the public configuration and model classes of each family; names on the right:
 * the GGUF specification. */
#include "format/hf.h"

#define END_KEYS                                                                                                       \
    {                                                                                                                  \
        NULL, NULL, IG_HF_SIZE, IG_HF_OPTIONAL, 0                                                                      \
    }
#define END_NAMES                                                                                                      \
    {                                                                                                                  \
        NULL, NULL, IG_HF_AS_IS                                                                                        \
    }
#define END_FIXED                                                                                                      \
    {                                                                                                                  \
        NULL, NULL, false                                                                                              \
    }

/* ------------------------------------------------------------------------------------------------ numbers */

/* hidden_size, num_hidden_layers, heads, max_position_embeddings and vocab_size are read by config.c for every row. */
static const ig_hf_key decoder_keys[] = {
    {"intermediate_size", "feed_forward_length", IG_HF_SIZE, IG_HF_REQUIRED, 0},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", IG_HF_REAL, IG_HF_DEFAULT, 1e-6},
    END_KEYS,
};
static const ig_hf_key phi3_keys[] = {
    {"intermediate_size", "feed_forward_length", IG_HF_SIZE, IG_HF_REQUIRED, 0},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", IG_HF_REAL, IG_HF_DEFAULT, 1e-5},
    END_KEYS,
};
static const ig_hf_key gemma2_keys[] = {
    {"attn_logit_softcapping", "attn_logit_softcapping", IG_HF_REAL, IG_HF_DEFAULT, 50},
    {"final_logit_softcapping", "final_logit_softcapping", IG_HF_REAL, IG_HF_DEFAULT, 30},
    END_KEYS,
};
static const ig_hf_key gemma3_keys[] = {
    {"attn_logit_softcapping", "attn_logit_softcapping", IG_HF_REAL, IG_HF_OPTIONAL, 0},
    {"final_logit_softcapping", "final_logit_softcapping", IG_HF_REAL, IG_HF_OPTIONAL, 0},
    END_KEYS,
};
static const ig_hf_key qwen3_moe_keys[] = {
    {"num_experts", "expert_count", IG_HF_SIZE, IG_HF_REQUIRED, 0},
    {"num_experts_per_tok", "expert_used_count", IG_HF_SIZE, IG_HF_REQUIRED, 0},
    {"moe_intermediate_size", "expert_feed_forward_length", IG_HF_SIZE, IG_HF_REQUIRED, 0},
    END_KEYS,
};
static const ig_hf_key minimax_m2_keys[] = {
    {"num_local_experts", "expert_count", IG_HF_SIZE, IG_HF_REQUIRED, 0},
    {"num_experts_per_tok", "expert_used_count", IG_HF_SIZE, IG_HF_REQUIRED, 0},
    {"intermediate_size", "expert_feed_forward_length", IG_HF_SIZE, IG_HF_REQUIRED, 0},
    {"", "expert_gating_func", IG_HF_CONSTANT, IG_HF_DEFAULT, 2},
    END_KEYS,
};
static const ig_hf_key bert_keys[] = {
    {"intermediate_size", "feed_forward_length", IG_HF_SIZE, IG_HF_REQUIRED, 0},
    {"layer_norm_eps", "attention.layer_norm_epsilon", IG_HF_REAL, IG_HF_DEFAULT, 1e-12},
    {"", "attention.causal", IG_HF_NO, IG_HF_DEFAULT, 0},
    {"type_vocab_size", "tokenizer.ggml.token_type_count", IG_HF_SIZE, IG_HF_DEFAULT, 2},
    END_KEYS,
};

/* ------------------------------------------------------------------------------------------------ tensors */

#define LINEAR(from, to, change)                                                                                       \
    {from ".weight", to ".weight", change}, { from ".bias", to ".bias", change }

static const ig_hf_name decoder_names[] = {
    {"embed_tokens.weight", "token_embd.weight", IG_HF_AS_IS},
    {"norm.weight", "output_norm.weight", IG_HF_NORM},
    LINEAR("lm_head", "output", IG_HF_HEAD),
    {"layers.#.input_layernorm.weight", "blk.#.attn_norm.weight", IG_HF_NORM},
    LINEAR("layers.#.self_attn.o_proj", "blk.#.attn_output", IG_HF_AS_IS),
    {"layers.#.self_attn.rotary_emb.inv_freq", NULL, IG_HF_DROP}, /* written by old versions; follows from the base */
    {"rotary_emb.inv_freq", NULL, IG_HF_DROP},
    END_NAMES,
};
static const ig_hf_name split_attention[] = {
    LINEAR("layers.#.self_attn.q_proj", "blk.#.attn_q", IG_HF_Q),
    LINEAR("layers.#.self_attn.k_proj", "blk.#.attn_k", IG_HF_K),
    LINEAR("layers.#.self_attn.v_proj", "blk.#.attn_v", IG_HF_AS_IS),
    END_NAMES,
};
static const ig_hf_name qk_norms[] = {
    {"layers.#.self_attn.q_norm.weight", "blk.#.attn_q_norm.weight", IG_HF_NORM},
    {"layers.#.self_attn.k_norm.weight", "blk.#.attn_k_norm.weight", IG_HF_NORM},
    END_NAMES,
};
static const ig_hf_name ffn_norm[] = {
    {"layers.#.post_attention_layernorm.weight", "blk.#.ffn_norm.weight", IG_HF_NORM},
    END_NAMES,
};
static const ig_hf_name gated_ffn[] = {
    LINEAR("layers.#.mlp.gate_proj", "blk.#.ffn_gate", IG_HF_AS_IS),
    LINEAR("layers.#.mlp.up_proj", "blk.#.ffn_up", IG_HF_AS_IS),
    LINEAR("layers.#.mlp.down_proj", "blk.#.ffn_down", IG_HF_AS_IS),
    END_NAMES,
};
static const ig_hf_name qwen_experts[] = {
    {"layers.#.mlp.gate.weight", "blk.#.ffn_gate_inp.weight", IG_HF_AS_IS},
    {"layers.#.mlp.experts.@.gate_proj.weight", "blk.#.ffn_gate_exps.weight", IG_HF_EXPERT},
    {"layers.#.mlp.experts.@.up_proj.weight", "blk.#.ffn_up_exps.weight", IG_HF_EXPERT},
    {"layers.#.mlp.experts.@.down_proj.weight", "blk.#.ffn_down_exps.weight", IG_HF_EXPERT},
    END_NAMES,
};
static const ig_hf_name minimax_experts[] = {
    {"layers.#.block_sparse_moe.gate.weight", "blk.#.ffn_gate_inp.weight", IG_HF_AS_IS},
    {"layers.#.block_sparse_moe.e_score_correction_bias", "blk.#.exp_probs_b.bias", IG_HF_AS_IS},
    {"layers.#.block_sparse_moe.experts.@.w1.weight", "blk.#.ffn_gate_exps.weight", IG_HF_EXPERT},
    {"layers.#.block_sparse_moe.experts.@.w3.weight", "blk.#.ffn_up_exps.weight", IG_HF_EXPERT},
    {"layers.#.block_sparse_moe.experts.@.w2.weight", "blk.#.ffn_down_exps.weight", IG_HF_EXPERT},
    END_NAMES,
};
static const ig_hf_name sandwich_norms[] = {
    {"layers.#.post_attention_layernorm.weight", "blk.#.post_attention_norm.weight", IG_HF_NORM},
    {"layers.#.pre_feedforward_layernorm.weight", "blk.#.ffn_norm.weight", IG_HF_NORM},
    {"layers.#.post_feedforward_layernorm.weight", "blk.#.post_ffw_norm.weight", IG_HF_NORM},
    END_NAMES,
};
static const ig_hf_name vision[] = {
    /* of a model that also sees: only its text part is read */
    {"vision_tower.*", NULL, IG_HF_DROP},
    {"multi_modal_projector.*", NULL, IG_HF_DROP},
    END_NAMES,
};
static const ig_hf_name fused_names[] = {
    {"layers.#.self_attn.qkv_proj.weight", "blk.#.attn_qkv.weight", IG_HF_AS_IS},
    {"layers.#.mlp.gate_up_proj.weight", "blk.#.ffn_up.weight", IG_HF_AS_IS},
    {"layers.#.mlp.down_proj.weight", "blk.#.ffn_down.weight", IG_HF_AS_IS},
    END_NAMES,
};
static const ig_hf_name bert_names[] = {
    {"embeddings.word_embeddings.weight", "token_embd.weight", IG_HF_AS_IS},
    {"embeddings.position_embeddings.weight", "position_embd.weight", IG_HF_AS_IS},
    {"embeddings.token_type_embeddings.weight", "token_types.weight", IG_HF_AS_IS},
    LINEAR("embeddings.LayerNorm", "token_embd_norm", IG_HF_AS_IS),
    {"embeddings.LayerNorm.gamma", "token_embd_norm.weight", IG_HF_AS_IS}, /* the names of the first BERT files */
    {"embeddings.LayerNorm.beta", "token_embd_norm.bias", IG_HF_AS_IS},
    LINEAR("encoder.layer.#.attention.self.query", "blk.#.attn_q", IG_HF_AS_IS),
    LINEAR("encoder.layer.#.attention.self.key", "blk.#.attn_k", IG_HF_AS_IS),
    LINEAR("encoder.layer.#.attention.self.value", "blk.#.attn_v", IG_HF_AS_IS),
    LINEAR("encoder.layer.#.attention.output.dense", "blk.#.attn_output", IG_HF_AS_IS),
    LINEAR("encoder.layer.#.attention.output.LayerNorm", "blk.#.attn_output_norm", IG_HF_AS_IS),
    {"encoder.layer.#.attention.output.LayerNorm.gamma", "blk.#.attn_output_norm.weight", IG_HF_AS_IS},
    {"encoder.layer.#.attention.output.LayerNorm.beta", "blk.#.attn_output_norm.bias", IG_HF_AS_IS},
    LINEAR("encoder.layer.#.intermediate.dense", "blk.#.ffn_up", IG_HF_AS_IS),
    LINEAR("encoder.layer.#.output.dense", "blk.#.ffn_down", IG_HF_AS_IS),
    LINEAR("encoder.layer.#.output.LayerNorm", "blk.#.layer_output_norm", IG_HF_AS_IS),
    {"encoder.layer.#.output.LayerNorm.gamma", "blk.#.layer_output_norm.weight", IG_HF_AS_IS},
    {"encoder.layer.#.output.LayerNorm.beta", "blk.#.layer_output_norm.bias", IG_HF_AS_IS},
    {"embeddings.position_ids", NULL, IG_HF_DROP}, /* 0, 1, 2 ... */
    LINEAR("pooler.dense", "cls", IG_HF_JUDGE),    /* tanh(cls x), then the scores of a reranker */
    LINEAR("classifier", "cls.output", IG_HF_JUDGE),
    {"cls.predictions.*", NULL, IG_HF_DROP}, /* heads that were used in training only */
    {"cls.seq_relationship.*", NULL, IG_HF_DROP},
    END_NAMES,
};

/* ------------------------------------------------------------------------------------------------ fixed keys */

static const ig_hf_fixed qwen3_moe_fixed[] = {
    {"norm_topk_prob", "true", true},
    {"decoder_sparse_step", "1", false},
    END_FIXED,
};
static const ig_hf_fixed minimax_m2_fixed[] = {
    {"scoring_func", "\"sigmoid\"", false},   {"use_routing_bias", "true", false}, {"use_qk_norm", "true", false},
    {"qk_norm_type", "\"per_layer\"", false}, {"attn_type_list", "1", false},      END_FIXED,
};
static const ig_hf_fixed bert_fixed[] = {
    {"position_embedding_type", "\"absolute\"", false},
    END_FIXED,
};

const char *const ig_hf_off_keys[] = {
    "quantization_config",
    "compression_config",
    "alibi",
    "use_alibi",
    "clip_qkv",
    "qkv_clip",
    "is_encoder_decoder",
    "is_decoder",
    "add_cross_attention",
    "use_bidirectional_attention",
    "use_mrope",
    "no_rope_layers",
    "no_rope_layer_interval",
    "nope_layer_interval",
    "num_kv_shared_layers",
    "hidden_size_per_layer_input",
    "mlp_only_layers",
    "n_shared_experts",
    "num_shared_experts",
    "shared_intermediate_size",
    "shared_expert_intermediate_size",
    "first_k_dense_replace",
    "parallel_attn",
    "use_parallel_residual",
    "kv_lora_rank",
    "q_lora_rank",
    "attention_chunk_size",
    "attn_temperature_tuning",
    "llama_4_scaling",
    "swiglu_limit",
    NULL,
};
const char *const ig_hf_one_keys[] = {
    "embedding_multiplier",
    "residual_multiplier",
    "logits_scaling",
    "logit_scale",
    "scale_emb",
    "routed_scaling_factor",
    NULL,
};

/* ------------------------------------------------------------------------------------------------ rows */

#define GEMMA (IG_HF_NORM_ONE | IG_HF_TIED | IG_HF_SCALE_KEY)

static const ig_hf_row rows[] = {
    {.model_type = "llama",
     .arch = "llama",
     .flags = IG_HF_HALF_SPLIT | IG_HF_LLAMA3 | IG_HF_HEADS_KV,
     .rope_base = 10000,
     .act = "silu",
     .keys = {decoder_keys},
     .names = {decoder_names, split_attention, ffn_norm, gated_ffn},
     .prefixes = {"model.", ""}},
    {.model_type = "mistral",
     .arch = "llama",
     .flags = IG_HF_HALF_SPLIT | IG_HF_LLAMA3,
     .window_pattern = 1,
     .window = 4096,
     .rope_base = 10000,
     .act = "silu",
     .keys = {decoder_keys},
     .names = {decoder_names, split_attention, ffn_norm, gated_ffn},
     .prefixes = {"model.", ""}},
    {.model_type = "qwen2",
     .arch = "qwen2",
     .flags = IG_HF_WINDOW_KEY,
     .rope_base = 10000,
     .act = "silu",
     .keys = {decoder_keys},
     .names = {decoder_names, split_attention, ffn_norm, gated_ffn},
     .prefixes = {"model.", ""}},
    {.model_type = "qwen3",
     .arch = "qwen3",
     .flags = IG_HF_WINDOW_KEY,
     .head_size = 128,
     .rope_base = 10000,
     .act = "silu",
     .keys = {decoder_keys},
     .names = {decoder_names, split_attention, qk_norms, ffn_norm, gated_ffn},
     .prefixes = {"model.", ""}},
    {.model_type = "qwen3_moe",
     .arch = "qwen3moe",
     .flags = IG_HF_WINDOW_KEY,
     .rope_base = 10000,
     .act = "silu",
     .keys = {decoder_keys, qwen3_moe_keys},
     .names = {decoder_names, split_attention, qk_norms, ffn_norm, qwen_experts},
     .fixed = qwen3_moe_fixed,
     .prefixes = {"model.", ""}},
    {.model_type = "gemma2",
     .arch = "gemma2",
     .flags = GEMMA,
     .head_size = 256,
     .window_pattern = 2,
     .window = 4096,
     .rope_base = 10000,
     .act_key = "hidden_activation",
     .act = "gelu_pytorch_tanh",
     .keys = {decoder_keys, gemma2_keys},
     .names = {decoder_names, split_attention, sandwich_norms, gated_ffn},
     .prefixes = {"model.", ""}},
    {.model_type = "gemma3_text",
     .arch = "gemma3",
     .flags = GEMMA | IG_HF_LOCAL_ROPE,
     .head_size = 256,
     .window_pattern = 6,
     .window = 4096,
     .rope_base = 1e6,
     .heads = 8,
     .heads_kv = 4,
     .n_ctx = 131072,
     .n_vocab = 262208,
     .act_key = "hidden_activation",
     .act = "gelu_pytorch_tanh",
     .keys = {decoder_keys, gemma3_keys},
     .names = {decoder_names, split_attention, qk_norms, sandwich_norms, gated_ffn},
     .prefixes = {"model.", ""}},
    {.model_type = "gemma3",
     .arch = "gemma3",
     .part = "text_config",
     .flags = GEMMA | IG_HF_LOCAL_ROPE,
     .head_size = 256,
     .window_pattern = 6,
     .window = 4096,
     .rope_base = 1e6,
     .heads = 8,
     .heads_kv = 4,
     .n_ctx = 131072,
     .n_vocab = 262208,
     .act_key = "hidden_activation",
     .act = "gelu_pytorch_tanh",
     .keys = {decoder_keys, gemma3_keys},
     .names = {decoder_names, split_attention, qk_norms, sandwich_norms, gated_ffn, vision},
     .prefixes = {"language_model.model.", "model.language_model.", "language_model.", "model.", ""}},
    {.model_type = "phi3",
     .arch = "phi3",
     .flags = IG_HF_LONGROPE | IG_HF_HEADS_KV,
     .window_pattern = 1,
     .rope_base = 10000,
     .act = "silu",
     .keys = {phi3_keys},
     .names = {decoder_names, ffn_norm, fused_names},
     .prefixes = {"model.", ""}},
    {.model_type = "minimax_m2",
     .arch = "minimax-m2",
     .rope_base = 5e6,
     .act = "silu",
     .keys = {decoder_keys, minimax_m2_keys},
     .names = {decoder_names, split_attention, qk_norms, ffn_norm, minimax_experts},
     .fixed = minimax_m2_fixed,
     .prefixes = {"model.", ""}},
    {.model_type = "bert",
     .arch = "bert",
     .flags = IG_HF_ENCODER | IG_HF_HEADS_KV,
     .act = "gelu",
     .keys = {bert_keys},
     .names = {bert_names},
     .fixed = bert_fixed,
     .prefixes = {"bert.", ""}},
};

const ig_hf_row *ig_hf_row_at(size_t i) { return i < sizeof rows / sizeof *rows ? &rows[i] : NULL; }

const ig_hf_row *ig_hf_row_find(ig_str model_type)
{
    for (size_t i = 0; ig_hf_row_at(i); i++)
        if (ig_str_is(model_type, rows[i].model_type)) return &rows[i];
    return NULL;
}
