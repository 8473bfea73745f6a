/* The plan: private to src/model. Operations over workspace slots, built once at load (plan*.c), run by step.c. */
#ifndef IG_MODEL_PLAN_H
#define IG_MODEL_PLAN_H

#include "base/mem.h"
#include "model/model.h"

/* A weight matrix [n_mats, n_out, n_in] row-major as mapped, with the kernels of its type. */
typedef struct ig_mat {
    const uint8_t *data;         /* borrowed from the file; NULL when the tensor is absent or in parts */
    const uint8_t *const *parts; /* [n_mats] or NULL */
    size_t row_bytes;
    uint32_t n_in, n_out, n_mats;
    uint32_t type;
    const float *bias;  /* [n_mats, n_out] or NULL */
    const float *scale; /* [1], or [n_mats] where there are several: products times it, before the bias; or NULL */
    const char *name;
} ig_mat;

static inline bool ig_mat_here(const ig_mat *w) { return w->data || w->parts; }
static inline const uint8_t *ig_mat_at(const ig_mat *w, uint32_t i)
{
    return w->parts ? w->parts[i] : w->data + (size_t)i * w->n_out * w->row_bytes;
}
static inline float ig_mat_scale(const ig_mat *w, uint32_t i) { return w->scale ? w->scale[i] : 1; }

typedef struct ig_norm {
    const float *w, *b; /* NULL: 1 and 0 */
    bool here;          /* the file has one */
} ig_norm;

typedef enum ig_ffn_kind { IG_FFN_NONE, IG_FFN_DENSE, IG_FFN_EXPERTS } ig_ffn_kind;

/* One layer: what it is made of, then its weights. Absent tensors are zero. */
typedef struct ig_layer {
    uint32_t index;
    bool attention, latent, absorbed; /* has attention; it is MLA; keys and values stay in the latent space */
    ig_mixer mixer;                   /* recurrent mixer, IG_MIX_NONE without */
    ig_ffn_kind ffn;
    uint32_t n_heads, n_heads_kv, head_k, head_v, n_ff;
    uint32_t n_rot;
    float attn_scale;   /* scores are multiplied by it */
    uint32_t window;    /* 0: sees everything before it */
    int rope;           /* index into ig_model.ropes, -1: no rotation */
    uint32_t kv_layer;  /* layer whose keys and values are read; its own index when it stores some */
    uint32_t kv_region; /* layer whose part of a page they lie in (encoders need one for all) */
    int kv_group;       /* pool of its pages, -1: no KV */
    bool indexer;       /* chooses positions itself */
    uint32_t idx_keys;  /* values of an index key, 0: none stored */
    float glu_limit, shared_limit; /* clamps of step35, 0: off */
    float xielu[4];     /* alpha_n, alpha_p, beta, eps after softplus */
    uint64_t state_at;  /* floats from the start of a sequence's state */

    ig_norm attn_norm, attn_norm_2, ffn_norm, post_attn, post_ffn, q_norm, k_norm, attn_out_norm, layer_out_norm;
    ig_mat qkv, q, k, v, o, gate_attn;
    const float *sinks;
    ig_mat q_a, q_b, kv_a, kv_b, k_b, v_b; /* latent attention */
    ig_norm q_a_norm, kv_a_norm;
    ig_mat idx_q, idx_k, idx_w; /* indexer */
    ig_norm idx_q_norm, idx_k_norm;
    ig_mat gate, up, down;
    ig_mat router, gate_exps, up_exps, down_exps;
    const float *select_bias, *router_scale;
    ig_mat gate_shexp, up_shexp, down_shexp;
    const float *shexp_gate; /* [d] */
    ig_norm pre_ffn_2, post_ffn_1, post_ffn_2;

    ig_mat in, out, x, dt;                                /* recurrent mixers */
    const float *conv, *conv_bias, *a, *d, *dt_bias;      /* conv [channels, K] */
    const float *conv_q, *conv_k, *conv_v;
    ig_norm ssm_norm, dt_norm, b_norm, c_norm;
    ig_mat ba, beta, alpha, f_a, f_b, g_a, g_b;
    ig_mat w1, w2, a1, a2, v1, v2, g1, g2, r, cm_k, cm_v; /* RWKV 7 */
    const float *lerp, *w0, *a0, *v0, *k_k, *k_a, *r_k, *ln_w, *ln_b, *lerp_k;

    ig_mat inp_gate, inp_proj; /* per-layer inputs */
    ig_norm inp_norm;
    const float *out_scale;
    ig_mat altup_router, altup_predict, altup_correct, laurel_l, laurel_r; /* Gemma 3n */
    const float *altup_correct_scale;
    ig_norm altup_router_norm, laurel_norm;

    ig_mat eh_proj, own_embed, own_head; /* a draft layer: [embedding, state] to its input; its own matrices, or none */
    ig_norm e_norm, h_norm, head_norm;

    const float *rel_b, *cross_rel_b; /* T5: [buckets, heads]; the second is stored and not used */
    ig_mat cross_q, cross_k, cross_v, cross_o;
    ig_norm cross_norm;
} ig_layer;

/* Angles: theta(p, i) = p * inv_freq[i]; cos and sin are multiplied by `magnitude`. */
typedef struct ig_rope {
    double *inv_freq;      /* [n_pairs], scaling folded in */
    double *inv_freq_long; /* for contexts beyond n_orig, or NULL */
    double magnitude;
    uint32_t n_pairs, n_orig;
    uint32_t at; /* floats before it in a row of angles */
} ig_rope;
enum { IG_ROPES_MAX = 3 };

/* Workspace slots: [n_batch or n_logits, width] floats. */
typedef enum ig_slot {
    IG_SLOT_NONE,
    IG_SLOT_X,   /* residual stream */
    IG_SLOT_N,   /* normed input */
    IG_SLOT_M,   /* normed input of a parallel FFN; output of a block before its norm */
    IG_SLOT_QKV, /* queries, keys, values */
    IG_SLOT_A,   /* attention output, heads concatenated */
    IG_SLOT_G,   /* gate, or gate and up side by side */
    IG_SLOT_U,   /* up, for IG_FEW_ROWS rows at most */
    IG_SLOT_R,   /* router logits */
    IG_SLOT_T,   /* scratch of mixers and latent attention */
    IG_SLOT_W,   /* more of it */
    IG_SLOT_Z,   /* gates */
    IG_SLOT_I,   /* indexer */
    IG_SLOT_P,   /* per-layer inputs */
    IG_SLOT_F,   /* streams, first values */
    IG_SLOT_D,   /* input of the draft layer: embedding, state of the token before */
    IG_SLOT_S,   /* residual rows whose output is wanted */
    IG_SLOT_E,   /* embedding rows between their projections */
    IG_SLOT_VECTORS,
    IG_SLOT_LOGITS,
    IG_SLOT_COUNT
} ig_slot;

enum { IG_FEW_ROWS = 16 };

typedef struct ig_view { /* values from `at` on in every row of a slot */
    ig_slot slot;
    uint32_t at;
} ig_view;
#define IG_VIEW(name, from) ((ig_view){IG_SLOT_##name, (uint32_t)(from)})

typedef enum ig_op_kind {
    IG_OP_EMBED,    /* out = a * row of mat for the token */
    IG_OP_POSITION, /* out += row of mat for the position */
    IG_OP_ANGLES,   /* cosines and sines of every token's position, all ropes */
    IG_OP_NORM,     /* heads of n values: out = norm(in) */
    IG_OP_PACK,     /* packed forms of in [n] */
    IG_OP_LINEAR,   /* out[i] (+)= a * mat[i] * in, up to four matrices that share the input; gated: see there */
    IG_OP_HEADS,    /* out head h = matrix h of mat * in head h */
    IG_OP_ROPE,     /* rotate heads in `in` from value `from` of a head on */
    IG_OP_TEMPER,   /* attention temperature on in [n] */
    IG_OP_COPY,     /* heads of n values, in_stride and out_stride apart (in_stride 0: the same for all) */
    IG_OP_ADD,      /* out += a * in */
    IG_OP_SCALE,    /* in *= a */
    IG_OP_CLAMP,    /* in within -a..a */
    IG_OP_SOFTCAP,  /* in = a * tanh(in / a) */
    IG_OP_TANH,     /* in = tanh(in) */
    IG_OP_SOFTMAX,  /* in = exp(in) / sum of exp(in) */
    IG_OP_MEAN,     /* every row of in = mean of the rows of its item, all of which are wanted */
    IG_OP_MUL,      /* out *= in */
    IG_OP_MULVEC,   /* out *= w */
    IG_OP_ADDVEC,   /* out += w */
    IG_OP_GLU,      /* in = act(in) * in2 (in2.slot 0: act alone) */
    IG_OP_XIELU,
    IG_OP_GATE,     /* out, heads of n values, times act(in), a value or a head at a time (in_stride 1) */
    IG_OP_DOT,      /* out[0] = sum of in * w */
    IG_OP_STORE,    /* keys in, values in2 -> KV pages of the layer */
    IG_OP_ATTEND,   /* out = attention of in over the pages; from: ig_see; w: T5's distance biases */
    IG_OP_INDEX_STORE, /* index key in -> pages */
    IG_OP_INDEX,    /* chooses positions for the rows: index queries in, weights in2 */
    IG_OP_EXPERTS,  /* out = routed experts of in, router logits in in2 */
    IG_OP_CONV,     /* causal convolution over the tokens of a sequence, in place */
    IG_OP_MAMBA,
    IG_OP_MAMBA2,
    IG_OP_DELTA,
    IG_OP_RWKV,
    IG_OP_SHIFT,    /* out = in of the token before */
    IG_OP_SPARSE,   /* Gemma 3n: in = relu(in - (mean + c * deviation)) */
    IG_OP_PREDICT,  /* AltUp */
    IG_OP_CORRECT,
    IG_OP_MATCH,    /* in scaled to the length of in2 */
    IG_OP_SELECT,   /* out = rows of in whose output is wanted */
    IG_OP_COUNT
} ig_op_kind;

typedef enum ig_see { IG_SEE_BEFORE, IG_SEE_ALL, IG_SEE_SOURCE } ig_see;
enum { IG_LINEAR_MAX = 4 };
typedef enum ig_when { IG_WHEN_ALWAYS, IG_WHEN_LOGITS, IG_WHEN_EMBED } ig_when;

typedef struct ig_op {
    ig_op_kind kind;
    const ig_layer *layer;
    ig_view in, in2, in3, out;
    uint32_t n, heads, in_stride, out_stride; /* values of a head, heads of a row (0: 1), their distances */
    uint32_t from, w_stride;                  /* w_stride: distance of the heads' norm weights */
    const float *w, *b;
    float a, eps; /* NORM with a: to unit length */
    float limit;  /* of what is gated, 0: none */
    ig_act act;
    int rope;
    unsigned packs; /* IG_OP_PACK: bit mask of ig_pack */
    bool wanted;    /* rows are the wanted ones, not the batch */
    bool add;       /* IG_OP_LINEAR: out += instead of = */
    bool gated;     /* IG_OP_LINEAR: out[0] = act(mat[0] * in) * (mat[1] * in); of few rows out[1] is used, too */
    bool flag;      /* NORM: RMS, else layer norm; ROPE: neighbours; POSITION: row 0 */
    ig_when when;
    uint32_t n_mats;
    const ig_mat *mat[IG_LINEAR_MAX];
    ig_view mat_out[IG_LINEAR_MAX];
} ig_op;

typedef struct ig_ops {
    ig_op *list;
    size_t n, cap;
} ig_ops;

struct ig_model {
    const ig_format *file; /* borrowed */
    const ig_kernels *kernels;
    const ig_arch *arch;
    ig_hparams hp;
    ig_act act;          /* the row's, or what a Hugging Face directory says */
    bool half_split;     /* rows of q and k as Hugging Face stores them: halves are rotated */
    ig_arena arena;      /* layers, ops, converted vectors */
    ig_layer *layers;    /* [n_layers + n_draft]; of T5 see t5.c */
    uint32_t n_kv_layers; /* entries of layers that may own KV */
    bool *bound;         /* [tensors of the file] while loading */
    ig_mat embed, output, positions, token_types, dense_2, dense_3, cls, cls_out;
    ig_norm embed_norm, output_norm, enc_norm, cls_norm;
    ig_mat layer_embed, layer_proj, altup_proj, altup_unembd;
    ig_norm layer_proj_norm;
    const float *rope_factors, *factors_long, *factors_short; /* [n_rot / 2] or NULL */
    uint32_t n_factors;                                       /* pairs that they must cover */
    ig_rope ropes[IG_ROPES_MAX];
    int n_ropes;
    uint32_t angles_width; /* floats of a row of angles */
    ig_ops ops, encoder;
    ig_ops draft_in, draft, draft_head; /* its states in N where they are normed; layer n_layers behind its states in D;
                                           what it says of the wanted rows */
    uint32_t slot_width[IG_SLOT_COUNT]; /* floats of a row, 0: slot not used */
    bool takes_turns; /* QKV and A lie where G lies */
    size_t pack_bytes[IG_PACK_COUNT];   /* bytes of a packed row, 0: form not used */
    size_t heads_bytes;                 /* IG_OP_HEADS: bytes of one packed head at most */
    uint32_t ff_most, input_pack_mask, hidden_pack_mask; /* widest expert; forms of the inputs, of the hidden rows */
    uint32_t mask_block, mask_groups;   /* chosen positions: block size (0: no indexer), groups of heads */
    uint32_t window_most;               /* widest window of group 1 */
    uint64_t state_floats;              /* recurrent state of a sequence */
    uint64_t n_params, weight_bytes;
};

ig_status ig_hparams_read(const ig_format *f, ig_model *m, ig_error *err);
ig_status ig_layers_init(ig_model *m, ig_error *err);
ig_status ig_t5_layers(ig_model *m, ig_error *err);
ig_status ig_rope_init(ig_model *m, ig_error *err);
ig_status ig_weights_bind(ig_model *m, size_t n_vocab_min, ig_error *err);
ig_status ig_plan_build(ig_model *m, ig_error *err);
bool ig_plan_takes_turns(const ig_model *m); /* turns.c, of the complete plan */
/* Value of key "<architecture>.<name>" in `out` (128 bytes), for messages and look-ups. */
const char *ig_arch_key(const ig_arch *arch, const char *name, char out[128]);
/* Is there a tensor of this name, "blk.<layer>." before it for layer >= 0. */
bool ig_has_tensor(const ig_model *m, int64_t layer, const char *name);
static inline bool ig_part_on(const ig_model *m, uint64_t part) { return (m->arch->parts & part) != 0; }

/* Bytes of one layer's keys, values and index keys in a page. */
typedef struct ig_kv_layout {
    uint64_t keys, values, index, total; /* offsets in the layer's part; size */
    size_t k_bytes, v_bytes, i_bytes;    /* one row */
} ig_kv_layout;
ig_kv_layout ig_layer_kv(const ig_model *m, const ig_layer *w, ig_kv kv);

#endif
