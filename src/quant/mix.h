/* Private to src/quant: which tensor gets which type. */
#ifndef IG_QUANT_MIX_H
#define IG_QUANT_MIX_H

#include "format/format.h"

typedef struct ig_mix ig_mix;

/* What the rules ask of a model. */
typedef struct ig_mix_model {
    uint32_t n_layers, n_heads, n_heads_kv, n_experts;
    bool has_output, has_importance;
    uint32_t *v_rank; /* owned [n_layers + 1]: matrices of values (attn_v, attn_qkv) before layer i; the last: all */
} ig_mix_model;

/* By name ("Q4_K_M", in any case); NULL when there is none. */
const ig_mix *ig_mix_find(const char *name);
const char *ig_mix_name(const ig_mix *mix);
uint32_t ig_mix_file_type(const ig_mix *mix); /* general.file_type */
/* All names, separated by blanks. */
void ig_mix_names(char *out, size_t n);

/* Reads metadata and names. Errors: NO_MEMORY, and those of the getters. */
ig_status ig_mix_model_init(ig_mix_model *m, const ig_format *f, bool has_importance, ig_error *err);
void ig_mix_model_fini(ig_mix_model *m);

/* True for a matrix that the mixture chooses a type for; others stay what they are (floats become F32). */
bool ig_mix_covers(const ig_tensor *t);
/* Type of a covered tensor. *fallback: what it would have been, had its rows been a multiple of the block; equal to
 * the result otherwise. */
uint32_t ig_mix_type(const ig_mix *mix, const ig_mix_model *m, const ig_tensor *t, uint32_t *fallback);

#endif
