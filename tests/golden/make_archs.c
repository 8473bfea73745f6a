/* One row a model: metadata and tensors as text, in the notation of the golden folder's TENSORS.md.
 *
 * keys     "NAME=VALUE ...", behind the architecture's name; 5 is a uint32, 5.0 or 1e-05 a float32, true a bool, "x" a
 *          string, [1,2] an array of int32, others of bools or strings
 * tensors  "NAME:NE0,NE1 ...", the fastest axis first; *NAME is one of every layer, 2-5*NAME one of these layers
 *
 * Weights: norms 1 +- 0.2, matrices with standard deviation 1 / sqrt(inputs), 1.6 times that for queries and keys and
 * twice for embedding and output, routers 3 / sqrt(inputs), biases +- 0.1; where one matrix is output and embedding,
 * the final norm has random signs, so that the model does not repeat its input. A tensor's values depend on the names
 * of case and tensor alone. Only exact operations and square roots are used. */
#include "tests/golden/make_archs.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct model {
    const char *name, *arch, *keys, *tensors;
} model;

#define DIMS "context_length=2048 embedding_length=32 feed_forward_length=56 attention.head_count=4 "
#define RMS  "attention.layer_norm_rms_epsilon=1e-05 "
/* The reference takes 0 for qwen2vl, whatever the key says. */
#define TINY_EPS "attention.layer_norm_rms_epsilon=1e-12 "
#define LN       "attention.layer_norm_epsilon=1e-05 "
#define GQA      "attention.head_count_kv=2 "
#define HEAD16   "attention.key_length=16 attention.value_length=16 rope.dimension_count=16 "
#define MOE8     "expert_count=8 expert_used_count=3 "

#define EMBED       "token_embd.weight:32,121 output_norm.weight:32 "
#define OUTPUT      "output.weight:32,121 "
#define NORMS       "*attn_norm.weight:32 *ffn_norm.weight:32 "
#define NORM_BIASES "output_norm.bias:32 *attn_norm.bias:32 *ffn_norm.bias:32 "
#define QKV8        "*attn_q.weight:32,32 *attn_k.weight:32,16 *attn_v.weight:32,16 *attn_output.weight:32,32 "
#define QKV16       "*attn_q.weight:32,64 *attn_k.weight:32,32 *attn_v.weight:32,32 *attn_output.weight:64,32 "
#define QKV_BIAS8   "*attn_q.bias:32 *attn_k.bias:16 *attn_v.bias:16 "
#define QK_NORM16   "*attn_q_norm.weight:16 *attn_k_norm.weight:16 "
#define GLU         "*ffn_gate.weight:32,56 *ffn_up.weight:32,56 *ffn_down.weight:56,32 "
#define MLP         "*ffn_up.weight:32,56 *ffn_down.weight:56,32 "
#define MLP_BIAS    "*ffn_up.bias:56 *ffn_down.bias:32 "
#define EXPERTS(layers)                                                                                                \
    layers "*ffn_gate_inp.weight:32,8 " layers "*ffn_gate_exps.weight:32,24,8 " layers                                 \
           "*ffn_up_exps.weight:32,24,8 " layers "*ffn_down_exps.weight:24,32,8 "
#define SHARED(layers, ff)                                                                                             \
    layers "*ffn_gate_shexp.weight:32," ff " " layers "*ffn_up_shexp.weight:32," ff " " layers                         \
           "*ffn_down_shexp.weight:" ff ",32 "
#define GEMMA EMBED NORMS QKV16 GLU "*post_attention_norm.weight:32 *post_ffw_norm.weight:32 "

#define BERT                                                                                                           \
    "context_length=64 embedding_length=36 block_count=4 feed_forward_length=60 attention.head_count=4 " LN            \
    "attention.causal=false "
#define BERT_TENSORS                                                                                                   \
    "token_embd.weight:36,131 token_embd_norm.weight:36 token_embd_norm.bias:36 token_types.weight:36,2 "              \
    "position_embd.weight:36,64 *attn_q.weight:36,36 *attn_q.bias:36 *attn_k.weight:36,36 *attn_k.bias:36 "            \
    "*attn_v.weight:36,36 *attn_v.bias:36 *attn_output.weight:36,36 *attn_output.bias:36 "                             \
    "*attn_output_norm.weight:36 *attn_output_norm.bias:36 *layer_output_norm.weight:36 *layer_output_norm.bias:36 "   \
    "*ffn_up.weight:36,60 *ffn_up.bias:60 *ffn_down.weight:60,36 *ffn_down.bias:36 "
#define CLS_DENSE "cls.weight:36,36 cls.bias:36 "

static const model models[] = {
    {"olmo", "olmo", DIMS GQA LN "block_count=3 rope.dimension_count=8 attention.clamp_kqv=1.5",
     "token_embd.weight:32,121 " OUTPUT QKV8 GLU},
    {"olmoe", "olmoe",
     "context_length=2048 embedding_length=32 feed_forward_length=24 attention.head_count=4 " RMS MOE8
     "block_count=3 rope.dimension_count=8 rope.freq_base=10000.0",
     EMBED OUTPUT NORMS "*attn_q.weight:32,32 *attn_k.weight:32,32 *attn_v.weight:32,32 *attn_output.weight:32,32 "
                        "*attn_q_norm.weight:32 *attn_k_norm.weight:32 " EXPERTS("")},
    {"phimoe", "phimoe",
     "context_length=256 embedding_length=32 feed_forward_length=24 attention.head_count=4 " GQA RMS
     "expert_count=8 expert_used_count=2 block_count=3 rope.dimension_count=8 rope.freq_base=10000.0 "
     "rope.scaling.original_context_length=32 rope.scaling.attn_factor=1.19",
     EMBED OUTPUT "output.bias:121 " NORMS NORM_BIASES QKV8 QKV_BIAS8
                  "*attn_output.bias:32 rope_factors_long.weight:4 rope_factors_short.weight:4 " EXPERTS("")},
    {"nemotron", "nemotron", DIMS GQA LN "block_count=3 rope.dimension_count=4 rope.freq_base=10000.0",
     EMBED OUTPUT NORMS NORM_BIASES QKV8 MLP},
    {"chatglm", "chatglm", DIMS GQA RMS "block_count=3 rope.dimension_count=4 rope.freq_base=10000.0",
     EMBED OUTPUT NORMS
     "*attn_qkv.weight:32,64 *attn_qkv.bias:64 *attn_output.weight:32,32 *ffn_up.weight:32,112 *ffn_down.weight:56,32"},
    {"exaone", "exaone", DIMS GQA RMS "block_count=3 rope.dimension_count=8 rope.freq_base=500000.0",
     EMBED NORMS QKV8 GLU "rope_freqs.weight:4"},
    {"refact", "refact", DIMS "attention.head_count_kv=1 " RMS "block_count=3",
     EMBED OUTPUT NORMS "*attn_q.weight:32,32 *attn_k.weight:32,8 *attn_v.weight:32,8 *attn_output.weight:32,32 " GLU},
    {"codeshell", "codeshell", DIMS GQA LN "block_count=3 rope.freq_base=10000.0",
     EMBED OUTPUT NORMS NORM_BIASES "*attn_qkv.weight:32,64 *attn_qkv.bias:64 *attn_output.weight:32,32 "
                                    "*attn_output.bias:32 " MLP MLP_BIAS},
    {"deepseek", "deepseek",
     DIMS GQA RMS MOE8 "block_count=3 rope.dimension_count=8 rope.freq_base=10000.0 leading_dense_block_count=1 "
                       "expert_feed_forward_length=24 expert_shared_count=2 expert_weights_scale=1.5",
     EMBED OUTPUT NORMS QKV8
     "0-0*ffn_gate.weight:32,56 0-0*ffn_up.weight:32,56 0-0*ffn_down.weight:56,32 " EXPERTS("1-2") SHARED("1-2", "48")},
    {"qwen2moe", "qwen2moe",
     DIMS GQA RMS MOE8 "block_count=3 rope.dimension_count=8 rope.freq_base=1000000.0 expert_feed_forward_length=24 "
                       "expert_shared_feed_forward_length=40",
     EMBED OUTPUT NORMS QKV8 QKV_BIAS8 EXPERTS("") SHARED("", "40") "*ffn_gate_inp_shexp.weight:32"},
    {"qwen2moe-early", "qwen2moe",
     "context_length=2048 embedding_length=32 feed_forward_length=72 attention.head_count=4 " GQA RMS MOE8
     "block_count=3 rope.dimension_count=8 rope.freq_base=1000000.0",
     EMBED OUTPUT NORMS QKV8 QKV_BIAS8 EXPERTS("") SHARED("", "72") "*ffn_gate_inp_shexp.weight:32"},
    {"codeshell-one", "codeshell", DIMS GQA LN "block_count=3 rope.freq_base=10000.0",
     "output_norm.weight:32 " OUTPUT NORMS NORM_BIASES "*attn_qkv.weight:32,64 *attn_qkv.bias:64 "
     "*attn_output.weight:32,32 *attn_output.bias:32 " MLP MLP_BIAS},
    {"starcoder", "starcoder",
     "context_length=96 embedding_length=32 feed_forward_length=56 attention.head_count=4 attention.head_count_kv=1 " LN
     "block_count=3",
     EMBED OUTPUT NORMS NORM_BIASES "position_embd.weight:32,96 *attn_qkv.weight:32,48 *attn_qkv.bias:48 "
                                    "*attn_output.weight:32,32 *attn_output.bias:32 " MLP MLP_BIAS},
    {"qwen2vl", "qwen2vl",
     DIMS GQA TINY_EPS
     "block_count=3 rope.dimension_count=8 rope.freq_base=1000000.0 rope.dimension_sections=[2,1,1,0]",
     EMBED OUTPUT NORMS QKV8 QKV_BIAS8 GLU},
    {"mellum", "mellum",
     DIMS GQA RMS MOE8 HEAD16 "block_count=4 rope.freq_base=500000.0 expert_feed_forward_length=24 "
                              "attention.sliding_window=10 attention.sliding_window_pattern=[true,true,true,false] "
                              "rope.scaling.type=\"yarn\" rope.scaling.factor=8.0 "
                              "rope.scaling.original_context_length=32",
     EMBED OUTPUT NORMS QKV16 QK_NORM16 EXPERTS("")},
    {"gemma2-46", "gemma2",
     DIMS GQA RMS HEAD16 "block_count=46 rope.freq_base=10000.0 attention.sliding_window=10 "
                         "attn_logit_softcapping=4.0 final_logit_softcapping=5.0",
     GEMMA},
    {"gemma3-62", "gemma3",
     DIMS GQA RMS HEAD16 "block_count=62 rope.freq_base=1000000.0 attention.sliding_window=10 "
                         "rope.scaling.type=\"linear\" rope.scaling.factor=8.0",
     GEMMA QK_NORM16},
    {"llama4-128", "llama4",
     DIMS GQA RMS HEAD16 "block_count=4 rope.freq_base=500000.0 expert_count=128 expert_used_count=1 "
                         "expert_feed_forward_length=24 interleave_moe_layer_step=2",
     EMBED OUTPUT NORMS QKV16
     "0-0*ffn_gate.weight:32,56 0-0*ffn_up.weight:32,56 0-0*ffn_down.weight:56,32 "
     "2-2*ffn_gate.weight:32,56 2-2*ffn_up.weight:32,56 2-2*ffn_down.weight:56,32 "
     "1-1*ffn_gate_inp.weight:32,128 1-1*ffn_gate_exps.weight:32,24,128 1-1*ffn_up_exps.weight:32,24,128 "
     "1-1*ffn_down_exps.weight:24,32,128 3-3*ffn_gate_inp.weight:32,128 3-3*ffn_gate_exps.weight:32,24,128 "
     "3-3*ffn_up_exps.weight:32,24,128 3-3*ffn_down_exps.weight:24,32,128 " SHARED("1-1", "24") SHARED("3-3", "24")},
    {"qwen3next-fused", "qwen3next",
     DIMS GQA RMS "block_count=4 attention.key_length=16 attention.value_length=16 rope.dimension_count=8 "
                  "rope.freq_base=1000000.0 ssm.conv_kernel=4 ssm.inner_size=64 ssm.state_size=16 "
                  "ssm.time_step_rank=4 ssm.group_count=2 expert_count=8 expert_used_count=2 "
                  "expert_feed_forward_length=24 expert_shared_feed_forward_length=20 full_attention_interval=4",
     EMBED OUTPUT "*attn_norm.weight:32 *post_attention_norm.weight:32 3-3*attn_q.weight:32,128 "
                  "3-3*attn_k.weight:32,32 3-3*attn_v.weight:32,32 3-3*attn_output.weight:64,32 "
                  "3-3*attn_q_norm.weight:16 3-3*attn_k_norm.weight:16 0-2*ssm_in.weight:32,192 "
                  "0-2*ssm_ba.weight:32,8 0-2*ssm_conv1d.weight:4,128 0-2*ssm_dt.bias:4 0-2*ssm_a:4 "
                  "0-2*ssm_norm.weight:16 0-2*ssm_out.weight:64,32 *ffn_gate_inp_shexp.weight:32 " EXPERTS("")
                      SHARED("", "20")},
    {"stablelm-parallel", "stablelm",
     DIMS GQA LN "block_count=3 rope.dimension_count=4 rope.freq_base=10000.0 use_parallel_residual=true",
     EMBED OUTPUT "output_norm.bias:32 *attn_norm.weight:32 *attn_norm.bias:32 *attn_q_norm.weight:8,4 "
                  "*attn_k_norm.weight:8,2 " QKV8 GLU},
    {"command-r-64", "command-r",
     DIMS GQA LN "block_count=64 rope.dimension_count=8 rope.freq_base=8000000.0 logit_scale=0.5",
     EMBED "*attn_norm.weight:32 *attn_q_norm.weight:8,4 *attn_k_norm.weight:8,2 " QKV8 GLU},
    {"mpt-alibi", "mpt",
     "context_length=2048 embedding_length=48 feed_forward_length=56 attention.head_count=6 " LN
     "block_count=3 attention.max_alibi_bias=16.0",
     "token_embd.weight:48,121 output_norm.weight:48 output_norm.bias:48 *attn_norm.weight:48 *attn_norm.bias:48 "
     "*ffn_norm.weight:48 *ffn_norm.bias:48 *attn_qkv.weight:48,144 *attn_qkv.bias:144 *attn_output.weight:48,48 "
     "*attn_output.bias:48 *ffn_up.weight:48,56 *ffn_up.bias:56 *ffn_down.weight:56,48 *ffn_down.bias:48"},
    {"mpt-clamp", "mpt", DIMS GQA LN "block_count=3 attention.max_alibi_bias=4.0 attention.clamp_kqv=0.5",
     EMBED OUTPUT NORMS "*attn_qkv.weight:32,64 *attn_output.weight:32,32 " MLP},
    {"llama-scales", "llama", DIMS GQA RMS "block_count=3 rope.dimension_count=8 rope.freq_base=10000.0",
     EMBED OUTPUT NORMS QKV8 QKV_BIAS8 GLU
     "*attn_q.scale:1 *attn_q.input_scale:1 *attn_k.scale:1 *attn_v.scale:1 *attn_output.scale:1 "
     "*ffn_gate.scale:1 *ffn_up.scale:1 *ffn_up.input_scale:1 *ffn_down.scale:1"},
    {"cohere2moe-scales", "cohere2moe",
     DIMS GQA LN HEAD16 "block_count=4 rope.freq_base=10000.0 expert_count=4 expert_used_count=2 "
                        "expert_feed_forward_length=24 expert_shared_count=1 leading_dense_block_count=0 "
                        "attention.sliding_window=8 attention.sliding_window_pattern=4 logit_scale=0.5",
     EMBED OUTPUT
     "*attn_norm.weight:32 " QKV16 "*ffn_gate_inp.weight:32,4 *ffn_gate_exps.weight:32,24,4 "
     "*ffn_up_exps.weight:32,24,4 *ffn_down_exps.weight:24,32,4 " SHARED(
         "", "24") "*ffn_gate_exps.scale:4 *ffn_up_exps.scale:4 *ffn_down_exps.scale:4 *ffn_up_exps.input_scale:4 "
                   "*ffn_gate_shexp.scale:1 *ffn_up_shexp.scale:1 *ffn_down_shexp.scale:1"},
    {"gemma4-scales", "gemma4",
     DIMS RMS "attention.head_count_kv=2 block_count=2 rope.dimension_count=24 rope.freq_base=1000000.0 expert_count=8 "
              "expert_used_count=2 expert_feed_forward_length=24 attention.key_length=24 attention.value_length=24 "
              "attention.key_length_swa=16 attention.value_length_swa=16 rope.dimension_count_swa=16 "
              "rope.freq_base_swa=10000.0 attention.sliding_window=10 attention.sliding_window_pattern=[true,false] "
              "attention.shared_kv_layers=0 embedding_length_per_layer_input=0 final_logit_softcapping=6.0",
     EMBED
     "rope_freqs.weight:12 0-0*attn_q.weight:32,64 0-0*attn_k.weight:32,32 0-0*attn_v.weight:32,32 "
     "0-0*attn_output.weight:64,32 0-0*attn_q_norm.weight:16 0-0*attn_k_norm.weight:16 1-1*attn_q.weight:32,96 "
     "1-1*attn_k.weight:32,48 1-1*attn_output.weight:96,32 1-1*attn_q_norm.weight:24 1-1*attn_k_norm.weight:24 " NORMS
         GLU "*post_attention_norm.weight:32 *post_ffw_norm.weight:32 *post_ffw_norm_1.weight:32 "
     "*post_ffw_norm_2.weight:32 *pre_ffw_norm_2.weight:32 *ffn_gate_inp.weight:32,8 *ffn_gate_inp.scale:32 "
     "*ffn_gate_up_exps.weight:32,48,8 *ffn_down_exps.weight:24,32,8 *ffn_down_exps.scale:8"},
    {"laguna-yarn", "laguna",
     DIMS GQA RMS HEAD16 "block_count=4 expert_count=4 expert_used_count=2 expert_feed_forward_length=24 "
                         "expert_gating_func=2 expert_shared_count=1 expert_shared_feed_forward_length=24 "
                         "leading_dense_block_count=1 attention.sliding_window=8 rope.freq_base=500000.0 "
                         "rope.scaling.type=\"yarn\" rope.scaling.factor=4.0 rope.scaling.original_context_length=16",
     EMBED OUTPUT NORMS QKV16 QK_NORM16
     "*attn_gate.weight:32,64 0-0*ffn_gate.weight:32,56 0-0*ffn_up.weight:32,56 0-0*ffn_down.weight:56,32 "
     "1-3*ffn_gate_inp.weight:32,4 1-3*exp_probs_b.bias:4 1-3*ffn_gate_exps.weight:32,24,4 "
     "1-3*ffn_up_exps.weight:32,24,4 1-3*ffn_down_exps.weight:24,32,4 " SHARED("1-3", "24")},
    {"cohere2moe-keys", "cohere2moe",
     DIMS GQA LN HEAD16 "block_count=6 rope.freq_base=10000.0 expert_count=4 expert_used_count=2 "
                        "expert_feed_forward_length=24 expert_shared_count=1 leading_dense_block_count=1 "
                        "expert_weights_norm=true attention.sliding_window=8 attention.sliding_window_pattern=3 "
                        "nextn_predict_layers=1 logit_scale=0.5",
     EMBED OUTPUT
     "*attn_norm.weight:32 " QKV16 "0-0*ffn_gate.weight:32,56 0-0*ffn_up.weight:32,56 "
     "0-0*ffn_down.weight:56,32 1-5*ffn_gate_inp.weight:32,4 1-5*ffn_gate_exps.weight:32,24,4 "
     "1-5*ffn_up_exps.weight:32,24,4 1-5*ffn_down_exps.weight:24,32,4 " SHARED(
         "1-5", "24") "5-5*nextn.eh_proj.weight:64,32 5-5*nextn.enorm.weight:32 5-5*nextn.hnorm.weight:32"},
    {"bert-rerank", "bert", BERT "pooling_type=4", BERT_TENSORS CLS_DENSE "cls.output.weight:36,1 cls.output.bias:1"},
    {"bert-rerank-bare", "bert", BERT "classifier.output_labels=[\"no\",\"yes\"]",
     BERT_TENSORS "cls.output.weight:36,2"},
    {"modern-bert-rerank", "modern-bert",
     BERT "pooling_type=4 rope.dimension_count=8 rope.freq_base=160000.0 rope.freq_base_swa=10000.0 "
          "attention.sliding_window=12",
     "token_embd.weight:36,131 token_embd_norm.weight:36 output_norm.weight:36 1-3*attn_norm.weight:36 "
     "*attn_qkv.weight:36,108 *attn_output.weight:36,36 *ffn_norm.weight:36 *ffn_up.weight:36,120 "
     "*ffn_down.weight:60,36 cls.weight:36,36 cls.norm.weight:36 cls.output.weight:36,1 cls.output.bias:1"},
    {"qwen3-rerank", "qwen3",
     DIMS GQA RMS HEAD16 "block_count=3 rope.freq_base=1000000.0 pooling_type=4 "
                         "classifier.output_labels=[\"yes\",\"no\"]",
     EMBED NORMS QKV16 QK_NORM16 GLU "cls.output.weight:32,2"},
};

/* ------------------------------------------------------------------------------------------------ bytes */

typedef struct bytes { /* grows; the process ends when memory does */
    char *data;
    size_t n, cap;
} bytes;

static void put(bytes *b, const void *p, size_t n)
{
    if (b->n + n > b->cap) {
        b->cap = 2 * (b->n + n);
        b->data = realloc(b->data, b->cap);
        if (!b->data) abort();
    }
    memcpy(b->data + b->n, p, n);
    b->n += n;
}
static void put_u32(bytes *b, uint32_t v) { put(b, &v, 4); }
static void put_u64(bytes *b, uint64_t v) { put(b, &v, 8); }
static void put_text(bytes *b, const char *s, size_t n)
{
    put_u64(b, n);
    put(b, s, n);
}

/* ------------------------------------------------------------------------------------------------ metadata */

enum { U32 = 4, I32 = 5, F32 = 6, BOOL = 7, STRING = 8, ARRAY = 9 };

typedef struct file {
    const model *m;
    bytes meta, list, data;
    uint64_t n_meta, n_tensors;
    uint32_t n_layers;
} file;

static void key(file *f, const char *name, uint32_t type)
{
    put_text(&f->meta, name, strlen(name));
    put_u32(&f->meta, type);
    f->n_meta++;
}
static void meta_str(file *f, const char *name, const char *s)
{
    key(f, name, STRING);
    put_text(&f->meta, s, strlen(s));
}
static void meta_u32(file *f, const char *name, uint32_t v)
{
    key(f, name, U32);
    put_u32(&f->meta, v);
}

static void put_bool(file *f, const char *s) { put(&f->meta, *s == 't' ? "\1" : "\0", 1); }

static void meta_array(file *f, const char *name, const char *list)
{
    uint32_t type = list[1] == '"' ? STRING : list[1] == 't' || list[1] == 'f' ? BOOL : I32;
    uint64_t n = 1;
    for (const char *s = list; *s; s++) n += *s == ',';
    key(f, name, ARRAY);
    put_u32(&f->meta, type);
    put_u64(&f->meta, n);
    for (const char *s = list; s; s = strchr(s + 1, ',')) {
        if (type == STRING)
            put_text(&f->meta, s + 2, strcspn(s + 2, "\""));
        else if (type == BOOL)
            put_bool(f, s + 1);
        else
            put_u32(&f->meta, (uint32_t)strtol(s + 1, NULL, 10));
    }
}

/* One "NAME=VALUE" of a row. */
static void meta_row(file *f, char *word)
{
    char *value = strchr(word, '='), name[128];
    *value++ = 0;
    (void)snprintf(name, sizeof name, "%s.%s", f->m->arch, word);
    if (!strcmp(word, "block_count")) f->n_layers = (uint32_t)strtoul(value, NULL, 10);
    if (*value == '"') {
        value[strlen(value) - 1] = 0;
        meta_str(f, name, value + 1);
    } else if (*value == '[') {
        meta_array(f, name, value);
    } else if (*value == 't' || *value == 'f') {
        key(f, name, BOOL);
        put_bool(f, value);
    } else if (strpbrk(value, ".e")) {
        float v = strtof(value, NULL);
        key(f, name, F32);
        put(&f->meta, &v, 4);
    } else
        meta_u32(f, name, (uint32_t)strtoul(value, NULL, 10));
}

/* Calls each for every word of a text between blanks. */
static void each_word(file *f, const char *text, void (*each)(file *f, char *word))
{
    char word[256];
    for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
        size_t n = strcspn(text, " ");
        if (n >= sizeof word) abort();
        memcpy(word, text, n);
        word[n] = 0;
        text += n;
        each(f, word);
    }
}

/* ------------------------------------------------------------------------------------------------ vocabularies */

static void tokens(file *f, const char *const *first, const char *prefix, const char *const *last, const char *types)
{
    bytes list = {0}, kinds = {0};
    uint64_t n = 0;
    for (; *first; first++, n++) put_text(&list, *first, strlen(*first));
    for (char c = '!'; c <= '~'; c++, n++) {
        char s[8];
        put_text(&list, s, (size_t)snprintf(s, sizeof s, "%s%c", prefix, c));
    }
    for (; *last; last++, n++) put_text(&list, *last, strlen(*last));
    for (uint64_t i = 0; i < n; i++) { /* the control tokens are the first three or the last three */
        bool control = *types == 'f' ? i < 5 : i + 3 >= n;
        put_u32(&kinds, control ? 3 : 1);
    }
    key(f, "tokenizer.ggml.tokens", ARRAY);
    put_u32(&f->meta, STRING);
    put_u64(&f->meta, n);
    put(&f->meta, list.data, list.n);
    key(f, "tokenizer.ggml.token_type", ARRAY);
    put_u32(&f->meta, I32);
    put_u64(&f->meta, n);
    put(&f->meta, kinds.data, kinds.n);
    free(list.data);
    free(kinds.data);
}

/* 121 tokens: printable ASCII, a few merges, three control tokens. */
static void byte_level(file *f)
{
    static const char *const none[] = {NULL};
    static const char *const last[] = {"\xc4\xa0",
                                       "\xc4\x8a",
                                       "\xc4\xa0t",
                                       ("\xc4\xa0"
                                        "a"),
                                       "he",
                                       "in",
                                       "er",
                                       "on",
                                       "\xc4\xa0the",
                                       "re",
                                       "an",
                                       "nd",
                                       "or",
                                       "en",
                                       "es",
                                       "it",
                                       "is",
                                       "ing",
                                       ("\xc4\xa0"
                                        "and"),
                                       "al",
                                       "ar",
                                       "st",
                                       "at",
                                       "ed",
                                       "<|bos|>",
                                       "<|eos|>",
                                       "<|pad|>",
                                       NULL};
    static const char *const merges[] = {"\xc4\xa0 t",
                                         "\xc4\xa0 a",
                                         "h e",
                                         "i n",
                                         "e r",
                                         "o n",
                                         "\xc4\xa0t he",
                                         "r e",
                                         "a n",
                                         "n d",
                                         "o r",
                                         "e n",
                                         "e s",
                                         "i t",
                                         "i s",
                                         "in g",
                                         ("\xc4\xa0"
                                          "a nd"),
                                         "a l",
                                         "a r",
                                         "s t",
                                         "a t",
                                         "e d"};
    enum { N = sizeof merges / sizeof *merges };
    meta_str(f, "tokenizer.ggml.model", "gpt2");
    meta_str(f, "tokenizer.ggml.pre", "qwen2");
    tokens(f, none, "", last, "last");
    key(f, "tokenizer.ggml.merges", ARRAY);
    put_u32(&f->meta, STRING);
    put_u64(&f->meta, N);
    for (size_t i = 0; i < N; i++) put_text(&f->meta, merges[i], strlen(merges[i]));
    meta_u32(f, "tokenizer.ggml.bos_token_id", 118);
    meta_u32(f, "tokenizer.ggml.eos_token_id", 119);
    meta_u32(f, "tokenizer.ggml.padding_token_id", 120);
}

/* 131 tokens: five control tokens, the beginnings of words, and letters and syllables inside them. */
static void word_pieces(file *f)
{
    static const char *const first[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", NULL};
    static const char *const last[] = {"a",
                                       "b",
                                       "c",
                                       "d",
                                       "e",
                                       "f",
                                       "g",
                                       "h",
                                       "i",
                                       "j",
                                       "k",
                                       "l",
                                       "m",
                                       "n",
                                       "o",
                                       "p",
                                       "q",
                                       "r",
                                       "s",
                                       "t",
                                       "u",
                                       "v",
                                       "w",
                                       "x",
                                       "y",
                                       "z",
                                       "\xe2\x96\x81the",
                                       ("\xe2\x96\x81"
                                        "and"),
                                       "\xe2\x96\x81of",
                                       "ing",
                                       "er",
                                       "ed",
                                       NULL};
    meta_str(f, "tokenizer.ggml.model", "bert");
    meta_str(f, "tokenizer.ggml.pre", "default");
    tokens(f, first, "\xe2\x96\x81", last, "first");
    meta_u32(f, "tokenizer.ggml.token_type_count", 2);
    meta_u32(f, "tokenizer.ggml.bos_token_id", 2);
    meta_u32(f, "tokenizer.ggml.cls_token_id", 2);
    meta_u32(f, "tokenizer.ggml.eos_token_id", 3);
    meta_u32(f, "tokenizer.ggml.seperator_token_id", 3);
    meta_u32(f, "tokenizer.ggml.unknown_token_id", 1);
    meta_u32(f, "tokenizer.ggml.padding_token_id", 0);
    meta_u32(f, "tokenizer.ggml.mask_token_id", 4);
}

/* ------------------------------------------------------------------------------------------------ weights */

static uint64_t next(uint64_t *state) /* SplitMix64 */
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* 0 to 1. */
static double uniform(uint64_t *state) { return (double)(next(state) >> 11) * 0x1p-53; }

/* Mean 0, variance 1: the sum of twelve uniform numbers. */
static double normal(uint64_t *state)
{
    double sum = -6;
    for (int i = 0; i < 12; i++) sum += uniform(state);
    return sum;
}

static uint64_t hash(const char *s, uint64_t h) /* FNV-1a */
{
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return h;
}

/* First row whose part the name contains; value = mean + spread * normal / sqrt(inputs where by_inputs). */
typedef struct weight_row {
    const char *part;
    double mean, spread;
    bool by_inputs;
} weight_row;
static const weight_row weight_rows[] = {
    {"scale", 1, 0.3, false},        {"ssm_dt.bias", 0, 1, false},
    {".bias", 0, 0.1, false},        {"norm", 1, 0.2, false},
    {"ffn_gate_inp", 0, 3, true},    {"attn_q.weight", 0, 1.6, true},
    {"attn_k.weight", 0, 1.6, true}, {"token_embd.weight", 0, 2, true},
    {"output.weight", 0, 1, true},   {"", 0, 1, true},
};

static double value(const char *name, const weight_row *row, double inputs, bool tied, uint64_t *rng)
{
    if (strstr(name, "ssm_a")) return -0.2 - 1.5 * uniform(rng);
    if (strstr(name, "rope_f")) return 1 + 3 * uniform(rng);
    double x = row->mean + row->spread * normal(rng) / (row->by_inputs ? sqrt(inputs) : 1);
    if (!strcmp(name, "output.weight")) return 2 * x;
    if (tied && !strcmp(name, "output_norm.weight") && next(rng) & 1) return -x;
    return x;
}

static void tensor(file *f, const char *name, const uint64_t *ne, uint32_t n_dims)
{
    const weight_row *row = weight_rows;
    bool tied = !strstr(f->m->tensors, " output.weight") || !strstr(f->m->tensors, "token_embd.weight");
    uint64_t n = 1, rng = hash(name, hash(f->m->name, 0xcbf29ce484222325u));
    while (!strstr(name, row->part)) row++;
    put_text(&f->list, name, strlen(name));
    put_u32(&f->list, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) {
        put_u64(&f->list, ne[i]);
        n *= ne[i];
    }
    put_u32(&f->list, 0);
    put_u64(&f->list, f->data.n);
    for (uint64_t i = 0; i < n; i++) {
        float v = (float)value(name, row, (double)ne[0], tied, &rng);
        put(&f->data, &v, 4);
    }
    while (f->data.n % 32) put(&f->data, "", 1);
    f->n_tensors++;
}

/* One "NAME:NE0,NE1" of a row, for the layers that it names. */
static void tensor_row(file *f, char *word)
{
    uint64_t ne[4];
    uint32_t n_dims = 0, from = 0, to = f->n_layers - 1;
    char *dims = strchr(word, ':'), *star = strchr(word, '*'), name[128];
    *dims = 0;
    for (char *s = dims; s; s = strchr(s + 1, ',')) ne[n_dims++] = strtoul(s + 1, NULL, 10);
    if (!star) {
        tensor(f, word, ne, n_dims);
        return;
    }
    if (star != word) {
        char *end;
        from = (uint32_t)strtoul(word, &end, 10);
        to = (uint32_t)strtoul(end + 1, NULL, 10);
    }
    for (uint32_t l = from; l <= to; l++) {
        (void)snprintf(name, sizeof name, "blk.%u.%s", l, star + 1);
        tensor(f, name, ne, n_dims);
    }
}

/* ------------------------------------------------------------------------------------------------ files */

const char *arch_case_name(size_t i) { return i < sizeof models / sizeof *models ? models[i].name : NULL; }

static bool write_file(const file *f, const char *path)
{
    bytes head = {0};
    put(&head, "GGUF", 4);
    put_u32(&head, 3);
    put_u64(&head, f->n_tensors);
    put_u64(&head, f->n_meta);
    put(&head, f->meta.data, f->meta.n);
    put(&head, f->list.data, f->list.n);
    while (head.n % 32) put(&head, "", 1);
    put(&head, f->data.data, f->data.n);
    FILE *out = fopen(path, "wb");
    bool ok = out && fwrite(head.data, 1, head.n, out) == head.n;
    if (out && fclose(out)) ok = false;
    free(head.data);
    return ok;
}

bool arch_case_write(const char *name, const char *path)
{
    file f = {0};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        if (!strcmp(models[i].name, name)) f.m = &models[i];
    if (!f.m) return false;
    meta_str(&f, "general.architecture", f.m->arch);
    meta_str(&f, "general.name", f.m->name);
    each_word(&f, f.m->keys, meta_row);
    if (!strcmp(name, "qwen3-rerank")) /* what ingle_tokenize_pair reads */
        meta_str(&f, "tokenizer.chat_template.rerank", "<|bos|>q: {query}, d:{document}<|eos|>");
    if (strstr(f.m->arch, "bert"))
        word_pieces(&f);
    else
        byte_level(&f);
    each_word(&f, f.m->tensors, tensor_row);
    bool ok = write_file(&f, path);
    free(f.meta.data);
    free(f.list.data);
    free(f.data.data);
    return ok;
}
