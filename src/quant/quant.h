/* Quantising: float rows to blocks, importance data, the usual mixtures of types, and whole files in a stream.
 *
 * Blocks decode by the rules in src/tensor/tensor.c and src/kernel/ref; how scales are found is our own (fit.h,
 * super.h). Everything is deterministic: a block depends on its own weights and their importance alone, so a file does
 * not depend on the number of threads. */
#ifndef IG_QUANT_QUANT_H
#define IG_QUANT_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "format/format.h"
#include "quant/importance.h"
#include "tensor/tensor.h"

/* ------------------------------------------------------------------------------------------------ rows */

/* True for types that can be written: F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K..Q6_K IQ4_NL IQ4_XS MXFP4. */
bool ig_quant_can(uint32_t type);
/* False where importance changes nothing. */
bool ig_quant_weighs(uint32_t type);
/* Index of the first of x [n] that the type cannot hold: NaN, infinity, or a magnitude beyond its range (65504 where
 * scales are binary16); n when all are good. */
size_t ig_quant_check(uint32_t type, const float *x, size_t n);
/* Quantises x [n] into dst; n a multiple of the block, every x checked. w [n] NULL, or weights in (0, 1] as
 * ig_importance_prepare makes them: the sum of w * (x - decoded)^2 is made small. dst and x do not overlap. */
void ig_quant_row(uint32_t type, const float *x, const float *w, void *dst, size_t n);

/* ------------------------------------------------------------------------------------------------ whole files */

/* A tensor that is about to be written. */
typedef struct ig_quantize_step {
    ig_str name; /* borrowed */
    const uint64_t *ne;
    size_t idx, n;         /* tensor idx of n */
    const char *from, *to; /* types */
    const char *wanted;    /* the mixture's type where rows do not fit its block, else NULL */
    uint64_t done, all;    /* bytes of the input, all tensors together */
} ig_quantize_step;

typedef struct ig_quantize_options {
    const char *in, *out;   /* out is replaced only when all is written */
    const char *type;       /* a mixture: see ig_quantize_types; in any case */
    const char *importance; /* file, NULL: none */
    unsigned n_threads;     /* 0: one per usable core */
    /* A GGUF file without tensors, NULL: none. Its keys are written and those of the input with the same names are not;
     * with drop_json neither are the tokenizer files that the input may carry along. */
    const void *vocabulary;
    size_t n_vocabulary; /* bytes */
    bool drop_json;
    bool requantize; /* also convert tensors that are quantised already */
    /* Called at the start of every tensor and now and then during one; false cancels. NULL: nobody is told. */
    bool (*progress)(void *user, const ig_quantize_step *step);
    void *user;
} ig_quantize_options;

typedef struct ig_quantize_report {
    const char *type;                          /* name of the mixture */
    uint64_t bytes_in, bytes_out, n_weights;   /* of tensors; n_weights is their elements */
    size_t n_tensors, n_fallback, n_unweighed; /* n_unweighed: matrices of layers that a given importance file lacks */
    size_t n_by_type[IG_DTYPE_MAX];
} ig_quantize_report;

/* Reads a model, writes it with another mixture of types, streaming: memory does not depend on the model's size.
 * Errors: those of reading and writing; BAD_INPUT for an unknown mixture, for weights that are no finite numbers (names
 * tensor and place), for an input that is quantised already; UNSUPPORTED for types that cannot be read; CANCELLED. */
ig_status ig_quantize_file(const ig_quantize_options *options, ig_quantize_report *report, ig_error *err);
/* Names of the mixtures, separated by blanks, e.g. for a usage message. */
void ig_quantize_types(char *out, size_t n);
bool ig_quantize_knows(const char *type);

#endif
