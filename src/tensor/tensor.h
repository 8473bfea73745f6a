/* Tensor types and views: one row a type (id as GGUF stores it). Bit layouts are described beside each row in tensor.c
 * and defined by the reference decoders in src/kernel/ref. */
#ifndef IG_TENSOR_TENSOR_H
#define IG_TENSOR_TENSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

typedef enum ig_dtype {
    IG_F32 = 0,
    IG_F16 = 1,
    IG_Q4_0 = 2,
    IG_Q8_0 = 8,
    IG_Q4_K = 12,
    IG_Q6_K = 14,
    IG_BF16 = 30,
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
    const uint8_t *data; /* borrowed from the mapped file */
} ig_tensor;

#endif
