/* Models: hyper-parameters, bound weights, the static plan, KV pages, recurrent state and the forward step.
 *
 * Loading turns an architecture row and a file's metadata into a list of operations in which every tensor is resolved
 * and every shape checked (ig_model). A run (ig_run) adds threads, workspace and the pools of KV pages; after it is
 * made nothing is allocated but by ig_seq_init. A step takes any mix of tokens of many sequences and computes the
 * logits (or the final hidden rows) that are wanted.
 *
 * Determinism: an output row depends on its own sequence's tokens and nothing else: rows of a matrix product are
 * independent (src/kernel/kernel.h), attention walks the pages of its sequence in absolute order, recurrent mixers
 * advance token by token, expert outputs are summed in rank order, and work is split in pieces that do not depend on
 * the number of threads. */
#ifndef IG_MODEL_MODEL_H
#define IG_MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "format/format.h"
#include "kernel/kernel.h"
#include "model/arch.h"

typedef enum ig_pooling { /* ids as pooling_type stores them */
                          IG_POOLING_NONE = 0,
                          IG_POOLING_MEAN = 1,
                          IG_POOLING_CLS = 2, /* first token */
                          IG_POOLING_LAST = 3,
                          IG_POOLING_RANK = 4 /* classifier head */
} ig_pooling;

/* Hyper-parameters, checked (rule G16). Sizes in elements. What differs between layers is in ig_layer. */
typedef struct ig_hparams {
    uint32_t n_ctx_train, n_embd, n_vocab;
    uint32_t n_layers, n_layers_file; /* computed; in the file (draft layers follow) */
    uint32_t n_draft;                 /* 1: layer n_layers guesses tokens ahead, 0: there is none */
    uint32_t n_heads, n_heads_kv;     /* largest over the layers */
    float norm_eps;
    bool layer_norm, causal, parallel;
    float attn_softcap, final_softcap, alibi_max, clamp_kqv, value_scale; /* 0: off (value_scale 1) */
    float embd_scale, residual_scale, logit_scale;                        /* factors, 1: none */
    uint32_t n_experts, n_experts_used, n_ff_expert, n_ff_shared, expert_groups, expert_groups_used;
    ig_gating gating;
    bool renorm;
    float expert_scale; /* weights of the chosen are multiplied by it */
    float temp_scale, temp_offset;
    uint32_t temp_len;                                 /* attention temperature, temp_scale 0: off */
    uint32_t q_lora, kv_lora, head_mla, head_v_mla;    /* latent attention: ranks (0: none) and real head sizes */
    uint32_t d_conv, d_inner, d_state, dt_rank, n_group; /* recurrent mixers; conv kernel of LFM2 too */
    uint32_t idx_heads, idx_head, idx_top_k, idx_block, idx_local; /* indexer */
    uint32_t n_embd_layer;                             /* width of a per-layer input, 0: none */
    uint32_t n_buckets, n_layers_dec, decoder_start;   /* T5 */
    uint32_t lora_decay, lora_iclr, lora_value, lora_gate; /* RWKV 7 */
    ig_pooling pooling;
    uint32_t n_embd_out; /* width of an embedding row */
    uint32_t n_classes;  /* of a classifier in use, 0: embeddings are vectors */
    bool has_logits, has_encoder;
} ig_hparams;

typedef struct ig_model ig_model;

/* The token in front of which vocabularies of the file's architecture drop white space, or NULL. */
const char *ig_model_strips_left(const ig_format *f);

/* Binds every tensor of `f` (borrowed: must outlive the model) and builds the plan. n_vocab_min: tokens of the
 * vocabulary, which the embedding must cover (rule G18), 0 when there is none. Errors: BAD_INPUT and UNSUPPORTED name
 * key or tensor and what was expected; NO_MEMORY. */
ig_status ig_model_new(const ig_format *f, const ig_kernels *kernels, size_t n_vocab_min, ig_model **out,
                       ig_error *err);
void ig_model_free(ig_model *m);
const ig_hparams *ig_model_hparams(const ig_model *m);
const ig_kernels *ig_model_kernels(const ig_model *m);
uint64_t ig_model_n_params(const ig_model *m);
uint64_t ig_model_weight_bytes(const ig_model *m);

enum {
    IG_PAGE_TOKENS = 64, /* tokens of a KV page */
    IG_KV_GROUPS = 2,    /* full layers; windowed layers, whose old pages are given back */
    IG_HIDDEN_KEPT = 32, /* rows of a sequence that its draft layer may need, a power of two */
    IG_SNAPSHOTS = 2     /* states kept at page ends for going back, of models with recurrent layers */
};
/* What one sequence of n_ctx tokens takes at most: KV pages of every group, recurrent state with its snapshots. */
uint64_t ig_model_kv_bytes(const ig_model *m, ig_kv kv, uint64_t n_ctx, uint32_t n_batch);
uint64_t ig_model_state_bytes(const ig_model *m);
uint64_t ig_model_hidden_bytes(const ig_model *m); /* what the draft layer keeps of a sequence */
/* Bytes of one page of a group over its layers, 0 when no layer is in it. */
uint64_t ig_model_page_bytes(const ig_model *m, ig_kv kv, int group);
/* Pages of a group that a sequence of n_ctx tokens needs in steps of at most n_batch tokens. */
uint64_t ig_model_pages(const ig_model *m, int group, uint64_t n_ctx, uint32_t n_batch);
uint64_t ig_model_workspace_bytes(const ig_model *m, uint32_t n_batch, uint32_t n_logits, unsigned n_threads,
                                  uint64_t n_ctx);

typedef struct ig_run ig_run;
typedef struct ig_run_options {
    unsigned n_threads;             /* >= 1 */
    uint32_t n_batch;               /* tokens of a step, >= 1 */
    uint32_t n_logits;              /* output rows of a step, >= 1 */
    uint32_t n_ctx;                 /* tokens of a sequence at most; chooses between long and short rope factors */
    uint32_t n_pages[IG_KV_GROUPS]; /* KV pages in the pools */
    ig_kv kv;
    bool dense; /* attention of models with an indexer sees every position */
    bool draft; /* the draft layer keeps up with every step, where the model has one */
    bool embed; /* output rows are final hidden states [n_embd_out] instead of logits */
} ig_run_options;
/* Borrows the model. Address space for all pages is reserved at once, memory comes with first use. */
ig_status ig_run_new(const ig_model *m, const ig_run_options *options, ig_run **out, ig_error *err);
void ig_run_free(ig_run *run);

/* A sequence: page tables in the run's pools, and the state of recurrent layers. Belongs to one run. */
typedef struct ig_seq {
    uint32_t *pages[IG_KV_GROUPS]; /* owned, [n_pages_max] */
    uint32_t first[IG_KV_GROUPS];  /* pages before it were given back */
    uint32_t n_pages, n_pages_max; /* of every group */
    uint32_t n_tokens;             /* positions 0..n_tokens-1 are stored */
    uint8_t *state;                /* owned region: current state, then snapshots; NULL without recurrent layers */
    uint32_t snapshot_at[IG_SNAPSHOTS]; /* tokens that the snapshot has seen, 0: none */
    uint8_t *mark;                 /* owned region: the state that ig_seq_mark kept, NULL: never */
    uint32_t mark_at;              /* tokens that it has seen, 0: it counts no more */
    float *hidden;                 /* owned region [IG_HIDDEN_KEPT, d] for the draft layer; NULL without */
    uint32_t *hidden_at;           /* [IG_HIDDEN_KEPT] in the same region: 1 + position of the row, 0: none */
    struct ig_seq *source;         /* cross attention: the encoder's sequence, or NULL */
} ig_seq;
/* seq->source and the like are zero. Errors: NO_MEMORY. */
ig_status ig_seq_init(const ig_run *run, ig_seq *seq, uint32_t n_ctx, ig_error *err);
/* Forgets all but the first n_tokens. Returns how many are left: fewer than asked where recurrent state or a window's
 * pages reach no further back than a page end; the caller feeds the rest again. */
uint32_t ig_seq_truncate(ig_run *run, ig_seq *seq, uint32_t n_tokens);
/* Keeps the recurrent state as it is now, in place of the one kept before, so that ig_seq_truncate reaches back to here.
 * Nothing to do for models without; its memory is taken with the first call. False: there is none. */
bool ig_seq_mark(const ig_run *run, ig_seq *seq);
/* What ig_seq_truncate would leave. */
uint32_t ig_seq_reach(const ig_run *run, const ig_seq *seq, uint32_t n_tokens);
/* Makes the empty sequence `to` a copy of the first n_tokens of `from`, or fewer, as ig_seq_truncate; returns how many,
 * 0 also where there are no pages for it. Not for sequences with a source. */
uint32_t ig_seq_copy(ig_run *run, ig_seq *to, const ig_seq *from, uint32_t n_tokens);
void ig_seq_fini(ig_run *run, ig_seq *seq);

/* For measurements: makes the sequence one of n_tokens at once, with made-up keys and values; recurrent state is zero.
 * Errors: NO_MEMORY (no pages; it is empty then). */
ig_status ig_seq_pretend(ig_run *run, ig_seq *seq, uint32_t n_tokens, ig_error *err);

/* What a sequence is, but for the bytes of its pages and states, which lie in a file in one piece. */
typedef struct ig_seq_image {
    uint64_t n_bytes;
    uint32_t first[IG_KV_GROUPS], n_pages, n_tokens, snapshot_at[IG_SNAPSHOTS];
} ig_seq_image;
void ig_seq_describe(const ig_run *run, const ig_seq *seq, ig_seq_image *out);
/* Writes pages and states at an offset of a file. Not for sequences with a source. Errors: IO. */
ig_status ig_seq_save(const ig_run *run, const ig_seq *seq, int fd, uint64_t offset, ig_error *err);
/* Makes the empty sequence what the image says, bit for bit. On an error it is empty. Errors: IO (also where the file is
 * too short), NO_MEMORY (no pages). */
ig_status ig_seq_load(ig_run *run, ig_seq *seq, const ig_seq_image *image, int fd, uint64_t offset, ig_error *err);

typedef enum ig_want { IG_WANT_NONE, IG_WANT_LAST, IG_WANT_ALL } ig_want;
typedef struct ig_step_item {
    ig_seq *seq;
    const int32_t *tokens; /* [n], n >= 1, each < n_vocab */
    uint32_t n;
    ig_want want;
    const float *logits; /* set: [rows, n_vocab or n_embd_out], valid until the next step; NULL when none was wanted */
} ig_step_item;
/* One forward step. All or nothing: on error no sequence has changed. Errors: TOO_LARGE (n_batch, n_logits, the
 * sequence's own limit; names both numbers), BAD_INPUT (token id; an encoder's text in two steps), NO_MEMORY (no page
 * left). */
ig_status ig_step(ig_run *run, ig_step_item *items, size_t n_items, ig_error *err);
/* What the model's draft layer says comes behind tokens [n], which follow those that the sequence holds, and behind its
 * own guesses, likeliest first choices: at most `most` of them in out. Returns how many; 0 where the layer did not keep
 * up or there is no page left. The sequence stays as it is. logits: of the last guess [n_vocab], valid until the next
 * step, or NULL. n at most n_batch; one row of logits is written over. */
uint32_t ig_draft_ahead(ig_run *run, ig_seq *seq, const int32_t *tokens, uint32_t n, uint32_t most, int32_t *out,
                        const float **logits);
/* The encoder's step of an encoder-decoder model: item.seq becomes the source of decoder sequences. */
ig_status ig_encode(ig_run *run, ig_step_item *item, ig_error *err);

/* Called for every product with a weight matrix: matrix `matrix` of the n_matrices of tensor `tensor` meets the rows x
 * [n_rows, n], stride floats apart. From the thread that calls ig_step. */
typedef void (*ig_observe_fn)(void *user, const char *tensor, size_t n_matrices, size_t matrix, const float *x,
                              size_t stride, size_t n_rows, size_t n);
void ig_run_observe(ig_run *run, ig_observe_fn fn, void *user);

/* KV pages of a group: how many there are, and how many hold something. */
void ig_run_pages(const ig_run *run, int group, uint32_t *total, uint32_t *used);

/* Bytes of weight matrices read so far, counted where the kernels are called; a test compares before and after. */
uint64_t ig_run_weight_bytes_read(const ig_run *run);

#endif
