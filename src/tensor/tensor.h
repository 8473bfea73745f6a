/* Tensor types and views: one row a type (id as GGUF stores it). Bit layouts are described beside each row in tensor.c
 * and defined by the reference decoders in src/kernel/ref. */
#ifndef IG_TENSOR_TENSOR_H
#define IG_TENSOR_TENSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

typedef enum ig_dtype { /* ids as GGUF stores them */
                        IG_F32 = 0,
                        IG_F16 = 1,
                        IG_Q4_0 = 2,
                        IG_Q4_1 = 3,
                        IG_Q5_0 = 6,
                        IG_Q5_1 = 7,
                        IG_Q8_0 = 8,
                        IG_Q2_K = 10,
                        IG_Q3_K = 11,
                        IG_Q4_K = 12,
                        IG_Q5_K = 13,
                        IG_Q6_K = 14,
                        IG_IQ2_XXS = 16,
                        IG_IQ2_XS = 17,
                        IG_IQ3_XXS = 18,
                        IG_IQ1_S = 19,
                        IG_IQ4_NL = 20,
                        IG_IQ3_S = 21,
                        IG_IQ2_S = 22,
                        IG_IQ4_XS = 23,
                        IG_IQ1_M = 29,
                        IG_BF16 = 30,
                        IG_TQ1_0 = 34,
                        IG_TQ2_0 = 35,
                        IG_MXFP4 = 39,
                        IG_NVFP4 = 40,
                        IG_Q1_0 = 41,
                        IG_Q2_0 = 42,
                        IG_DTYPE_MAX = 64 /* table size; ids of files are below */
} ig_dtype;

typedef struct ig_dtype_info {
    const char *name;     /* "Q4_K" */
    uint32_t block_elems; /* weights in a block, 1 for plain types; 0 marks an empty row */
    uint32_t block_bytes;
} ig_dtype_info;

/* Row of a type id read from a file (any value, also negative when seen as int); NULL for an id that does not exist,
 * was removed, or exists only for activations. Known layouts without kernels yet still have a row. */
const ig_dtype_info *ig_dtype_row(uint32_t id);
/* Bytes of one row of n weights; false when n is no multiple of the block or the product overflows. */
bool ig_dtype_row_bytes(uint32_t id, uint64_t n, uint64_t *bytes);

/* A named tensor: shape [ne[3], ne[2], ne[1], ne[0]] row-major, ne[0] the fastest axis (columns), unused dims 1. */
typedef struct ig_tensor {
    ig_str name;     /* borrowed from the mapped file */
    uint32_t type;   /* ig_dtype */
    uint32_t n_dims; /* 1..4 */
    uint64_t ne[4];
    uint64_t row_bytes;  /* bytes of ne[0] weights */
    uint64_t n_bytes;    /* row_bytes * ne[1] * ne[2] * ne[3] */
    const uint8_t *data; /* borrowed from the mapped file; NULL when parts is set */
    /* A tensor made of ne[2] matrices that lie apart (experts of a Hugging Face directory): their addresses, each
     * row_bytes * ne[1] bytes; NULL for a tensor in one piece. */
    const uint8_t *const *parts;
    /* Rows as Hugging Face stores them, where a GGUF has each of this many heads' rows interleaved (rotation of
     * neighbours instead of halves); 0: nothing to do. Whoever writes a GGUF reorders: row i of a head's first half
     * goes to 2i, of its second half to 2i + 1. */
    uint32_t half_split_heads;
} ig_tensor;

#endif
