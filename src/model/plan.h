/* The plan: private to src/model. Operations over workspace slots, built once at load (plan.c), run by step.c. */
#ifndef IG_MODEL_PLAN_H
#define IG_MODEL_PLAN_H

#include "base/mem.h"
#include "model/model.h"

/* A weight matrix [n_mats, n_out, n_in] row-major as mapped, with the kernels of its type. */
typedef struct ig_mat {
    const uint8_t *data; /* borrowed from the file; NULL when the tensor is absent */
    size_t row_bytes;
    uint32_t n_in, n_out, n_mats;
    uint32_t type;
    const float *bias; /* [n_out] or NULL */
} ig_mat;

typedef struct ig_layer {
    const float *attn_norm, *ffn_norm;    /* [n_embd] */
    ig_mat q, k, v, o;                    /* [H*hd, d], [G*hd, d], [G*hv, d], [d, H*hv] */
    ig_mat gate, up, down;                /* [ff, d], [ff, d], [d, ff] */
    ig_mat router;                        /* [E, d] */
    ig_mat gate_exps, up_exps, down_exps; /* [E, ff, d] (gate may be absent), [E, ff, d], [E, d, ff] */
} ig_layer;

/* Angles: theta(p, i) = p * inv_freq[i]; cos and sin are multiplied by `magnitude`. */
typedef struct ig_rope {
    double *inv_freq; /* [n_pairs], scaling folded in */
    double magnitude;
    uint32_t n_pairs;
} ig_rope;

/* Workspace slots: [n_batch or n_logits, width] floats. */
typedef enum ig_slot {
    IG_SLOT_X, /* residual stream */
    IG_SLOT_N, /* normed input */
    IG_SLOT_Q,
    IG_SLOT_K,
    IG_SLOT_V,
    IG_SLOT_A, /* attention output, heads concatenated */
    IG_SLOT_G,
    IG_SLOT_U, /* gate and up */
    IG_SLOT_R, /* router logits */
    IG_SLOT_S, /* residual rows whose logits are wanted */
    IG_SLOT_LOGITS,
    IG_SLOT_COUNT
} ig_slot;

typedef enum ig_op_kind {
    IG_OP_EMBED,   /* out = token embedding */
    IG_OP_ANGLES,  /* cosines and sines of every token's position */
    IG_OP_NORM,    /* out = rms_norm(in) * vec */
    IG_OP_PACK,    /* packed forms (mask) of in */
    IG_OP_LINEAR,  /* out[i] = mat[i] * in, up to three matrices that share the input */
    IG_OP_ROPE,    /* rotate n_heads heads of head_size in `in` */
    IG_OP_TEMPER,  /* attention temperature on `in` */
    IG_OP_STORE,   /* K, V -> KV pages of the layer */
    IG_OP_ATTEND,  /* out = attention of Q over the pages */
    IG_OP_GLU,     /* in = silu(in) * in2 */
    IG_OP_EXPERTS, /* out += routed experts of in, router logits in in2 */
    IG_OP_SELECT,  /* out = rows of in whose logits are wanted */
    IG_OP_COUNT
} ig_op_kind;

enum { IG_LINEAR_MAX = 3 };

typedef struct ig_op {
    ig_op_kind kind;
    uint32_t layer;
    ig_slot in, in2, out;
    uint32_t width; /* values of a row of `in` */
    const float *vec;
    unsigned packs; /* IG_OP_PACK: bit mask of ig_pack */
    bool wanted;    /* rows are the wanted ones, not the batch */
    bool add;       /* IG_OP_LINEAR: out += instead of = */
    uint32_t n_mats;
    const ig_mat *mat[IG_LINEAR_MAX];
    ig_slot mat_out[IG_LINEAR_MAX];
    uint32_t n_heads, head_size;
} ig_op;

struct ig_model {
    const ig_format *file; /* borrowed */
    const ig_kernels *kernels;
    const ig_arch *arch;
    ig_hparams hp;
    ig_arena arena;       /* layers, ops, converted vectors */
    ig_layer *layers;     /* [n_layers] */
    ig_mat embed, output; /* [V, d]; output is embed when tied */
    const float *output_norm;
    const float *rope_factors; /* [n_rot / 2] or NULL */
    ig_rope rope;
    ig_op *ops;
    size_t n_ops, ops_cap;
    uint32_t slot_width[IG_SLOT_COUNT]; /* floats of a row, 0: slot not used */
    size_t pack_bytes[IG_PACK_COUNT];   /* bytes of a packed row, 0: form not used */
    uint64_t n_params, weight_bytes;
};

ig_status ig_hparams_read(const ig_format *f, const ig_arch *arch, ig_hparams *hp, ig_error *err);
ig_status ig_rope_init(const ig_format *f, ig_model *m, ig_error *err);
ig_status ig_weights_bind(ig_model *m, size_t n_vocab_min, ig_error *err);
ig_status ig_plan_build(ig_model *m, ig_error *err);
/* Value of key "<architecture>.<name>" in `out` (128 bytes), for messages and look-ups. */
const char *ig_arch_key(const ig_arch *arch, const char *name, char out[128]);

#endif
