/* The architecture table: one row describes one architecture by its parts. Loading and the plan read rows; nothing
 * outside arch.c knows an architecture by name. A new decoder of known parts is a new row.
 *
 * The zero value of every field is what the LLaMA block has: RMS norms before attention and FFN, grouped-query
 * attention, a SiLU-gated FFN, experts with softmax over all and weights renormalised over the chosen. Optional tensors
 * (biases, sinks, a shared expert, frequency factors, ...) are parts by their presence in the file. */
#ifndef IG_MODEL_ARCH_H
#define IG_MODEL_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "kernel/kernel.h"

typedef enum ig_norm_kind {
    IG_NORM_RMS,
    IG_NORM_LAYER,
    IG_NORM_BY_KEY /* RMS where attention.layer_norm_rms_epsilon is given, else layer norm */
} ig_norm_kind;

typedef enum ig_rope_kind {
    IG_ROPE_NONE,
    IG_ROPE_NORM,  /* pairs of neighbours */
    IG_ROPE_NEOX,  /* pairs half a rotation apart */
    IG_ROPE_MROPE, /* NEOX with sections of axes, one after another */
    IG_ROPE_IMROPE /* NEOX with sections of axes, interleaved */
} ig_rope_kind;

typedef enum ig_block {
    IG_BLOCK_PRE,       /* x += attn(norm x); x += ffn(norm x) */
    IG_BLOCK_SANDWICH,  /* x += norm attn(norm x); x += norm ffn(norm x) */
    IG_BLOCK_POST,      /* x += norm attn(x); x += norm ffn(x) */
    IG_BLOCK_PARALLEL,  /* x += attn(norm x) + ffn(norm x) */
    IG_BLOCK_POST_NORM, /* x = norm(x + attn x); x = norm(x + ffn x) (BERT) */
    IG_BLOCK_MIXER      /* x += mixer(norm x), one mixer a layer: attention, recurrent or FFN */
} ig_block;

typedef enum ig_parallel { /* rows that are IG_BLOCK_PRE or IG_BLOCK_PARALLEL by something in the file */
                           IG_PARALLEL_BY_ROW,
                           IG_PARALLEL_BY_KEY,     /* use_parallel_residual, true when absent */
                           IG_PARALLEL_NO_FFN_NORM /* parallel where a layer has no ffn_norm */
} ig_parallel;

typedef enum ig_nope { /* layers without rotation */
                       IG_NOPE_NEVER,
                       IG_NOPE_FULL,  /* full layers, where others have a window */
                       IG_NOPE_FOURTH /* every fourth layer */
} ig_nope;

typedef enum ig_mixer {
    IG_MIX_ATTENTION,
    IG_MIX_NONE,
    IG_MIX_CONV,   /* LFM2's gated short convolution */
    IG_MIX_MAMBA,  /* selective state space, Gu and Dao 2023 (arXiv 2312.00752) */
    IG_MIX_MAMBA2, /* Dao and Gu 2024 (arXiv 2405.21060) */
    IG_MIX_DELTA,  /* gated delta rule, Yang et al. 2024 (arXiv 2412.06464) */
    IG_MIX_KDA,    /* the same with a decay for every key channel (Kimi Linear, arXiv 2510.26692) */
    IG_MIX_RWKV7   /* Peng et al. 2025 (arXiv 2503.14456) */
} ig_mixer;

typedef enum ig_mix_rule { /* which layers have the row's mixer instead of attention */
                           IG_MIX_EVERY,
                           IG_MIX_NO_KV,      /* layers with attention.head_count_kv 0 */
                           IG_MIX_INTERVAL,   /* all but every full_attention_interval-th */
                           IG_MIX_NO_KV_NO_FF /* no KV heads and no FFN; a layer with FFN width is an FFN alone */
} ig_mix_rule;

typedef enum ig_qk_norm {
    IG_QK_NONE,
    IG_QK_HEAD,  /* over a head, before rotation */
    IG_QK_LATE,  /* over a head, after rotation */
    IG_QK_FULL,  /* over all heads together, before rotation */
    IG_QK_HEADS, /* layer norm over a head with weights for every head */
    IG_QK_UNIT   /* over a head without weights, after rotation, on rotated layers */
} ig_qk_norm;

typedef enum ig_attn_gate {
    IG_GATE_NONE,
    IG_GATE_SIGMOID,  /* attention output times sigmoid(attn_gate n), a value or a head at a time */
    IG_GATE_SOFTPLUS, /* the same with softplus */
    IG_GATE_FROM_Q    /* attn_q gives query and gate of a head side by side */
} ig_attn_gate;

typedef enum ig_gating { /* ids as expert_gating_func stores them */
                         IG_GATING_SOFTMAX = 1,
                         IG_GATING_SIGMOID = 2,
                         IG_GATING_SOFTMAX_CHOSEN = 3,
                         IG_GATING_SQRT_SOFTPLUS = 4
} ig_gating;

typedef enum ig_renorm { IG_RENORM_YES, IG_RENORM_NO, IG_RENORM_KEY /* expert_weights_norm, absent: no */ } ig_renorm;

typedef enum ig_scales {
    IG_SCALES_NONE,
    IG_SCALES_KEYS,        /* embedding_scale, residual_scale, logit_scale (a divisor); absent: 1 */
    IG_SCALES_LOGIT_TIMES, /* logit_scale is a factor */
    IG_SCALES_MINICPM,     /* as KEYS, absent: 12, 1.4 / sqrt(layers), 256 / d */
    IG_SCALES_MINICPM3     /* fixed: 12, 1.4 / sqrt(layers), factor 256 / d */
} ig_scales;

typedef enum ig_special { /* whole sub-graphs that only one family has */
                          IG_SPECIAL_NONE,
                          IG_SPECIAL_GEMMA3N, /* AltUp streams, Laurel, sparse gates */
                          IG_SPECIAL_GEMMA4,  /* experts beside the dense MLP, per-layer inputs */
                          IG_SPECIAL_T5       /* encoder, then decoder with cross attention */
} ig_special;

typedef enum ig_draft_kind { /* the layer behind the others that guesses tokens ahead, where files have one (arXiv
                                2412.19437) */
                             IG_DRAFT_NONE,
                             IG_DRAFT_RAW,   /* it reads what the last layer gives */
                             IG_DRAFT_NORMED /* it reads that behind the final norm, and itself behind its own */
} ig_draft_kind;

enum ig_part {
    IG_PART_FULL_ROPE = 1 << 0,         /* rope.dimension_count must be the head size */
    IG_PART_EMBED_SQRT = 1 << 1,        /* embeddings times sqrt(d) */
    IG_PART_EMBED_NORM = 1 << 2,        /* token_embd_norm after the embedding */
    IG_PART_POSITIONS = 1 << 3,         /* learned positions */
    IG_PART_TOKEN_TYPES = 1 << 4,       /* row 0 of token_types is added */
    IG_PART_ALIBI = 1 << 5,             /* linear biases of distance, Press et al. 2021 (arXiv 2108.12409) */
    IG_PART_CLAMP_KQV = 1 << 6,         /* attention.clamp_kqv */
    IG_PART_TEMPERATURE = 1 << 7,       /* q *= 1 + s ln(1 + floor((p + o) / n)), by keys */
    IG_PART_TEMPER_UNROPED = 1 << 8,    /* the same on layers without rotation (s 0.1, n 8192, o 1) */
    IG_PART_VALUE_NORM = 1 << 9,        /* values are RMS-normed per head without weight */
    IG_PART_SCALE_ONE = 1 << 10,        /* scores are not scaled */
    IG_PART_SCALE_BY_WIDTH = 1 << 11,   /* scores times 1 / sqrt(d / heads), whatever the head size */
    IG_PART_FUSED_GATE_UP = 1 << 12,    /* ffn_up has 2 ff rows: gate, then up */
    IG_PART_PLAIN_FFN = 1 << 13,        /* no gate: down(act(up x)) */
    IG_PART_MLA = 1 << 14,              /* multi-head latent attention (DeepSeek-V2, arXiv 2405.04434) */
    IG_PART_NO_OUT_BIAS = 1 << 15,      /* attn_output.bias may be stored and is not added */
    IG_PART_ENCODER = 1 << 16,          /* no causal mask; no logits */
    IG_PART_ROPE_SWITCH = 1 << 17,      /* rope.scaling.finetuned false: no rotation */
    IG_PART_UNSCALED_WINDOW = 1 << 18,  /* windowed layers rotate without scaling */
    IG_PART_FACTORS_ON_FULL = 1 << 19,  /* rope_freqs on full layers only */
    IG_PART_HALF_ROPE_ON_FULL = 1 << 20,/* full layers rotate half of rope.dimension_count */
    IG_PART_ATTENTION_TOO = 1 << 21,    /* the recurrent mixer runs beside attention on the same input */
    IG_PART_SHARED_GATE = 1 << 22,      /* shared expert times sigmoid(ffn_gate_inp_shexp . x) */
    IG_PART_WEIGHT_BEFORE = 1 << 23,    /* expert weights multiply the expert's input */
    IG_PART_EARLY_ROUTER = 1 << 24,     /* the router reads the block's un-normed input */
    IG_PART_HALF_SUM = 1 << 25,         /* experts and shared expert are averaged where there is a shared one */
    IG_PART_ROPE_ON_DENSE = 1 << 26,    /* dense leading layers rotate even without a window */
    IG_PART_BLOCK_INDEXER = 1 << 27,    /* MiniMax M3: attention to chosen blocks of positions */
    IG_PART_TOKEN_INDEXER = 1 << 28,    /* DeepSeek sparse attention: attention to chosen positions */
    IG_PART_INDEXER_NORM = 1 << 29,     /* the indexer rotates neighbours (else halves) */
    IG_PART_SYMMETRIC = 1 << 30,        /* windows reach half to each side */
};
#define IG_PART_BARE_NORMS (1ull << 31)     /* norms have no weights */
#define IG_PART_SSM_RMS (1ull << 32)        /* mamba: dt, B and C are normed with weights of their own */
#define IG_PART_CYCLIC_HEADS (1ull << 33)   /* delta: V head j uses K head j mod nk, not j / (nv / nk) */
#define IG_PART_SPLIT_BETA (1ull << 34)     /* delta: ssm_beta and ssm_alpha instead of ssm_ba */
#define IG_PART_SOFTCAPS (1ull << 35)       /* attention 50 and final 30 unless keys say other */
#define IG_PART_VALUE_SCALE (1ull << 36)    /* attention.value_scale times the attention output */
#define IG_PART_NTK_ALPHA (1ull << 37)      /* base *= rope.scaling.alpha ^ (hd / (hd - 2)) */
#define IG_PART_NO_FIRST_NORM (1ull << 38)  /* block 0 has no attn_norm */
#define IG_PART_NEXTN         (1ull << 39)  /* files may count nextn_predict_layers draft layers that they lack */

#define IG_PART_CLASS_SOFTMAX (1ull << 40)  /* scores of a reranking model are probabilities of its classes */
#define IG_PART_ONE_MATRIX (1ull << 42)     /* the embedding may be stored as output.weight alone */
#define IG_PART_MEAN_HEAD (1ull << 41)      /* classifier over the mean of all tokens, with GELU (else the first, tanh) */

typedef struct ig_arch {
    const char *name;     /* general.architecture, and the prefix of its metadata keys */
    const char *families; /* models people know, for the documentation */
    uint32_t n_layers;    /* not 0: the row holds for files of this block_count alone (first match wins) */
    uint32_t n_experts;   /* the same for expert_count */
    ig_norm_kind norm;
    ig_block block;
    ig_parallel parallel;
    ig_rope_kind rope;
    ig_nope nope;
    ig_mixer mixer; /* IG_MIX_ATTENTION: no recurrent layers */
    ig_mix_rule mix_rule;
    ig_qk_norm qk_norm;
    ig_attn_gate gate;
    ig_act act;        /* of the FFN and its experts */
    ig_gating gating;  /* where expert_gating_func is absent; 0: softmax */
    ig_renorm renorm;  /* weights of the chosen experts sum to 1 */
    ig_scales scales;
    ig_special special;
    ig_draft_kind draft;
    uint32_t window_every;   /* pattern n: layer l has a window unless l % n == n - 1; 1: by
                                the file's list alone; 0: never */
    bool dense_first;        /* unless l % n == 0 */
    bool dense_first_by_key; /* the same where attention.sliding_window_pattern is a number */
    uint32_t window_default; /* where attention.sliding_window is absent; 0: no windows then */
    uint32_t window_fixed;   /* not 0: the window where the key is there at all */
    float swa_base;          /* rope.freq_base_swa where absent; 0: as the full layers */
    const char *ffn_norm;    /* name of the norm before the FFN; NULL: "ffn_norm" */
    const char *output_norm; /* NULL: "output_norm" */
    const char *strip_left;  /* the vocabulary's token in front of which white space is dropped, or NULL */
    uint64_t parts;
} ig_arch;

/* Row of a name for a file of n_layers layers and n_experts experts, or NULL. */
const ig_arch *ig_arch_find(ig_str name, uint32_t n_layers, uint32_t n_experts);
/* Row i, or NULL past the end. */
const ig_arch *ig_arch_at(size_t i);

#endif
