/* Models: hyper-parameters, bound weights, the static plan, KV pages and the forward step.
 *
 * Loading turns an architecture row and a file's metadata into a list of operations in which every tensor is resolved
 * and every shape checked (ig_model). A run (ig_run) adds threads, workspace and the pool of KV pages; after it is made
 * nothing is allocated. A step takes any mix of tokens of many sequences and computes the logits that are wanted.
 *
 * Determinism: a logit row depends on its own sequence's tokens and nothing else: rows of a matrix product are
 * independent (src/kernel/kernel.h), attention walks the pages of its sequence in absolute order, expert outputs are
 * summed in rank order, and work is split in pieces that do not depend on the number of threads. */
#ifndef IG_MODEL_MODEL_H
#define IG_MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "format/format.h"
#include "kernel/kernel.h"
#include "model/arch.h"

/* Hyper-parameters, checked (rule G16). Sizes in elements. */
typedef struct ig_hparams {
    uint32_t n_ctx_train, n_embd, n_layers, n_ff, n_vocab;
    uint32_t n_heads, n_heads_kv; /* query heads; key/value heads, a divisor */
    uint32_t head_k, head_v;      /* size of a query/key head and of a value head */
    uint32_t n_rot;               /* rotated values of a head, even */
    float norm_eps;
    float attn_scale; /* scores are multiplied by it */
    uint32_t n_experts, n_experts_used, n_ff_expert;
    float expert_scale; /* weights of the chosen are multiplied by it */
    float temp_scale;   /* attention temperature, 0: off */
    uint32_t temp_len;
} ig_hparams;

typedef struct ig_model ig_model;

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

enum { IG_PAGE_TOKENS = 64 }; /* tokens of a KV page */
/* Bytes of one page over all layers; of the workspace for n_batch tokens (without logits). */
uint64_t ig_model_page_bytes(const ig_model *m, ig_kv kv);
uint64_t ig_model_workspace_bytes(const ig_model *m, uint32_t n_batch, uint32_t n_logits, unsigned n_threads);

typedef struct ig_run ig_run;
typedef struct ig_run_options {
    unsigned n_threads; /* >= 1 */
    uint32_t n_batch;   /* tokens of a step, >= 1 */
    uint32_t n_logits;  /* logit rows of a step, >= 1 */
    uint32_t n_pages;   /* KV pages in the pool */
    ig_kv kv;
} ig_run_options;
/* Borrows the model. Address space for all pages is reserved at once, memory comes with first use. */
ig_status ig_run_new(const ig_model *m, const ig_run_options *options, ig_run **out, ig_error *err);
void ig_run_free(ig_run *run);

/* A sequence: its page table in the run's pool. Belongs to one run. */
typedef struct ig_seq {
    uint32_t *pages; /* owned, [n_pages_max] */
    uint32_t n_pages, n_pages_max;
    uint32_t n_tokens; /* positions 0..n_tokens-1 are stored */
} ig_seq;
ig_status ig_seq_init(ig_seq *seq, uint32_t n_ctx, ig_error *err);
void ig_seq_truncate(ig_run *run, ig_seq *seq, uint32_t n_tokens);
void ig_seq_fini(ig_run *run, ig_seq *seq);

typedef enum ig_want { IG_WANT_NONE, IG_WANT_LAST, IG_WANT_ALL } ig_want;
typedef struct ig_step_item {
    ig_seq *seq;
    const int32_t *tokens; /* [n], n >= 1, each < n_vocab */
    uint32_t n;
    ig_want want;
    const float *logits; /* set: [rows, n_vocab], valid until the next step; NULL when none was wanted */
} ig_step_item;
/* One forward step. All or nothing: on error no sequence has changed. Errors: TOO_LARGE (n_batch, n_logits, the
 * sequence's own limit; names both numbers), BAD_INPUT (token id), NO_MEMORY (no page left). */
ig_status ig_step(ig_run *run, ig_step_item *items, size_t n_items, ig_error *err);

/* Bytes of weight matrices read so far, counted where the kernels are called; a test compares before and after. */
uint64_t ig_run_weight_bytes_read(const ig_run *run);

#endif
